import csv
import multiprocessing
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import polars as pl
import pytest

from pleura.errors import DicomError, OutputError, PleuraError
from pleura.formats.annotations import read_annotations
from pleura.formats.rle import rle2mask
from pleura.inference.folder import predict_files
from pleura.inference.journal import Journal
from pleura.inference.predictor import Predictor, load
from pleura.inference.readers import Readers
from pleura.inference.tables import COLUMNS
from pleura.inference.writers import Overlays
from pleura.models.bundle import OperatingPoint
from tests.dicom_files import make_dicom


@pytest.fixture(scope="module")
def predictor(tiny_model):
    return load(tiny_model, precision="fp32")


@pytest.fixture(scope="module")
def run(readers):
    """Predict files as :func:`predict_files` does, with the reading process that tests share."""
    return partial(predict_files, readers=readers)


def write_films(place: Path) -> list[Path]:
    """Write ten small films of several shapes, the fifth of them no DICOM; return their paths."""
    place.mkdir()
    rng = np.random.default_rng(2)
    paths = [place / f"film-{number}.dcm" for number in range(10)]
    for number, path in enumerate(paths):
        shape = [(64, 64), (40, 60), (60, 40)][number % 3]
        pixels = rng.integers(256, size=shape, dtype=np.uint8)
        path.write_bytes(make_dicom(pixels, SOPInstanceUID=f"1.2.{number}"))
    paths[4].write_bytes(b"no DICOM at all")
    return paths


@pytest.fixture(scope="module")
def films(tmp_path_factory):
    """The films of `write_films`; only read them."""
    return write_films(tmp_path_factory.mktemp("films") / "films")


@pytest.fixture(scope="module")
def unbroken(run, predictor, films, tmp_path_factory):
    """The answers of a job that nobody interrupted, without the time they took."""
    return timeless(run(predictor, films, tmp_path_factory.mktemp("unbroken")))


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

    def read(self, path, size):
        seen.append(path)
        return real(self, path, size)

    monkeypatch.setattr(Readers, "read", read)
    return seen


# ------------------------------------------------------------------ what comes out


def test_one_answer_per_file_in_their_order(unbroken, films):
    assert [answer.path for answer in unbroken] == [str(path) for path in films]
    for number, answer in enumerate(unbroken):
        if number == 4:
            assert answer.error.startswith(f"{films[4]}: is not DICOM")
            assert (answer.image_id, answer.rle, answer.score) == ("", None, None)
        else:
            assert answer.error == ""
            assert answer.image_id == f"1.2.{number}"
            assert rle2mask(answer.rle, (answer.rows, answer.columns)).sum() == answer.area_px


def test_an_answer_is_what_the_file_alone_would_get(predictor, unbroken, films):
    for path, answer in zip(films, unbroken, strict=True):
        if not answer.error:
            alone = predictor.predict(path)
            assert answer.score == pytest.approx(alone.score, abs=1e-5)
            assert (answer.rows, answer.columns) == alone.mask.shape


@pytest.mark.parametrize("batch", [1, 3, 64])
def test_the_batch_changes_nothing(run, predictor, unbroken, films, tmp_path, batch):
    found = timeless(run(predictor, films, tmp_path, batch=batch))
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


def test_none_is_minus_one(run, predictor, films, tmp_path):
    never = Predictor(replace(predictor.bundle, operating_point=OperatingPoint(score=1, mask=1)))
    run(never, films[:3], tmp_path)
    text = (tmp_path / "submission.csv").read_text()
    assert text == "ImageId,EncodedPixels\n1.2.0,-1\n1.2.1,-1\n1.2.2,-1\n"


def test_the_table_of_predictions(run, predictor, films, tmp_path):
    answers = run(predictor, films, tmp_path)
    rows = table(tmp_path / "predictions.csv")
    assert list(rows[0]) == list(COLUMNS)
    assert [row["path"] for row in rows] == [str(path) for path in films]
    for row, answer in zip(rows, answers, strict=True):
        if answer.error:
            assert row["error"] == answer.error
            assert row["image_id"] == row["score"] == row["area_px"] == row["seconds"] == ""
        else:
            assert row["error"] == ""
            assert float(row["score"]) == pytest.approx(answer.score, abs=1e-6)
            assert int(row["area_px"]) == answer.area_px
            assert float(row["seconds"]) >= 0
    assert len(table(tmp_path / "submission.csv")) == len(films) - 1


def test_the_typed_table_says_the_same_and_what_it_was_made_with(run, predictor, films, tmp_path):
    answers = run(predictor, films, tmp_path)
    frame = pl.read_parquet(tmp_path / "predictions.parquet")
    point = predictor.bundle.operating_point
    assert frame.columns[: len(COLUMNS)] == list(COLUMNS)
    assert frame.schema["score"] == pl.Float64
    assert frame.schema["area_px"] == pl.Int64
    assert frame["path"].to_list() == [str(path) for path in films]
    assert frame["error"].to_list() == [answer.error for answer in answers]
    assert frame["area_px"].to_list() == [answer.area_px for answer in answers]
    guards = [None if one.guard is None else round(one.guard, 6) for one in answers]
    assert frame["guard"].to_list() == guards
    assert [guard is None for guard in frame["guard"]] == [bool(one.error) for one in answers]
    made_with = frame.select("model", "engine", "score_threshold", "mask_threshold").unique()
    assert made_with.rows() == [
        (predictor.bundle.digest, predictor.engine.name, point.score, point.mask)
    ]


def test_only_bad_files_leave_an_empty_submission(run, predictor, films, tmp_path):
    answers = run(predictor, [films[4], Path("none.dcm")], tmp_path)
    assert all(answer.error for answer in answers)
    assert (tmp_path / "submission.csv").read_text() == "ImageId,EncodedPixels\n"
    assert pl.read_parquet(tmp_path / "predictions.parquet").shape[0] == 2
    run(predictor, [], tmp_path / "none")
    assert pl.read_parquet(tmp_path / "none" / "predictions.parquet").shape[0] == 0


def test_images_named_by_their_files(run, predictor, films, tmp_path):
    answers = run(predictor, films[:2], tmp_path, id_source="stem")
    assert [answer.image_id for answer in answers] == ["film-0", "film-1"]
    assert [row["ImageId"] for row in table(tmp_path / "submission.csv")] == ["film-0", "film-1"]


def test_a_file_name_that_is_no_id_fails_alone(run, predictor, films, tmp_path):
    odd = tmp_path / "film of Jane (2).dcm"
    shutil.copy(films[0], odd)
    answers = run(
        predictor,
        [films[1], odd, films[2]],
        tmp_path / "out",
        id_source="stem",
        writers=[Overlays()],
    )
    assert [bool(answer.error) for answer in answers] == [False, True, False]
    assert "is not an image id" in answers[1].error
    assert [row["ImageId"] for row in table(tmp_path / "out" / "submission.csv")] == [
        "film-1",
        "film-2",
    ]


def test_a_repeated_id_is_answered_once(run, predictor, films, tmp_path):
    again = tmp_path / "again.dcm"
    shutil.copy(films[0], again)
    answers = run(predictor, [films[0], again, films[1]], tmp_path / "out")
    assert [bool(answer.error) for answer in answers] == [False, True, False]
    assert answers[1].error == (
        f"{again}: has the id 1.2.0 of {films[0]}, which was answered; leave one of them out, or "
        "name images by their files with --id stem"
    )
    assert len(table(tmp_path / "out" / "submission.csv")) == 2
    by_stem = run(predictor, [films[0], again, films[1]], tmp_path / "stem", id_source="stem")
    assert not any(answer.error for answer in by_stem)


def test_of_files_with_one_id_only_the_first_reaches_network_and_writers(
    run, predictor, films, tmp_path
):
    engine = Counting(predictor.engine)
    other = tmp_path / "other.dcm"
    other.write_bytes(make_dicom(np.zeros((80, 90), np.uint8), SOPInstanceUID="1.2.0"))
    counting = Predictor(predictor.bundle, engine)
    answers = run(counting, [films[0], other, films[1]], tmp_path, writers=[Log()])
    assert engine.images == 2
    assert [bool(answer.error) for answer in answers] == [False, True, False]
    assert (tmp_path / "log").read_text() == "1.2.0 64 x 64\n1.2.1 40 x 60\n"


class Counting:
    """An engine that counts the images it is shown."""

    def __init__(self, engine):
        self.engine, self.images = engine, 0
        self.name, self.notes = engine.name, engine.notes

    def probabilities(self, pixels):
        self.images += len(pixels)
        return self.engine.probabilities(pixels)


@pytest.mark.parametrize("done", [1, 2, 3])
def test_whose_an_id_is_depends_on_the_order_alone(run, predictor, films, tmp_path, done):
    """Not on where a job was cut off, nor on which of the files were answered before."""
    copy = tmp_path / "copy.dcm"
    shutil.copy(films[0], copy)
    paths = [films[1], films[0], films[2], copy, films[3]]
    whole = timeless(run(predictor, paths, tmp_path / "whole"))
    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        run(predictor, paths, out, batch=1, on_progress=stop_at(done))
    with pytest.raises(KeyboardInterrupt):  # here the copy comes first, and is answered
        run(predictor, [copy, films[3], *paths[:3]], out, batch=1, on_progress=stop_at(done + 2))
    assert_equal_answers(run(predictor, paths, out), whole)
    assert [bool(answer.error) for answer in whole] == [False, False, False, True, False]


def test_a_repeat_is_no_repeat_once_the_first_is_left_out(run, predictor, films, tmp_path):
    copy = tmp_path / "copy.dcm"
    shutil.copy(films[0], copy)
    with pytest.raises(KeyboardInterrupt):
        run(predictor, [films[0], copy, films[1]], tmp_path / "out", on_progress=stop_at(2))
    (answer, _) = run(predictor, [copy, films[1]], tmp_path / "out")
    assert (answer.path, answer.image_id, answer.error) == (str(copy), "1.2.0", "")


@dataclass(frozen=True)
class Log:
    """A writer that logs; it cannot write for `refused`, and says at the end how many there are."""

    refused: str = ""
    name: str = "log"

    def write(self, path, image_id, prediction, out):
        if image_id == self.refused:
            raise DicomError(f"{path}: has no orientation")
        rows, columns = prediction.mask.shape
        with Path(out, "log").open("a") as log:
            log.write(f"{image_id} {rows} x {columns}\n")
        return "logged"

    def finish(self, answers, out):
        ids = [answer.image_id for answer in answers]
        assert ids == [answer.image_id for answer in answers], "they can be walked twice"
        Path(out, "end").write_text(f"{os.getpid()} {' '.join(ids)}")


def test_a_writer_writes_each_answer_and_finishes_once(run, predictor, films, tmp_path):
    run(predictor, films[:6], tmp_path, writers=[Log(), Overlays()])
    lines = (tmp_path / "log").read_text().splitlines()
    assert sorted(line.split()[0] for line in lines) == [f"1.2.{n}" for n in (0, 1, 2, 3, 5)]
    assert (tmp_path / "end").read_text() == f"{os.getpid()} 1.2.0 1.2.1 1.2.2 1.2.3  1.2.5"
    assert len(list((tmp_path / "overlays").iterdir())) == 5


def test_what_a_writer_cannot_write_is_told_beside_the_answer(run, predictor, films, tmp_path):
    answers = run(predictor, films[:3], tmp_path, writers=[Log(refused="1.2.1")])
    assert answers[1].error == f"{films[1]}: has no orientation"
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


def test_a_path_that_comes_twice_is_answered_once(run, predictor, films, tmp_path):
    answers = run(predictor, [films[0], films[1], films[0]], tmp_path)
    assert [answer.image_id for answer in answers] == ["1.2.0", "1.2.1"]
    assert len(table(tmp_path / "submission.csv")) == 2


def test_overlays_when_asked_for(run, predictor, films, tmp_path):
    answers = run(predictor, films[:6], tmp_path, writers=[Overlays()])
    names = {path.name for path in (tmp_path / "overlays").iterdir()}
    assert names == {f"{answer.image_id}.png" for answer in answers if not answer.error}
    for answer in answers:
        if not answer.error:
            picture = cv2.imread(str(tmp_path / "overlays" / f"{answer.image_id}.png"))
            assert picture.shape == (answer.rows, answer.columns, 3)
            grey = (picture[..., 0] == picture[..., 1]) & (picture[..., 1] == picture[..., 2])
            assert grey.all() == (answer.rle == "-1")


def test_without_overlays_there_are_only_two_tables(run, predictor, films, tmp_path):
    run(predictor, films[:2], tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == TABLES


def test_each_answer_is_told_in_order_also_when_it_was_known(run, predictor, films, tmp_path):
    told = []
    with pytest.raises(KeyboardInterrupt):
        run(predictor, films, tmp_path, batch=2, on_progress=stop_at(5))
    answers = run(predictor, films, tmp_path, on_answer=told.append)
    assert told == list(answers)


def test_answers_outlive_their_job_and_cost_no_memory(run, predictor, films, tmp_path):
    answers = run(predictor, films, tmp_path)
    assert not (tmp_path / ".predictions.journal").exists()
    assert [answers[place] for place in range(len(answers))] == list(answers) == answers[:]
    assert answers[-1].path == str(films[-1])
    assert [answer.path for answer in answers[2:4]] == [str(path) for path in films[2:4]]


def test_progress_counts_to_the_end(run, predictor, films, tmp_path):
    told = []
    run(predictor, films, tmp_path, on_progress=lambda *seen: told.append(seen))
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
    run, predictor, unbroken, films, tmp_path, monkeypatch, done, batch
):
    with pytest.raises(KeyboardInterrupt):
        run(predictor, films, tmp_path, batch=batch, on_progress=stop_at(done))
    assert not (tmp_path / "submission.csv").exists()
    seen, told = counted(monkeypatch), []
    answers = run(
        predictor, films, tmp_path, batch=batch, on_progress=lambda *now: told.append(now)
    )
    assert sorted(seen) == sorted(films[done:]), "finished files are not read again, none is lost"
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


def test_cut_off_again_and_again(run, predictor, unbroken, films, tmp_path):
    for _ in range(len(films) - 1):
        with pytest.raises(KeyboardInterrupt):
            run(predictor, films, tmp_path, on_progress=stop_now)
    assert_equal_answers(run(predictor, films, tmp_path), unbroken)


def stop_now(done, total):
    raise KeyboardInterrupt


def _predict_slowly(model, films, out):
    def slowly(done, total):
        if done == 3:
            time.sleep(60)

    predict_files(load(model, precision="fp32"), films, out, on_progress=slowly)


def test_a_killed_job_goes_on(run, predictor, unbroken, films, tiny_model, tmp_path, monkeypatch):
    child = multiprocessing.get_context("spawn").Process(
        target=_predict_slowly, args=(tiny_model, films, tmp_path)
    )
    child.start()
    journal = tmp_path / ".predictions.journal"
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        if journal.exists() and len(journal.read_text().splitlines()) == 4:
            break
        time.sleep(0.05)
    assert child.pid is not None
    os.kill(child.pid, signal.SIGKILL)
    child.join()
    seen = counted(monkeypatch)
    assert_equal_answers(run(predictor, films, tmp_path), unbroken)
    assert sorted(seen) == sorted(films[3:])


def interrupted(run, predictor, films, out, done=5, **options):
    with pytest.raises(KeyboardInterrupt):
        run(predictor, films, out, on_progress=stop_at(done), **options)
    return out / ".predictions.journal"


@pytest.mark.slow
def test_killed_again_and_again_in_the_middle_of_thousands(tiny_model, films, tmp_path):
    """No file is lost, none is answered twice, and each answer is right."""
    folder, count = tmp_path / "films", 3000
    folder.mkdir()
    for number in range(count):
        (folder / f"f{number:04d}.dcm").symlink_to(films[number % 4])
    out = tmp_path / "out"
    journal = out / ".predictions.journal"
    command = [sys.executable, "-m", "pleura", "predict", str(tiny_model), str(folder)]
    command += ["--out", str(out), "--id", "stem", "--precision", "fp32", "--overlays"]
    rng = np.random.default_rng(0)
    kept = []
    for _ in range(4):
        child = subprocess.Popen(command, stderr=subprocess.DEVNULL, start_new_session=True)
        enough = len(kept) + int(rng.integers(50, 600))
        while child.poll() is None and (
            not journal.exists() or journal.read_bytes().count(b"\n") < enough
        ):
            time.sleep(rng.uniform(0.001, 0.02))
        assert child.poll() is None, "it was killed before it was done"
        os.kill(child.pid, signal.SIGKILL)
        child.wait()
        lines = journal.read_bytes().split(b"\n")[1:-1]  # whole lines
        assert lines[: len(kept)] == kept, "what was answered is not answered again"
        kept = lines
    subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
    rows = table(out / "predictions.csv")
    assert [row["image_id"] for row in rows] == [f"f{number:04d}" for number in range(count)]
    assert not any(row["error"] for row in rows)
    for number, row in enumerate(rows[4:], 4):
        assert row["area_px"] == rows[number % 4]["area_px"]
    assert len(list((out / "overlays").iterdir())) == count


def test_two_jobs_in_one_folder(run, predictor, films, tmp_path):
    with Journal(tmp_path, "mine"):
        message = f"{tmp_path}: another pleura predicts into this folder; wait for it, or name ano"
        with pytest.raises(OutputError, match=message):
            run(predictor, films[:1], tmp_path)


@pytest.mark.parametrize("left", [1, 20, -1])
def test_a_torn_last_line_is_done_again(
    run, predictor, unbroken, films, tmp_path, monkeypatch, left
):
    journal = interrupted(run, predictor, films, tmp_path)
    lines = journal.read_text().splitlines(keepends=True)
    journal.write_text("".join(lines[:-1]) + lines[-1][:left])
    seen = counted(monkeypatch)
    interrupted(run, predictor, films, tmp_path, done=7)  # the mended journal can be cut off again
    assert seen[0] == films[4]
    assert_equal_answers(run(predictor, films, tmp_path), unbroken)


def test_a_journal_torn_in_its_first_line(run, predictor, unbroken, films, tmp_path):
    journal = interrupted(run, predictor, films, tmp_path)
    journal.write_text(journal.read_text()[:10])
    assert_equal_answers(run(predictor, films, tmp_path), unbroken)


@pytest.mark.parametrize("garbage", [b"{nonsense\n", b"[]\n", b'["a", {"b": 1}]\n', b"\xff\xfe\n"])
def test_a_damaged_journal_is_no_traceback(run, predictor, unbroken, films, tmp_path, garbage):
    journal = interrupted(run, predictor, films, tmp_path)
    journal.write_bytes(journal.read_bytes() + garbage)
    assert_equal_answers(run(predictor, films, tmp_path), unbroken)


def test_another_operating_point_starts_anew(run, predictor, films, tmp_path, monkeypatch):
    interrupted(run, predictor, films, tmp_path)
    other = Predictor(replace(predictor.bundle, operating_point=OperatingPoint(score=0, mask=0)))
    seen = counted(monkeypatch)
    answers = run(other, films, tmp_path)
    assert sorted(seen) == sorted(films)
    assert all(a.area_px == a.rows * a.columns for a in answers if not a.error)


@pytest.mark.parametrize("options", [{"id_source": "stem"}, {"writers": [Overlays()]}])
def test_other_options_start_anew(run, predictor, films, tmp_path, monkeypatch, options):
    interrupted(run, predictor, films, tmp_path)
    seen = counted(monkeypatch)
    answers = run(predictor, films, tmp_path, **options)
    assert sorted(seen) == sorted(films)
    if "writers" in options:
        assert len(list((tmp_path / "overlays").iterdir())) == 9
    else:
        assert answers[0].image_id == "film-0"


def test_a_changed_file_is_predicted_again(run, predictor, tmp_path, monkeypatch):
    films = write_films(tmp_path / "films")
    interrupted(run, predictor, films, tmp_path / "out")
    films[0].write_bytes(make_dicom(np.zeros((80, 90), np.uint8), SOPInstanceUID="1.2.0"))
    seen = counted(monkeypatch)
    answers = run(predictor, films, tmp_path / "out")
    assert sorted(seen) == sorted([films[0], *films[5:]])
    assert (answers[0].rows, answers[0].columns) == (80, 90)


def test_a_mended_file_is_predicted_again(run, predictor, tmp_path):
    films = write_films(tmp_path / "films")
    interrupted(run, predictor, films, tmp_path / "out")
    shutil.copy(films[0], films[4])
    films[4].write_bytes(make_dicom(np.zeros((8, 9), np.uint8), SOPInstanceUID="1.2.4"))
    answers = run(predictor, films, tmp_path / "out")
    assert answers[4].error == ""
    assert answers[4].image_id == "1.2.4"


def test_other_files_join_an_unfinished_job(run, predictor, unbroken, films, tmp_path, monkeypatch):
    interrupted(run, predictor, films[:6], tmp_path)
    seen = counted(monkeypatch)
    answers = run(predictor, films[3:], tmp_path)
    assert sorted(seen) == sorted(films[5:])
    assert_equal_answers(answers, unbroken[3:])


def test_a_finished_job_is_done_anew(run, predictor, films, tmp_path, monkeypatch):
    run(predictor, films[:2], tmp_path)
    seen = counted(monkeypatch)
    run(predictor, films[:2], tmp_path)
    assert sorted(seen) == films[:2]


# ------------------------------------------------------------------ a full disk


def test_a_disk_that_fills_up(run, predictor, unbroken, films, tmp_path, monkeypatch):
    real, wrote = Journal._write, []

    def full(self, line):
        wrote.append(line)
        if len(wrote) == 5:
            raise OSError(28, "No space left on device")
        real(self, line)

    monkeypatch.setattr(Journal, "_write", full)
    message = (
        rf"{tmp_path}: results could not be written \(No space left on device\); what is finished "
        "is kept: free some space and run it again"
    )
    with pytest.raises(OutputError, match=message):
        run(predictor, films, tmp_path)
    monkeypatch.undo()
    seen = counted(monkeypatch)
    assert_equal_answers(run(predictor, films, tmp_path), unbroken)
    assert sorted(seen) == sorted(films[3:])


def _predict_with_limit(model, films, out, limit, queue):
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    try:
        predict_files(load(model, precision="fp32"), films, out, batch=1)
    except BaseException as error:
        queue.put((type(error).__name__, str(error)))
    else:
        queue.put(("", ""))


@pytest.mark.slow
def test_a_file_that_may_not_grow(run, predictor, unbroken, films, tiny_model, tmp_path):
    """The kernel refuses the write itself, so that closing the stream fails as well."""
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    child = context.Process(
        target=_predict_with_limit, args=(tiny_model, films, tmp_path, 1500, queue)
    )
    child.start()
    kind, message = queue.get(timeout=120)
    child.join()
    assert kind == "OutputError", message
    assert "choose another place and run it again" in message
    assert_equal_answers(run(predictor, films, tmp_path), unbroken)


def test_a_name_that_is_not_utf_8(run, predictor, films, tmp_path):
    odd = tmp_path / os.fsdecode(b"film-\xff.dcm")
    shutil.copy(films[0], odd)
    (answer,) = run(predictor, [odd], tmp_path / "out")
    assert answer.error == ""
    assert "film-" in (tmp_path / "out" / "predictions.csv").read_text()


def test_a_file_in_the_place_of_the_folder(run, predictor, films, tmp_path):
    (tmp_path / "out").write_text("mine")
    with pytest.raises(OutputError, match=r"out: results could not be written"):
        run(predictor, films[:1], tmp_path / "out")
    assert (tmp_path / "out").read_text() == "mine"


def test_a_folder_in_the_place_of_the_submission(run, predictor, films, tmp_path):
    (tmp_path / "submission.csv").mkdir()
    with pytest.raises(OutputError, match=r"submission.csv: could not be written"):
        run(predictor, films[:1], tmp_path)


def test_an_overlay_that_cannot_be_written(run, predictor, films, tmp_path):
    (tmp_path / "overlays").write_text("mine")
    with pytest.raises(PleuraError, match="could not be written"):
        run(predictor, films[:3], tmp_path, writers=[Overlays()])
