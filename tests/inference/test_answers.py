import gc
import os
from array import array

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pleura.inference.answer import Answer
from pleura.inference.answers import Answers, parse_record, record

WORDS = st.text(max_size=40)
NUMBERS = st.none() | st.floats(0, 1)
COUNTS = st.none() | st.integers(0, 10**8)
ANSWERS = st.builds(
    Answer,
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
)


@given(WORDS, ANSWERS, st.booleans())
def test_a_record_says_what_was_kept_in_one_line(key, answer, repeats):
    line = record(key, answer, repeats=repeats)
    assert line.count(b"\n") == 1
    assert parse_record(line) == (key, answer, repeats)


def test_a_name_that_is_not_utf_8_survives():
    answer = Answer(os.fsdecode(b"film-\xff.dcm"))
    assert parse_record(record("k", answer))[1] == answer


@pytest.mark.parametrize(
    "line", [b"", b"{", b"[]", b"1", b'["k", {"path": "x"}]', b'["k", {"way": "x"}, 0]', b"\xff"]
)
def test_what_is_no_record(line):
    with pytest.raises(ValueError):
        parse_record(line)


@given(st.lists(ANSWERS, max_size=8))
def test_answers_are_read_from_disk_when_they_are_asked_for(tmp_path_factory, answers):
    path = tmp_path_factory.mktemp("answers") / "records"
    offsets = array("q")
    with path.open("wb") as file:
        for answer in answers:
            offsets.append(file.tell())
            file.write(record("k", answer))
    found = Answers(os.open(path, os.O_RDONLY), offsets)
    path.unlink()
    assert len(found) == len(answers)
    assert list(found) == answers == list(reversed(list(reversed(found))))
    assert found[1:3] == answers[1:3]


def test_the_file_is_closed_with_them(tmp_path):
    path = tmp_path / "records"
    path.write_bytes(record("k", Answer("x")))
    descriptor = os.open(path, os.O_RDONLY)
    found = Answers(descriptor, array("q", [0]))
    assert found[0] == Answer("x")
    del found
    gc.collect()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)
