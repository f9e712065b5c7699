import os
from pathlib import Path

import pytest

from pleura.formats.signature import is_dicom
from tests.dicom_files import make_dicom


@pytest.fixture
def save(tmp_path):
    def saved(content):
        path = tmp_path / "file"
        path.write_bytes(content)
        return path

    return saved


def test_files_with_and_without_preamble(save):
    assert is_dicom(save(make_dicom()))
    assert is_dicom(save(make_dicom(preamble=b"")))
    assert is_dicom(save(make_dicom(preamble=b"", transfer_syntax="1.2.840.10008.1.2")))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"x",
        b"\0" * 5000,
        b"\x89PNG\r\n" + bytes(300),
        b"DICM" * 9,
        b"\x08\x00\x05\x00\xff\xff\xff\xff",
    ],
)
def test_other_kinds_of_files(save, content):
    assert not is_dicom(save(content))


def test_what_is_no_regular_file_is_not_waited_for(tmp_path):
    fifo = tmp_path / "fifo.dcm"
    os.mkfifo(fifo)
    for path in (fifo, tmp_path, Path("/dev/zero"), tmp_path / "none", "nul\0name"):
        assert not is_dicom(path)
