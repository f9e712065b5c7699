import csv
import io
import re

import pytest

from pleura.errors import UsageError
from pleura.evaluation.checklist import COLUMNS, checklist, write_checklist
from pleura.evaluation.comparison import compare
from pleura.evaluation.outcomes import Outcome, Traits
from pleura.evaluation.scores import summarise
from pleura.models.bundle import read_bundle
from tests.html_page import Page

NUMBERS = {
    "CLAIM 2024": [str(n) for n in range(1, 45)],
    "TRIPOD+AI": re.findall(
        r"\S+",
        "1 2 3a 3b 3c 4 5a 5b 6a 6b 6c 7 8a 8b 8c 9a 9b 9c 10 11 12a 12b 12c 12d 12e 12f 12g 13 14 "
        "15 16 17 18a 18b 18c 18d 18e 18f 19 20a 20b 20c 21 22 23a 23b 24 25 26 27a 27b 27c",
    ),
}
OUTCOMES = [
    Outcome(
        f"i{n}", f"p{n}", n % 3 == 0, n % 3 == 0, 0.9 if n % 3 == 0 else n / 100, 0.8, 0.7,
        9, 9, 100, 1, 1, 0, Traits("F" if n % 2 else "M", 50, "PA"),
    )
    for n in range(40)
]  # fmt: skip
EVALUATION = summarise(OUTCOMES)


def named(items, guide, number):
    (found,) = (item for item in items if (item.guide, item.number) == (guide, number))
    return found


def test_every_item_of_both_guidelines_is_there_once():
    items = checklist(EVALUATION)
    for guide, numbers in NUMBERS.items():
        assert [item.number for item in items if item.guide == guide] == numbers


def test_what_is_measured_fills_and_what_nobody_told_stays_open():
    items = checklist(EVALUATION, ["2 images were not assessed."])
    counts = named(items, "CLAIM 2024", "35")
    assert counts.told == (
        "40 images of 40 patients were evaluated, 14 of them with a pneumothorax.",
        "2 images were not assessed.",
    )
    assert (counts.state, counts.left) == ("partly", "a diagram")
    performance = named(items, "CLAIM 2024", "37")
    assert (performance.state, performance.left) == ("filled", "")
    assert f"AUROC {EVALUATION.auroc}" in performance.told[0]
    assert "sex F: 20" in named(items, "CLAIM 2024", "36").told[0]
    ethics = named(items, "TRIPOD+AI", "17")
    assert (ethics.state, ethics.told, ethics.left) == ("open", (), "approval and consent")
    assert named(items, "CLAIM 2024", "22").state == "open", "no model is known"


def test_a_model_says_how_it_was_made():
    bundle = read_bundle("pleura:fast")
    items = checklist(EVALUATION, (), bundle)
    assert "efficientnet" in named(items, "CLAIM 2024", "22").told[0]
    assert "torch" in named(items, "CLAIM 2024", "23").told[0]
    assert f"{bundle.preprocessing.size} x" in named(items, "CLAIM 2024", "9").told[0]
    assert bundle.digest in named(items, "TRIPOD+AI", "22").told[0]
    assert any("score at least" in line for line in named(items, "TRIPOD+AI", "15").told)
    assert named(items, "CLAIM 2024", "32").state == "open"
    assert named(items, "CLAIM 2024", "33").state == "partly"
    own = checklist(EVALUATION, (), bundle, own=True)
    assert named(own, "CLAIM 2024", "32").state == "filled"
    assert named(own, "CLAIM 2024", "33").state == "open"


def test_a_comparison_is_told_with_its_margin():
    comparison = compare(OUTCOMES, OUTCOMES, margin=0.05)
    items = checklist(EVALUATION, (), None, comparison)
    assert "by DeLong" in " ".join(named(items, "CLAIM 2024", "29").told)
    assert named(items, "TRIPOD+AI", "4").told == ("Non-inferiority at a margin of 0.05.",)


def test_the_three_forms_hold_the_same(tmp_path):
    items = checklist(EVALUATION, ["a | b"], read_bundle("pleura:fast"))
    for suffix in (".md", ".csv", ".html"):
        write_checklist(items, tmp_path / f"list{suffix}")
    rows = list(csv.DictReader(io.StringIO((tmp_path / "list.csv").read_text())))
    assert tuple(rows[0]) == COLUMNS
    assert len(rows) == len(items)
    lines = (tmp_path / "list.md").read_text().splitlines()
    table = [line for line in lines if re.match(r"\| \d", line)]
    assert len(table) == len(items)
    assert all(len(re.findall(r"(?<!\\)\|", line)) == 6 for line in table)
    page = Page((tmp_path / "list.html").read_text())
    assert len(page.all("th", scope="row")) == len(items)
    states = [item.state for item in items]
    assert f"{states.count('filled')} items are filled" in page.text
    assert "nan" not in page.text.split()


def test_another_form_is_refused(tmp_path):
    with pytest.raises(UsageError, match=r"list.docx: a checklist is written as .md, .csv, .html"):
        write_checklist(checklist(EVALUATION), tmp_path / "list.docx")
