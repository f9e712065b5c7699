import gzip
import os
import socket
from collections import Counter
from pathlib import Path

import imagecodecs
import numpy as np
import pytest

from pleura.data import files
from pleura.data.files import OWN_RESULT, dicom_files, expand, in_words, passed_over, sorted_out
from pleura.errors import DataError
from pleura.formats.plain_picture import signed_png
from tests.dicom_files import IMPLICIT, make_dicom
from tests.storage.test_archive import zip_bytes


def write(folder, **contents):
    """Write files below a folder; names come with underscores for dots."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        (folder / name.replace("_", ".")).write_bytes(content)
    return folder


def own_result():
    return make_dicom(Manufacturer="pleura", ManufacturerModelName="pleura")


def names(paths):
    return [path.name for path in paths]


def test_files_folders_and_globs_in_their_order_without_repeats(tmp_path):
    for name in ("b/2.dcm", "b/1.dcm", "b/deep/3.dcm", "a/9.dcm", "a/8.dcm", "a/notes.txt"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    found = expand([f"{tmp_path}/b", f"{tmp_path}/a/9.dcm", f"{tmp_path}/a/*.dcm"]).files
    named = [str(path.relative_to(tmp_path)) for path in found]
    assert named == ["b/1.dcm", "b/2.dcm", "b/deep/3.dcm", "a/9.dcm", "a/8.dcm"]


def test_a_file_is_taken_whatever_its_suffix(tmp_path):
    path = tmp_path / "picture.png"
    path.write_bytes(b"x")
    assert expand([str(path)]).files == [path]


def test_a_recursive_glob(tmp_path):
    write(tmp_path / "x" / "y", a_dcm=b"x")
    assert expand([f"{tmp_path}/**/*.dcm"]).files == [tmp_path / "x" / "y" / "a.dcm"]


def test_a_name_with_brackets_is_a_file_before_it_is_a_glob(tmp_path):
    path = tmp_path / "scan [1].dcm"
    path.write_bytes(b"x")
    assert expand([str(path)]).files == [path]


def test_a_name_without_a_file_is_kept(tmp_path):
    missing = [str(tmp_path / "none.dcm"), str(tmp_path / "none-*.dcm"), "nul\0name"]
    (tmp_path / "broken [1].dcm").symlink_to(tmp_path / "nowhere")
    missing.append(str(tmp_path / "broken [1].dcm"))
    assert expand(missing).files == [Path(name) for name in missing]


def test_a_folder_without_radiographs_says_what_it_holds(tmp_path):
    message = (
        r"holds no DICOM file and no picture of a radiograph; name a file, or the folder above them"
    )
    with pytest.raises(DataError, match=f"{tmp_path}: {message}"):
        expand([str(tmp_path)])
    write(tmp_path, a_csv=b"x", b_csv=b"x", r_dcm=own_result())
    message = r"of a radiograph \(3 other files: 2 .csv, 1 results of pleura\); name a file"
    with pytest.raises(DataError, match=message):
        expand([str(tmp_path)])


def test_pictures_are_meant_where_a_folder_holds_no_dicom_file(tmp_path):
    drawn = signed_png(imagecodecs.png_encode(np.zeros((9, 9), np.uint8)))
    names = ["a.png", "b.JPG", "c.tiff", "d.nii.gz"]
    write(tmp_path, drawn_png=drawn, table_csv=b"x", more_zip=b"x")
    for name in names:
        (tmp_path / name).write_bytes(b"x")
    found = expand([str(tmp_path)])
    assert [path.name for path in found.files] == [*names, "more.zip"]
    assert found.passed == {OWN_RESULT: 1, ".csv": 1}
    listed = sorted_out(tmp_path, pictures=True)
    assert [path.name for path in listed.files] == [*names, "more.zip"], "its damage is told"
    assert listed.passed == found.passed
    assert sorted_out(tmp_path).files == [tmp_path / "more.zip"]
    write(tmp_path, r_dcm=b"x")
    found = expand([str(tmp_path)])
    assert [path.name for path in found.files] == ["more.zip", "r.dcm"]
    assert found.passed == {".png": 2, ".jpg": 1, ".tiff": 1, ".nii.gz": 1, ".csv": 1}
    found = expand([str(tmp_path), str(tmp_path / "*.JPG")])  # what is named as well is read
    assert found.passed == {".png": 2, ".tiff": 1, ".nii.gz": 1, ".csv": 1}


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("x.dcm", b"anything"),
        ("x.IMA", b""),
        ("x.dcm.gz", b"anything"),
        ("x", make_dicom()),
        ("x.bak", make_dicom(preamble=b"")),
        ("x.txt", make_dicom(transfer_syntax=IMPLICIT, preamble=b"")),
        ("x.gz", gzip.compress(make_dicom(), mtime=0)),
        ("1.2.840.5", make_dicom()),
        ("IM0001", b""),
        ("IM0001", bytes(4000)),
        ("1.2.840.5", make_dicom()[:100]),
        ("IM0001", b"\xff\xd8\xff\xe0\0\x10JFIF"),
        ("IM0001.gz", gzip.compress(make_dicom(), mtime=0)[:60]),
    ],
)
def test_what_may_be_a_radiograph_is_taken(tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content)
    assert passed_over(path) == ""
    assert expand([str(tmp_path)]).files == [path]


@pytest.mark.parametrize(
    ("name", "content", "kind"),
    [
        ("x.csv", b"a,b\n", ".csv"),
        ("x.CSV.GZ", gzip.compress(b"a,b\n", mtime=0), ".csv.gz"),
        ("x.gz", gzip.compress(b"words", mtime=0), ".gz"),
        ("x.png", b"\x89PNG\r\n\x1a\n" + bytes(200), ".png"),
        ("x.bak", b"", ".bak"),
        ("x.nii", bytes(400), ".nii"),
        ("x.zip", zip_bytes({}), ".zip"),
        ("x.rar", b"Rar!", ".rar"),
        ("x.tar.gz", b"", ".tar.gz"),
        ("README", b"words\n\tand \xe4 \xc3\xa4\r\n", files.NO_SUFFIX),
        ("Notes of 1.2", "words".encode("utf-16"), files.NO_SUFFIX),
        (".x.dcm", make_dicom(), files.HIDDEN),
        ("._x.dcm", b"", files.HIDDEN),
        ("dicomdir", make_dicom(), files.DICOMDIR),
    ],
)
def test_what_is_no_radiograph_is_counted_by_what_it_is(tmp_path, name, content, kind):
    path = tmp_path / name
    path.write_bytes(content)
    write(tmp_path, radiograph_dcm=make_dicom())
    assert passed_over(path) == kind
    found = sorted_out(tmp_path)
    assert names(found.files) == ["radiograph.dcm"]
    if kind in files.ARCHIVES:  # it may hold radiographs
        assert names(found.archives) == [name]
        assert names(expand([str(tmp_path)]).files) == ["radiograph.dcm", name]
    else:
        assert found.passed == expand([str(tmp_path)]).passed == Counter({kind: 1})


def test_pipes_and_devices_are_counted_and_not_waited_for(tmp_path):
    write(tmp_path, radiograph_dcm=make_dicom())
    os.mkfifo(tmp_path / "pipe")
    os.mkfifo(tmp_path / "pipe.csv")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket"))
    assert sorted_out(tmp_path).passed == Counter({files.NO_FILE: 3})


def test_what_cannot_be_read_is_taken_so_that_it_says_why(tmp_path, monkeypatch):
    for name in ("radiograph", "radiograph.dcm", "x.csv", "x.png", "x.bak"):
        (tmp_path / name).write_bytes(make_dicom())
    (tmp_path / "broken link").symlink_to(tmp_path / "nowhere")

    def refused(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(files, "head_of", refused)
    found = sorted_out(tmp_path)
    assert names(found.files) == ["broken link", "radiograph", "radiograph.dcm", "x.bak"]
    assert found.passed == Counter({".csv": 1, ".png": 1})


def test_a_folder_that_cannot_be_entered_is_taken_so_that_it_says_why(tmp_path, monkeypatch):
    write(tmp_path / "open", radiograph_dcm=make_dicom())
    write(tmp_path / "closed", radiograph_dcm=make_dicom())
    write(tmp_path / ".git", radiograph_dcm=make_dicom())
    scandir = os.scandir

    def scanned(path):
        if str(path).endswith("closed"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", scanned)
    found = sorted_out(tmp_path)
    assert found.files == [tmp_path / "closed", tmp_path / "open" / "radiograph.dcm"]
    assert found.passed == Counter({files.HIDDEN: 1}), "a hidden folder counts as one"
    assert expand([str(tmp_path / "closed")]).files == [tmp_path / "closed"]


def test_results_of_pleura_are_no_inputs_unless_somebody_names_one(tmp_path):
    radiograph, result = make_dicom(), own_result()
    write(tmp_path, radiograph_dcm=radiograph, result_dcm=result, IM1=result)
    write(tmp_path / "deep" / "er", again_dcm=result)
    shell = [str(tmp_path / "deep"), str(tmp_path / "radiograph.dcm")]
    for inputs in ([str(tmp_path)], [f"{tmp_path}/**/*.dcm"], [f"{tmp_path}/*"], shell):
        found = expand(inputs)
        assert names(found.files) == ["radiograph.dcm"]
        assert set(found.passed) == {files.OWN_RESULT}
    assert names(expand([str(tmp_path / "result.dcm")]).files) == ["result.dcm"]
    assert len(dicom_files(tmp_path)) == 4, "an audit tells of them one by one"


def test_counts_in_words():
    assert in_words({".csv": 1}) == "1 other file: 1 .csv"
    assert in_words({".txt": 1200, ".csv": 2}) == "1,202 other files: 2 .csv, 1,200 .txt"
