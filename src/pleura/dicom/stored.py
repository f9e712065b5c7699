"""Stored values that are not what the header says of them: which can be put right, and how.

Source: DICOM PS3.5 8.1.1 (bits above the pixel belong to no pixel), A.4.1 (lossy JPEG).
"""

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from pleura.dicom.notes import Note

MOST_OVERSHOOTING = 0.05
"""A lossy codec overshoots beside sharp edges alone: in no larger share of the pixels."""

_ROWS_FOR_SIGN = 64
_FEWEST_JUMPS = 64
_FEWEST_BITS = 3
_FEWEST_VALUES = 4
_OTHER_SHARE = 8
_USUAL = 0.9
_FEWEST_COMPARED = 1024
_UNRELATED, _RELATED = 0.8, 0.25
"""Unlikeness of neighbours: more has noise (1.3), less a picture (of a chest 0.02 to 0.1)."""


def within_bits(
    stored: NDArray[Any], bits_stored: int, signed: bool, lossy: bool
) -> tuple[NDArray[Any], Note | None]:
    """Return stored values that fit their bits, with a note where some did not.

    What overshoots in a lossy frame is cut off at the largest value. Bits above are left out where
    the values below them are a picture without them: neighbours that differ above are alike below.
    Where these would jump, the bits belong to the values, and Bits Stored is wrong.

    Args:
        stored: Values as decoded ``(rows, columns)``, 8 or 16 bit, signed or not.
        bits_stored: How many low bits hold the pixel.
        signed: Whether these bits are two's complement.
        lossy: Whether they were decoded from a lossy frame.

    Returns:
        The values, `stored` itself where nothing was changed or nothing can be told.
    """
    width = 8 * stored.dtype.itemsize
    if bits_stored >= width:
        return stored, None
    plain = stored.view(f"u{stored.dtype.itemsize}")
    mask = (1 << bits_stored) - 1
    largest = int(plain.max())
    if largest <= mask or (signed and _is_extended(plain, bits_stored, width)):
        return stored, None
    above = int((plain > mask).sum())
    what = f"{above:,} pixels hold up to {largest:,}, more than {bits_stored} Bits Stored can"
    if lossy and not signed:
        if largest > mask + (mask + 1) // 4 or above > MOST_OVERSHOOTING * plain.size:
            return stored, None
        text = f"{what}, as lossy compression overshoots; they are set to {mask:,}"
        return np.minimum(plain, plain.dtype.type(mask)), Note("bytes-ignored", text)
    if not _is_picture_below(plain, bits_stored):
        return stored, None
    text = f"{what}; the bits above are left out"
    return plain & plain.dtype.type(mask), Note("bytes-ignored", text)


def sign_contradicts(stored: NDArray[Any], bits_stored: int, signed: bool) -> bool:
    """Return whether Pixel Representation tears apart a picture that is whole the other way.

    Read with the wrong sign, some values that differ by one lie at opposite ends of the scale. A
    marker on a dark ground jumps too, but with either sign by more than anything beside it.

    Args:
        stored: Values within their bits, ``(rows, columns)``, 8 or 16 bit.
        bits_stored: How many low bits hold the pixel.
        signed: Whether they are said to be two's complement.
    """
    step = max(1, stored.shape[0] // _ROWS_FOR_SIGN)
    plain = stored[::step]
    if plain.dtype.kind != "u":
        plain = plain.view(f"u{plain.dtype.itemsize}")
    half = 1 << (bits_stored - 1)
    if half >> (8 * stored.dtype.itemsize):  # fewer bits were decoded: none lies in the upper half
        return False
    if _few_jump_far(plain, bits_stored, signed):  # as in nearly all radiographs
        return False
    upper = (plain & half) != 0
    across = upper[:, 1:] != upper[:, :-1]
    jumps = np.flatnonzero(across)  # of one axis it is ten times as fast
    if jumps.size < _FEWEST_JUMPS:
        return False
    row, column = np.divmod(jumps, across.shape[1])

    def values(codes: NDArray[Any]) -> NDArray[np.int32]:
        """Return what is said to be stored, of codes."""
        wide = codes.astype(np.int32) & (2 * half - 1)
        return wide - 2 * half * (wide >= half) if signed else wide

    left, right = plain[row, column], plain[row, column + 1]
    other = 2 * half - np.abs(values(right) - values(left))
    if 2 * np.count_nonzero(other > half / _OTHER_SHARE) > other.size:  # the median is above
        return False
    ends = np.concatenate([left, right]) & (2 * half - 1)
    if min(np.unique(ends[ends >= half]).size, np.unique(ends[ends < half]).size) < _FEWEST_VALUES:
        return False
    steps = np.abs(np.diff(values(plain), axis=1))
    usual = float(np.quantile(steps[~across], _USUAL)) if not across.all() else 0.0
    return float(np.median(other)) <= 2 * usual + 1


def _few_jump_far(plain: NDArray[Any], bits_stored: int, signed: bool) -> bool:
    """Return whether too few neighbours differ by so much that the other sign could be right.

    These are half of the fewest jumps at least, for each of them goes from one half to the other,
    and the median of those counts.

    Args:
        plain: Codes, unsigned ``(rows, columns)`` of 8 or 16 bit.
        bits_stored: How many low bits hold the pixel.
        signed: Whether these bits are said to be two's complement.
    """
    if plain.shape[1] < 2:
        return True
    half = 1 << (bits_stored - 1)
    if bits_stored < 8 * plain.itemsize:
        plain = plain & plain.dtype.type(2 * half - 1)
    if signed:  # so that codes are in the order of what they stand for
        plain = plain ^ plain.dtype.type(half)
    far = 2 * half - half // _OTHER_SHARE
    if cv2.norm(plain[:, 1:], plain[:, :-1], cv2.NORM_INF) < far:  # none does
        return True
    apart = cv2.absdiff(plain[:, 1:], plain[:, :-1])
    return 2 * int(np.count_nonzero(apart >= far)) < _FEWEST_JUMPS


def order_contradicts(stored: NDArray[Any]) -> bool:
    """Return whether the two bytes of each value are evidently exchanged.

    Then neighbours differ like values that have nothing to do with one another, and are alike once
    the bytes are exchanged.

    Args:
        stored: ``(rows, columns)``, 16 bit, bytes in the order that the file states.
    """
    step = max(1, stored.shape[0] // _ROWS_FOR_SIGN)
    looked_at = stored[::step]
    if looked_at.size < _FEWEST_COMPARED or looked_at.shape[1] < 2:
        return False
    own, other = _unlikeness(looked_at), _unlikeness(looked_at.byteswap())
    return own > _UNRELATED and other < _RELATED


def samples_contradict(stored: NDArray[Any]) -> bool:
    """Return whether what is read as one value is a part of one, or holds several.

    That is so where a value of two bytes is read as two values of one byte, or two of one byte as
    one of two; and where colours, or grey and opacity, stand side by side. Then every second, third
    or fourth value makes a picture, and all together do not. A grey in colours is one value thrice.

    Args:
        stored: Values ``(rows, columns)`` of 8 or 16 bit, in the file's order.
    """
    step = max(1, stored.shape[0] // _ROWS_FOR_SIGN)
    looked_at = np.ascontiguousarray(stored[::step])
    if looked_at.size < _FEWEST_COMPARED or looked_at.shape[1] < 12:
        return False
    if stored.itemsize == 2:
        halves, numbers = looked_at.view(np.uint8), looked_at.view(np.int16)
        differing = bool((halves[:, ::2] != halves[:, 1::2]).any())
        extended = numbers.min() >= -128 and numbers.max() < 128  # small numbers, and their sign
        return differing and not extended and _unlikeness(halves) < _RELATED
    thirds = looked_at[:, : looked_at.shape[1] // 3 * 3].reshape(-1, 3)
    if (thirds == thirds[:, :1]).all() and _unlikeness(thirds[:, 0].reshape(1, -1)) > 0:
        return bool(looked_at.shape[1] % 3 == 0)
    lanes = (looked_at[:, first::every] for every in (2, 3, 4) for first in range(every))
    return _unlikeness(looked_at) > _UNRELATED and any(
        0 < _unlikeness(lane) < _RELATED for lane in lanes
    )


def _unlikeness(stored: NDArray[Any]) -> float:
    """Return how far neighbours differ, as a share of how far values lie from their middle."""
    values = stored.astype(np.int32)
    spread = float(np.abs(values - np.median(values)).mean())
    return float(np.abs(np.diff(values, axis=1)).mean()) / spread if spread else 0.0


def recode_padding(
    stored: NDArray[Any], padding: tuple[int, int], bits_stored: int, signed: bool
) -> tuple[NDArray[Any], int | None, Note | None]:
    """Return stored values with their padding recoded where it does not fit their bits.

    It should fit: a file in which it does not is wrong, yet what is meant is plain.

    Args:
        stored: Values as decoded ``(rows, columns)``, 8 or 16 bit.
        padding: The lowest and the highest word that mark a pixel as padding, as unsigned numbers.
        bits_stored: How many low bits hold the pixel.
        signed: Whether these bits are two's complement.

    Returns:
        The values, the stored value that marks padding in them, and a note; `stored` itself, None
        and None where nothing had to change, or no value is left to mark it.

    Source: DICOM PS3.3 C.7.5.1.1.2 (padding lies within Bits Stored).
    """
    width, mask = 8 * stored.dtype.itemsize, (1 << bits_stored) - 1
    low, high = min(padding), max(padding)
    least = (1 << width) - (1 << (bits_stored - 1)) if signed else 1 << width
    if bits_stored >= width or low <= mask or low >= least:
        return stored, None, None
    plain = stored.view(f"u{stored.dtype.itemsize}")
    padded = (plain >= low) & (plain <= high)
    free = np.flatnonzero(np.bincount(plain[~padded] & mask, minlength=mask + 1) == 0)
    if not padded.any() or not free.size:
        return stored, None, None
    code = int(free[-1])
    text = (
        f"{int(padded.sum()):,} pixels hold (0028,0120) Pixel Padding Value {low:,}, more than"
        f" {bits_stored} Bits Stored can; they are taken for padding"
    )
    recoded = np.where(padded, plain.dtype.type(code), plain)
    value = code - mask - 1 if signed and code > mask // 2 else code
    return recoded.view(stored.dtype), value, Note("bytes-ignored", text)


def _is_extended(plain: NDArray[Any], bits_stored: int, width: int) -> bool:
    """Return whether all values that need more bits are negative ones with their sign extended."""
    above = plain[plain > (1 << bits_stored) - 1]
    return int(above.min()) >= (1 << width) - (1 << (bits_stored - 1))


def _is_picture_below(plain: NDArray[Any], bits_stored: int) -> bool:
    """Return whether neighbours whose high bits differ are alike in the bits below.

    In less than three bits nothing is ever seen to be alike.
    """
    if bits_stored < _FEWEST_BITS:
        return False
    high, low = plain >> bits_stored, (plain & ((1 << bits_stored) - 1)).astype(np.int32)
    jumps = np.concatenate(
        [
            np.abs(np.diff(low, axis=axis))[np.diff(high.astype(np.int32), axis=axis) != 0]
            for axis in (0, 1)
        ]
    )
    return jumps.size == 0 or float(np.median(jumps)) < 1 << (bits_stored - 2)
