"""What README and docs say is so: verbs, options, examples, paths."""

import doctest
import importlib
import pkgutil
import re
from pathlib import Path

import pytest
import typer

import pleura
from pleura.cli.app import app
from pleura.config import load_run

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
COMMAND = typer.main.get_command(app)
MODULES = sorted(module.name for module in pkgutil.walk_packages(pleura.__path__, "pleura."))
_FENCE = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```", re.MULTILINE | re.DOTALL)


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


def fences(path: Path, *languages: str) -> list[str]:
    return [
        code for kind, code in _FENCE.findall(path.read_text(encoding="utf-8")) if kind in languages
    ]


def calls(path: Path) -> list[list[str]]:
    """Return the words after `pleura` of each call that a page shows, in a fence or in line."""
    text = path.read_text(encoding="utf-8")
    shown = [line for code in fences(path, "sh", "console", "bash", "") for line in _lines(code)]
    shown += re.findall(r"`(pleura [^`\n]+)`", _FENCE.sub("", text))
    found = [re.search(r"(?:^|[/\s$])pleura\s+(.+)", line) for line in shown]
    return [match.group(1).split("#")[0].split() for match in found if match]


def _lines(code: str) -> list[str]:
    return [line for line in code.replace("\\\n", " ").splitlines() if not line.startswith("#")]


@pytest.mark.parametrize("path", PAGES, ids=named)
def test_every_verb_that_a_page_shows_exists(path):
    for words in calls(path):
        verb = words[0] if words else ""
        if verb and re.fullmatch(r"[a-z]+", verb):
            assert verb in COMMAND.commands, f"pleura {' '.join(words)}"


@pytest.mark.parametrize("path", PAGES, ids=named)
def test_every_option_that_a_page_shows_exists(path):
    for words in calls(path):
        command = COMMAND.commands.get(words[0]) if words else None
        if command is None:
            continue
        options = {option for parameter in command.params for option in parameter.opts}
        options |= {"--help", "-h"}
        shown = {word.split("=")[0].rstrip(".,;)") for word in words if word.startswith("--")}
        assert shown <= options, f"pleura {' '.join(words)}"


def test_the_readme_names_every_verb():
    text = (ROOT / "README.md").read_text()
    missing = [verb for verb in COMMAND.commands if f"pleura {verb}" not in text]
    assert missing == [] or (missing == ["demo"] and "make demo" in text)


@pytest.mark.parametrize("path", PAGES, ids=named)
def test_every_python_example_compiles(path):
    for number, code in enumerate(fences(path, "python", "py")):
        if ">>>" not in code:
            compile(code, f"{named(path)} example {number}", "exec")


@pytest.mark.parametrize("path", PAGES, ids=named)
def test_every_toml_example_is_a_run(path, tmp_path):
    for code in fences(path, "toml"):
        if "[project" in code or "[tool" in code:
            continue
        file = tmp_path / "run.toml"
        file.write_text(code)
        load_run(file)


@pytest.mark.parametrize("path", PAGES, ids=named)
def test_every_link_to_a_file_leads_somewhere(path):
    for target in re.findall(r"\]\(([^)\s#]+)[^)]*\)", _FENCE.sub("", path.read_text())):
        if "://" not in target and not target.startswith("mailto:"):
            assert (path.parent / target).exists(), target


@pytest.mark.parametrize("path", PAGES, ids=named)
def test_every_module_that_a_page_names_exists(path):
    for dotted in set(re.findall(r"`(pleura(?:\.\w+)+)", path.read_text())):
        parts = dotted.split(".")
        for length in range(len(parts), 0, -1):
            name = ".".join(parts[:length])
            if name in MODULES or name == "pleura":
                found = importlib.import_module(name)
                for part in parts[length:]:
                    found = getattr(found, part)
                break


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_of_a_module_run(name):
    result = doctest.testmod(importlib.import_module(name), optionflags=doctest.ELLIPSIS)
    assert result.failed == 0


def test_pages_never_call_it_a_medical_device():
    text = (ROOT / "README.md").read_text()
    assert re.search(r"not a medical device", text, re.IGNORECASE)
