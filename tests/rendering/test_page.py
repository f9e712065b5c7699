"""Texts from outside in a page: escaped, and nothing in them that cannot be seen."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pleura.printable import escaped
from pleura.rendering import page
from pleura.rendering.page import json_block

HOSTILE = "a\x1b[2J\u202e\u2028<b>&\x07\x9b\r\udcff\U000e0001K\u00e4the \U0001f600"
SHOWN = r"a\x1b[2J\u202e\u2028<b>&\x07\x9b\x0d\udcff\U000e0001K" "\u00e4the \U0001f600"


def test_a_text_of_a_page_shows_what_cannot_be_seen(monkeypatch):
    monkeypatch.setattr(
        page, "_resource", lambda _, name: "{{ text }}|{{ html }}" if name.endswith("j2") else ""
    )
    page._template.cache_clear()
    try:
        found = page.render("x", "y", text=HOSTILE, html=page.Markup("<i>\u202e</i>"))
    finally:
        page._template.cache_clear()
    safe = SHOWN.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    assert found == f"{safe}|<i>\u202e</i>"


def test_data_of_a_page_show_it_too():
    found = json_block({HOSTILE: [HOSTILE, 1.5, None, True, {"a": "b\n"}]})
    assert json.loads(found) == {SHOWN: [SHOWN, 1.5, None, True, {"a": "b\n"}]}
    assert found.isascii()
    assert "<" not in found


@given(st.text(st.characters(exclude_categories=()), max_size=30))
def test_any_text_in_data(text):
    if not any("\ud800" <= one <= "\udfff" for one in text):
        assert json.loads(json_block([text])) == [escaped(text, "\n\t\0")]


@pytest.mark.parametrize("text", ['"', "\\", "/", "\\u202e", "\\\\u001b", "\b\f"])
def test_signs_of_json_in_data(text):
    assert json.loads(json_block(text)) == escaped(text)
