"""A library does not know who calls it: its messages name settings, and the commands options."""

import ast
import re
from pathlib import Path

import pytest
import typer

import pleura
from pleura.cli import console
from pleura.cli.app import app

SOURCE = Path(pleura.__file__).parent
BELOW = [path for path in sorted(SOURCE.rglob("*.py")) if "cli" not in path.parts]
OPTION = re.compile(r"(?<![\w-])--[a-z]")
SETTING = re.compile(r"`([a-z][a-z0-9_]*)`")
COMMAND = re.compile(r"pleura [a-z]+ (?:[A-Z]|--)[^`;,)]*")
"""A whole command may be named as a way out, with its options."""

COMMANDS = typer.main.get_command(app).commands  # type: ignore[attr-defined]
OPTIONS = {word for one in COMMANDS.values() for parameter in one.params for word in parameter.opts}


def messages(path: Path) -> list[str]:
    """Return the texts of a module that are no docstrings, with an X for each value put in."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    inside = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    texts = []
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            inside |= set(map(id, node.values))
            texts.append(
                "".join(
                    part.value if isinstance(part, ast.Constant) else "X" for part in node.values
                )
            )
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            texts += [] if id(node) in inside else [node.value]
    return texts


@pytest.mark.parametrize("path", BELOW, ids=lambda path: str(path.relative_to(SOURCE)))
def test_a_library_names_no_option(path):
    said = [COMMAND.sub("", text) for text in messages(path)]
    assert [text for text in said if OPTION.search(text)] == []
    settings = {name for text in said for name in SETTING.findall(text)}
    assert {f"--{name.replace('_', '-')}" for name in settings} <= OPTIONS


def test_a_command_names_the_option_of_a_setting(capsys):
    console.say("name the one that is the pneumothorax with `mask_label`, not `this one`")
    said = capsys.readouterr().err
    assert said == "name the one that is the pneumothorax with --mask-label, not `this one`\n"
