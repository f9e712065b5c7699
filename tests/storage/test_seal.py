"""Seals: what was sealed comes back, and nothing that was changed since does."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pleura.errors import SealError
from pleura.storage import seal
from pleura.storage.seal import digest, sealed, sealed_line, unsealed, unsealed_line

PLAIN = st.none() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
TABLES = st.dictionaries(
    st.text().filter(lambda name: name != "seal"), PLAIN | st.lists(PLAIN), min_size=1, max_size=4
)


@settings(max_examples=40)
@given(TABLES, st.sampled_from([None, 0, 2]))
def test_a_sealed_table_is_json_and_comes_back(table, indent):
    text = sealed(table, indent)
    assert unsealed(text) == table
    assert unsealed(text + "\n") == table
    assert {**table, "seal": json.loads(text)["seal"]} == json.loads(text)


@settings(max_examples=40)
@given(TABLES, st.data())
def test_any_other_text_is_refused(table, data):
    text = sealed(table)
    place = data.draw(st.integers(0, len(text) - 1))
    other = data.draw(st.characters().filter(lambda one: one != text[place]))
    for changed in (text[:place] + other + text[place + 1 :], text[:place], text[place + 1 :]):
        with pytest.raises(SealError, match=r"seal"):
            unsealed(changed)


def _with_seal(head):
    return f'{head}, "seal": "{digest(head.encode())}"}}'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "does not end with a seal of pleura; it was cut off or edited"),
        ('{"a": 1}', "does not end with a seal of pleura"),
        (sealed({"a": 1}).replace("1", "2", 1), "does not match its seal; it was damaged or edit"),
        (_with_seal('{"a": NaN'), r"sealed but not JSON as pleura writes it \(NaN is not finite"),
        (_with_seal('{"a": -1e400'), r"sealed but not JSON .* \(-1e400 is not finite"),
        (_with_seal('{"a": 1, "a": 2'), r"sealed but not JSON .* \(a name occurs twice in a table"),
        (_with_seal('{"a": ' + "[" * 10**5), r"sealed but not JSON .* \(nested too deeply"),
        (_with_seal('{"a": ' + "1" * 5000), "sealed but not JSON as pleura writes it"),
    ],
)
def test_what_is_refused_and_why(text, message):
    with pytest.raises(SealError, match=message):
        unsealed(text)


def test_a_long_text_is_not_parsed(monkeypatch):
    monkeypatch.setattr(seal, "MOST_CHARACTERS", 10)
    with pytest.raises(SealError, match="has 84 characters; pleura writes at most 10"):
        unsealed(sealed({"a": 1}))


@pytest.mark.parametrize("table", [{}, {"seal": 1, "a": 2}, {"a": float("nan")}])
def test_what_cannot_be_sealed(table):
    with pytest.raises(ValueError, match=r"cannot be sealed|not JSON compliant"):
        sealed(table)


@given(st.text(st.characters(exclude_characters="\n\r", codec="utf-8")), st.data())
def test_a_line_is_whole_or_none(text, data):
    line = sealed_line(text)
    assert unsealed_line(line) == text
    cut = data.draw(st.integers(0, len(line) - 1))
    with pytest.raises(SealError, match="a line is torn, or was changed since it was written"):
        unsealed_line(line[:cut])
    other = line[:cut] + data.draw(st.characters(exclude_characters=line[cut])) + line[cut + 1 :]
    with pytest.raises(SealError):
        unsealed_line(other)
