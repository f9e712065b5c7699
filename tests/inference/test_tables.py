import subprocess
import sys
import time

import polars as pl
import pytest

from pleura.errors import OutputError
from pleura.inference import tables
from pleura.inference.tables import ParquetWriter, Provenance
from pleura.models.bundle import OperatingPoint
from tests.processes import running

MADE_WITH = Provenance("digest", "openvino fp32", OperatingPoint(0.25, 0.5, 7.0), "1.0")


def test_a_process_that_waited_writes_the_table(tmp_path):
    table = tmp_path / "predictions.csv"
    table.write_text(f"{','.join(tables.COLUMNS)}\n1.2,film.dcm,0.5,,0.1,,,,\n")
    with ParquetWriter() as parquet:
        parquet.write(table, tmp_path / "predictions.parquet", MADE_WITH)
    (row,) = pl.read_parquet(tmp_path / "predictions.parquet").to_dicts()
    assert (row["image_id"], row["score"], row["area_px"], row["error"]) == ("1.2", 0.5, None, "")
    assert (row["model"], row["score_threshold"], row["min_area"]) == ("digest", 0.25, 7.0)


def test_one_that_is_not_needed_ends_with_its_block():
    with pytest.raises(KeyboardInterrupt), ParquetWriter() as parquet:
        raise KeyboardInterrupt
    assert parquet._process.poll() is not None


def test_one_that_is_left_alone_ends_too():
    code = (
        "import os; from pleura.inference.tables import ParquetWriter; "
        "print(ParquetWriter()._process.pid, flush=True); os._exit(0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    deadline = time.monotonic() + 60
    while running(int(done.stdout)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not running(int(done.stdout))


def test_what_it_cannot_write(tmp_path):
    message = r"predictions.parquet: could not be written \(.+\); free some space or memory"
    with ParquetWriter() as parquet, pytest.raises(OutputError, match=message):
        parquet.write(tmp_path / "none.csv", tmp_path / "predictions.parquet", MADE_WITH)
    assert list(tmp_path.iterdir()) == []


def test_one_that_dies(tmp_path):
    message = r"predictions.parquet: could not be written \(status -9\); free some space or memory"
    with ParquetWriter() as parquet:
        parquet._process.kill()
        with pytest.raises(OutputError, match=message):
            parquet.write(tmp_path / "none.csv", tmp_path / "predictions.parquet", MADE_WITH)


def test_one_that_cannot_start(monkeypatch):
    monkeypatch.setattr(sys, "executable", "/no/such/python")
    message = "predictions.parquet: the process that writes it could not be started .+No such file"
    with pytest.raises(OutputError, match=message):
        ParquetWriter()
