import string

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.config import RAISE
from pydicom.dataelem import DataElement

from pleura.dicom.uids import derive_uid, hidden_uid, is_valid_uid
from pleura.results.cleaning import clean

VRS = ("AS", "CS", "DA", "DS", "LO", "PN", "SH", "TM", "UI")


@pytest.mark.parametrize(
    ("vr", "found", "written"),
    [
        ("AS", "38", "038Y"),
        ("AS", "038Y", "038Y"),
        ("AS", "6m", "006M"),
        ("AS", "999", ""),
        ("AS", "old", ""),
        ("CS", "f", "F"),
        ("CS", "CHEST-AP", ""),
        ("CS", "X" * 17, ""),
        ("CS", "\N{LATIN SMALL LETTER LONG S}", ""),  # its capital letter is an ASCII one
        ("DA", "1995.07.20", "19950720"),
        ("DA", "1995-07-20", "19950720"),
        ("DA", "19950720", "19950720"),
        ("DA", "20260230", ""),
        ("DA", "1995.0720", ""),
        ("DA", "٢٠٢٦٠١٠١", ""),
        ("DS", "0.19431099999999998", "0.194311"),
        ("DS", "1,85", "1.85"),
        ("DS", "1,850", ""),  # 1.85 or 1850
        ("DS", "1e400", ""),
        ("DS", "nan", ""),
        ("LO", "a" * 64, "a" * 64),
        ("LO", "a" * 65, ""),
        ("LO", "one\\two", ""),
        ("LO", "\N{REPLACEMENT CHARACTER}", ""),
        ("LO", "line\nline", ""),
        ("PN", "Doe^Jane", "Doe^Jane"),
        ("PN", "Yamada^Tarou=山田^太郎=やまだ^たろう", "Yamada^Tarou=山田^太郎=やまだ^たろう"),
        ("PN", "a=b=c=d", ""),
        ("PN", "a^b^c^d^e^f", ""),
        ("PN", "x" * 65, ""),
        ("PN", "^^", ""),
        ("SH", "x" * 16, "x" * 16),
        ("SH", "x" * 17, ""),
        ("TM", "17:58:00", "175800"),
        ("TM", "000000.00", "000000.00"),
        ("TM", "1758", "1758"),
        ("TM", "246000", ""),
        ("UI", "1.2.840.10008.1.2", "1.2.840.10008.1.2"),
        ("UI", "ID_004d6fbb6", ""),
        ("UI", "1.02", ""),
        ("UI", "1." * 32 + "1", ""),
        ("UI", "3.1", ""),
    ],
)
def test_what_is_mended_and_what_is_left_out(vr, found, written):
    assert clean(vr, found) == written


@pytest.mark.parametrize("vr", VRS)
@given(found=st.text(max_size=80) | st.text(string.digits + ".:-^=\\ ", max_size=70))
def test_what_comes_out_is_valid_and_stays(vr, found):
    written = clean(vr, found)
    assert clean(vr, written) == written
    if written:  # pydicom's own rules, and every warning is an error here
        DataElement(0x00091001, vr, written, validation_mode=RAISE)


def test_a_uid_follows_from_what_it_stands_for():
    assert derive_uid("a", "b") == derive_uid("a", "b")
    assert len({derive_uid("a", "b"), derive_uid("ab"), derive_uid("b", "a")}) == 3


@given(st.lists(st.text(max_size=9), max_size=4), st.binary(min_size=16, max_size=40))
def test_derived_uids_are_valid(parts, key):
    uid = derive_uid(*parts)
    assert is_valid_uid(uid)
    hidden = hidden_uid(uid, key)
    assert is_valid_uid(hidden)
    assert hidden not in (uid, hidden_uid(uid, key + b"x"))
