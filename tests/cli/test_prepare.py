import gzip
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from pleura.cli.app import execute
from pleura.data import arrays
from pleura.data.arrays import open_prepared
from pleura.storage.lock import NAME
from tests.cli.interrupting import interrupt
from tests.dicom_files import make_dicom
from tests.inference.made import kept_in


def test_the_folder_is_written_and_its_path_printed(cohort, tmp_path, capsys):
    out = tmp_path / "new" / "p"
    assert execute(["prepare", str(cohort), "--out", str(out), "--size", "32"]) == 0
    said = capsys.readouterr()
    assert said.out == f"{out}\n"
    assert "35 training and 6 test images at 32 pixels" in said.err
    assert "left out: 1 unlabelled, 2 duplicates, 0 unreadable" in said.err
    prepared = open_prepared(out)
    assert prepared.x_train.shape == prepared.y_train.shape == (35, 32, 32)
    assert prepared.x_test.shape == (6, 32, 32)
    assert np.load(out / "X_train.npy").dtype == np.uint8


def test_the_same_call_again_does_nothing_anew(cohort, tmp_path, capsys, monkeypatch):
    command = ["prepare", str(cohort), "--out", str(tmp_path / "p"), "--workers", "1", "--size"]
    command.append("32")
    assert execute(command) == 0
    monkeypatch.setattr(arrays, "guarded_map", lambda *_, **__: pytest.fail("was called"))
    assert execute(command) == 0
    with pytest.raises(pytest.fail.Exception, match="was called"):
        execute([*command[:-1], "64"])


def test_an_unreadable_file_is_listed_and_3(tmp_path, capsys):
    data = tmp_path / "data"
    data.mkdir()
    whole = make_dicom(np.zeros((64, 64), np.uint8), SOPInstanceUID="1.2.1")
    other = make_dicom(np.eye(64, dtype=np.uint8), SOPInstanceUID="1.2.3")
    (data / "a.dcm").write_bytes(whole)
    (data / "torn.dcm").write_bytes(whole[:2000])
    (data / "1.2.2").write_bytes(b"")
    (data / "b.dcm.gz").write_bytes(gzip.compress(other))
    (data / "c.zip").write_bytes(b"PK\3\4")
    (data / "picture.png").write_bytes(b"")
    (data / "train-rle.csv").write_text("ImageId,EncodedPixels\n1.2.1,-1\n1.2.3,-1\n")
    assert execute(["prepare", str(data), "--out", str(tmp_path / "p"), "--size", "32"]) == 3
    said = capsys.readouterr()
    assert said.out == f"{tmp_path / 'p'}\n"
    assert "failed " in said.err
    assert "torn.dcm" in said.err
    assert "1.2.2: is empty" in said.err
    assert "refused annotations, 1 other file: 1 .png" in said.err
    assert "c.zip: cannot be read (is no whole ZIP file" in " ".join(said.err.split())
    assert [record.image_id for record in open_prepared(tmp_path / "p").train] == ["1.2.1", "1.2.3"]


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["--size", "33"], 2, "prepare: size is 33"),
        (["--size", "0"], 2, "prepare: size is 0"),
        (["--workers", "-1"], 2, "--workers"),
        (["--rle", "coco"], 2, "is not one of 'relative', 'absolute'"),
    ],
)
def test_settings_out_of_range(cohort, tmp_path, arguments, status, message, capsys):
    out = tmp_path / "p"
    assert execute(["prepare", str(cohort), "--out", str(out), *arguments]) == status
    said = capsys.readouterr()
    assert message in said.err
    assert said.out == ""
    assert not out.exists()


def test_without_a_table_nothing_can_be_prepared(cohort, tmp_path, capsys):
    folder = cohort / "dicom-images-train"
    assert execute(["prepare", str(folder), "--out", str(tmp_path / "p"), "--size", "32"]) == 1
    assert "no labelled image to prepare; see what pleura audit says" in capsys.readouterr().err


def finished_in(out: Path, place: Path) -> int:
    """Return how many chunks are finished."""
    return len(kept_in(out, place, arrays.STORE))


def test_ctrl_c_and_once_more(cohort, tmp_path, capsys, monkeypatch):
    out = tmp_path / "p"
    command = ["prepare", cohort, "--out", out, "--size", "32", "--workers", "1"]
    ended = interrupt(
        command,
        lambda: finished_in(out, tmp_path) >= 1,
        slowed="pleura.data.arrays:_taken",
        seconds=1.0,
    )
    assert ended.status == 130
    assert ended.out == ""
    assert ended.err.endswith("pleura: interrupted; what was finished is kept\n")
    assert "Traceback" not in ended.err
    assert not (out / "manifest.json").exists()
    finished, real, done = finished_in(out, tmp_path), arrays._taken, []
    monkeypatch.setattr(
        arrays, "_taken", lambda chunk, parts: (done.append(chunk.number), real(chunk, parts))[1]
    )
    assert execute([str(word) for word in command]) == 0
    assert finished >= 1
    assert len(done) == 4 - finished, "finished chunks are not done again"
    monkeypatch.undo()
    whole = [*command[:3], tmp_path / "whole", *command[4:]]
    assert execute([str(word) for word in whole]) == 0
    for name in ("X_train.npy", "Y_train.npy", "X_test.npy", "manifest.json"):
        assert (out / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("chunks", [-1, 0, 1, 3, 6])
def test_ctrl_c_while_processes_work(tmp_path, chunks):
    """Ctrl-C reaches the workers too, at any moment; none of them may say a word.

    It comes as soon as the folder is held (-1), or so many chunks are finished.
    """
    data, out = tmp_path / "data", tmp_path / "p"
    data.mkdir()
    rng = np.random.default_rng(0)
    rows = ["ImageId,EncodedPixels"]
    for number in range(160):
        pixels = rng.integers(256, size=(768, 768), dtype=np.uint8)
        (data / f"{number}.dcm").write_bytes(make_dicom(pixels, SOPInstanceUID=f"1.2.{number}"))
        rows.append(f"1.2.{number},-1")
    (data / "train-rle.csv").write_text("\n".join(rows) + "\n")
    ended = interrupt(
        ["prepare", data, "--out", out, "--size", "1024", "--workers", "2"],
        lambda: (out / NAME).exists() and finished_in(out, tmp_path) >= chunks,
    )
    shutil.rmtree(data)
    assert ended.status == 130, ended.err
    assert ended.err.endswith("pleura: interrupted; what was finished is kept\n"), ended.err
    assert "Traceback" not in ended.err


def test_pictures_that_a_table_of_labels_names_are_prepared_with_what_it_says(tmp_path, capsys):
    for number in range(3):
        cv2.imwrite(str(tmp_path / f"{number}.png"), np.full((40, 40), 60 * number, np.uint8))
    table = tmp_path / "labels.csv"
    table.write_text(
        "file;reader;report;who;where;sure\n0;;0;a;;\n1;1;0;b;0 0 9 9;0.5\n2;;7;;;\n9;;1;;;\n"
    )
    command = ["prepare", str(tmp_path), "--out", str(tmp_path / "p"), "--size", "32"]
    options = ["--labels", str(table), "--label-id", "file", "--label-column", "reader"]
    options += ["--label-column", "report:0.5", "--label-weight", "sure", "--label-patient", "who"]
    options += ["--label-boxes", "where:0.8", "--boxes-side", "80", "--workers", "1"]
    assert execute([*command, *options]) == 3
    said = capsys.readouterr().err
    assert "2 training (0 with a known mask, 2 with a label alone) and 0 test images" in said
    assert "report is '7'; it must be 0, 1 or a probability between them" in said
    found = open_prepared(tmp_path / "p").train
    assert [(r.image_id, r.label, r.label_weight, r.boxes) for r in found] == [
        ("0", 0.0, 0.5, ""),
        ("1", 1.0, 0.4, "0 0 4.5 4.5"),
    ]
    assert len({record.patient for record in found}) == 2
    assert execute([*command, "--label-id", "file"]) == 2
    assert "are named, but no table: add --labels" in capsys.readouterr().err
