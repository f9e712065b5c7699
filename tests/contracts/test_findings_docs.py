"""The page about findings says what the catalogue says."""

import json
from pathlib import Path

import pytest

from pleura.audit.catalogue import catalogue, inflect
from pleura.audit.report import findings_schema

DOCS = Path(__file__).parents[2] / "docs/reference"


@pytest.mark.parametrize("code", catalogue())
def test_each_code_is_described(code):
    kind = catalogue()[code]
    unit, title = kind.words(2)
    treatment, override = inflect(kind.treatment, 2), inflect(kind.override, 2)
    row = f"| `{code}` | {kind.severity} | {unit} {title} | {treatment} | {override} |"
    assert row in (DOCS / "findings.md").read_text().splitlines()


def test_the_schema_is_current():
    """Made with ``pleura audit --schema > docs/reference/findings.schema.json``."""
    assert json.loads((DOCS / "findings.schema.json").read_text()) == findings_schema()
