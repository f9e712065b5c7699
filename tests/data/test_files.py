from pathlib import Path

import pytest

from pleura.data.files import expand
from pleura.errors import DataError


def test_files_folders_and_globs_in_their_order_without_repeats(tmp_path):
    for name in ("b/2.dcm", "b/1.dcm", "b/deep/3.dcm", "a/9.dcm", "a/8.dcm", "a/notes.txt"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    found = expand([f"{tmp_path}/b", f"{tmp_path}/a/9.dcm", f"{tmp_path}/a/*.dcm"])
    names = [str(path.relative_to(tmp_path)) for path in found]
    assert names == ["b/1.dcm", "b/2.dcm", "b/deep/3.dcm", "a/9.dcm", "a/8.dcm"]


def test_a_file_is_taken_whatever_its_suffix(tmp_path):
    path = tmp_path / "picture.png"
    path.write_bytes(b"x")
    assert expand([str(path)]) == [path]


def test_a_recursive_glob(tmp_path):
    (tmp_path / "x" / "y").mkdir(parents=True)
    (tmp_path / "x" / "y" / "1.dcm").write_bytes(b"x")
    assert expand([f"{tmp_path}/**/*.dcm"]) == [tmp_path / "x" / "y" / "1.dcm"]


def test_a_name_with_brackets_is_a_file_before_it_is_a_glob(tmp_path):
    path = tmp_path / "scan [1].dcm"
    path.write_bytes(b"x")
    assert expand([str(path)]) == [path]


def test_a_name_without_a_file_is_kept(tmp_path):
    missing = [str(tmp_path / "none.dcm"), str(tmp_path / "none-*.dcm")]
    assert expand(missing) == [Path(name) for name in missing]


def test_an_empty_folder(tmp_path):
    message = r"holds no DICOM file; name a file, or the folder above them"
    with pytest.raises(DataError, match=f"{tmp_path}: {message}"):
        expand([str(tmp_path)])
