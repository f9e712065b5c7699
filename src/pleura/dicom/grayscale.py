"""From stored values to grey: one lookup table that holds every step DICOM asks for.

The steps, in the standard's order: padding set aside, modality (rescale or LUT), values of
interest (LUT or window), inversion. All of them are functions of the stored value alone, so they
are computed once for each possible value (at most 65,536) and applied as one table.

Source: DICOM PS3.3 C.7.6.3.1 (image pixel), C.7.5.1.1.2 (padding), C.11.1 (modality LUT), C.11.2
(VOI LUT and window), C.11.6 (presentation LUT shape).
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pleura.errors import DicomError

ROBUST_SHARES = (0.001, 0.999)
"""Without a window the grey scale spans these quantiles, not one hot pixel or a bright label."""

_WIDER = 1.5
"""A window that many times as wide as all values that can be stored is one for others."""

_UNUSED_BITS = 2
"""A table of which the pixels leave that many bits unused is one for others, and so is a window of
which they use but so small a share at the dark or the bright end."""

_LEAST_USED = 1 / 8
"""A window of which the pixels use less is one for others wherever they lie in it."""

_MOST_HIDDEN = 0.9
"""A window that shows a larger share of the pixels as black, or as white, is one for others."""

_NEARLY_BLACK, _NEARLY_WHITE = 1 / 256, 255 / 256
_WHITE = 65535
_BLOCK_PX = 1 << 20


@dataclass(frozen=True, slots=True)
class Window:
    """A window of interest; `explanation` is the file's own word for it, or ""."""

    center: float
    width: float
    explanation: str = ""


@dataclass(frozen=True, slots=True)
class Rescale:
    """Modality value = `slope` x stored value + `intercept`."""

    slope: float = 1.0
    intercept: float = 0.0

    def of(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the modality value of every stored value, float64 of the same shape."""
        return values * self.slope + self.intercept


@dataclass(frozen=True, slots=True)
class LookupTable:
    """A modality or VOI table; inputs beyond either end take the value of that end.

    Attributes:
        first: The input that the first entry belongs to.
        entries: Outputs, uint16 ``(n,)``.
        bits: Outputs are shares of 2**bits - 1; 1 to 16 in a VOI table, and without a meaning in a
            modality table, whose outputs are values.
    """

    first: int
    entries: NDArray[np.uint16]
    bits: int

    def of(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the output for every input, float64 of the same shape."""
        index = np.clip(np.rint(values) - self.first, 0, len(self.entries) - 1)
        outputs: NDArray[np.float64] = self.entries[index.astype(np.intp)].astype(np.float64)
        return outputs

    def between(self, lowest: float, highest: float) -> NDArray[np.uint16]:
        """Return the entries ``(n,)``, 1 or more, that inputs from `lowest` to `highest` have."""
        last = len(self.entries) - 1
        start, end = (int(np.clip(one - self.first, 0, last)) for one in (lowest, highest))
        return self.entries[start : end + 1]


@dataclass(frozen=True, slots=True)
class Grayscale:
    """How one file's stored values become grey.

    Attributes:
        bits_stored: 1 to 16.
        signed: Whether stored values are two's complement.
        padding: Lowest and highest stored value that mark "no image here", or None.
        modality: Rescale or table; the default changes nothing.
        voi: Table, window or None.
        voi_function: "LINEAR", "LINEAR_EXACT" or "SIGMOID"; how a window is applied.
        inverted: Whether the lowest value is white (MONOCHROME1, or presentation LUT INVERSE).
    """

    bits_stored: int
    signed: bool = False
    padding: tuple[int, int] | None = None
    modality: Rescale | LookupTable = Rescale()
    voi: LookupTable | Window | None = None
    voi_function: str = "LINEAR"
    inverted: bool = False


_UNTOUCHED = Grayscale(bits_stored=8)


def codes(
    stored: NDArray[Any], bits_stored: int, signed: bool, overlay_bits: bool = False
) -> NDArray[Any]:
    """Return stored values as plain codes 0 .. 2**bits_stored - 1, high bits cleared.

    Args:
        stored: Values as decoded ``(rows, columns)``, 8 or 16 bit, signed or not.
        bits_stored: How many low bits hold the pixel.
        signed: Whether these bits are two's complement.
        overlay_bits: Whether the file keeps an overlay in the bits above (a retired practice).

    Returns:
        Codes ``(rows, columns)``, uint8 or uint16; `stored` itself where nothing had to change.

    Raises:
        DicomError: A pixel does not fit `bits_stored`.

    Source: DICOM PS3.5 8.1.1.
    """
    width = 8 * stored.dtype.itemsize
    if width < bits_stored:  # a codestream of fewer bits than the header allows
        stored, width = stored.astype(f"{stored.dtype.kind}2"), 16
    plain = stored.view(f"u{stored.dtype.itemsize}")
    if bits_stored >= width:
        return plain
    mask = (1 << bits_stored) - 1
    if not overlay_bits and int(plain.max()) > mask:
        _require_sign_extension(plain, bits_stored, signed, width)
    low_bits: NDArray[Any] = plain & plain.dtype.type(mask)
    return low_bits


def bits_of(outputs: NDArray[Any]) -> int:
    """Return the bits that the largest of outputs, of any shape and dtype, takes: at least 1."""
    return max(1, int(outputs.max()).bit_length())


def stored_range(bits_stored: int, signed: bool) -> tuple[int, int]:
    """Return the lowest and the highest value that can be stored."""
    count = 1 << bits_stored
    return (-count // 2, count // 2 - 1) if signed else (0, count - 1)


def render(stored_codes: NDArray[Any], rules: Grayscale) -> NDArray[Any]:
    """Return the picture: 0 is black and air, the largest value of the dtype white and bone.

    Args:
        stored_codes: From :func:`codes`, ``(rows, columns)`` uint8 or uint16.
        rules: The file's own rules.

    Returns:
        ``(rows, columns)``, C-contiguous. uint8 for a file of at most 8 bits without modality
        transformation, table or window: 8-bit MONOCHROME2 comes back untouched, MONOCHROME1 as
        255 - x, fewer bits are stretched to 0..255. Else uint16 over 0..65535: through the file's
        table or window; without one from the 0.1 % to the 99.9 % quantile of the pixels (over
        the whole range of values where the file has at most 8 bits). Padding is black. An image
        of one value is black.
    """
    if rules == _UNTOUCHED:
        return np.ascontiguousarray(stored_codes, np.uint8)
    if rules.bits_stored <= 8 and rules.voi is None and rules.modality == Rescale():
        return _apply(_plain_table(rules), stored_codes)
    return _apply(_full_table(stored_codes, rules), stored_codes)


def fitted(
    stored_codes: NDArray[Any], rules: Grayscale, others: Iterable[Window] = ()
) -> tuple[Grayscale, str]:
    """Return rules without a window or a table that is evidently one for other values.

    A window or a table is for other values

    - where it shows nearly all pixels black, or white;
    - where the pixels use only its darkest or its brightest quarter, or no more than an eighth.

    A window is also where it is for one bit more than the pixels end with, and where it is half as
    wide again as all values that the file can store, such as one for 16 bits over 12-bit pixels.

    It is left out, and the pixels' own range counts. A table that shows them too dark is kept, but
    white becomes the largest value of the bits that its outputs take.

    Args:
        stored_codes: From :func:`codes`, ``(rows, columns)`` uint8 or uint16.
        rules: The file's own rules.
        others: Its further windows; the first of them that fits takes the place of the window that
            is left out.

    Returns:
        The rules, and what was wrong with them, in words; "" where nothing was.
    """
    if rules.voi is None:
        return rules, ""
    if isinstance(rules.voi, LookupTable) and rules.bits_stored > 8:
        brighter, words = _fitted_table(stored_codes, rules, rules.voi)
        if words:
            return brighter, words
    found = _misfit(stored_codes, rules, rules.voi)
    if not found:
        return rules, ""
    words = f"{_in_words(rules.voi)} is one for other values, for {found}; it is left out"
    for window in others:
        tried = replace(rules, voi=window)
        if not _misfit(stored_codes, tried, window):
            return tried, f"{words}, and {_in_words(window)} is taken"
    return replace(rules, voi=None, voi_function="LINEAR"), words


def _in_words(voi: LookupTable | Window) -> str:
    if isinstance(voi, Window):
        return f"the window (0028,1050) Center {voi.center:g}, (0028,1051) Width {voi.width:g}"
    return "the (0028,3010) VOI LUT"


def _misfit(stored_codes: NDArray[Any], rules: Grayscale, voi: LookupTable | Window) -> str:
    """Return why a window or a table can be none for these pixels, in words; "" where it can."""
    padding, values = _is_padding(rules), _modality_values(rules)
    possible = values[~padding] if not padding.all() else values
    span = float(possible.max() - possible.min())
    if isinstance(voi, Window) and voi.width > _WIDER * (span + 1):
        return f"these pixels can differ by {span:g} at most"
    some = stored_codes[:: max(1, stored_codes.size // _BLOCK_PX)]
    counts = _histogram(some, padding)
    low, high = _robust_bounds(counts, values)
    if low == high:
        return ""
    ends = np.clip(_shares(np.array([low, high]), rules), 0, 1)
    if isinstance(voi, Window) and _has_spare_bit(stored_codes, rules, voi):
        return f"the pixels end at {(1 << round(np.log2(voi.width))) // 2 - 1}, one bit less"
    at_an_end = min(ends.max(), 1 - ends.min()) * 2**_UNUSED_BITS <= 1
    if rules.bits_stored > 8 and (at_an_end or np.ptp(ends) <= _LEAST_USED):
        return f"the pixels lie between {low:g} and {high:g}"
    return _hidden(_shares(values, rules), counts)


def _has_spare_bit(stored_codes: NDArray[Any], rules: Grayscale, window: Window) -> bool:
    """Return whether a window spans all values of some bits, and the pixels those of one bit less.

    Their largest value is then that of so many bits to the unit, where a sensor is white.
    """
    bits = round(np.log2(window.width))
    whole = abs(window.width - 2**bits) <= 1 and abs(window.center - window.width / 2) <= 1
    plain = rules.modality == Rescale() and not rules.signed and rules.padding is None
    return whole and plain and bits > 8 and int(stored_codes.max()) == 2 ** (bits - 1) - 1


def _hidden(shares: NDArray[np.float64], counts: NDArray[np.int64]) -> str:
    """Return that nearly all pixels are black, or white, in words; "" where they are not.

    Pixels of the least and of the largest value do not count where there are others: they
    may be a ground without an image.

    Args:
        shares: Of white, that each value has.
        counts: Pixels of each value.
    """
    present = np.flatnonzero(counts)
    shares, counts = shares[present[1:-1]], counts[present[1:-1]]
    for name, is_end in (("black", shares < _NEARLY_BLACK), ("white", shares > _NEARLY_WHITE)):
        hidden = float(counts[is_end].sum() / max(1, counts.sum()))
        if hidden > _MOST_HIDDEN:
            return f"it shows {hidden:.0%} of the pixels {name}".replace("%", " %")
    return ""


def _fitted_table(
    stored_codes: NDArray[Any], rules: Grayscale, table: LookupTable
) -> tuple[Grayscale, str]:
    present = _histogram(stored_codes, _is_padding(rules)) > 0
    if not present.any():
        return rules, ""
    bits = bits_of(table.of(_modality_values(rules)[present]))
    if bits + _UNUSED_BITS > table.bits:
        return rules, ""
    words = (
        f"the (0028,3010) VOI LUT spans {table.bits} bits, but over these pixels it gives {bits} at"
        f" most: white is the largest value of {bits} bits"
    )
    return replace(rules, voi=replace(table, bits=bits)), words


def completed(stored_codes: NDArray[Any], rules: Grayscale) -> Grayscale:
    """Return `rules` with the window that :func:`render` takes where the file names none.

    That is so for files of more than 8 bits. For all others, and for a picture of one value, the
    rules come back as they are.

    Args:
        stored_codes: From :func:`codes`, ``(rows, columns)`` uint8 or uint16.
        rules: The file's own rules.
    """
    if rules.voi is not None or rules.bits_stored <= 8:
        return rules
    counts = _histogram(stored_codes, _is_padding(rules))
    low, high = _robust_bounds(counts, _modality_values(rules))
    if low == high:
        return rules
    # The inverse of `_windowed`: its first value is black and its last one white.
    return replace(rules, voi=Window((low + high + 1) / 2, high - low + 1), voi_function="LINEAR")


def as_one_table(rules: Grayscale) -> LookupTable:
    """Return modality and values of interest as one table of 16 bits over the stored values.

    Padding and inversion are left out. `rules` must be complete (see :func:`completed`).
    """
    plain = replace(rules, padding=None, inverted=False)
    entries = _full_table(np.zeros(0, np.uint16), plain)
    half = len(entries) // 2
    if rules.signed:  # codes begin with 0, stored values with the least
        return LookupTable(-half, np.roll(entries, half), 16)
    return LookupTable(0, entries, 16)


def _require_sign_extension(
    plain: NDArray[Any], bits_stored: int, signed: bool, width: int
) -> None:
    mask = (1 << bits_stored) - 1
    above = plain[plain > mask]
    if signed and int(above.min()) >= (1 << width) - (1 << (bits_stored - 1)):
        return
    raise DicomError(
        f"(0028,0101) Bits Stored is {bits_stored} but a pixel holds {int(above.max())}; the file"
        " may be mislabelled: correct Bits Stored or export it again"
    )


def _stored_values(rules: Grayscale) -> NDArray[np.float64]:
    """Return the stored value that every code stands for, float64 (2**bits_stored,)."""
    count = 1 << rules.bits_stored
    values = np.arange(count, dtype=np.float64)
    if rules.signed:
        values[count // 2 :] -= count
    return values


def _is_padding(rules: Grayscale) -> NDArray[np.bool_]:
    values = _stored_values(rules)
    if rules.padding is None:
        return np.zeros(len(values), bool)
    low, high = min(rules.padding), max(rules.padding)
    return (values >= low) & (values <= high)


def _plain_table(rules: Grayscale) -> NDArray[np.uint8]:
    """Return code -> grey, uint8 (2**bits_stored,), for a file without transformations."""
    values = _stored_values(rules)
    values -= values.min()
    grey = np.rint(values * (255 / (len(values) - 1))).astype(np.uint8)
    if rules.inverted:
        grey = 255 - grey
    grey[_is_padding(rules)] = 0
    return grey


def _full_table(stored_codes: NDArray[Any], rules: Grayscale) -> NDArray[np.uint16]:
    """Return code -> grey, uint16 (2**bits_stored,)."""
    padding = _is_padding(rules)
    values = _modality_values(rules)
    if rules.voi is None:
        low, high = float(values.min()), float(values.max())
        if rules.bits_stored > 8:
            low, high = _robust_bounds(_histogram(stored_codes, padding), values)
        if low == high:  # one value, or padding alone
            return np.zeros(len(values), np.uint16)
        share = (values - low) / (high - low)
    else:
        share = _shares(values, rules)
    grey = np.rint(np.clip(share, 0, 1) * _WHITE).astype(np.uint16)
    if rules.inverted:
        grey = _WHITE - grey
    grey[padding] = 0
    return grey


def _modality_values(rules: Grayscale) -> NDArray[np.float64]:
    return rules.modality.of(_stored_values(rules))


def _shares(values: NDArray[np.float64], rules: Grayscale) -> NDArray[np.float64]:
    """Return the share of white by the file's table or window (not yet clipped to 0..1)."""
    if isinstance(rules.voi, LookupTable):
        return rules.voi.of(values) / ((1 << rules.voi.bits) - 1)
    assert rules.voi is not None
    return _windowed(values, rules.voi, rules.voi_function)


def _windowed(values: NDArray[np.float64], window: Window, function: str) -> NDArray[np.float64]:
    """Return each value's share of white through a window (not yet clipped to 0..1).

    Source: DICOM PS3.3 C.11.2.1.2.1 (LINEAR), C.11.2.1.3.1 (SIGMOID), C.11.2.1.3.2 (LINEAR_EXACT).
    """
    if function == "SIGMOID":
        exponent = np.clip(-4 * (values - window.center) / window.width, -700, 700)
        return 1 / (1 + np.exp(exponent))
    if function == "LINEAR_EXACT":
        return (values - window.center) / window.width + 0.5
    if window.width == 1:  # the standard's formula divides by width - 1
        return (values > window.center - 0.5).astype(np.float64)
    return (values - (window.center - 0.5)) / (window.width - 1) + 0.5


def _robust_bounds(counts: NDArray[np.int64], values: NDArray[np.float64]) -> tuple[float, float]:
    """Return the 0.1 % and 99.9 % quantiles of the pixels, by how many have each value.

    Where these coincide (nearly all pixels equal) it is the smallest and largest value instead.
    """
    present = np.flatnonzero(counts)
    if present.size == 0:
        return 0.0, 0.0
    order = present[np.argsort(values[present], kind="stable")]
    reached = np.cumsum(counts[order])
    low, high = (
        float(values[order[np.searchsorted(reached, share * reached[-1])]])
        for share in ROBUST_SHARES
    )
    return (low, high) if high > low else (float(values[order[0]]), float(values[order[-1]]))


def _histogram(stored_codes: NDArray[Any], padding: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return how many pixels have each code; none has one that is padding."""
    # In blocks, because bincount widens its whole input to 64 bit.
    flat = stored_codes.reshape(-1)
    counts = np.zeros(len(padding), np.int64)
    for start in range(0, flat.size, _BLOCK_PX):
        counts += np.bincount(flat[start : start + _BLOCK_PX], minlength=len(padding))
    counts[padding] = 0
    return counts


def _apply(table: NDArray[Any], stored_codes: NDArray[Any]) -> NDArray[Any]:
    """Return `table[stored_codes]`."""
    pixels = np.empty(stored_codes.shape, table.dtype)
    flat, out = stored_codes.reshape(-1), pixels.reshape(-1)
    for start in range(0, flat.size, _BLOCK_PX):
        block = slice(start, start + _BLOCK_PX)
        # "clip" is only there for speed: every code is in range, and it spares a buffered copy.
        np.take(table, flat[block], out=out[block], mode="clip")
    return pixels
