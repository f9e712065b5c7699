import pytest

from pleura.dicom.preamble import preamble_note
from tests.dicom_files import make_dicom


@pytest.mark.parametrize(
    ("begin", "kind"),
    [
        (b"MZ\x90", "a Windows program"),
        (b"\x7fELF", "a Linux program"),
        (b"\xcf\xfa\xed\xfe", "a macOS program"),
        (b"#!/bin/sh\n", "a script"),
        (b"PK\3\4", "a ZIP archive"),
        (b"%PDF-1.7", "a PDF document"),
        (b"<html>", "HTML or XML"),
        (b"\0\0\1", "bytes"),
    ],
)
def test_what_is_hidden_in_it_is_told(begin, kind):
    content = make_dicom(preamble=begin.ljust(128, b"\0") + b"DICM")
    assert preamble_note(content) == f"the preamble holds {kind} where zeros or TIFF belong"


@pytest.mark.parametrize("begin", [b"", b"II*\0", b"MM\0*", b"II+\0"])
def test_zeros_and_tiff_belong_there(begin):
    assert preamble_note(make_dicom(preamble=begin.ljust(128, b"\0") + b"DICM")) == ""


def test_what_has_no_preamble_has_no_note():
    assert preamble_note(make_dicom(preamble=b"")) == ""
    assert preamble_note(b"MZ" * 100) == preamble_note(b"MZ") == preamble_note(b"") == ""
