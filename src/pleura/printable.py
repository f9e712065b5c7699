"""Text from outside, without what would steer whoever shows it."""

import json
from collections.abc import Sequence
from typing import Any


def printable(text: str, allowed: str = "") -> str:
    """Return a text with U+FFFD for every letter that is not printable and not `allowed`."""
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() or one in allowed else "\ufffd" for one in text)


def escaped(text: str, allowed: str = "") -> str:
    r"""Return a text with an escape for every letter that is not printable and not `allowed`.

    Unlike :func:`printable` it keeps apart what is not the same.

    Example:
        >>> escaped("a\x1b[2J\u2028")
        'a\\x1b[2J\\u2028'
    """
    if text.isprintable():
        return text
    return "".join(
        one if one.isprintable() or one in allowed else _escape(ord(one)) for one in text
    )


def few(names: Sequence[str], most: int) -> str:
    """Return the first names, and how many there are beside them.

    Example:
        >>> few(["a", "b", "c"], 2)
        'a, b and 1 more'
    """
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def _escape(code: int) -> str:
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def rounded(value: Any) -> Any:
    """Return what JSON can hold with its fractions in six digits, as people read them.

    Example:
        >>> rounded({"score": 0.29096628413873094, "seconds": [1.5, 1200345.25], "area_px": 7})
        {'score': 0.290966, 'seconds': [1.5, 1200345.25], 'area_px': 7}
    """
    if isinstance(value, float):
        return float(f"{value:.6g}") if abs(value) < 1e5 else round(value, 2)
    if isinstance(value, dict):
        return {name: rounded(one) for name, one in value.items()}
    return [rounded(one) for one in value] if isinstance(value, list | tuple) else value


def json_text(value: Any, indent: int | None = None) -> str:
    r"""Return a value as JSON in which letters that are not printable are escapes.

    So a name can neither steer a terminal that shows it nor end a line, and reads back as it was.

    Args:
        value: What JSON can hold; a number that is not finite is an error.
        indent: Blanks before what lies deeper, on lines of its own; None: all on one line.

    Example:
        >>> json_text({"name": "K\u00e4the \x9b2J"})
        '{"name": "Käthe \\u009b2J"}'
    """
    text = json.dumps(value, indent=indent, ensure_ascii=False, allow_nan=False)
    if text.isprintable():
        return text
    return "".join(
        one if one.isprintable() or one == "\n" else json.dumps(one)[1:-1] for one in text
    )
