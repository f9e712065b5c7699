import contextlib
import csv
import shutil
from pathlib import Path

import numpy as np
import pytest

from pleura.errors import DataError
from pleura.inference import watch
from pleura.inference.job import Job, JobSettings
from pleura.inference.predictor import load
from pleura.inference.readers import Readers
from pleura.inference.watch import Watched
from pleura.inference.writers import Overlays
from tests.dicom_files import make_dicom


@pytest.fixture(scope="module")
def predictor(tiny_model):
    return load(tiny_model, precision="fp32", answer_flagged=True)


class Clock:
    """Time that goes on in pauses only; what happens in each is a list of actions."""

    def __init__(self, monkeypatch, *actions):
        self.now, self.actions = 100.0, list(actions)
        monkeypatch.setattr(watch.time, "monotonic", lambda: self.now)

    def __call__(self, seconds):
        self.now += seconds
        if not self.actions:
            raise KeyboardInterrupt
        action = self.actions.pop(0)
        if action is not None:
            action()


@pytest.fixture
def incoming(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    return folder


def radiograph(number, uid=None):
    pixels = np.full((20, 30), number, np.uint8)
    return make_dicom(pixels, SOPInstanceUID=uid or f"1.2.{number}")


def put(folder, name, content):
    return lambda: (folder / name).write_bytes(content)


def rows(out):
    with (out / "predictions.csv").open(newline="") as file:
        return [(row["image_id"], row["error"]) for row in csv.DictReader(file)]


@pytest.fixture
def watched(predictor, readers, incoming, tmp_path, monkeypatch):
    """Return a function that watches while actions happen, one per look, and gives the answers."""

    def run(*actions, out="out", on_passed=None, **options):
        seen, watched = [], Watched(incoming, tmp_path / out)
        with Job(predictor, JobSettings(tmp_path / out, **options), readers) as job:
            with contextlib.suppress(KeyboardInterrupt):
                for row in watched.answer(job, Clock(monkeypatch, *actions)):
                    seen.append(row)
            if on_passed is not None:
                on_passed(watched.passed)
            return job.write_results(), [row.image_id for row in seen]

    return run


def test_what_arrives_is_answered_in_the_order_of_its_arrival(watched, incoming, tmp_path):
    put(incoming, "z.dcm", radiograph(1))()
    answers, seen = watched(None, None, put(incoming, "a.dcm", radiograph(2)), None, None)
    assert seen == [answer.image_id for answer in answers] == ["1.2.1", "1.2.2"]
    assert rows(tmp_path / "out") == [("1.2.1", ""), ("1.2.2", "")]


def test_a_file_is_taken_once_it_has_stopped_growing(watched, incoming):
    whole = radiograph(1)
    growing = [put(incoming, "x.dcm", whole[:end]) for end in (100, 300, 500, len(whole))]
    answers, seen = watched(*growing, None, None)
    assert seen == ["1.2.1"]
    assert len(answers) == 1


def test_a_file_that_was_taken_too_early_is_answered_again_in_its_row(watched, incoming, tmp_path):
    put(incoming, "a.dcm", radiograph(1))()
    put(incoming, "x.dcm", radiograph(2)[:300])()
    _, seen = watched(None, None, put(incoming, "x.dcm", radiograph(2)), None, None)
    assert seen == ["1.2.1", "", "1.2.2"]
    assert rows(tmp_path / "out") == [("1.2.1", ""), ("1.2.2", "")]


def test_only_whole_dicom_files_are_taken(watched, incoming):
    put(incoming, "x.dcm.part", radiograph(1))()
    put(incoming, ".hidden.dcm", radiograph(2))()
    put(incoming, "notes.txt", b"hello")()
    put(incoming, "no suffix", radiograph(3))()
    put(incoming, "other", b"something else")()
    put(incoming, "empty.dcm", b"")()
    put(incoming, "IM5", bytes(400))()
    put(incoming, "result.dcm", make_dicom(Manufacturer="pleura", ManufacturerModelName="pleura"))()
    (incoming / "broken").symlink_to(incoming / "nowhere")
    (incoming / "deep" / "er").mkdir(parents=True)
    put(incoming / "deep" / "er", "y.dcm", radiograph(4))()
    passed = []
    answers, seen = watched(*[None] * 4, on_passed=passed.append)
    assert sorted(seen) == ["", "", "1.2.3", "1.2.4"]
    told = {Path(answer.path).name: answer.error for answer in answers if answer.error}
    assert set(told) == {"IM5", "broken"}
    assert "is not DICOM" in told["IM5"]
    assert "No such file" in told["broken"]
    assert passed == [
        {"unfinished": 1, "hidden": 1, ".txt": 1, "no suffix": 1, "results of pleura": 1}
    ]


def test_an_empty_file_is_given_time_to_fill(watched, incoming, tmp_path):
    put(incoming, "empty.dcm", b"")()
    _, seen = watched(*[None] * 33, put(incoming, "empty.dcm", radiograph(1)), None, None)
    assert seen == ["", "1.2.1"]
    assert rows(tmp_path / "out") == [("1.2.1", "")]


def test_a_second_watch_asks_nothing_twice(watched, incoming, tmp_path, monkeypatch):
    for number in (1, 2):
        put(incoming, f"{number}.dcm", radiograph(number))()
    watched(None, None)
    put(incoming, "0.dcm", radiograph(3))()
    read, real = [], Readers.read
    monkeypatch.setattr(
        Readers,
        "read",
        lambda self, path, size, **more: (read.append(path.name), real(self, path, size, **more))[
            1
        ],
    )
    answers, seen = watched(None, None)
    assert read == ["0.dcm"]
    assert seen == ["1.2.3"]
    assert [answer.image_id for answer in answers] == ["1.2.1", "1.2.2", "1.2.3"]
    assert [one for one, _ in rows(tmp_path / "out")] == ["1.2.1", "1.2.2", "1.2.3"]


def test_answers_stay_when_their_files_are_taken_away(watched, incoming, tmp_path):
    put(incoming, "1.dcm", radiograph(1))()
    watched(None, None)
    (incoming / "1.dcm").unlink()
    put(incoming, "2.dcm", radiograph(2))()
    watched(None, None)
    assert [one for one, _ in rows(tmp_path / "out")] == ["1.2.1", "1.2.2"]


def test_a_second_file_with_an_id_is_told_so_also_after_a_restart(watched, incoming, tmp_path):
    put(incoming, "b.dcm", radiograph(1))()
    watched(None, None, put(incoming, "a.dcm", radiograph(7, "1.2.1")), None, None)
    watched(None, None, None)
    (first, none), (nameless, error) = rows(tmp_path / "out")
    assert (first, none, nameless) == ("1.2.1", "", "")
    assert f"has the same id 1.2.1 as {incoming / 'b.dcm'}, which was answered" in error


def test_a_file_that_changed_gives_its_id_away(watched, incoming, tmp_path):
    put(incoming, "a.dcm", radiograph(1))()
    put(incoming, "b.dcm", radiograph(2))()
    watched(None, None, put(incoming, "a.dcm", radiograph(33, "1.2.33")), None, None)
    watched(put(incoming, "c.dcm", radiograph(4, "1.2.1")), None, None)
    assert rows(tmp_path / "out") == [("1.2.33", ""), ("1.2.2", ""), ("1.2.1", "")]


def test_a_file_that_is_replaced_while_it_is_answered_is_answered_anew(
    predictor, watched, incoming, tmp_path, monkeypatch
):
    put(incoming, "a.dcm", radiograph(1))()
    write = Readers.write

    def swapped(self, writers, ready, *given):
        if ready.image_id == "1.2.1":
            put(incoming, "a.dcm", radiograph(2))()
        return write(self, writers, ready, *given)

    monkeypatch.setattr(Readers, "write", swapped)
    _, seen = watched(None, None, None, None, writers=(Overlays(),))
    assert seen == ["", "1.2.2"]
    assert rows(tmp_path / "out") == [("1.2.2", "")]
    assert [path.name for path in (tmp_path / "out" / "overlays").iterdir()] == ["1.2.2.png"]


def test_an_empty_watch_leaves_empty_tables(watched, tmp_path):
    answers, _ = watched(None)
    assert len(answers) == 0
    assert (tmp_path / "out" / "submission.csv").read_text() == "ImageId,EncodedPixels\n"


def test_ctrl_c_in_the_middle_keeps_what_is_done(
    predictor, readers, incoming, tmp_path, monkeypatch
):
    for number in range(9):
        put(incoming, f"{number}.dcm", radiograph(number))()

    watched = Watched(incoming, tmp_path / "out")
    with Job(predictor, JobSettings(tmp_path / "out", batch=1), readers) as job:
        for _ in watched.answer(job, Clock(monkeypatch, None, None)):
            assert len(job) == 9
            if job.done == 4:
                break
        answers = job.write_results()
    assert [answer.image_id for answer in answers] == [f"1.2.{n}" for n in range(4)]
    assert len(rows(tmp_path / "out")) == 4


def test_places_that_cannot_be(incoming, tmp_path):
    with pytest.raises(DataError, match=r"nowhere: is no folder; name one to watch"):
        Watched(tmp_path / "nowhere", tmp_path / "out")
    message = r"out: lies in the watched folder .*in; name another with `out`"
    with pytest.raises(DataError, match=message):
        Watched(incoming, incoming / "out")
    shutil.rmtree(incoming)
