"""A batch of files made to do harm: each ends in a reason or an answer, and none ends the batch."""

import csv
import shutil

import numpy as np
import psutil
import pytest

from pleura.inference.job import JobSettings, predict_files
from pleura.inference.predictor import load
from pleura.inference.readers import Readers
from pleura.processes.isolation import Limits
from tests.dicom_files import make_dicom
from tests.inference import hostile_files


@pytest.fixture(scope="module")
def predictor(tiny_model):
    return load(tiny_model, precision="fp32", answer_flagged=True)


@pytest.fixture(scope="module")
def held():
    """Reading processes with little time and memory."""
    with Readers(workers=2, limits=Limits(seconds=10, memory_mib=512)) as started:
        yield started


def test_each_crafted_file_says_why_and_the_sound_ones_among_them_are_answered(
    predictor, held, tmp_path
):
    files = hostile_files.crafted()
    sound = {
        f"sound {number}": make_dicom(SOPInstanceUID=f"1.2.{number}")
        for number in range(len(files))
    }
    mixed = dict(pair for pairs in zip(files.items(), sound.items(), strict=True) for pair in pairs)
    paths = hostile_files.write(tmp_path / "radiographs", mixed)
    answers = predict_files(predictor, paths, JobSettings(tmp_path / "out"), held)
    harmless = {"60-nested-sequences", "window-that-is-no-number"}
    alone = predictor.predict(paths[1])
    for path, answer in zip(paths, answers, strict=True):
        if path.stem.startswith("sound"):
            assert answer.error == ""
            assert answer.score == pytest.approx(alone.score, abs=1e-5)
        elif path.stem not in harmless:
            assert answer.error.startswith(f"{path}: ")
            assert answer.rle is None
            assert "internal error" not in answer.error
            assert "process that read it" not in answer.error, "refused, not crashed"
    assert max(resident(child) for child in psutil.Process().children()) < 700 << 20


def resident(process):
    try:
        return process.memory_info().rss
    except psutil.NoSuchProcess:
        return 0


def test_a_radiograph_that_is_something_else_too_is_answered_with_a_note(predictor, held, tmp_path):
    files = hostile_files.polyglots()
    paths = hostile_files.write(tmp_path / "f", {name: one for name, (one, _) in files.items()})
    answers = predict_files(predictor, paths, JobSettings(tmp_path / "out"), held)
    assert [answer.notes for answer in answers] == [note for _, note in files.values()]
    assert all(answer.rle is not None and not answer.error for answer in answers)
    with (tmp_path / "out" / "predictions.csv").open(newline="") as table:
        (first, *_) = csv.DictReader(table)
    assert first["notes"] == "the preamble holds a Windows program where zeros or TIFF belong"


def ends_well(predictor, held, originals, folder, count, seed):
    """Predict `count` mutated files among sound ones; assert that each ends, and return answers."""
    rng = np.random.default_rng(seed)
    files = {
        f"{number}": hostile_files.mutated(originals[number % len(originals)], rng)
        for number in range(count)
    }
    paths = hostile_files.write(folder / "radiographs", files)
    controls = hostile_files.write(
        folder / "controls", {f"c{n}": make_dicom(SOPInstanceUID=f"1.9.{n}") for n in range(10)}
    )
    step = count // 10
    mixed = [
        path
        for number, control in enumerate(controls)
        for path in [*paths[number * step : (number + 1) * step], control]
    ]
    answers = predict_files(predictor, mixed, JobSettings(folder / "out", "stem", batch=8), held)
    assert len(answers) == count + 10
    for path, answer in zip(mixed, answers, strict=True):
        assert (answer.rle is None) == bool(answer.error)
        assert "internal error" not in answer.error
        if path in controls:
            assert answer.error == ""
    return answers


def test_200_mutated_radiographs_of_every_encoding(predictor, held, tmp_path):
    answers = ends_well(predictor, held, hostile_files.radiographs(0), tmp_path, 200, seed=11)
    refused = sum(bool(answer.error) for answer in answers)
    assert 40 < refused < 205, "some are hurt, some are not"


@pytest.mark.slow
def test_200_mutated_real_radiographs(predictor, held, real_data, tmp_path):
    originals = sorted(real_data.glob("siim/dicom-images-t*/**/*.dcm"))[::7]
    originals += sorted(path for path in real_data.glob("other-dicom/**/*") if path.is_file())
    content = [path.read_bytes() for path in originals if path.stat().st_size < 4 << 20]
    ends_well(predictor, held, content, tmp_path, 200, seed=12)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(5))
def test_more_mutated_radiographs(predictor, held, tmp_path, seed):
    ends_well(predictor, held, hostile_files.radiographs(seed), tmp_path, 400, seed=100 + seed)
    shutil.rmtree(tmp_path)
