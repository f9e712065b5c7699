"""The page about one's own data, followed line by line with a folder of PNGs and their masks."""

import shlex
import shutil
from pathlib import Path

import imagecodecs
import numpy as np
import pytest

from pleura.cli.app import execute
from pleura.dicom.radiograph import read_radiograph
from pleura.formats.annotations import read_annotations
from pleura.models.bundle import read_bundle
from pleura.synthesis.phantom import write_cohort
from tests.contracts.test_docs import ROOT, fences

PAGE = ROOT / "docs/how-to/own-data.md"
SMALLER = {" --size 512": " --size 64", " --size 448": " --size 64"}
"""For the test's sake alone."""


def png(pixels: np.ndarray) -> bytes:
    return imagecodecs.png_encode(np.ascontiguousarray(pixels, np.uint8))


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder as the page wants it."""
    cohort = tmp_path / "cohort"
    write_cohort(cohort, train=30, test=1, seed=7, size=96, prevalence=0.5, clean=True, workers=1)
    annotations = read_annotations(cohort / "train-rle.csv")
    for name in ("images", "masks", "new-images"):
        (tmp_path / name).mkdir()
    names = {}
    for number, path in enumerate(sorted((cohort / "dicom-images-train").rglob("*.dcm"))):
        radiograph, name = read_radiograph(path), f"case{number:03d}"
        names[radiograph.id] = name
        picture = png(radiograph.pixels)
        mask = annotations.mask(radiograph.id, radiograph.pixels.shape)
        (tmp_path / "images" / f"{name}.png").write_bytes(picture)
        mask_picture = png(np.where(mask, 255, 0))
        (tmp_path / "masks" / f"{name}.png").write_bytes(mask_picture)
    lines = (cohort / "patients.csv").read_text().splitlines()
    patients = [line.split(",") for line in lines[1:]]
    rows = [f"{names[key]},{patient}" for key, patient in patients if key in names]
    (tmp_path / "patients.csv").write_text("\n".join(["ImageId,patient", *rows]) + "\n")
    shutil.copy(tmp_path / "images/case000.png", tmp_path / "new-images/film.png")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.slow
def test_a_researcher_with_pngs_follows_the_page(
    desk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = [line for fence in fences(PAGE, "sh") for line in fence.splitlines()]
    *own, shipped = [line for line in lines if line.startswith("pleura ")]
    assert "evaluate pleura:fast" in shipped
    size = read_bundle("pleura:fast").preprocessing.size
    assert any(f" --size {size} " in line for line in own)
    for line in own:
        for wanted, smaller in SMALLER.items():
            line = line.replace(wanted, smaller)
        words = shlex.split(line)[1:]
        if words[0] == "train":
            words += ["--set", "train.epochs=1", "--set", "network.width=4"]
        assert execute(words) == 0, (line, capsys.readouterr().err)
    assert "Some patients are unknown" not in capsys.readouterr().out
    made = {"audit/audit.html", "model/model.h5", "evaluation.html", "figures/roc.svg"}
    made |= {"answers/worklist.html", "answers/predictions.csv", "answers/overlays/film.png"}
    assert [name for name in sorted(made) if not (desk / name).exists()] == []
