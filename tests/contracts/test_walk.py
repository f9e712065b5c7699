"""Data walks one way while the program runs, too: few calls go from a room to one above it.

A call is counted where the room of what is called lies above the room of who calls, in the order of
``pyproject.toml``. Who calls is the nearest function of pleura on the stack, so that a callback
through another library counts; the room `processes` only calls what it is given, and counts as
nobody. Counted are pairs of functions, in all threads of the process.
"""

import sys
import threading
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import pytest

import pleura
from pleura.cli.app import execute

SOURCE = f"{Path(pleura.__file__).parent}/"
PROJECT = Path(__file__).parents[2] / "pyproject.toml"
LAYERS = tomllib.loads(PROJECT.read_text())["tool"]["importlinter"]["contracts"][0]["layers"]
DEPTH = {room.strip(): depth for depth, layer in enumerate(LAYERS) for room in layer.split("|")}
del DEPTH["processes"]


def depth_of(frame: FrameType) -> int | None:
    """Return how deep the room of a function lies; None where it is in none."""
    file = frame.f_code.co_filename
    if not file.startswith(SOURCE):
        return None
    return DEPTH.get(file.removeprefix(SOURCE).split("/")[0].removesuffix(".py"))


@contextmanager
def climbs() -> Iterator[set[str]]:
    """Yield a set that what is called in the block fills with the calls that go up."""
    found: set[str] = set()

    def hear(frame: FrameType, event: str, _: object) -> None:
        depth = depth_of(frame) if event == "call" else None
        caller = frame.f_back if depth is not None else None
        while caller is not None and depth_of(caller) is None:
            caller = caller.f_back
        if caller is not None and depth is not None and depth < (depth_of(caller) or 0):
            pair = (caller.f_code.co_qualname, frame.f_code.co_qualname)
            found.add(" -> ".join(pair))

    threading.setprofile(hear)
    sys.setprofile(hear)
    try:
        yield found
    finally:
        sys.setprofile(None)
        threading.setprofile(None)


@pytest.mark.slow
def test_the_way_of_radiographs_to_their_submission_goes_down(tiny_model, cohort, tmp_path):
    radiographs = sorted(map(str, cohort.rglob("*.dcm")))[:2]
    with climbs() as found:
        execute(["predict", str(tiny_model), *radiographs, "--out", str(tmp_path / "out")])
    assert (tmp_path / "out" / "submission.csv").exists()
    assert found == {
        "parse -> Calibration.__post_init__",  # a model's settings are made by whoever reads TOML
        "write_submission -> write_tables.<locals>.<genexpr>",  # rows come from the disk one by one
    }


@pytest.mark.slow
def test_the_way_of_a_prepared_folder_to_its_model_goes_down(small_prepared, tmp_path):
    settings = ["network.name=cnn", "network.width=4", "network.depth=2", "train.epochs=1"]
    options = [word for one in settings for word in ("--set", one)]
    with climbs() as found:
        execute(["train", str(small_prepared.path), "--out", str(tmp_path / "out"), *options])
    assert (tmp_path / "out" / "model.h5").exists()
    assert found == {
        "parse -> Calibration.__post_init__",
        "EpochProgress.tell -> _lines.<locals>.update",  # a bar is drawn of each step
    }
