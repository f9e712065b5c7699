"""A compressed frame that lies in several fragments, put together again.

Fragments have an even length, so a frame that was cut at an odd place may have a pad byte within.
A decoder takes it for data. Most then find the frame broken; but JPEG's codes fall into step again,
so that a picture comes out which is shifted and too bright or too dark from there on.

Source: DICOM PS3.5 A.4 (only the last fragment of a frame may be padded).
"""

import math
from collections.abc import Sequence, Set
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pleura.dicom.codecs import CODECS, Decoded, decode_frame
from pleura.dicom.codestream import DCT, LOSSLESS, Buffer
from pleura.dicom.notes import Note
from pleura.errors import DamagedError, DicomError

_PADS = (b"\0", b"\xff")
_MOST_TRIED = 32
"""So many fragments that end like a pad byte are looked at one by one."""

_CERTAIN = 3.0
"""By so many standard errors the steps between pixels must differ to tell the right reading."""

_BAND_ROWS = 16
_SLIGHT = 2
_FEW_PX = 256
"""Readings that differ in no more pixels by more than so many grey values are as good as another:
four blocks of a JPEG."""


def decode_fragments(
    fragments: Sequence[Buffer],
    transfer_syntax_uid: str,
    rows: int,
    columns: int,
    bits_allocated: int,
) -> Decoded:
    """Return one monochrome frame that lies in one fragment or several, decoded.

    Where a fragment before the last ends like a pad byte, the frame is decoded with and without it.
    Of two that can be decoded, the one is right in which pixels are more like their neighbours
    where they differ.

    Args:
        fragments: Its parts, in order.
        transfer_syntax_uid: As for :func:`pleura.dicom.codecs.decode_frame`, and so is the rest.
        rows: Height.
        columns: Width.
        bits_allocated: 8 or 16.

    Raises:
        DamagedError: Both can be decoded, and neither is more likely.
        DicomError: As :func:`pleura.dicom.codecs.decode_frame`.
    """
    if len(fragments) == 1:
        return decode_frame(fragments[0], transfer_syntax_uid, rows, columns, bits_allocated)

    def attempt(pads: Set[int]) -> Decoded | DicomError:
        pieces = [part[:-1] if n in pads else part for n, part in enumerate(fragments)]
        try:
            return decode_frame(
                b"".join(pieces), transfer_syntax_uid, rows, columns, bits_allocated
            )
        except DicomError as error:
            return error

    pads: Set[int] = frozenset()
    found = attempt(pads)
    for move in _moves(fragments):
        if isinstance(found, Decoded) and not _falls_into_step(found):
            break
        other = attempt(pads ^ move)
        if isinstance(other, Decoded) and (
            isinstance(found, DicomError) or _is_calmer(other.pixels, found.pixels)
        ):
            pads, found = pads ^ move, other
    if isinstance(found, DicomError):
        raise found
    if not pads:
        return found
    text = f"{len(pads):,} pad bytes between the fragments of the compressed frame are left out"
    return found._replace(notes=(*found.notes, Note("bytes-ignored", text)))


def _moves(fragments: Sequence[Buffer]) -> list[Set[int]]:
    """Return which pad bytes to leave out at once: all that there may be, then each for itself."""
    suspects = [
        number
        for number, part in enumerate(fragments[:-1])
        if part[-1:] in _PADS and len(part) % 2 == 0
    ]
    alone: list[Set[int]] = [{number} for number in suspects[:_MOST_TRIED]]
    return alone if len(suspects) < 2 else [set(suspects), *alone]


def _falls_into_step(decoded: Decoded) -> bool:
    """Return whether such a frame can be decoded although a byte in it is none of it."""
    return CODECS[decoded.transfer_syntax_uid] in (DCT, LOSSLESS)


def _is_calmer(one: NDArray[Any], other: NDArray[Any]) -> bool:
    """Return whether the steps between pixels are smaller in one of two readings of a picture.

    Only steps that differ are looked at.

    Raises:
        DamagedError: That cannot be told.
    """
    readings = [reading.astype(np.int32) for reading in (one, other)]
    apart = np.abs(readings[0] - readings[1]) > _SLIGHT
    if not apart.any():
        return False
    first = int(np.flatnonzero(apart.any(axis=1))[0])
    band = slice(max(0, first - 1), first + _BAND_ROWS)  # further on both may be alike, but shifted
    more = np.concatenate(
        [
            (np.abs(steps[0]) - np.abs(steps[1]))[steps[0] != steps[1]]
            for axis in (0, 1)
            for steps in [[np.diff(reading[band], axis=axis) for reading in readings]]
        ]
    )
    mean = float(more.mean())
    error = float(more.std()) / math.sqrt(more.size)
    certain = abs(mean) > _CERTAIN * error
    if not certain and np.count_nonzero(apart) > _FEW_PX:
        raise DamagedError(
            "the compressed frame lies in fragments, some of which end in a byte that may be"
            " padding or data, and nothing tells which: export the file again"
        )
    return certain and mean < 0
