"""One way to seal what pleura writes, so that what was changed since is noticed where it is opened.

A sealed table is a JSON object whose last entry is the SHA-256 of all the text before it::

    {"format": 4, "images": 12, "seal": "90a1..."}

What is too large for JSON lies in a file of its own, and the table holds its digest, or one for
each chunk, so that a message can say where it was changed. What is written line by line, as a
journal is, has a digest before each line.

A seal is no signature: it tells damage, half a copy and an edit by hand. Who means to deceive can
seal anew, so what is read stays hostile until parsed.
"""

import hashlib
import json
import math
import re
from collections.abc import Mapping
from typing import Any

from pleura.errors import SealError

MOST_CHARACTERS = 2**24
"""A longer table is not parsed."""

_END = re.compile(r',\s*"seal": "([0-9a-f]{64})"\s*}\s*')
_END_CHARACTERS = 200


def digest(content: bytes | memoryview) -> str:
    """Return the SHA-256 of `content`, in hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def sealed(table: Mapping[str, Any], indent: int | None = None) -> str:
    """Return `table` as JSON, in ASCII, with its seal.

    Args:
        table: At least one entry, none of them named ``seal``; texts, numbers that are finite,
            lists and tables.
        indent: As for :func:`json.dumps`; None gives one line.

    Raises:
        ValueError: A number is not finite, or the table is empty or has a seal already.
    """
    if not table or "seal" in table:
        raise ValueError(f"a table with the entries {list(table)} cannot be sealed")
    text = json.dumps(table, indent=indent, allow_nan=False)
    head = text[:-1].rstrip()
    between = ", " if indent is None else ",\n" + " " * indent
    end = "}" if indent is None else "\n}"
    return f'{head}{between}"seal": "{digest(head.encode())}"{end}'


def unsealed(text: str) -> dict[str, Any]:
    """Return the table in a text that :func:`sealed` gave, without its seal.

    Raises:
        SealError: The text has no seal, or was changed since it was sealed.
    """
    if len(text) > MOST_CHARACTERS:
        raise SealError(f"has {len(text)} characters; pleura writes at most {MOST_CHARACTERS}")
    start = max(0, len(text) - _END_CHARACTERS)
    end = next((found for found in _END.finditer(text, start) if found.end() == len(text)), None)
    if end is None:
        raise SealError(
            "does not end with a seal of pleura; it was cut off or edited, or something else wrote "
            "it"
        )
    if digest(text[: end.start()].encode(errors="replace")) != end[1]:
        raise SealError("does not match its seal; it was damaged or edited since it was written")
    try:
        table = strict_json(text)
    except ValueError as error:
        raise SealError(f"is sealed but not JSON as pleura writes it ({error})") from error
    del table["seal"]
    return table


def strict_json(text: str) -> dict[str, Any]:
    """Return the table of a JSON text of which every number is finite and every name there once.

    Raises:
        ValueError: The text is something else.
    """
    try:
        table = json.loads(
            text, parse_constant=_finite, parse_float=_finite, object_pairs_hook=_once
        )
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    if not isinstance(table, dict):
        raise ValueError("no table")
    return table


def sealed_line(text: str) -> str:
    """Return `text`, which holds no line break, as a line of a journal: its digest before it."""
    return f"{digest(text.encode())} {text}\n"


def unsealed_line(line: str) -> str:
    """Return the text of a line that :func:`sealed_line` gave.

    Raises:
        SealError: The line is torn, or was changed since it was written.
    """
    found, _, text = line.removesuffix("\n").partition(" ")
    if not line.endswith("\n") or digest(text.encode(errors="replace")) != found:
        raise SealError("a line is torn, or was changed since it was written")
    return text


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text[:20]} is not finite")
    return number


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) != len(pairs):
        raise ValueError("a name occurs twice in a table")
    return table
