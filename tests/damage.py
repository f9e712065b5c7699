"""Damage as disks, copies and editors do it, for tests of what reads files."""

import random
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from pleura.errors import PleuraError

Damage = Callable[[bytes, random.Random], bytes]


def _flipped(content: bytes, rng: random.Random) -> bytes:
    changed = bytearray(content)
    for _ in range(rng.choice((1, 1, 1, 2, 20))):
        changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def _cut_off(content: bytes, rng: random.Random) -> bytes:
    return content[: rng.randrange(len(content))]


def _with_more(content: bytes, rng: random.Random) -> bytes:
    return content + rng.choice((b"\n", b"\0" * 4096, rng.randbytes(30), content[-100:]))


def _zeroed(content: bytes, rng: random.Random) -> bytes:
    begin = rng.randrange(len(content))
    end = min(len(content), begin + rng.choice((1, 16, 512, 4096)))
    return content[:begin] + bytes(end - begin) + content[end:]


def _swapped(content: bytes, rng: random.Random) -> bytes:
    """Return two parts of equal length, each in the other's place."""
    length = rng.choice((1, 4, 64, 512))
    first, second = sorted(rng.randrange(max(1, len(content) - length)) for _ in range(2))
    second = max(second, first + length)
    a, b = content[first : first + length], content[second : second + length]
    between = content[first + length : second]
    return content[:first] + b + between + a + content[second + length :]


def _lines_mixed(content: bytes, rng: random.Random) -> bytes:
    lines = content.splitlines(keepends=True)
    first, second = (rng.randrange(len(lines)) for _ in range(2))
    kind = rng.randrange(3)
    if kind == 0:
        lines[first], lines[second] = lines[second], lines[first]
    elif kind == 1:
        lines[first] = lines[second]
    else:
        del lines[first]
    return b"".join(lines)


_OTHER_VALUES = (
    *(b"null", b"true", b"{}", b"[]", b"-1", b"0", b"1e400", b"NaN", b'"x"', b"9" * 5000),
    *(b"2", b"0.5", b'""', b"[[]]", b"-0.0", b"1" * 40),
)


def _other_value(content: bytes, rng: random.Random) -> bytes:
    """Return a text with one of its numbers or quoted texts being something else."""
    found = list(re.finditer(rb'-?[0-9]+(\.[0-9]+)?|"[^"\\\n]*"', content[:200_000]))
    if not found:
        return _flipped(content, rng)
    one = rng.choice(found)
    return content[: one.start()] + rng.choice(_OTHER_VALUES) + content[one.end() :]


KINDS: tuple[Damage, ...] = (
    _flipped,
    _flipped,
    _cut_off,
    _with_more,
    _zeroed,
    _swapped,
    _lines_mixed,
    _other_value,
)


def damaged(content: bytes, rng: random.Random) -> bytes:
    """Return `content`, of one byte or more, with damage of some kind: always another content."""
    while True:
        changed = rng.choice(KINDS)(content, rng)
        if changed != content:
            return changed


def trials(seconds: float, most: int) -> Iterator[random.Random]:
    """Yield generators of random numbers, 0, 1, 2 ... their seeds, until the time is over."""
    begun = time.monotonic()
    for seed in range(most):
        if seed and time.monotonic() - begun > seconds:
            return
        yield random.Random(seed)


@contextmanager
def refusals(most: int = 600) -> Iterator[list[str]]:
    """Yield a list that an error of pleura's is added to; it must be one readable sentence.

    Args:
        most: It has fewer characters.
    """
    told: list[str] = []
    try:
        yield told
    except PleuraError as error:
        text = str(error)
        assert text.isprintable(), ascii(text)
        assert 20 < len(text) < most, text[:2000]
        told.append(text)
