"""What a training says of itself while it runs: JSON lines always, TensorBoard and MLflow if asked.

A tracker is told each finished epoch once, also by a training that was cut off and resumed.
"""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Any, Protocol

from pleura.choices import TrackerName
from pleura.errors import UsageError
from pleura.printable import rounded
from pleura.storage.atomic import write_text
from pleura.storage.own_file import require_own_file

LOG = "history.jsonl"
TENSORBOARD = "tensorboard"

Row = Mapping[str, float]


class Tracker(Protocol):
    """Something that is told of epochs."""

    def tell(self, row: Row) -> None:
        """Take in a finished epoch: its number as ``epoch``, and its figures by name."""

    def close(self) -> None:
        """Write what is left."""


class Tracking:
    """All trackers of a training.

    Args:
        names: Trackers beside the JSON lines.
        out: The training's folder.
        settings: What makes up the training, plain values.
        finished: The epochs that are finished already.

    Raises:
        UsageError: A tracker's package is not installed.
        OutputError: The log could not be written.
    """

    def __init__(
        self,
        names: Sequence[TrackerName],
        out: Path,
        settings: Mapping[str, Any],
        finished: Sequence[Row],
    ) -> None:
        self._log, self._rows = out / LOG, [_known(row) for row in finished]
        self._write_log()
        with ExitStack() as opened:
            self._trackers: list[Tracker] = []
            for name in dict.fromkeys(names):
                tracker = _OPENERS[name](out, settings, len(finished))
                opened.callback(tracker.close)
                self._trackers.append(tracker)
            self._opened = opened.pop_all()

    def __enter__(self) -> "Tracking":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._opened.close()

    def tell(self, row: Row) -> None:
        """Pass a finished epoch on."""
        known = _known(row)
        self._rows.append(known)
        self._write_log()
        for tracker in self._trackers:
            tracker.tell(known)

    def _write_log(self) -> None:
        write_text(self._log, "".join(json.dumps(rounded(row)) + "\n" for row in self._rows))


class TensorBoard:
    """Event files that TensorBoard reads; epochs after a resumed one are taken back."""

    def __init__(self, out: Path, settings: Mapping[str, Any], finished: int) -> None:
        from tensorboardX import SummaryWriter

        folder, suffix = str(out / TENSORBOARD), f".{finished}"
        self._writer = SummaryWriter(folder, purge_step=finished + 1, filename_suffix=suffix)
        if not finished:
            self._writer.add_text(
                "settings", f"```\n{json.dumps(dict(settings), indent=1)}\n```", 0
            )

    def tell(self, row: Row) -> None:
        """Write the figures of an epoch."""
        for name, value in _figures(row).items():
            self._writer.add_scalar(name, value, int(row["epoch"]))
        self._writer.flush()

    def close(self) -> None:
        """Close the event file."""
        self._writer.close()


class MLflow:
    """A run of MLflow, where MLFLOW_TRACKING_URI says; else in ``mlruns`` of the folder worked in.

    The id of the run is kept in the training's folder, so that resuming goes on with it.
    """

    def __init__(self, out: Path, settings: Mapping[str, Any], finished: int) -> None:
        self._mlflow = _mlflow()
        kept = out / "mlflow-run.txt"
        require_own_file(kept)
        known = kept.read_text(encoding="utf-8").strip() if finished and kept.exists() else None
        run = self._mlflow.start_run(run_id=known)
        if known is None:
            write_text(kept, f"{run.info.run_id}\n")
            self._mlflow.log_params({name: str(value)[:250] for name, value in settings.items()})

    def tell(self, row: Row) -> None:
        """Log the figures of an epoch."""
        self._mlflow.log_metrics(_figures(row), step=int(row["epoch"]))

    def close(self) -> None:
        """End the run."""
        self._mlflow.end_run()


def _mlflow() -> ModuleType:
    try:
        import mlflow
    except ImportError as error:
        raise UsageError(
            f"train.track names mlflow, which is not installed ({error}); install it with "
            "pip install 'pleura[mlflow]', or leave it out"
        ) from error
    module: ModuleType = mlflow
    return module


def _known(row: Row) -> dict[str, float]:
    """Return the row without what is not a number: nothing validates a training on all images."""
    return {name: value for name, value in row.items() if not math.isnan(value)}


def _figures(row: Row) -> dict[str, float]:
    return {name: float(value) for name, value in row.items() if name != "epoch"}


_OPENERS: Mapping[TrackerName, Callable[[Path, Mapping[str, Any], int], Tracker]] = {
    "tensorboard": TensorBoard,
    "mlflow": MLflow,
}
