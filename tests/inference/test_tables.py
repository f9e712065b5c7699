import csv

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

from pleura.errors import OutputError
from pleura.formats.csv_cells import text_of
from pleura.inference import parquet, tables
from pleura.inference.row import Row
from pleura.inference.tables import Provenance
from pleura.models.bundle import OperatingPoint
from tests.full_disks import limited_file_size

MADE_WITH = Provenance("digest", "openvino fp32", OperatingPoint(0.25, 0.5, 7.0), "1.0")


def test_each_column_has_its_type(tmp_path):
    rows = [Row("radiograph.dcm", "1.2", 0.5, None, seconds=0.1, rle="-1"), Row("x", error="no")]
    tables.write_tables(rows, tmp_path, MADE_WITH)
    row, failed = pq.read_table(tmp_path / "predictions.parquet").to_pylist()
    assert (row["image_id"], row["score"], row["area_px"], row["error"]) == ("1.2", 0.5, None, "")
    assert (row["model"], row["score_threshold"], row["min_area"]) == ("digest", 0.25, 7.0)
    assert (failed["score"], failed["image_id"], failed["error"]) == (None, "", "no")


def test_both_tables_say_what_an_image_is_called_and_by_which_thresholds(tmp_path):
    rows = [Row("a", "1", 0.2, 0, rle="-1"), Row("b", "2", 0.9, 4, rle="0 4"), Row("c", error="no")]
    rows += [Row("d", "4", assessed=False)]
    tables.write_tables(rows, tmp_path, MADE_WITH)
    with (tmp_path / "predictions.csv").open(newline="") as file:
        said = list(csv.DictReader(file))
    typed = pq.read_table(tmp_path / "predictions.parquet").to_pylist()
    for table in (said, typed):
        assert [row["called"] for row in table] == ["negative", "positive", "", "not assessed"]
        for row in table:
            assert [float(row[name]) for name in tables.THRESHOLDS] == [0.25, 0.5, 7.0]


def test_what_a_job_was_made_with_is_read_again(tmp_path):
    tables.write_tables([Row("a", "1", 0.2, 0, rle="-1")], tmp_path, MADE_WITH)
    assert tables.read_made_with(tmp_path) == MADE_WITH


@pytest.mark.parametrize("content", [None, b"", b"PAR1 and no more", "no rows", "other columns"])
def test_a_job_that_does_not_say_what_it_was_made_with(content, tmp_path):
    path = tmp_path / "predictions.parquet"
    if content == "no rows":
        tables.write_tables([], tmp_path, MADE_WITH)
    elif content == "other columns":
        pq.write_table(pa.table({"model": ["digest"]}), path)
    elif content is not None:
        path.write_bytes(content)
    assert tables.read_made_with(tmp_path) is None


def test_more_rows_than_are_in_memory_at_a_time(tmp_path, monkeypatch):
    monkeypatch.setattr(parquet, "_ROWS", 3)
    tables.write_tables([Row(f"{number}.dcm") for number in range(10)], tmp_path, MADE_WITH)
    table = pq.read_table(tmp_path / "predictions.parquet")
    assert table["path"].to_pylist() == [f"{number}.dcm" for number in range(10)]


def test_tables_of_several_jobs_are_one_data_set_with_the_masks(tmp_path):
    rows = [Row("a", "1", 0.9, 4, 32, 48, rle="0 4 9 2"), Row("b", "2", 0.1, 0, 32, 48, rle="-1")]
    tables.write_tables(rows, tmp_path / "job=1", MADE_WITH)
    none = [Row("c", error="no"), Row("d", "4", rows=9, columns=8, assessed=False)]
    tables.write_tables(none, tmp_path / "job=2", MADE_WITH)
    found = ds.dataset(sorted(tmp_path.rglob("*.parquet"))).to_table().to_pylist()
    assert [row["rle"] for row in found] == ["0 4 9 2", "-1", "", ""]
    assert [row["rows"] for row in found] == [32, 32, None, 9]
    assert [row["columns"] for row in found] == [48, 48, None, 8]


HOSTILE = [
    "=cmd|' /C calc'!A0",
    "a\rb.dcm",
    'a\nb,"c\u2028d\0.dcm',
    "\x1b[31m\u202e[red]",
    "-1",
    "'=x",
    "a\\x0d",
]


def test_hostile_texts_stay_one_row_each_and_come_back(tmp_path):
    answers = [Row(path=text, error=text, notes=text) for text in HOSTILE]
    tables.write_tables(answers, tmp_path, MADE_WITH)
    with (tmp_path / "predictions.csv").open(newline="") as file:
        content = file.read()
    assert content.count("\n") == len(content.splitlines()) == 1 + len(HOSTILE)
    rows = list(csv.DictReader(content.splitlines()))
    assert [text_of(row["path"]) for row in rows] == HOSTILE
    frame = pq.read_table(tmp_path / "predictions.parquet")
    for column in ("path", "error", "notes"):
        assert frame[column].to_pylist() == HOSTILE


def test_a_table_that_cannot_be_written(tmp_path):
    (tmp_path / "predictions.parquet").mkdir()
    with pytest.raises(OutputError, match=r"predictions.parquet: could not be written \(.+\)"):
        tables.write_tables([Row("x")], tmp_path, MADE_WITH)


def test_a_full_disk(tmp_path):
    rows = [Row(f"{number}.dcm", error="x" * 50) for number in range(3)]
    tables.write_tables(rows, tmp_path / "first", MADE_WITH)
    size = (tmp_path / "first" / "predictions.csv").stat().st_size
    assert (tmp_path / "first" / "predictions.parquet").stat().st_size > size
    message = r"predictions.parquet: could not be written \(File too large\); choose another place"
    with limited_file_size(size), pytest.raises(OutputError, match=message):
        tables.write_tables(rows, tmp_path / "out", MADE_WITH)
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {"submission.csv", "predictions.csv"}
