"""Sealed files that somebody changed and sealed again, as only who means to can."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from pleura.storage import seal

END_BYTES = 28


def parts(content: bytes) -> tuple[bytes, dict[str, Any]]:
    """Return what stands before a file's table of contents, and the table."""
    start = len(content) - END_BYTES - int(content[-END_BYTES:][:20])
    return content[:start], seal.unsealed(content[start:-END_BYTES].decode())


def resealed(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Write a file anew with a table of contents that `change` has changed."""
    body, table = parts(path.read_bytes())
    change(table)
    text = seal.sealed(table).encode()
    path.write_bytes(body + text + b"%020d pleura\n" % len(text))


def with_text(path: Path, change: Callable[[bytes], bytes]) -> None:
    """Write a file anew with its text as `change` makes it, which need not be JSON."""
    body, table = parts(path.read_bytes())
    start, length = table["about"]
    text = change(body[start : start + length])
    path.write_bytes(body + text + path.read_bytes()[len(body) :])
    about = [len(body), len(text)]
    resealed(path, lambda table: table.update(about=about, content=seal.digest(body + text)))
