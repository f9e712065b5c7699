import subprocess
import sys

import pytest

from pleura.audit.catalogue import GROUPS, SEVERITIES, catalogue, inflect
from pleura.audit.findings import Item, found


@pytest.mark.parametrize("code", catalogue())
def test_a_kind_is_said_in_whole_words(code):
    kind = catalogue()[code]
    assert kind.severity in SEVERITIES
    assert kind.group in GROUPS
    assert code == code.lower().replace("_", "-")
    for text in (kind.unit, kind.title, kind.treatment, kind.override):
        assert text
        assert not text.endswith(".")
    one, many = found(code, [Item("x")]), found(code, [Item("x"), Item("y")])
    assert one.sentence.startswith("1 ")
    assert many.sentence == f"2 {many.unit} {many.title}"
    assert one.count == 1
    assert one.title == many.title  # findings.json has one text for each code
    assert not set("[]|") & set(one.sentence + many.sentence + one.treatment + one.override)


def test_groups_stand_together_in_their_order():
    groups = [kind.group for kind in catalogue().values()]
    assert list(dict.fromkeys(groups)) == list(GROUPS)
    assert groups == sorted(groups, key=GROUPS.index)


@pytest.mark.parametrize(
    ("code", "one", "many"),
    [
        ("truncated", "1 file breaks off before its", "2 files break off before their"),
        ("unreadable", "1 file cannot be read as", "2 files cannot be read as"),
        ("not-read", "1 file is no DICOM and was", "2 files are no DICOM and were"),
        ("near-duplicates-disagree", "1 cluster of near-duplicates holds", "2 clusters of near"),
        ("label-conflict", "1 row of the table of image labels contradicts", "2 rows of the"),
    ],
)
def test_a_sentence_agrees_with_its_count(code, one, many):
    assert found(code, [Item("x")]).sentence.startswith(one)
    assert found(code, [Item("x"), Item("y")]).sentence.startswith(many)


@pytest.mark.parametrize(("count", "text"), [(0, "no[t] are"), (1, "no[t] is"), (2, "no[t] are")])
def test_words_go_with_a_number(count, text):
    assert inflect("no[t] [is|are]", count) == text


COMPLETE = """[a]
severity = "note"
group = "leaks"
unit = "id[|s]"
title = "[is|are] odd"
treatment = "none"
override = "none"
"""


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[a]\nseverity = "grave"', "a.severity"),
        ('[a]\nseverity = "note"', "a.group"),
        (COMPLETE + 'colour = "red"', "a.colour"),
        ("[a]\nunit = 1", "a.unit"),
    ],
)
def test_a_catalogue_that_is_not_complete_is_refused(text, message, monkeypatch, tmp_path):
    (tmp_path / "catalogue.toml").write_text(text)
    monkeypatch.setattr("pleura.audit.catalogue.files", lambda package: tmp_path)
    with pytest.raises(ValueError, match=message):
        catalogue.__wrapped__()


def test_the_catalogue_is_read_when_something_is_found_and_not_before():
    code = "from pleura.audit.findings import catalogue; print(catalogue.cache_info().currsize)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "0\n"


def test_what_is_done_agrees_with_its_count():
    assert found("truncated", [Item("x")]).treatment.startswith("it is left out")
    assert found("truncated", [Item("x"), Item("y")]).treatment.startswith("they are left out")


def test_what_can_be_done_agrees_with_its_count():
    assert found("truncated", [Item("x")]).override == "copy it again from its source"
    assert found("truncated", [Item("x"), Item("y")]).override.startswith("copy them again")
    for code, kind in catalogue().items():
        if "[" in kind.override:
            assert "them" not in found(code, [Item("x")]).override.split(), code
