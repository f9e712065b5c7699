"""The page about findings says what the catalogue says."""

import json
from pathlib import Path

import pytest

from pleura.data.audit.findings import CATALOGUE
from pleura.data.audit.report import findings_schema

DOCS = Path(__file__).parents[2] / "docs"


@pytest.mark.parametrize("code", CATALOGUE)
def test_each_code_is_described(code):
    kind = CATALOGUE[code]
    row = (
        f"| `{code}` | {kind.severity} | {kind.unit} {kind.title} | {kind.treatment} | "
        f"{kind.override} |"
    )
    assert row in (DOCS / "findings.md").read_text().splitlines()


def test_the_schema_is_current():
    """Made with ``pleura audit --schema > docs/findings.schema.json``."""
    assert json.loads((DOCS / "findings.schema.json").read_text()) == findings_schema()
