"""What the reference takes from the code, as Markdown: commands, settings, the Python API.

A page holds a mark such as ``<!-- generated: commands -->``, and conf.py puts the text there when
the site is built. So none of it can be out of date, and tests only ask whether it is complete.
"""

import importlib
import importlib.util
import inspect
import json
import re
from collections.abc import Iterator
from dataclasses import is_dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, get_args, get_origin, get_type_hints

import typer
from pydantic import TypeAdapter

import pleura
from pleura import config, metrics
from pleura.cli.app import app

PAGES = Path(__file__).parent
COMMAND = typer.main.get_command(app)


def commands() -> str:
    """Return a section for each command, with its arguments and options."""
    return "\n\n".join(_command(verb) for verb in COMMAND.commands)


def settings() -> str:
    """Return a section for each table of a run file, with a row for each key."""
    return "\n\n".join(_section(name, kind) for name, kind in sections(config.Run))


def api() -> str:
    """Return what Sphinx makes the descriptions of public names from.

    Public are the names of the package itself, the metrics, and what an example of a page imports.
    """
    own = [_described(getattr(pleura, name).__module__, name) for name in pleura.__all__]
    homes = {(getattr(pleura, name).__module__, name) for name in pleura.__all__}
    further: dict[str, list[str]] = {}
    measures = {("pleura.metrics", name) for name, _ in _functions(metrics)}
    for module, name in sorted((imported() | measures) - homes):
        further.setdefault(module, []).append(_described(module, name))
    return "\n\n".join(
        ["## pleura", *own]
        + [f"## {module}\n\n" + "\n\n".join(parts) for module, parts in further.items()]
    )


def imported() -> set[tuple[str, str]]:
    """Return module and name of what the examples of the pages import from pleura."""
    found = set()
    for page in [*PAGES.rglob("*.md"), *PAGES.rglob("*.ipynb")]:
        for module, names in re.findall(r"from (pleura[\w.]*) import ([\w, ]+)", page.read_text()):
            found |= {(module, name.split(" as ")[0].strip()) for name in names.split(",")}
    return {(module, name) for module, name in found if not _is_module(f"{module}.{name}")}


def runs() -> str:
    """Return a row for each run file that lies in the folder runs, with what it says of itself."""
    rows = []
    for path in sorted((PAGES.parent / "runs").glob("*.toml")):
        said = " ".join(
            re.findall(r"^# (\S.*)$", path.read_text().partition("\n\n")[0], re.MULTILINE)
        )
        rows.append(f"| `runs/{path.name}` | {_escaped(said)} |")
    return "| file | is |\n| --- | --- |\n" + "\n".join(rows)


PARTS = {"commands": commands, "runs": runs, "settings": settings, "api": api}


def sections(kind: type, prefix: str = "") -> Iterator[tuple[str, type]]:
    """Yield the full name and the dataclass of each table of a run file, outermost first."""
    yield prefix, kind
    for field, hint in get_type_hints(kind).items():
        for part in (hint, *get_args(hint)):
            # A network's members are networks; only `pleura ensemble` writes them.
            if is_dataclass(part) and part is not kind and part is not config.Range:
                yield from sections(part, f"{prefix}.{field}".lstrip("."))


def meanings(kind: type) -> dict[str, str]:
    """Return what each key means, from the section Attributes of a docstring."""
    text = inspect.getdoc(kind).partition("Attributes:\n")[2]
    found = re.findall(r"^ {4}(\w+): (.*(?:\n {8}.*)*)", text, re.MULTILINE)
    return {key: re.sub(r"\s+", " ", meaning) for key, meaning in found}


def _is_module(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:
        return False


def _functions(module: ModuleType) -> list[tuple[str, Any]]:
    found = inspect.getmembers(module, inspect.isfunction)
    return [one for one in found if one[1].__module__ == module.__name__ and one[0][0] != "_"]


def _described(module: str, name: str) -> str:
    found = getattr(importlib.import_module(module), name)
    kind = "class" if inspect.isclass(found) else "function" if callable(found) else "data"
    members = "\n   :members:" if kind == "class" else ""
    return f"```{{eval-rst}}\n.. auto{kind}:: {module}.{name}{members}\n```"


def _command(verb: str) -> str:
    command = COMMAND.commands[verb]
    given = [_written(one) for one in command.params if one.required or not _is_option(one)]
    parts = [f"## pleura {verb}", f"```text\npleura {' '.join([verb, *given])}\n```"]
    parts.append(_escaped(inspect.cleandoc(command.help)))
    rows = [_parameter(one) for one in command.params]
    parts.append("| option | default | meaning |\n| --- | --- | --- |\n" + "\n".join(rows))
    return "\n\n".join(parts)


def _is_option(parameter: Any) -> bool:
    return any(text.startswith("-") for text in parameter.opts)


def _written(one: Any) -> str:
    """Return an argument or option as it is typed: ``INPUT...``, ``--out PATH``, ``--json``."""
    if not _is_option(one):
        if one.metavar:
            return one.metavar + "..." * (one.nargs != 1 and not one.metavar.endswith("..."))
        return one.name.upper() if one.required else f"[{one.name.upper()}]"
    words = ", ".join([*one.opts, *one.secondary_opts])
    if one.is_bool_flag or one.is_flag:
        return words
    value = {int: "NUMBER", float: "NUMBER", Path: "PATH"}.get(_kind(one), "TEXT")
    return f"{words} {one.metavar or value}"


def _kind(one: Any) -> Any:
    """Return the type of one value: a list's item, without None; of a choice its Literal."""
    found = one.type_descriptor.annotation
    while get_args(found) and get_origin(found) is not Literal:
        found = get_args(found)[0]
    return found


def _parameter(one: Any) -> str:
    if one.required:
        default = "required"
    elif isinstance(one.show_default, str):
        default = f"`{one.show_default}`"
    else:
        unset = one.default is None or one.default is False or one.default in ("", ())
        default = "" if unset else f"`{one.default}`"
    lowest, highest = one.min, one.max
    limits = [f"from {lowest}"] * (lowest is not None) + [f"to {highest}"] * (highest is not None)
    said = _escaped(one.help) + (f" ({' '.join(limits)})" if limits else "")
    if get_origin(_kind(one)) is Literal:
        said += f" One of {', '.join(f'`{word}`' for word in get_args(_kind(one)))}."
    return f"| `{_written(one)}` | {default} | {said} |"


def _section(name: str, kind: type) -> str:
    schema = TypeAdapter(kind).json_schema()
    schema = schema.get("properties") or schema["$defs"][kind.__name__]["properties"]
    said, usual = meanings(kind), kind()
    title = f"## {name}" if name else "## At the top"
    text = inspect.getdoc(kind).partition("\n")[0]
    below = {name for name, _ in sections(config.Run)}
    rows = []
    for key, form in schema.items():
        full = f"{name}.{key}".lstrip(".")
        if full not in below:
            default, meaning = _toml(getattr(usual, key)), _escaped(said[key])
            rows.append(f"| `{full}` | {default} | {_takes(form)} | {meaning} |")
    head = "| key | default | takes | meaning |\n| --- | --- | --- | --- |\n"
    return f"{title}\n\n{text}\n\n{head}" + "\n".join(rows)


def _toml(value: object) -> str:
    """Return a default as it would stand in the file; nothing for text that is empty."""
    return f"`{json.dumps(value)}`" if value not in ("", None) else ""


def _takes(schema: dict[str, Any]) -> str:
    if "anyOf" in schema:
        return " or ".join(_takes(one) for one in schema["anyOf"])
    if "enum" in schema:
        return ", ".join(f'`"{one}"`' for one in schema["enum"])
    if "$ref" in schema:
        return "a table"
    if "const" in schema:
        return f'`"{schema["const"]}"`'
    if schema["type"] == "array":
        return f"a list: {_takes(schema['items'])}"
    words = {
        "boolean": "`true`, `false`",
        "string": "text",
        "integer": "a whole number",
        "number": "a number",
        "object": "a table",
    }
    limits = [
        f"{word} {schema[key]}"
        for key, word in {
            "minimum": "from",
            "exclusiveMinimum": "above",
            "maximum": "to",
            "exclusiveMaximum": "below",
            "multipleOf": "in steps of",
        }.items()
        if key in schema
    ]
    return " ".join([words[schema["type"]], *limits])


def _escaped(text: str) -> str:
    """Return text of a docstring as Markdown: what is code is so marked, and no bar ends a cell."""
    code = re.compile(r"``([^`]+)``|`([^`]+)`|(?<![\w-])(--[a-z][\w-]*)")
    text = code.sub(lambda found: f"`{found[1] or found[2] or found[3]}`", text)
    return text.replace("|", r"\|")
