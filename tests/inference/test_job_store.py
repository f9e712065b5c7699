import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pleura.errors import OutputError
from pleura.inference.job_store import JobStore, row_of, text_of
from pleura.inference.row import Row

WORDS = st.text(max_size=40)
NUMBERS = st.none() | st.floats(0, 1)
COUNTS = st.none() | st.integers(0, 10**8)
ROWS = st.builds(
    Row,
    path=WORDS,
    image_id=WORDS,
    score=NUMBERS,
    area_px=COUNTS,
    rows=COUNTS,
    columns=COUNTS,
    seconds=NUMBERS,
    rle=st.none() | st.just("-1") | st.just("1 2 " * 3000),
    error=WORDS,
    guard=NUMBERS,
    flags=WORDS,
    notes=WORDS,
    areas=st.none() | st.lists(st.integers(0, 10**8), max_size=9).map(tuple),
)


@given(ROWS)
def test_a_text_says_what_was_kept_in_one_line(row):
    text = text_of(row)
    assert text.isascii()
    assert "\n" not in text
    assert row_of(text) == row


def test_a_name_that_is_not_utf_8_survives():
    row = Row(os.fsdecode(b"radiograph-\xff.dcm"))
    assert row_of(text_of(row)) == row


@settings(max_examples=15, deadline=None)  # each is brought to the disk
@given(st.lists(ROWS, max_size=8))
def test_rows_are_read_from_disk_when_they_are_asked_for(tmp_path_factory, rows):
    with JobStore(tmp_path_factory.mktemp("rows"), "job") as store:
        for number, row in enumerate(rows):
            store.add(str(number), row)
        assert [key for key, _ in store.items()] == [str(number) for number in range(len(rows))]
        found = store.rows(map(str, range(len(rows))))
        store.finish()
    assert len(found) == len(rows)
    assert list(found) == rows == list(reversed(list(reversed(found))))
    assert found[1:3] == rows[1:3]


def test_a_repeat_is_forgotten_when_the_store_is_opened_again(tmp_path):
    first, repeat = Row("a", "1"), Row("a", error="has the id of another")
    with JobStore(tmp_path, "job") as store:
        store.add("k", first)
        store.add("k", repeat, repeats=True)
        store.add("l", repeat, repeats=True)
        assert store.get("k") == store.get("l") == repeat
    with JobStore(tmp_path, "job") as store:
        assert list(store.items()) == [("k", first)]
        assert "l" not in store


@pytest.mark.parametrize(
    "text", ["", "null", "[]", "{}", "[" * 9000, '{"areas": 3}', '{"areas": null, "other": 1}']
)
def test_a_row_that_is_none(tmp_path, text):
    with JobStore(tmp_path, "job") as store:
        store._store.put("key", text)
        with pytest.raises(OutputError, match=r"^\.predictions\.sqlite: holds a row that this pl"):
            store.get("key")
