"""What is wrong with settings, in words."""

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import fields
from itertools import islice

from pydantic import ValidationError
from pydantic_core import ErrorDetails

_MOST_SAID = 5
_LONGEST_SHOWN = 200
"""Wrong settings that one message names, and characters of what it shows of each."""

_A_TYPE = re.compile(r"int|float|bool|str|[a-z]+-(?:int|float|str)|literal\[.*\]")


def say_what_is_wrong(
    error: ValidationError, kind: type, sections: Mapping[str, type], origin: str
) -> str:
    """Return what is wrong, a sentence for each of the first keys.

    Args:
        error: What pydantic says.
        kind: The dataclass that the settings were to be.
        sections: The dataclass of each section below it, by name.
        origin: What to name: a file, or ``--set``.
    """
    problems = _by_key(error)
    said = [
        f"{origin}: {_sentence(kind, key, problems[key], sections)}"
        for key in islice(problems, _MOST_SAID)
    ]
    more = len(problems) - len(said)
    return "; ".join([*said, f"and {more} more"] if more else said)


def _by_key(error: ValidationError) -> dict[tuple[str, ...], list[ErrorDetails]]:
    """Return what is wrong with each key, in order.

    Where a value may be of several types, pydantic names each of them behind the key.
    """
    found: dict[tuple[str, ...], list[ErrorDetails]] = {}
    for problem in error.errors():
        parts = (str(part) for part in problem["loc"])
        key = tuple(part for part in parts if not _A_TYPE.fullmatch(part))
        found.setdefault(key, []).append(problem)
    return found


def _sentence(
    kind: type,
    location: Sequence[str],
    problems: Sequence[ErrorDetails],
    sections: Mapping[str, type],
) -> str:
    name, first = brief(".".join(location)), problems[0]
    if first["type"] == "unexpected_keyword_argument":
        return f"unknown key {name}{_suggestion(kind, location, sections)}"
    rules = (one["msg"][0].lower() + one["msg"][1:] for one in problems)
    value = first["input"]
    found = "" if isinstance(value, Mapping) else f" is {brief(repr(value))}"
    where = f"{name}{found}: " if name else ""
    return where + ", or ".join(rule.removeprefix("value error, ") for rule in rules)


def brief(text: str) -> str:
    """Return a text from outside as a message can hold it: printable, and not long."""
    shown = text if text.isprintable() else ascii(text)
    return shown if len(shown) <= _LONGEST_SHOWN else f"{shown[:_LONGEST_SHOWN]}..."


def _suggestion(kind: type, location: Sequence[str], sections: Mapping[str, type]) -> str:
    """Return "; did you mean ..." for the nearest key there is, or the keys to choose from."""
    *above, wrong = location
    for section in above:
        kind = sections.get(section, kind)
    known = [field.name for field in fields(kind)]
    close = difflib.get_close_matches(wrong, known, n=1)
    if close:
        return f"; did you mean {'.'.join([*above, close[0]])}?"
    return f"; the keys here are {', '.join(known)}"
