"""A file that crashes, stops or floods its decoder costs its own row, in every stage that decodes.

The decoders do so by the name of the file (`tests/hostile_site`), in the processes that the stages
start and nowhere else: a stage that decoded here would find all files sound.
"""

import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from pleura import config
from pleura.cli.app import execute
from pleura.data.arrays import open_prepared, write_prepared
from pleura.data.index import build_index
from pleura.data.sources import find_sources
from pleura.errors import DataError, LimitError
from pleura.processes import guarded
from pleura.processes.isolation import Limits
from pleura.rendering.notice import UNREADABLE, notice
from pleura.stages import evaluate
from pleura.stages.gallery import gallery
from pleura.synthesis.simulate.cohort import find_radiographs
from tests.dicom_files import make_dicom

DEATHS = {
    "kills": "the process that read it crashed (SIGSEGV); export it again, or leave it out",
    "exits": "the process that read it ended with 7 and no answer; export it again, or leave it "
    "out",
    "hangs": "took more than 5 seconds and was given up; export it again",
    "hoards": "needs more memory than a file may take; export it again, or leave it out",
}


LITTLE, SHORT = (Limits(seconds, memory_mib=512) for seconds in (60.0, 5.0))


@pytest.fixture(scope="module", autouse=True)
def ended():
    """End the processes with harmful decoders that the tests share."""
    yield
    for limits in (LITTLE, SHORT):
        guarded._kept(os.getpid(), limits).close()


@pytest.fixture
def hostile(monkeypatch, request):
    """Let processes have harmful decoders, 512 MiB, and little time where somebody waits for it."""
    waits = (
        "hangs" in request.getfixturevalue("harmful") if "harmful" in request.fixturenames else 0
    )
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1] / "hostile_site"))
    monkeypatch.setattr(guarded, "LIMITS", SHORT if waits else LITTLE)


def radiographs(folder: Path, names: list[str]) -> Path:
    """Write a radiograph of each name, and their table; every other one is positive."""
    folder.mkdir()
    rows = ["ImageId,EncodedPixels"]
    for number, name in enumerate(names):
        pixels = np.random.default_rng(number).integers(0, 255, (48, 64)).astype(np.uint8)
        (folder / f"{name}.dcm").write_bytes(make_dicom(pixels, SOPInstanceUID=f"1.2.{number}"))
        rows.append(f"1.2.{number},{'10 30' if number % 2 else '-1'}")
    (folder / "train-rle.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return folder


def names(*harmful: str) -> list[str]:
    sound = [f"sound-{number}" for number in range(18)]
    return [*sound[:5], *harmful, *sound[5:]]


@pytest.mark.parametrize(
    "harmful", [["kills"], pytest.param([*DEATHS], marks=pytest.mark.slow)], ids=["one", "all"]
)
def test_audit(hostile, tmp_path, capsys, harmful):
    data = radiographs(tmp_path / "data", names(*harmful))
    assert execute(["audit", str(data), "--out", str(tmp_path / "out")]) == 3
    findings = json.loads((tmp_path / "out" / "findings.json").read_text(encoding="utf-8"))
    (found,) = [one for one in findings["findings"] if one["code"] == "unreadable"]
    told = {item["id"]: item["note"] for item in found["items"]}
    assert told == {f"{name}.dcm": DEATHS[name] for name in harmful}
    index = pl.read_parquet(tmp_path / "out" / "indices.parquet")
    assert sorted(Path(path).stem for path in index["path"]) == sorted(names())


@pytest.mark.parametrize(
    "harmful", [["hoards"], pytest.param([*DEATHS], marks=pytest.mark.slow)], ids=["one", "all"]
)
def test_prepare(hostile, tmp_path, capsys, harmful):
    data = radiographs(tmp_path / "data", names(*harmful))
    assert execute(["prepare", str(data), "--out", str(tmp_path / "p"), "--size", "32"]) == 3
    said = capsys.readouterr().err
    for name in harmful:
        assert f"{data / name}.dcm: {DEATHS[name]}" in " ".join(said.split())
    assert len(open_prepared(tmp_path / "p").train) == 18


@pytest.mark.parametrize("name", ["kills", "hoards"])
def test_a_file_that_turned_harmful_after_it_was_indexed_is_named(hostile, tmp_path, name):
    data = radiographs(tmp_path / "data", names("late"))
    index = build_index(find_sources(config.Data(path=str(data))), workers=1)
    (data / "late.dcm").rename(data / f"{name}.dcm")
    records = [replace(record, path=record.path.replace("late", name)) for record in index.train]
    with pytest.raises(DataError) as raised:
        write_prepared(records, [], tmp_path / "p", size=32, workers=1)
    assert str(raised.value) == (
        f"{data / name}.dcm: {DEATHS[name]} (it could be read when the index was made)"
    )


def test_inspect(hostile, tmp_path, capsys):
    data = radiographs(tmp_path / "data", ["kills", "sound"])
    assert execute(["inspect", str(data), "--guard", "--json"]) == 3
    harmed, sound = json.loads(capsys.readouterr().out)
    assert harmed == {
        "path": str(data / "kills.dcm"),
        "error": f"{data / 'kills.dcm'}: {DEATHS['kills']}",
    }
    assert sound["guard"]["flags"]


@pytest.mark.slow
def test_radiographs_to_draw_on(hostile, tmp_path):
    data = radiographs(tmp_path / "data", ["exits", "sound"])
    found = dict(find_radiographs(data, size=256).refused)
    assert found[str(data / "exits.dcm")] == f"{data / 'exits.dcm'}: {DEATHS['exits']}"
    assert "process" not in found[str(data / "sound.dcm")]


@pytest.mark.slow
def test_pictures_of_a_gallery_and_of_an_evaluation(hostile, tmp_path):
    data = radiographs(tmp_path / "data", ["late"])
    (record,) = build_index(find_sources(config.Data(path=str(data))), workers=1).records
    (data / "late.dcm").rename(data / "kills.dcm")
    record = replace(record, path=str(data / "kills.dcm"))
    with pytest.raises(LimitError, match=r"kills.dcm: the process that read it crashed"):
        gallery([record], tile=96)
    empty = np.zeros((48, 64), np.bool_)
    assert np.array_equal(evaluate._record_tile(record, empty), notice(UNREADABLE, evaluate.TILE))
