"""The site of the documentation: generated pages are complete, and it builds without a warning."""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

import pleura
from tests.contracts.test_docs import COMMAND, PAGES, ROOT, fences, named

DOCS = ROOT / "docs"


@pytest.fixture(scope="module")
def made() -> ModuleType:
    spec = importlib.util.spec_from_file_location("reference_pages", DOCS / "reference_pages.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("verb", COMMAND.commands)
def test_the_reference_has_every_option_with_its_meaning(verb, made):
    text = made.commands().partition(f"## pleura {verb}\n")[2].partition("\n## ")[0]
    rows = dict(re.findall(r"^\| `(.+?)` \| .*? \| (.+) \|$", text, re.MULTILINE))
    for parameter in COMMAND.commands[verb].params:
        assert rows.get(made._written(parameter), "").strip(), parameter.name


def test_the_reference_has_every_setting_with_its_meaning(made):
    rows = dict(re.findall(r"^\| `(.+?)` \| .* \| (.+?) \|$", made.settings(), re.MULTILINE))
    tables = {name for name, _ in made.sections(pleura.config.Run)}
    for name, kind in made.sections(pleura.config.Run):
        keys = {f"{name}.{key}".lstrip(".") for key in kind.__dataclass_fields__} - tables
        assert keys <= rows.keys()
        assert set(made.meanings(kind)) == set(kind.__dataclass_fields__), name


def test_the_sections_are_those_that_a_run_file_has(made):
    names = [name for name, _ in made.sections(pleura.config.Run)]
    assert names[0] == ""
    assert set(names[1:]) == {*pleura.config._SECTIONS} - {"labels"} | {"data.labels"}


def test_the_reference_has_every_public_name(made):
    text = made.api()
    for name in pleura.__all__:
        assert f".{name}" in text
    for module, name in made.imported():
        assert f"{module}.{name}" in text


def test_every_mark_of_a_generated_part_has_one(made):
    marks = {
        name
        for page in PAGES
        for name in re.findall(r"<!-- generated: (\w+) -->", page.read_text())
    }
    assert marks == set(made.PARTS)


def slug(title: str) -> str:
    """Return the anchor of a heading, as repository hosts and MyST make it."""
    return re.sub(r"[^\w\- ]", "", title.strip().lower()).replace(" ", "-")


def anchors(page: Path) -> set[str]:
    text = re.sub(
        r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL
    )
    return {slug(title) for title in re.findall(r"^#+ (.+)$", text, re.MULTILINE)}


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_every_link_into_a_page_leads_to_a_heading(page):
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    for target, anchor in re.findall(r"\]\(([^)\s#:]*)#([^)\s]+)\)", text):
        there = page.parent / target if target else page
        assert anchor in anchors(there), f"{target}#{anchor}"


@pytest.mark.parametrize("part", ["tutorial", "how-to", "reference", "explanation"])
def test_every_page_stands_in_the_index_of_its_part(part):
    index = DOCS / part / "index.md"
    listed = set("\n".join(fences(index, "")).split())
    pages = {page.stem for page in (DOCS / part).iterdir() if page.suffix in {".md", ".ipynb"}}
    assert pages - {"index"} <= listed
    shown = set(re.findall(r"\]\((\S+?)\.(?:md|ipynb)\)", index.read_text()))
    assert pages - {"index"} <= shown


@pytest.mark.slow
def test_the_site_builds_without_a_warning(tmp_path):
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-b", "html"]
    command += ["-d", str(tmp_path / "read"), str(DOCS), str(tmp_path / "site")]
    built = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert (built.returncode, built.stderr) == (0, "")
    assert (tmp_path / "site" / "index.html").is_file()
    api = (tmp_path / "site" / "reference" / "api.html").read_text()
    assert "Return type" not in api, "words before a colon were taken for a type"
    assert "own pixels: " in api
    outside = re.compile(r'<(?:link|script|img)\b[^>]*(?:src|href)="(?:https?:)?//')
    pages = [*(tmp_path / "site").rglob("*.html")]
    assert not [page.name for page in pages if outside.search(page.read_text())]
