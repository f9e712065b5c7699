"""ZIP and tar files, gzip and globs in place of a folder, for each command that reads them."""

import csv
import gzip
import json
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest

from pleura.cli.app import execute
from pleura.formats.mask_picture import write_mask_picture

WAYS = ("cohort.zip", "cohort.tar", "gz", "glob")


@pytest.fixture(scope="module")
def packed(cohort, tmp_path_factory):
    """The cohort with its tables as ZIP and tar file, and gzipped file by file."""
    folder = tmp_path_factory.mktemp("packed")
    files = sorted(path for path in cohort.rglob("*") if path.is_file())
    with (
        zipfile.ZipFile(
            folder / "cohort.zip", "w", zipfile.ZIP_DEFLATED, compresslevel=1
        ) as zipped,
        tarfile.open(folder / "cohort.tar", "w") as shard,
    ):
        for path in files:
            zipped.write(path, path.relative_to(cohort))
            shard.add(path, path.relative_to(cohort))
    for path in files:
        other = folder / "gz" / path.relative_to(cohort)
        other.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".dcm":
            other.with_name(f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes(), 1))
        else:
            other.write_bytes(path.read_bytes())
    return folder


def named(packed, cohort, way):
    """Return what a command is given in place of the cohort's folder."""
    if way == "glob":
        return [f"{cohort}/dicom-images-*", f"{cohort}/*.csv"]
    return [str(packed / way)]


def said(capsys, *words, status=0):
    assert execute([*map(str, words)]) == status
    shown = capsys.readouterr()
    assert "Traceback" not in shown.err
    return json.loads(shown.out)


@pytest.mark.parametrize("way", WAYS)
def test_audit_and_prepare_find_the_same(packed, cohort, small_prepared, way, tmp_path, capsys):
    data, more = named(packed, cohort, way), ["--json", "--workers", "1"]
    same = said(capsys, "audit", cohort, "--headers", *more)
    found = said(capsys, "audit", *data, "--headers", *more)
    assert found["counts"] == same["counts"]
    assert [item["code"] for item in found["findings"]] == [i["code"] for i in same["findings"]]
    said(capsys, "prepare", *data, "--size", "64", "--out", tmp_path / "p", *more)
    for name in ("X_train.npy", "Y_train.npy", "X_test.npy"):
        assert (tmp_path / "p" / name).read_bytes() == (small_prepared.path / name).read_bytes()


@pytest.mark.parametrize("way", WAYS)
def test_gallery_draws_the_same(packed, cohort, way, tmp_path, capsys):
    pictures = []
    for data in ([str(cohort)], named(packed, cohort, way)):
        out = tmp_path / f"{len(pictures)}.png"
        more = ["--negative", 1, "--positive", 1, "--tile", 64, "--workers", 1, "--json"]
        said(capsys, "gallery", *data, "--out", out, *more)
        pictures.append(out.read_bytes())
    assert pictures[0] == pictures[1]


def test_inspect_and_predict_answer_what_is_packed(packed, cohort, tiny_model, tmp_path, capsys):
    films = sorted((cohort / "dicom-images-test").rglob("*.dcm"))
    inside = [packed / "cohort.zip" / film.relative_to(cohort) for film in films]
    found = said(capsys, "inspect", packed / "cohort.zip" / "dicom-images-test", "--json")
    assert [one["path"] for one in found] == [str(path) for path in inside]
    plain = said(capsys, "inspect", cohort / "dicom-images-test", "--json")
    for one in (*found, *plain):
        del one["path"]
    assert found == plain
    tables = []
    for data in (films[:2], inside[:2]):
        out = tmp_path / str(len(tables))
        command = ["predict", tiny_model, *data, "--answer-flagged", "--overlays", "--out", out]
        assert execute([*map(str, command)]) == 0
        with (out / "predictions.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        drawn = {path.name: path.read_bytes() for path in (out / "overlays").iterdir()}
        same = [{name: row[name] for name in ("image_id", "score", "called")} for row in rows]
        tables.append((same, drawn))
    capsys.readouterr()
    assert tables[0] == tables[1]


def test_what_of_an_archive_cannot_be_read_is_listed_and_the_rest_goes_on(
    cohort, tiny_model, tmp_path, capsys
):
    film = next((cohort / "dicom-images-test").rglob("*.dcm")).read_bytes()
    data = tmp_path / "data"
    data.mkdir()
    with zipfile.ZipFile(data / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("good.dcm", film)
        archive.writestr("torn.dcm", film[:-50])
        archive.writestr("../out.dcm", film)
        archive.writestr("bomb.dcm", bytes(20 << 20))
        archive.writestr("inner.zip", b"PK\5\6" + bytes(18))
        archive.writestr("notes.txt", "words")
    (data / "b.zip").write_bytes((data / "a.zip").read_bytes()[:-30])
    (data / "c.7z").write_bytes(b"7z\xbc\xaf\x27\x1c")
    told = {
        f"{data}/a.zip/torn.dcm": "truncated",
        f"{data}/a.zip/../out.dcm": "cannot be read (its name leads out of the archive",
        f"{data}/a.zip/bomb.dcm": "refused as a decompression bomb",
        f"{data}/a.zip/inner.zip": "is not DICOM: it is an empty ZIP archive; unpack it",
        f"{data}/b.zip": "cannot be read (is no whole ZIP file; copy it again from its source)",
    }
    out = tmp_path / "out"
    command = ["predict", str(tiny_model), str(data), "--answer-flagged", "--out", str(out)]
    assert execute([*command, "--id", "stem"]) == 3
    shown = capsys.readouterr().err
    assert "Traceback" not in shown
    with (out / "predictions.csv").open(newline="") as file:
        rows = {row["path"]: row["error"] for row in csv.DictReader(file)}
    assert rows.pop(f"{data}/a.zip/good.dcm") == ""
    assert "7z archive" in rows.pop(f"{data}/c.7z")
    assert rows.keys() == told.keys()
    for path, words in told.items():
        assert rows[path].startswith(f"{path}: ")
        assert words in rows[path]
    found = said(capsys, "inspect", data, "--json", status=3)
    assert [one["path"] for one in found if "error" not in one] == [f"{data}/a.zip/good.dcm"]
    found = said(capsys, "audit", data, "--json", "--workers", "1", status=3)
    assert found["counts"]["unreadable"] == len(told)
    (item,) = next(f for f in found["findings"] if f["code"] == "not-read")["items"]
    assert item["id"] == "c.7z"


def test_masks_and_truth_may_be_packed_or_a_glob(tmp_path, capsys):
    mask = np.zeros((20, 30), np.bool_)
    mask[3:9, 4:14] = True
    for name, drawn in (("a", mask), ("b", np.zeros_like(mask))):
        write_mask_picture(tmp_path / "masks" / f"{name}.png", drawn)
    with zipfile.ZipFile(tmp_path / "masks.zip", "w") as archive:
        for path in (tmp_path / "masks").iterdir():
            archive.write(path, f"deep/{path.name}")
    for truth in (tmp_path / "masks.zip", f"{tmp_path}/masks/*.png"):
        command = ["evaluate", "--predictions", tmp_path / "masks", "--truth", truth, "--json"]
        figures = said(capsys, *command)
        assert (figures["images"], figures["positive_dice"]) == (2, 1.0)


def test_a_shell_may_expand_the_glob_itself(cohort, tmp_path, capsys):
    films = sorted((cohort / "dicom-images-train").rglob("*.dcm"))[:3]
    table = ["--annotations", str(cohort / "train-rle.csv")]
    found = said(capsys, "audit", *films, *table, "--headers", "--json", "--workers", "1")
    assert found["counts"]["files_train"] == 3
    where = Path(found["source"])
    assert all(film.is_relative_to(where) for film in films)
    for words in (["audit", f"{cohort}/none*"], ["prepare", "--out", str(tmp_path / "o")]):
        assert execute(words) in (1, 2)
    shown = capsys.readouterr().err
    assert f"{cohort}/none*: there is no such file or folder" in shown
    assert "name a data folder, or the radiographs with --images" in shown
