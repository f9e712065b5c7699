"""One word for one thing: docs/reference/glossary.md lists the words and those not used."""

import ast
import re
from pathlib import Path

import pytest
import typer
from typer.main import get_command

import pleura
from pleura import config
from pleura.cli.app import app

SOURCE = Path(pleura.__file__).parent
ROOT = Path(__file__).parents[2]
MODULES = sorted(SOURCE.rglob("*.py"))
SOURCES = [p for p in sorted(SOURCE.rglob("*")) if p.suffix in {".py", ".j2", ".js"}]
GLOSSARY = ROOT / "docs" / "reference" / "glossary.md"
PAGES = [
    path
    for path in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    if path != GLOSSARY and "_build" not in path.parts
]


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


def banned() -> dict[str, str]:
    """Return each word that is not used, and the one that is."""
    words = {}
    for row in GLOSSARY.read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in row.strip("|").split("|")]
        if row.startswith("| ") and len(cells) == 3 and cells[2] not in ("", "not", "---"):
            words |= {word.strip(): cells[0] for word in cells[2].split(",")}
    return words


BANNED = banned()


def wrong(text: str) -> list[str]:
    """Return the words of `text`, also as parts of names, that are not used."""
    parts = re.sub(r"([a-z])([A-Z])", r"\1 \2", text).replace("_", " ").lower()
    return sorted(w for w in BANNED if re.search(rf"\b{re.escape(w.lower())}s?\b", parts))


def test_the_glossary_is_read():
    assert BANNED["film"] == "radiograph"
    assert BANNED["healthy"] == "positive, negative"


@pytest.mark.parametrize("path", MODULES, ids=named)
def test_names_in_code(path):
    names = {path.stem}
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            names.add(node.name)
        if isinstance(node, ast.arg):
            names.add(node.arg)
    assert {name: found for name in names if (found := wrong(name))} == {}


def test_settings():
    text = Path(config.__file__).read_text(encoding="utf-8")
    assert wrong(text) == []


def test_help():
    found = {}
    for name, command in get_command(app).commands.items():  # type: ignore[attr-defined]
        context = typer.Context(command, info_name=name)
        if words := wrong(command.get_help(context)):
            found[name] = words
    assert found == {}


@pytest.mark.parametrize("path", PAGES, ids=named)
def test_pages(path):
    text = re.sub(r"https?://\S+|`[^`]*`", "", path.read_text(encoding="utf-8"))
    assert wrong(text) == []


@pytest.mark.parametrize("path", SOURCES, ids=named)
def test_what_is_said_and_written(path):
    """Messages, docstrings and the texts of the HTML pages."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".py":
        nodes = ast.walk(ast.parse(text))
        constants = [node.value for node in nodes if isinstance(node, ast.Constant)]
        text = "\n".join(value for value in constants if isinstance(value, str))
    assert wrong(text) == []


def test_no_class_name_stands_twice():
    homes: dict[str, list[str]] = {}
    for path in MODULES:
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                homes.setdefault(node.name, []).append(str(path.relative_to(SOURCE)))
    assert {name: places for name, places in homes.items() if len(places) > 1} == {}
