import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from pleura.cli.app import execute
from tests.dicom_files import make_dicom


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    data = tmp_path / "data"
    data.mkdir()
    for number in range(3):
        pixels = np.full((32, 32), 10 * number, np.uint8)
        content = make_dicom(pixels, SOPInstanceUID=f"1.2.{number}", PatientID="Jane Doe")
        (data / f"{number}.dcm").write_bytes(content)
    (data / "train-rle.csv").write_text("ImageId, EncodedPixels\n1.2.0, -1\n1.2.1, 5 20\n")
    return data


def test_it_writes_a_picture_and_prints_its_path(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "new" / "gallery.png"
    status = execute(["gallery", str(folder), "--out", str(out), "--positive", "1", "--tile", "64"])
    said = capsys.readouterr()
    assert status == 0
    assert said.out == f"{out}\n"
    assert cv2.imread(str(out)) is not None
    assert "8 radiographs without a pneumothorax were asked for; the folder has 1" in said.err
    assert "with a pneumothorax" not in said.err
    assert "Jane" not in said.out + said.err


def test_what_was_drawn_is_told_in_json(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "gallery.png"
    command = ["gallery", str(folder), "--out", str(out), "--positive", "1", "--tile", "64"]
    assert execute([*command, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told == {"gallery": str(out), "negative": 1, "positive": 1, "failures": []}


def test_it_lists_what_it_could_not_read(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "bad.dcm").write_text("no DICOM")
    out = tmp_path / "gallery.png"
    assert execute(["gallery", str(folder), "--out", str(out), "--tile", "64"]) == 3
    assert out.exists()
    assert "bad.dcm: is not DICOM" in capsys.readouterr().err


def test_it_draws_radiographs_without_masks_and_says_so(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "gallery.png"
    (folder / "train-rle.csv").unlink()
    for data in (folder, next(folder.glob("*.dcm"))):
        assert execute(["gallery", str(data), "--out", str(out), "--tile", "64"]) == 0
        assert "no masks were found, so the radiographs are drawn without" in (
            capsys.readouterr().err
        )
        out.unlink()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--out", "gallery.jpg"], "--out gallery.jpg: the picture is a PNG"),
        (["--negative", "0", "--positive", "0"], "nothing is left to draw"),
    ],
)
def test_what_makes_no_sense_is_wrong_usage(
    arguments: list[str], message: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert execute(["gallery", str(folder), *arguments]) == 2
    assert message in capsys.readouterr().err


def test_it_names_masks_that_were_refused(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "train-rle.csv").write_text("ImageId,EncodedPixels\n1.2.0,-1\n1.2.1,5 9000\n")
    out = tmp_path / "gallery.png"
    command = ["gallery", str(folder), "--out", str(out), "--tile", "64", "--json"]
    assert execute(command) == 3
    said = capsys.readouterr()
    assert [name for name, _ in json.loads(said.out)["failures"]] == ["1.2.1"]
    assert "failed 1.2.1: the runs end at pixel 9005" in said.err
    assert "1 rows are refused (1 runs-outside)" in said.err


def test_it_says_why_nothing_is_left_to_draw(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for file in folder.glob("*.dcm"):
        file.write_text("no DICOM")
    out = tmp_path / "gallery.png"
    assert execute(["gallery", str(folder), "--out", str(out), "--tile", "64"]) == 1
    assert "2.dcm: is not DICOM" in capsys.readouterr().err
