"""Changed model files, read one after the other; a process of its own runs this.

What comes of each is a refusal of one line, or what the sound file gives. A file that takes longer
than :data:`MOST_S` ends the process, and its parent sees the signal.
"""

import json
import random
import re
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.sax.saxutils import quoteattr, unescape

import numpy as np
from onnx import ModelProto

from pleura.errors import BundleError
from pleura.models.model_file import read_model
from pleura.models.onnx_file import _tail
from pleura.storage import seal
from pleura.training.checkpoint import read_checkpoint
from tests.models.sealing import parts, resealed, with_text

MOST_S = 20.0

ODD = (None, True, -1, 0, 0.5, 1e308, -1e-308, 2**70, "", "x" * 300, "\x00", [], {}, [[]], {"a": 1})


def fuzz(path: str, seed: int, seconds: float) -> None:
    """Read changed copies of the file at `path` for so many seconds; it is written over.

    Raises:
        AssertionError: A damaged file was read as something else than the sound one.
        Exception: A file was answered by another error than BundleError.
    """
    file, draw, ends = Path(path), random.Random(seed), time.monotonic() + seconds
    read = read_checkpoint if file.name == "checkpoint.h5" else read_model
    sound, sealed_file = file.read_bytes(), file.suffix == ".h5"
    expected = said(read(file))
    for number in range(10**9):
        if time.monotonic() > ends:
            print(number, "files")
            return
        file.write_bytes(damaged(sound, draw))
        found = outcome(read, file)
        assert found in (None, expected), f"file {number} of seed {seed} reads as another"
        file.write_bytes(sound)
        if sealed_file:  # as one who seals anew may make it: refused or read, whatever it says
            whole = json_of_text(file)
            with_text(file, lambda _, whole=whole: odd(whole, draw).encode())
            outcome(read, file)
            file.write_bytes(sound)
            resealed(file, lambda table: swapped(table, draw))
            outcome(read, file)
        else:
            file.write_bytes(with_other_metadata(sound, file.suffix, draw))
            outcome(read, file)
        file.write_bytes(sound)


def outcome(read: Callable[[Path], Any], file: Path) -> Any:
    """Return what a file says, None where it is refused in one line."""
    signal.setitimer(signal.ITIMER_REAL, MOST_S)  # not caught: it ends the process in any library
    try:
        found, refusal = said(read(file)), ""
    except BundleError as error:
        found, refusal = None, str(error)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    assert "\n" not in refusal, refusal
    return found


def said(found: Any) -> Any:
    """Return what answers depend on."""
    if hasattr(found, "digest"):
        return found.digest, found.card, str(found.training)
    return found.epoch, found.identity, {k: v.tobytes() for k, v in found.weights.items()}


def damaged(content: bytes, draw: random.Random) -> bytes:
    """Return `content` with one to three changes: of bits, bytes, runs, numbers, or cut off."""
    new = bytearray(content)
    for _ in range(draw.randint(1, 3)):
        if not new:
            break
        place, length = draw.randrange(len(new)), draw.choice((1, 2, 4, 8, 64, 4096))
        kind = draw.randrange(7)
        if kind < 2:
            new[place] ^= 1 << draw.randrange(8)
        elif kind == 2:
            del new[place:]
        elif kind == 3:
            del new[place : place + length]
        elif kind == 4:
            new[place : place + length] = bytes(length)
        elif kind == 5:
            new[place:place] = new[draw.randrange(len(new)) :][:length]
        else:
            new[place : place + 4] = np.float32(draw.choice((np.nan, np.inf, -1e38))).tobytes()
    return bytes(new)


def swapped(table: Any, draw: random.Random) -> None:
    """Put something odd in the place of a value of nested tables and lists, or misspell a key."""
    while True:
        keys = list(table) if isinstance(table, dict) else list(range(len(table)))
        key = draw.choice(keys)
        inner = table[key]
        if isinstance(inner, dict | list) and inner and draw.random() < 0.8:
            table = inner
            continue
        if isinstance(table, dict) and draw.random() < 0.2:
            table[f"{key}x"] = table.pop(key)
        else:
            table[key] = draw.choice(ODD)
        return


def json_of_text(file: Path) -> dict[str, Any]:
    """Return the table of a sealed file's text."""
    body, table = parts(file.read_bytes())
    start, length = table["about"]
    return seal.strict_json(body[start : start + length].decode())


def odd(table: dict[str, Any], draw: random.Random) -> str:
    """Return a text like that of `table` in which something is odd."""
    swapped(table, draw)
    text = json.dumps(table)
    if draw.random() < 0.2:
        text = text.replace("0.5", draw.choice(("NaN", "Infinity", "1e999", "-", "9" * 5000)), 1)
    return text


def with_other_metadata(content: bytes, suffix: str, draw: random.Random) -> bytes:
    """Return an exported file of which the metadata are odd, and sealed again."""
    if suffix == ".onnx":
        model = ModelProto.FromString(content)
        text = model.metadata_props[0].value
        table = seal.unsealed(text)
        swapped(table, draw)
        return content.removesuffix(_tail(text)) + _tail(seal.sealed(table))
    line = re.search(rb"<pleura value=('[^']*'|\"[^\"]*\") />", content)
    table = seal.unsealed(unescape(line[1][1:-1].decode(), {"&quot;": '"'}))
    swapped(table, draw)
    return content.replace(line[1], quoteattr(seal.sealed(table)).encode())
