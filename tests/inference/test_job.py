import contextlib
import csv
import multiprocessing
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest

from pleura.errors import DicomError, OutputError, PleuraError
from pleura.formats.annotation_table import read_annotations
from pleura.formats.rle import rle2mask
from pleura.inference import worklist
from pleura.inference.job import PRODUCTS, Job, JobSettings, predict_files
from pleura.inference.job_store import NAME, JobStore
from pleura.inference.predictor import Predictor, load
from pleura.inference.readers import Readers
from pleura.inference.row import Wrote
from pleura.inference.tables import COLUMNS, THRESHOLDS
from pleura.inference.worklist import Worklist
from pleura.inference.writers import Heatmaps, Overlays, PerFile
from pleura.models.bundle import OperatingPoint
from pleura.results import writer
from pleura.results.writer import DicomResults
from tests.dicom_files import make_dicom
from tests.inference.made import kept_in

answering = partial(Predictor, answer_flagged=True)
"""The radiographs of most tests are noise, which is not assessed otherwise."""


@pytest.fixture(scope="module")
def predictor(tiny_model):
    return load(tiny_model, precision="fp32", answer_flagged=True)


@pytest.fixture(scope="module")
def run(readers):
    """Predict files as :func:`predict_files` does, with the reading process that tests share.

    ``each`` is told (files done, files in all) after every row that is new, and ``told`` every row.
    """

    def run(predictor, paths, out, *, each=None, told=None, writers=(), **options):
        how = JobSettings(out, writers=tuple(writers), **options)
        with Job(predictor, how, readers) as job:
            with contextlib.closing(job.answer(paths)) as rows:
                before = job.done
                for row in rows:
                    if told is not None:
                        told(row)
                    if each is not None and job.done != before:
                        each(job.done, len(job))
                    before = job.done
            return job.finish()

    return run


def write_radiographs(place: Path) -> list[Path]:
    """Write ten small radiographs of several shapes, the fifth no DICOM; return their paths."""
    place.mkdir()
    rng = np.random.default_rng(2)
    paths = [place / f"radiograph-{number}.dcm" for number in range(10)]
    for number, path in enumerate(paths):
        shape = [(64, 64), (40, 60), (60, 40)][number % 3]
        pixels = rng.integers(256, size=shape, dtype=np.uint8)
        path.write_bytes(make_dicom(pixels, SOPInstanceUID=f"1.2.{number}"))
    paths[4].write_bytes(b"no DICOM at all")
    return paths


@pytest.fixture(scope="module")
def radiographs(tmp_path_factory):
    """The radiographs of `write_radiographs`; only read them."""
    return write_radiographs(tmp_path_factory.mktemp("radiographs") / "radiographs")


@pytest.fixture(scope="module")
def unbroken(run, predictor, radiographs, tmp_path_factory):
    """The answers of a job that nobody interrupted, without the time they took."""
    return timeless(run(predictor, radiographs, tmp_path_factory.mktemp("unbroken")))


TABLES = {"submission.csv", "predictions.csv", "predictions.parquet"}


def timeless(answers):
    return [replace(answer, seconds=None) for answer in answers]


def table(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def counted(monkeypatch):
    """Return the list to which each path that is read is added."""
    seen = []
    real = Readers.read

    def read(self, path, size, **more):
        seen.append(path)
        return real(self, path, size, **more)

    monkeypatch.setattr(Readers, "read", read)
    return seen


# ------------------------------------------------------------------ what comes out


def test_one_answer_per_file_in_their_order(unbroken, radiographs):
    assert [answer.path for answer in unbroken] == [str(path) for path in radiographs]
    for number, answer in enumerate(unbroken):
        if number == 4:
            assert answer.error.startswith(f"{radiographs[4]}: is not DICOM")
            assert (answer.image_id, answer.rle, answer.score) == ("", None, None)
        else:
            assert answer.error == ""
            assert answer.image_id == f"1.2.{number}"
            assert rle2mask(answer.rle, (answer.rows, answer.columns)).sum() == answer.area_px


def test_an_answer_is_what_the_file_alone_would_get(predictor, unbroken, radiographs):
    for path, answer in zip(radiographs, unbroken, strict=True):
        if not answer.error:
            alone = predictor.predict(path)
            assert answer.score == pytest.approx(alone.score, abs=1e-5)
            assert (answer.rows, answer.columns) == alone.mask.shape


@pytest.mark.parametrize("batch", [1, 3, 64])
def test_the_batch_changes_nothing(run, predictor, unbroken, radiographs, tmp_path, batch):
    found = timeless(run(predictor, radiographs, tmp_path, batch=batch))
    assert [replace(answer, score=None) for answer in found if answer.rle in (None, "-1")] == [
        replace(answer, score=None) for answer in unbroken if answer.rle in (None, "-1")
    ]
    for one, other in zip(found, unbroken, strict=True):
        assert one.score == pytest.approx(other.score, abs=1e-5)


def test_the_submission(run, predictor, cohort, tmp_path):
    paths = sorted(cohort.rglob("dicom-images-test/**/*.dcm"))[::-1]
    answers = run(predictor, paths, tmp_path)
    content = (tmp_path / "submission.csv").read_bytes()
    lines = content.decode("ascii").split("\n")
    assert lines[0] == "ImageId,EncodedPixels"
    assert lines[1:] == [*(f"{answer.image_id},{answer.rle}" for answer in answers), ""]
    assert [answer.image_id for answer in answers] == [path.stem for path in paths]
    assert read_annotations(tmp_path / "submission.csv").images == len(paths)


def test_none_is_minus_one(run, predictor, radiographs, tmp_path):
    never = answering(replace(predictor.bundle, operating_point=OperatingPoint(score=1, mask=1)))
    run(never, radiographs[:3], tmp_path)
    text = (tmp_path / "submission.csv").read_text()
    assert text == "ImageId,EncodedPixels\n1.2.0,-1\n1.2.1,-1\n1.2.2,-1\n"


def test_the_table_of_predictions(run, predictor, radiographs, tmp_path):
    answers = run(predictor, radiographs, tmp_path)
    rows = table(tmp_path / "predictions.csv")
    assert list(rows[0]) == [*COLUMNS, *THRESHOLDS]
    assert [row["path"] for row in rows] == [str(path) for path in radiographs]
    for row, answer in zip(rows, answers, strict=True):
        if answer.error:
            assert row["error"] == answer.error
            assert row["image_id"] == row["score"] == row["area_px"] == row["seconds"] == ""
        else:
            assert row["error"] == ""
            assert float(row["score"]) == pytest.approx(answer.score, abs=1e-6)
            assert int(row["area_px"]) == answer.area_px
            assert float(row["seconds"]) >= 0
    assert len(table(tmp_path / "submission.csv")) == len(radiographs) - 1


def test_the_typed_table_says_the_same_and_what_it_was_made_with(
    run, predictor, radiographs, tmp_path
):
    answers = run(predictor, radiographs, tmp_path)
    frame = pq.read_table(tmp_path / "predictions.parquet")
    point = predictor.bundle.operating_point
    assert frame.column_names[: len(COLUMNS)] == list(COLUMNS)
    assert str(frame.schema.field("score").type) == "double"
    assert str(frame.schema.field("area_px").type) == "int64"
    assert frame["path"].to_pylist() == [str(path) for path in radiographs]
    assert frame["error"].to_pylist() == [answer.error for answer in answers]
    assert frame["area_px"].to_pylist() == [answer.area_px for answer in answers]
    guards = [None if one.guard is None else round(one.guard, 6) for one in answers]
    assert frame["guard"].to_pylist() == guards
    assert [guard is None for guard in frame["guard"].to_pylist()] == [
        bool(one.error) for one in answers
    ]
    names = ["model", "engine", "score_threshold", "mask_threshold"]
    made_with = {tuple(row.values()) for row in frame.select(names).to_pylist()}
    assert made_with == {(predictor.bundle.digest, predictor.engine.name, point.score, point.mask)}


def test_only_bad_files_leave_an_empty_submission(run, predictor, radiographs, tmp_path):
    answers = run(predictor, [radiographs[4], Path("none.dcm")], tmp_path)
    assert all(answer.error for answer in answers)
    assert (tmp_path / "submission.csv").read_text() == "ImageId,EncodedPixels\n"
    assert pq.read_table(tmp_path / "predictions.parquet").num_rows == 2
    run(predictor, [], tmp_path / "none")
    assert pq.read_table(tmp_path / "none" / "predictions.parquet").num_rows == 0


def test_images_named_by_their_files(run, predictor, radiographs, tmp_path):
    answers = run(predictor, radiographs[:2], tmp_path, id_source="stem")
    assert [answer.image_id for answer in answers] == ["radiograph-0", "radiograph-1"]
    assert [row["ImageId"] for row in table(tmp_path / "submission.csv")] == [
        "radiograph-0",
        "radiograph-1",
    ]


def test_a_file_name_that_is_no_id_fails_alone(run, predictor, radiographs, tmp_path):
    odd = tmp_path / "radiograph of Jane (2).dcm"
    shutil.copy(radiographs[0], odd)
    answers = run(
        predictor,
        [radiographs[1], odd, radiographs[2]],
        tmp_path / "out",
        id_source="stem",
        writers=[Overlays()],
    )
    assert [bool(answer.error) for answer in answers] == [False, True, False]
    assert "is not an image id" in answers[1].error
    assert [row["ImageId"] for row in table(tmp_path / "out" / "submission.csv")] == [
        "radiograph-1",
        "radiograph-2",
    ]


def test_a_repeated_id_is_answered_once(run, predictor, radiographs, tmp_path):
    again = tmp_path / "again.dcm"
    shutil.copy(radiographs[0], again)
    answers = run(predictor, [radiographs[0], again, radiographs[1]], tmp_path / "out")
    assert [bool(answer.error) for answer in answers] == [False, True, False]
    assert answers[1].error == (
        f"{again}: has the same id 1.2.0 as {radiographs[0]}, which was answered; leave one of "
        "them out, or name images by their files with `id` stem"
    )
    assert len(table(tmp_path / "out" / "submission.csv")) == 2
    by_stem = run(
        predictor, [radiographs[0], again, radiographs[1]], tmp_path / "stem", id_source="stem"
    )
    assert not any(answer.error for answer in by_stem)


def test_of_files_with_one_id_only_the_first_reaches_network_and_writers(
    run, predictor, radiographs, tmp_path
):
    engine = Counting(predictor.engine)
    other = tmp_path / "other.dcm"
    other.write_bytes(make_dicom(np.zeros((80, 90), np.uint8), SOPInstanceUID="1.2.0"))
    counting = answering(predictor.bundle, engine)
    answers = run(counting, [radiographs[0], other, radiographs[1]], tmp_path, writers=[Log()])
    assert engine.images == 2
    assert [bool(answer.error) for answer in answers] == [False, True, False]
    assert (tmp_path / "log").read_text() == "1.2.0 64 x 64\n1.2.1 40 x 60\n"


@dataclass(frozen=True)
class Refers(PerFile):
    """A writer whose results say by UID which radiograph they are of."""

    name: str = "refers"
    refers: bool = True

    def write(self, opened, prediction, out):
        return Wrote()


@pytest.mark.parametrize("done", [1, 2])
def test_of_files_with_one_uid_results_that_refer_to_it_are_of_the_first(
    run, predictor, radiographs, tmp_path, done
):
    """Whatever they are called by; a copy with the same bytes says the same of the same."""
    other, copy = tmp_path / "other.dcm", tmp_path / "copy.dcm"
    other.write_bytes(make_dicom(np.zeros((80, 90), np.uint8), SOPInstanceUID="1.2.0"))
    shutil.copy(radiographs[0], copy)
    how = {"id_source": "stem", "writers": [Refers()]}
    paths = [radiographs[0], other, copy]
    with pytest.raises(KeyboardInterrupt):
        run(predictor, paths, tmp_path / "out", batch=1, each=stop_at(done), **how)
    answers = run(predictor, paths, tmp_path / "out", **how)
    assert [answer.error for answer in answers] == [
        "",
        f"{other}: has the same SOP Instance UID 1.2.0 as {radiographs[0]}, which was answered, "
        "and other content; DICOM results refer to a radiograph by it, so those of one would be "
        "taken for the other's: leave one of them out, or write no DICOM results",
        "",
    ]
    plain = run(predictor, paths, tmp_path / "plain", id_source="stem", writers=[Log()])
    assert not any(answer.error for answer in plain)


def test_ids_that_a_file_system_does_not_tell_apart(
    run, predictor, radiographs, tmp_path, monkeypatch
):
    paths = [tmp_path / "scan.dcm", tmp_path / "Scan.dcm"]
    for path, source in zip(paths, radiographs, strict=False):
        shutil.copy(source, path)
    for folds in (False, True):
        if folds:
            monkeypatch.setattr("pleura.inference.job._folds_case", lambda folder: True)
        out = tmp_path / f"{folds}"
        answers = run(predictor, paths, out, id_source="stem", writers=[Overlays()])
        assert [bool(answer.error) for answer in answers] == [False, folds]
        assert len([*(out / "overlays").iterdir()]) == 2 - folds
    assert answers[1].error.startswith(
        f"{paths[1]}: has the id Scan, and {paths[0]}, which was answered, one that differs by "
        "capital letters alone"
    )
    plain = run(predictor, paths, tmp_path / "plain", id_source="stem")
    assert not any(answer.error for answer in plain)


class Counting:
    """An engine that counts the images it is shown."""

    def __init__(self, engine):
        self.engine, self.images = engine, 0
        self.name, self.notes = engine.name, engine.notes

    def probabilities(self, pixels):
        self.images += len(pixels)
        return self.engine.probabilities(pixels)


@pytest.mark.parametrize("done", [1, 2, 3])
def test_whose_an_id_is_depends_on_the_order_alone(run, predictor, radiographs, tmp_path, done):
    """Not on where a job was cut off, nor on which of the files were answered before."""
    copy = tmp_path / "copy.dcm"
    shutil.copy(radiographs[0], copy)
    paths = [radiographs[1], radiographs[0], radiographs[2], copy, radiographs[3]]
    whole = timeless(run(predictor, paths, tmp_path / "whole"))
    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        run(predictor, paths, out, batch=1, each=stop_at(done))
    with pytest.raises(KeyboardInterrupt):  # here the copy comes first, and is answered
        run(predictor, [copy, radiographs[3], *paths[:3]], out, batch=1, each=stop_at(done + 2))
    assert_equal_answers(run(predictor, paths, out), whole)
    assert [bool(answer.error) for answer in whole] == [False, False, False, True, False]


def test_a_repeat_is_no_repeat_once_the_first_is_left_out(run, predictor, radiographs, tmp_path):
    copy = tmp_path / "copy.dcm"
    shutil.copy(radiographs[0], copy)
    with pytest.raises(KeyboardInterrupt):
        run(predictor, [radiographs[0], copy, radiographs[1]], tmp_path / "out", each=stop_at(2))
    (answer, _) = run(predictor, [copy, radiographs[1]], tmp_path / "out")
    assert (answer.path, answer.image_id, answer.error) == (str(copy), "1.2.0", "")


@dataclass(frozen=True)
class Log:
    """A writer that logs; it cannot write for `refused`, and says at the end how many there are."""

    refused: str = ""
    name: str = "log"

    def write(self, opened, prediction, out):
        if prediction.image_id == self.refused:
            raise DicomError(f"{opened.radiograph.header.path}: has no orientation")
        rows, columns = prediction.mask.shape
        with Path(out, "log").open("a", encoding="utf-8") as log:
            log.write(f"{prediction.image_id} {rows} x {columns}\n")
        return Wrote(notes="logged")

    def finish(self, answers, out):
        ids = [answer.image_id for answer in answers]
        assert ids == [answer.image_id for answer in answers], "they can be walked twice"
        Path(out, "end").write_text(f"{os.getpid()} {' '.join(ids)}", encoding="utf-8")


def test_a_writer_writes_each_answer_and_finishes_once(run, predictor, radiographs, tmp_path):
    run(predictor, radiographs[:6], tmp_path, writers=[Log(), Overlays()])
    lines = (tmp_path / "log").read_text().splitlines()
    assert sorted(line.split()[0] for line in lines) == [f"1.2.{n}" for n in (0, 1, 2, 3, 5)]
    assert (tmp_path / "end").read_text() == f"{os.getpid()} 1.2.0 1.2.1 1.2.2 1.2.3  1.2.5"
    assert len(list((tmp_path / "overlays").iterdir())) == 5


def test_what_a_writer_cannot_write_is_told_beside_the_answer(
    run, predictor, radiographs, tmp_path
):
    answers = run(predictor, radiographs[:3], tmp_path, writers=[Log(refused="1.2.1")])
    assert answers[1].error == f"{radiographs[1]}: has no orientation"
    assert answers[1].rle is not None
    assert answers[1].score is not None
    assert [row["ImageId"] for row in table(tmp_path / "submission.csv")] == [
        "1.2.0",
        "1.2.1",
        "1.2.2",
    ]
    row = table(tmp_path / "predictions.csv")[1]
    assert row["error"].endswith("has no orientation")
    assert float(row["score"]) == pytest.approx(answers[1].score, abs=1e-6)


def test_a_path_that_comes_twice_is_answered_once(run, predictor, radiographs, tmp_path):
    answers = run(predictor, [radiographs[0], radiographs[1], radiographs[0]], tmp_path)
    assert [answer.image_id for answer in answers] == ["1.2.0", "1.2.1"]
    assert len(table(tmp_path / "submission.csv")) == 2


def test_overlays_when_asked_for(run, predictor, radiographs, tmp_path):
    answers = run(predictor, radiographs[:6], tmp_path, writers=[Overlays()])
    names = {path.name for path in (tmp_path / "overlays").iterdir()}
    assert names == {f"{answer.image_id}.png" for answer in answers if not answer.error}
    for answer in answers:
        if not answer.error:
            picture = cv2.imread(str(tmp_path / "overlays" / f"{answer.image_id}.png"))
            assert picture.shape == (answer.rows, answer.columns, 3)
            grey = (picture[..., 0] == picture[..., 1]) & (picture[..., 1] == picture[..., 2])
            assert grey.all() == (answer.rle == "-1")


def test_without_overlays_there_are_only_two_tables(run, predictor, radiographs, tmp_path):
    run(predictor, radiographs[:2], tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == TABLES


def test_each_answer_is_told_in_order_also_when_it_was_known(run, predictor, radiographs, tmp_path):
    told = []
    with pytest.raises(KeyboardInterrupt):
        run(predictor, radiographs, tmp_path, batch=2, each=stop_at(5))
    answers = run(predictor, radiographs, tmp_path, told=told.append)
    assert told == list(answers)


def test_answers_outlive_their_job_and_cost_no_memory(run, predictor, radiographs, tmp_path):
    answers = run(predictor, radiographs, tmp_path)
    assert not (tmp_path / NAME).exists()
    assert [answers[place] for place in range(len(answers))] == list(answers) == answers[:]
    assert answers[-1].path == str(radiographs[-1])
    assert [answer.path for answer in answers[2:4]] == [str(path) for path in radiographs[2:4]]


def test_progress_counts_to_the_end(run, predictor, radiographs, tmp_path):
    told = []
    run(predictor, radiographs, tmp_path, each=lambda *seen: told.append(seen))
    assert told == [(number, 10) for number in range(1, 11)]


# ------------------------------------------------------------------ cut off and continued


def stop_at(number):
    def on_progress(done, total):
        if done == number:
            raise KeyboardInterrupt

    return on_progress


@pytest.mark.parametrize("done", [1, 4, 6, 10])
@pytest.mark.parametrize("batch", [1, 4])
def test_a_job_goes_on_where_ctrl_c_hit_it(
    run, predictor, unbroken, radiographs, tmp_path, monkeypatch, done, batch
):
    with pytest.raises(KeyboardInterrupt):
        run(predictor, radiographs, tmp_path, batch=batch, each=stop_at(done))
    assert not (tmp_path / "submission.csv").exists()
    seen, told = counted(monkeypatch), []
    answers = run(predictor, radiographs, tmp_path, batch=batch, each=lambda *now: told.append(now))
    assert sorted(seen) == sorted(radiographs[done:]), (
        "finished files are not read again, none is lost"
    )
    assert told == [(number, 10) for number in range(done + 1, 11)]
    assert_equal_answers(answers, unbroken)
    assert {path.name for path in tmp_path.iterdir()} == TABLES


def assert_equal_answers(answers, unbroken):
    """Assert that answers are those of an unbroken job; batches may move the last bits of fp32."""
    for one, other in zip(timeless(answers), unbroken, strict=True):
        assert one.score == pytest.approx(other.score, abs=1e-5)
        assert replace(one, score=None, rle=None, area_px=None) == replace(
            other, score=None, rle=None, area_px=None
        )
        assert (one.rle is None) == (other.rle is None)
        if one.rle is not None:
            shape = (one.rows, one.columns)
            differs = rle2mask(one.rle, shape) ^ rle2mask(other.rle, shape)
            assert np.count_nonzero(differs) <= 2


def test_cut_off_again_and_again(run, predictor, unbroken, radiographs, tmp_path):
    for _ in range(len(radiographs) - 1):
        with pytest.raises(KeyboardInterrupt):
            run(predictor, radiographs, tmp_path, each=stop_now)
    assert_equal_answers(run(predictor, radiographs, tmp_path), unbroken)


def stop_now(done, total):
    raise KeyboardInterrupt


def _predict_slowly(model, radiographs, out):
    predictor = load(model, precision="fp32", answer_flagged=True)
    with Job(predictor, JobSettings(out)) as job:
        for _ in job.answer(radiographs):
            if job.done == 3:
                time.sleep(60)


def test_a_killed_job_goes_on(
    run, predictor, unbroken, radiographs, tiny_model, tmp_path, monkeypatch
):
    child = multiprocessing.get_context("spawn").Process(
        target=_predict_slowly, args=(tiny_model, radiographs, tmp_path)
    )
    child.start()
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and len(kept_in(tmp_path, tmp_path)) < 3:
        time.sleep(0.05)
    assert child.pid is not None
    os.kill(child.pid, signal.SIGKILL)
    child.join()
    seen = counted(monkeypatch)
    assert_equal_answers(run(predictor, radiographs, tmp_path), unbroken)
    assert sorted(seen) == sorted(radiographs[3:])


def interrupted(run, predictor, radiographs, out, done=5, **options):
    with pytest.raises(KeyboardInterrupt):
        run(predictor, radiographs, out, each=stop_at(done), **options)
    return out / NAME


@pytest.mark.slow
def test_killed_again_and_again_in_the_middle_of_thousands(tiny_model, radiographs, tmp_path):
    """No file is lost, none is answered twice, and each answer is right."""
    folder, count = tmp_path / "radiographs", 3000
    folder.mkdir()
    for number in range(count):
        (folder / f"f{number:04d}.dcm").symlink_to(radiographs[number % 4])
    out = tmp_path / "out"
    command = [sys.executable, "-m", "pleura", "predict", str(tiny_model), str(folder)]
    command += ["--out", str(out), "--id", "stem", "--precision", "fp32", "--overlays"]
    command += ["--answer-flagged"]  # the radiographs are noise
    rng = np.random.default_rng(0)
    kept = []
    for _ in range(4):
        child = subprocess.Popen(command, stderr=subprocess.DEVNULL, start_new_session=True)
        enough = len(kept) + int(rng.integers(50, 600))
        while child.poll() is None and len(kept_in(out, tmp_path)) < enough:
            time.sleep(rng.uniform(0.001, 0.02))
        assert child.poll() is None, "it was killed before it was done"
        os.kill(child.pid, signal.SIGKILL)
        child.wait()
        lines = kept_in(out, tmp_path)
        assert lines[: len(kept)] == kept, "what was answered is not answered again"
        kept = lines
    subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
    rows = table(out / "predictions.csv")
    assert [row["image_id"] for row in rows] == [f"f{number:04d}" for number in range(count)]
    assert not any(row["error"] for row in rows)
    for number, row in enumerate(rows[4:], 4):
        assert row["area_px"] == rows[number % 4]["area_px"]
    assert len(list((out / "overlays").iterdir())) == count


def test_two_jobs_in_one_folder(run, predictor, radiographs, tmp_path):
    def other():
        with pytest.raises(
            OutputError, match=r": is in use by pleura predict \(process \d+, since"
        ):
            run(predictor, radiographs[:1], tmp_path)

    with Job(predictor, JobSettings(tmp_path)), ThreadPoolExecutor(1) as thread:
        thread.submit(other).result()


def test_the_folders_that_products_go_to_are_known():
    dicom = (writer.FOLDER, writer.FOLDER_DEIDENTIFIED)
    assert {*dicom, worklist.FOLDER, Overlays().name, Heatmaps().name} == set(PRODUCTS)


@pytest.mark.parametrize("left", [0, 100, -1])
def test_what_a_crash_tore_off_is_done_again(
    run, predictor, unbroken, radiographs, tmp_path, monkeypatch, left
):
    """The last rows lie beside the store until they are brought into it."""
    out, kept = tmp_path / "out", tmp_path / "kept"
    with pytest.raises(KeyboardInterrupt):
        run(predictor, radiographs, out, each=copying(out, kept, 5))
    beside = kept / f"{NAME}-wal"
    beside.write_bytes(beside.read_bytes()[:left])
    seen = counted(monkeypatch)
    interrupted(run, predictor, radiographs, kept, done=7)  # the mended store can be cut off again
    assert seen
    assert_equal_answers(run(predictor, radiographs, kept), unbroken)


def copying(out, kept, number):
    """Copy what lies on disk once so many files are done, as a crash would leave it; then stop."""

    def each(done, total):
        if done == number:
            kept.mkdir()
            for path in out.glob(f"{NAME}*"):
                shutil.copy(path, kept / path.name)
            raise KeyboardInterrupt

    return each


@pytest.mark.parametrize(
    ("spoil", "what"),
    [
        (lambda content: content[:10], "is no store of pleura"),
        (lambda content: b"{nonsense\n" * 1000, "is no store of pleura"),
        (lambda content: content[:4096], "is damaged"),
        (lambda content: content.replace(b"radiograph-0", b"radiograph-9"), "is damaged"),
    ],
)
def test_a_damaged_store_is_one_sentence(run, predictor, radiographs, tmp_path, spoil, what):
    store = interrupted(run, predictor, radiographs, tmp_path)
    store.write_bytes(spoil(store.read_bytes()))
    message = (
        f"{store}: {what}; remove it, or choose another place: what it may have held is done again"
    )
    with pytest.raises(OutputError, match=f"^{re.escape(message)}$"):
        run(predictor, radiographs, tmp_path)


def test_another_operating_point_starts_anew(run, predictor, radiographs, tmp_path, monkeypatch):
    interrupted(run, predictor, radiographs, tmp_path)
    other = answering(replace(predictor.bundle, operating_point=OperatingPoint(score=0, mask=0)))
    seen = counted(monkeypatch)
    answers = run(other, radiographs, tmp_path)
    assert sorted(seen) == sorted(radiographs)
    assert all(a.area_px == a.rows * a.columns for a in answers if not a.error)


@pytest.mark.parametrize("options", [{"id_source": "stem"}, {"writers": [Overlays()]}])
def test_other_options_start_anew(run, predictor, radiographs, tmp_path, monkeypatch, options):
    interrupted(run, predictor, radiographs, tmp_path)
    seen = counted(monkeypatch)
    answers = run(predictor, radiographs, tmp_path, **options)
    assert sorted(seen) == sorted(radiographs)
    if "writers" in options:
        assert len(list((tmp_path / "overlays").iterdir())) == 9
    else:
        assert answers[0].image_id == "radiograph-0"


def test_what_is_flagged_is_not_assessed_and_asking_for_it_starts_anew(
    run, predictor, radiographs, tmp_path, monkeypatch
):
    careful = Predictor(predictor.bundle, predictor.engine)
    interrupted(run, careful, radiographs, tmp_path)
    answers = run(careful, radiographs, tmp_path)
    for number, answer in enumerate(answers):
        assert answer.called == (None if number == 4 else "not assessed")
        assert (answer.score, answer.area_px, answer.rle) == (None, None, None)
        if number != 4:
            assert answer.image_id == f"1.2.{number}"
            assert "other-picture" in answer.flags.split(";")
    rows = table(tmp_path / "submission.csv")
    assert [row["EncodedPixels"] for row in rows] == ["-1"] * 9
    interrupted(run, careful, radiographs, tmp_path)
    seen = counted(monkeypatch)
    answers = run(predictor, radiographs, tmp_path)
    assert sorted(seen) == sorted(radiographs)
    assert all(answer.called in ("positive", "negative") for answer in answers if not answer.error)


def test_a_changed_file_is_predicted_again(run, predictor, tmp_path, monkeypatch):
    radiographs = write_radiographs(tmp_path / "radiographs")
    interrupted(run, predictor, radiographs, tmp_path / "out")
    radiographs[0].write_bytes(make_dicom(np.zeros((80, 90), np.uint8), SOPInstanceUID="1.2.0"))
    seen = counted(monkeypatch)
    answers = run(predictor, radiographs, tmp_path / "out")
    assert sorted(seen) == sorted([radiographs[0], *radiographs[5:]])
    assert (answers[0].rows, answers[0].columns) == (80, 90)


def test_a_mended_file_is_predicted_again(run, predictor, tmp_path):
    radiographs = write_radiographs(tmp_path / "radiographs")
    interrupted(run, predictor, radiographs, tmp_path / "out")
    shutil.copy(radiographs[0], radiographs[4])
    radiographs[4].write_bytes(make_dicom(np.zeros((8, 9), np.uint8), SOPInstanceUID="1.2.4"))
    answers = run(predictor, radiographs, tmp_path / "out")
    assert answers[4].error == ""
    assert answers[4].image_id == "1.2.4"


def test_other_files_join_an_unfinished_job(
    run, predictor, unbroken, radiographs, tmp_path, monkeypatch
):
    interrupted(run, predictor, radiographs[:6], tmp_path)
    seen = counted(monkeypatch)
    answers = run(predictor, radiographs[3:], tmp_path)
    assert sorted(seen) == sorted(radiographs[5:])
    assert_equal_answers(answers, unbroken[3:])


def test_a_finished_job_is_done_anew(run, predictor, radiographs, tmp_path, monkeypatch):
    run(predictor, radiographs[:2], tmp_path)
    seen = counted(monkeypatch)
    run(predictor, radiographs[:2], tmp_path)
    assert sorted(seen) == radiographs[:2]


# ------------------------------------------------- a path that stands for another file


class Meddling:
    """An engine while which something happens to the files."""

    def __init__(self, engine, action):
        self.engine, self.action = engine, action
        self.name, self.notes = engine.name, engine.notes

    def probabilities(self, pixels):
        self.action()
        return self.engine.probabilities(pixels)


def of_patient(name, value):
    pixels = np.full((64, 64), value // 11, np.uint8)
    uids = {"SOPInstanceUID": f"1.2.{value}.{value}", "StudyInstanceUID": f"1.3.{value}.{value}"}
    radiography = "1.2.840.10008.5.1.4.1.1.1"
    return make_dicom(
        pixels, PatientID=name, SOPClassUID=radiography, SeriesInstanceUID="1", **uids
    )


def renamed(path, other):
    other.replace(path)


def overwritten(path, other):
    before = path.stat()
    path.write_bytes(other.read_bytes())
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def linked(path, other):
    path.unlink()
    path.symlink_to(other)


SWAPS = [renamed, overwritten, linked]


@pytest.fixture
def two_patients(tmp_path):
    """Two files of one size and time, the second of which is not among the inputs."""
    path, other = tmp_path / "radiograph.dcm", tmp_path / "other.dcm"
    for place, content in ((path, of_patient("JANEDOE", 777)), (other, of_patient("MARYROE", 888))):
        place.write_bytes(content)
        os.utime(place, ns=(10**18, 10**18))
    return path, other


@pytest.mark.parametrize("swap", SWAPS)
def test_nothing_is_written_for_a_file_that_took_the_place_of_the_one_that_was_answered(
    run, predictor, radiographs, two_patients, tmp_path, swap
):
    path, other = two_patients
    swaps = iter([lambda: swap(path, other)])
    engine = Meddling(predictor.engine, lambda: next(swaps, bool)())
    meddled = answering(predictor.bundle, engine)
    dicom = DicomResults(("sr", "sc", "map"), predictor.provenance, datetime(2026, 1, 2))
    writers = [Overlays(), Heatmaps(), Worklist.of(predictor), dicom]
    out = tmp_path / "out"
    swapped, sound = run(meddled, [path, radiographs[0]], out, writers=writers)
    assert swapped.error == (
        f"{path}: holds another content than a moment ago, when it was answered; predict it again"
    )
    assert (swapped.image_id, swapped.score, swapped.rle) == ("", None, None)
    assert (sound.image_id, sound.error) == ("1.2.0", "")
    assert len(table(out / "submission.csv")) == 1
    written = [file for file in out.rglob("*") if file.is_file()]
    assert len(written) == 3 + 3 + 3 + 1, "tables; two pictures and the worklist's; DICOM; the page"
    for file in written:
        assert not any(
            one in file.read_bytes() for one in (b"888.888", b"MARYROE", b"777.777", b"JANEDOE")
        )


def test_an_id_of_an_answer_that_was_discarded_is_free(run, predictor, two_patients, tmp_path):
    path, other = two_patients
    copy = tmp_path / "copy.dcm"
    shutil.copy(path, copy)
    swaps = iter([lambda: renamed(path, other)])
    meddled = answering(predictor.bundle, Meddling(predictor.engine, lambda: next(swaps, bool)()))
    paths = [path, *(tmp_path / f"none-{number}.dcm" for number in range(8)), copy]
    *_, last = run(meddled, paths, tmp_path / "out", batch=1, writers=[Log()])
    assert (last.image_id, last.error) == ("1.2.777.777", "")


@pytest.mark.parametrize("swap", SWAPS)
def test_a_file_that_is_replaced_between_two_calls_is_read_again(
    run, predictor, radiographs, two_patients, tmp_path, monkeypatch, swap
):
    path, other = two_patients
    out = tmp_path / "out"
    interrupted(run, predictor, [path, *radiographs], out)
    swap(path, other)
    assert path.stat().st_mtime_ns == 10**18
    seen = counted(monkeypatch)
    first, *_ = run(predictor, [path, *radiographs], out)
    assert seen[0] == path
    assert (first.image_id, first.error) == ("1.2.888.888", "")


def test_an_answer_is_kept_for_the_content_that_was_read(
    run, predictor, radiographs, two_patients, tmp_path, monkeypatch
):
    """Not for the one that was there when the files were listed, and is there again later."""
    (tmp_path / "link").symlink_to(two_patients[0])
    path, read = tmp_path / "link", Readers.read

    def flipping(self, wanted, size, **more):
        if wanted == path:
            linked(path, two_patients[1])
        return read(self, wanted, size, **more)

    monkeypatch.setattr(Readers, "read", flipping)
    interrupted(run, predictor, [path, *radiographs], tmp_path / "out")
    monkeypatch.setattr(Readers, "read", read)
    linked(path, two_patients[0])
    first, *_ = run(predictor, [path, *radiographs], tmp_path / "out")
    assert first.image_id == "1.2.777.777"


# ------------------------------------------------------------------ a full disk


def test_a_disk_that_fills_up(run, predictor, unbroken, radiographs, tmp_path, monkeypatch):
    real, wrote = JobStore.add, []

    def full(self, key, row, **more):
        wrote.append(row)
        if len(wrote) == 4:
            self._store._open.run("PRAGMA max_page_count=1")  # SQLite says then what it says when
            row = replace(row, notes="x" * 10**6)  # the disk is full
        real(self, key, row, **more)

    monkeypatch.setattr(JobStore, "add", full)
    message = (
        rf"{tmp_path}: results could not be written \(No space left on device\); what is finished "
        "is kept: free some space and run it again"
    )
    with pytest.raises(OutputError, match=message):
        run(predictor, radiographs, tmp_path)
    monkeypatch.undo()
    seen = counted(monkeypatch)
    assert_equal_answers(run(predictor, radiographs, tmp_path), unbroken)
    assert sorted(seen) == sorted(radiographs[3:])


def _predict_with_limit(model, radiographs, out, limit, queue):
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    try:
        predict_files(
            load(model, precision="fp32", answer_flagged=True),
            radiographs,
            JobSettings(out, batch=1),
        )
    except BaseException as error:
        queue.put((type(error).__name__, str(error)))
    else:
        queue.put(("", ""))


@pytest.mark.slow
def test_a_file_that_may_not_grow(run, predictor, unbroken, radiographs, tiny_model, tmp_path):
    """The kernel refuses the write itself, so that closing the stream fails as well."""
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    child = context.Process(
        target=_predict_with_limit, args=(tiny_model, radiographs, tmp_path, 1500, queue)
    )
    child.start()
    kind, message = queue.get(timeout=120)
    child.join()
    assert kind == "OutputError", message
    assert "choose another place and run it again" in message
    assert_equal_answers(run(predictor, radiographs, tmp_path), unbroken)


def test_a_name_that_is_not_utf_8(run, predictor, radiographs, tmp_path):
    odd = tmp_path / os.fsdecode(b"radiograph-\xff.dcm")
    shutil.copy(radiographs[0], odd)
    (answer,) = run(predictor, [odd], tmp_path / "out")
    assert answer.error == ""
    assert "radiograph-" in (tmp_path / "out" / "predictions.csv").read_text()


def test_a_file_in_the_place_of_the_folder(run, predictor, radiographs, tmp_path):
    (tmp_path / "out").write_text("mine")
    with pytest.raises(
        OutputError, match=r"out: could not be written \(File exists\); choose another"
    ):
        run(predictor, radiographs[:1], tmp_path / "out")
    assert (tmp_path / "out").read_text() == "mine"


def test_a_folder_in_the_place_of_the_submission(run, predictor, radiographs, tmp_path):
    (tmp_path / "submission.csv").mkdir()
    with pytest.raises(OutputError, match=r"submission.csv: could not be written"):
        run(predictor, radiographs[:1], tmp_path)


def test_an_overlay_that_cannot_be_written(run, predictor, radiographs, tmp_path):
    (tmp_path / "overlays").write_text("mine")
    with pytest.raises(PleuraError, match="could not be written"):
        run(predictor, radiographs[:3], tmp_path, writers=[Overlays()])
