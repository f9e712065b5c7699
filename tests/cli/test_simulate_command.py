"""`pleura simulate` prints what was written, and fails as every command does."""

import json

import imagecodecs
import numpy as np
import pytest

from pleura.cli.app import execute
from pleura.synthesis.phantom import draw_phantom


@pytest.fixture(scope="module")
def radiographs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("radiographs")
    for seed in range(3):
        phantom = draw_phantom(np.random.default_rng(seed), size=256, pneumothorax=False)
        (folder / f"radiograph{seed}.png").write_bytes(imagecodecs.png_encode(phantom.pixels))
    return folder


def test_it_writes_a_folder_and_says_what_is_in_it(radiographs, tmp_path, capsys):
    out = tmp_path / "out"
    call = ["simulate", str(radiographs), "--out", str(out), "--count", "2", "--size", "256"]
    assert execute([*call, "--prevalence", "1", "--workers", "1"]) == 0
    printed = capsys.readouterr().out
    assert "with a pneumothorax 2 " in " ".join(printed.split())
    assert "3 usable, 0 refused" in printed
    assert len(list(out.rglob("*.dcm"))) == 2
    again = ["simulate", str(radiographs), "--out", str(tmp_path / "again"), *call[4:], "--json"]
    assert execute([*again, "--prevalence", "1", "--workers", "1"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["kinds"], told["usable"], told["refused"]) == ({"pneumothorax": 2}, 3, 0)


def test_a_folder_without_radiographs_is_an_error(tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    assert execute(["simulate", str(tmp_path / "empty"), "--out", str(tmp_path / "out")]) == 1
    assert "holds no DICOM file and no picture" in capsys.readouterr().err
