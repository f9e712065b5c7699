import json
import sys
from types import SimpleNamespace

import pytest

from pleura.errors import UsageError
from pleura.training.tracking import LOG, TENSORBOARD, Tracking

ROWS = [{"epoch": 1.0, "loss": 0.5}, {"epoch": 2.0, "loss": 0.25}, {"epoch": 3.0, "loss": 0.125}]


def lines(folder):
    return [json.loads(line) for line in (folder / LOG).read_text().splitlines()]


def test_a_line_per_epoch_whole_at_every_moment(tmp_path):
    with Tracking([], tmp_path, {}, []) as tracking:
        assert lines(tmp_path) == []
        for number, row in enumerate(ROWS, 1):
            tracking.tell(row)
            assert lines(tmp_path) == ROWS[:number]
    with Tracking([], tmp_path, {}, ROWS[:1]):  # resumed after the first
        assert lines(tmp_path) == ROWS[:1]


def test_tensorboard_reads_the_events_and_forgets_what_was_taken_back(tmp_path):
    from tensorboardX.proto.event_pb2 import Event

    with Tracking(["tensorboard"], tmp_path, {"train.epochs": 3}, []) as tracking:
        for row in ROWS:
            tracking.tell(row)
    with Tracking(["tensorboard"], tmp_path, {"train.epochs": 3}, ROWS[:1]) as tracking:
        tracking.tell(ROWS[1])
    files = sorted((tmp_path / TENSORBOARD).iterdir())
    events = [Event.FromString(record) for path in files for record in records(path)]
    found = [(e.step, v.simple_value) for e in events for v in e.summary.value if v.tag == "loss"]
    assert found == [(1, 0.5), (2, 0.25), (3, 0.125), (2, 0.25)]
    assert any(event.session_log.status == event.session_log.START for event in events)


def records(path):
    """Yield the records of a TFRecord file: length, its checksum, the record, its checksum."""
    content, at = path.read_bytes(), 0
    while at < len(content):
        length = int.from_bytes(content[at : at + 8], "little")
        yield content[at + 12 : at + 12 + length]
        at += 12 + length + 4


class StandIn:
    """The part of MLflow's interface that is used; it keeps what it is told."""

    def __init__(self):
        self.told = []

    def start_run(self, run_id=None):
        self.told.append(("start", run_id))
        return SimpleNamespace(info=SimpleNamespace(run_id=run_id or "abc"))

    def log_params(self, params):
        self.told.append(("params", params))

    def log_metrics(self, metrics, step):
        self.told.append(("metrics", step, metrics))

    def end_run(self):
        self.told.append(("end",))


def test_an_mlflow_run_is_gone_on_with(tmp_path, monkeypatch):
    mlflow = StandIn()
    monkeypatch.setitem(sys.modules, "mlflow", mlflow)
    with Tracking(["mlflow"], tmp_path, {"train.epochs": 3}, []) as tracking:
        tracking.tell(ROWS[0])
    with Tracking(["mlflow"], tmp_path, {"train.epochs": 3}, ROWS[:1]) as tracking:
        tracking.tell(ROWS[1])
    assert mlflow.told == [
        ("start", None),
        ("params", {"train.epochs": "3"}),
        ("metrics", 1, {"loss": 0.5}),
        ("end",),
        ("start", "abc"),
        ("metrics", 2, {"loss": 0.25}),
        ("end",),
    ]


def test_without_mlflow_the_way_out_is_said(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "mlflow", None)
    message = r"train.track names mlflow, which is not installed .*; install it with pip install"
    with pytest.raises(UsageError, match=message):
        Tracking(["mlflow"], tmp_path, {}, [])
