from pathlib import PurePath

import pytest

from pleura.dicom.suffixes import stem_of, suffix_of


@pytest.mark.parametrize(
    ("name", "stem", "suffix"),
    [
        ("radiograph.dcm", "radiograph", ".dcm"),
        ("RADIOGRAPH.DCM", "RADIOGRAPH", ".dcm"),
        ("b.dcm.gz", "b", ".dcm.gz"),
        ("b.GZ", "b", ".gz"),
        ("table.csv.gz", "table", ".csv.gz"),
        ("1.2.840.113619.2.5", "1.2.840.113619.2.5", ""),
        ("1.2.840.113619.2.5.dcm", "1.2.840.113619.2.5", ".dcm"),
        ("1.2.840.5.gz", "1.2.840.5", ".gz"),
        ("IM0001", "IM0001", ""),
        ("a. radiograph of a chest", "a. radiograph of a chest", ""),
        ("scan.7z", "scan", ".7z"),
        (".hidden", ".hidden", ""),
        ("dot.", "dot.", ""),
    ],
)
def test_stem_and_suffix(name, stem, suffix):
    path = PurePath("some.folder", name)
    assert (stem_of(path), suffix_of(path)) == (stem, suffix)
    assert name.lower() == stem.lower() + suffix
