"""`pleura simulate` prints what was written, and fails as every command does."""

import imagecodecs
import numpy as np
import pytest

from pleura.cli.app import execute
from pleura.data.phantom import draw_phantom


@pytest.fixture(scope="module")
def films(tmp_path_factory):
    folder = tmp_path_factory.mktemp("films")
    for seed in range(3):
        phantom = draw_phantom(np.random.default_rng(seed), size=256, pneumothorax=False)
        (folder / f"film{seed}.png").write_bytes(imagecodecs.png_encode(phantom.pixels))
    return folder


def test_it_writes_a_folder_and_says_what_is_in_it(films, tmp_path, capsys):
    out = tmp_path / "out"
    call = ["simulate", str(films), "--out", str(out), "--count", "2", "--size", "256"]
    assert execute([*call, "--prevalence", "1", "--workers", "1"]) == 0
    printed = capsys.readouterr().out
    assert "with a pneumothorax  2" in printed
    assert "3 usable, 0 refused" in printed
    assert len(list(out.rglob("*.dcm"))) == 2


def test_a_folder_without_films_is_an_error(tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    assert execute(["simulate", str(tmp_path / "empty"), "--out", str(tmp_path / "out")]) == 1
    assert "holds no DICOM, JPEG or PNG file" in capsys.readouterr().err
