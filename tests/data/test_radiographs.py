"""Radiographs of any file."""

import imagecodecs
import numpy as np
import pytest

import pleura
from pleura.data.radiographs import (
    header_patient,
    radiograph_files,
    radiograph_id,
    read_any_header,
    read_any_radiograph,
)
from pleura.data.scan import scan_files
from pleura.dicom.suffixes import PICTURES
from pleura.errors import DataError, DicomError, PictureError

GREY = np.arange(64, dtype=np.uint8).reshape(8, 8)


@pytest.fixture
def folder(tmp_path, cohort):
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep/a.PNG").write_bytes(imagecodecs.png_encode(GREY))
    (tmp_path / "notes.txt").write_text("no radiograph")
    (tmp_path / "z.dcm").write_bytes(next(cohort.rglob("*.dcm")).read_bytes())
    return tmp_path


def test_dicom_files_and_pictures_are_found_and_read(folder, cohort):
    paths = radiograph_files(folder)
    assert [path.name for path in paths] == ["a.PNG", "z.dcm"]
    picture, dicom = (read_any_radiograph(path) for path in paths)
    np.testing.assert_array_equal(picture.pixels, GREY)
    assert (picture.age, picture.sex, picture.view, picture.spacing_mm) == (None, "", "", None)
    assert dicom.pixels.shape == (128, 128)
    for path, read in zip(paths, (picture, dicom), strict=True):
        np.testing.assert_array_equal(pleura.read_radiograph(f"{path}").pixels, read.pixels)
    assert dicom.age is not None
    assert dicom.sex in ("M", "F")
    assert dicom.view in ("PA", "AP")
    assert dicom.spacing_mm is not None
    assert radiograph_id(paths[0]) == "a"
    assert radiograph_id(paths[1]) == next(cohort.rglob("*.dcm")).stem
    assert header_patient(paths[0]) == ""
    assert header_patient(paths[1])


def test_a_folder_without_radiographs_and_bad_files_are_refused(tmp_path):
    with pytest.raises(DataError, match="holds no DICOM file and no picture; name the folder"):
        radiograph_files(tmp_path)
    (tmp_path / "a.png").write_bytes(b"nothing")
    (tmp_path / "a.dcm").write_bytes(b"nothing")
    with pytest.raises(PictureError, match="is neither JPEG, PNG, TIFF nor NIfTI"):
        read_any_radiograph(tmp_path / "a.png")
    with pytest.raises(DicomError):
        read_any_radiograph(tmp_path / "a.dcm")


@pytest.mark.parametrize("suffix", sorted(PICTURES))
def test_what_begins_as_dicom_is_that_whatever_its_name(tmp_path, cohort, suffix):
    dicom = next(cohort.rglob("*.dcm"))
    path = tmp_path / f"x{suffix}"
    # A file may be TIFF and DICOM at once, of the same picture.
    path.write_bytes(b"II*\0\x08\0\0\0".ljust(128, b"\0") + dicom.read_bytes()[128:])
    assert radiograph_id(path) == read_any_header(path).sop_instance_uid == dicom.stem
    assert header_patient(path)
    np.testing.assert_array_equal(
        read_any_radiograph(path).pixels, read_any_radiograph(dicom).pixels
    )
    (found,) = scan_files([path])
    assert (found.image_id, found.is_plain, found.notes) == (dicom.stem, False, ())
