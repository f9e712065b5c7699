"""Run-length text to mask and back, in the forms that the SIIM-ACR data set and Kaggle use.

A run-length text lists the pixels of a mask as runs, counted DOWN the columns, the first column
first: pixel ``n`` is row ``n % rows`` of column ``n // rows``. Two forms are in use:

``"relative"``
    The SIIM form: pairs ``gap length``, where the gap counts the background pixels since the END of
    the previous run (for the first run: since the top left pixel, so a mask that begins there has
    a first gap of 0).
``"absolute"``
    Kaggle's older form: pairs ``start length``, where the start is the number of the first pixel,
    counted from 1.

In both, an empty mask is written ``-1``. One image may have several texts (rows of the table); its
one mask is their :func:`union`.

Source: the annotation tables of the SIIM-ACR Pneumothorax Segmentation challenge (2019). That the
first gap counts from 0 shows in the table of stage 2: only so do runs that the border of the image
cuts off begin in the first row (363 of them) and end in the last (397).
"""

import operator
import re
from collections.abc import Iterable
from typing import Any, Final, Literal, get_args

import cv2
import numpy as np
from numpy.typing import NDArray

from pleura.errors import OutsideError, RleError, UsageError, ZeroRunError

Form = Literal["relative", "absolute"]

EMPTY: Final = "-1"
"""The text of a mask without a pixel."""

MAX_PIXELS: Final = 65_535 * 65_535
"""More pixels than this no radiograph has (DICOM's Rows and Columns are 16-bit numbers)."""

_FORMS: Final = get_args(Form)
_PLAIN: Final = b"0123456789 \t\r\n"
_WAY_OUT: Final = "a mask is written as pairs of whole numbers, an empty one as -1"


def rle2mask(text: str, shape: tuple[int, int], *, form: Form = "relative") -> NDArray[np.bool_]:
    """Return the mask that a run-length text describes.

    Args:
        text: Pairs of whole numbers parted by blanks, or ``-1`` for an empty mask. Runs that touch
            (a gap of 0) are allowed.
        shape: ``(rows, columns)`` of the image.
        form: The first number of a pair: ``"relative"``, the pixels since the end of the run
            before (SIIM-ACR); ``"absolute"``, the place of the run's first pixel, from 1 (Kaggle's
            usual form).

    Returns:
        Bool array of shape `shape`, writable. It is contiguous down the columns (Fortran order):
        call ``np.ascontiguousarray`` where row order in memory matters.

    Raises:
        RleError: The text is malformed, or a run leaves the image.
        UsageError: The shape is not two positive whole numbers, or the form is unknown.

    Examples:
        Pixels are counted down the columns, gaps from the end of the run before:

        >>> rle2mask("1 2 2 1", (3, 2)).astype(int)
        array([[0, 0],
               [1, 0],
               [1, 1]])

        The first gap counts from 0, so a mask that begins at the top left pixel begins with 0 (in
        the absolute form, with 1):

        >>> rle2mask("0 1", (2, 2)).astype(int)
        array([[1, 0],
               [0, 0]])
        >>> bool((rle2mask("1 1", (2, 2), form="absolute") == rle2mask("0 1", (2, 2))).all())
        True
    """
    rows, columns = _checked_shape(shape)
    edges = _edges(text, (rows, columns), form)
    flat = np.zeros(rows * columns, np.bool_)
    if edges.size:
        inside = np.frombuffer(b"\1\0" * (edges.size // 2), np.bool_)[:-1]
        flat[edges[0] : edges[-1]] = inside.repeat(edges[1:] - edges[:-1])
    return flat.reshape(columns, rows).T


def mask2rle(mask: NDArray[Any], *, form: Form = "relative") -> str:
    """Return the run-length text of a mask, ``-1`` where it is empty.

    The text is canonical: runs that touch are one run, so equal masks have equal texts. A mask in
    Fortran order, such as :func:`rle2mask` returns, is read without a copy.

    Args:
        mask: Shape ``(rows, columns)``, bool or integers; every value but 0 counts as inside.
        form: The first number of a pair: ``"relative"``, the pixels since the end of the run
            before (SIIM-ACR); ``"absolute"``, the place of the run's first pixel, from 1 (Kaggle's
            usual form).

    Raises:
        UsageError: The mask is not two-dimensional, has no pixels, or holds probabilities (floats),
            or the form is unknown.

    Examples:
        >>> mask2rle(np.array([[0, 0], [1, 0], [1, 1]]))
        '1 2 2 1'
        >>> mask2rle(np.array([[0, 0], [1, 0], [1, 1]]), form="absolute")
        '2 2 6 1'
        >>> mask2rle(np.zeros((3, 2), bool))
        '-1'
        >>> mask2rle(np.ones((3, 2), bool))
        '0 6'
    """
    _checked_form(form)
    edges = _mask_edges(_checked_mask(mask))
    if not edges.size:
        return EMPTY
    return _text(edges, form)


def runs(
    text: str, shape: tuple[int, int] | None = None, *, form: Form = "relative"
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the starts and lengths of a text's runs, without making the mask.

    Args:
        text: As for :func:`rle2mask`.
        shape: ``(rows, columns)``; ``None`` checks all but the border of the image.
        form: As for :func:`rle2mask`.

    Returns:
        ``(starts, lengths)``, two int64 arrays of one entry per run, both empty for ``-1``. Starts
        count pixels from 0 down the columns, whatever the form, and never decrease.

    Raises:
        RleError: The text is malformed, or a run leaves the image.
        UsageError: The shape is not two positive whole numbers, or the form is unknown.

    Examples:
        >>> runs("1 2 2 1")
        (array([1, 5]), array([2, 1]))
    """
    edges = _edges(text, None if shape is None else _checked_shape(shape), form)
    return edges[0::2].copy(), edges[1::2] - edges[0::2]


def union(
    texts: Iterable[str], shape: tuple[int, int], *, form: Form = "relative"
) -> NDArray[np.bool_]:
    """Return the one mask of an image that has any number of run-length texts.

    The order of the texts does not matter. ``-1`` contributes nothing, and no text at all gives an
    empty mask.

    Args:
        texts: As for :func:`rle2mask`, each.
        shape: ``(rows, columns)`` of the image.
        form: As for :func:`rle2mask`.

    Returns:
        Bool array of shape `shape`, in Fortran order.

    Raises:
        RleError: A text is malformed, or a run leaves the image.
        UsageError: `texts` is a single str, the shape is not two positive whole numbers, or the
            form is unknown.

    Examples:
        >>> union(["0 2", "1 2"], (2, 2)).astype(int)
        array([[1, 1],
               [1, 0]])
    """
    masks = (rle2mask(text, shape, form=form) for text in _checked_texts(texts))
    whole = next(masks, None)
    if whole is None:
        return rle2mask(EMPTY, shape, form=form)
    for mask in masks:
        whole |= mask
    return whole


def overlap_px(
    texts: Iterable[str], shape: tuple[int, int] | None = None, *, form: Form = "relative"
) -> int:
    """Return how many pixels more than one of an image's texts covers, without making a mask.

    Args:
        texts: As for :func:`union`.
        shape: ``(rows, columns)``; ``None`` checks all but the border of the image, and does not
            change the count.
        form: As for :func:`rle2mask`.

    Raises:
        RleError: A text is malformed, or a run leaves the image.
        UsageError: As for :func:`union`.

    Examples:
        >>> overlap_px(["0 3", "2 2", "2 1"])
        1
    """
    checked = None if shape is None else _checked_shape(shape)
    lengths, depths = _depths([_edges(text, checked, form) for text in _checked_texts(texts)])
    return int(lengths[depths > 1].sum())


def united(texts: Iterable[str], *, form: Form = "relative", to: Form = "relative") -> str:
    """Return the text of the union of an image's texts, without a mask.

    It is canonical: equal to :func:`mask2rle` of :func:`union`.

    Args:
        texts: As for :func:`union`.
        form: The form that they are written in.
        to: The form of the result.

    Raises:
        RleError: A text is malformed.
        UsageError: As for :func:`union`.

    Examples:
        >>> united(["0 3", "2 2", "4 1"])
        '0 5'
        >>> united(["-1"])
        '-1'
    """
    _checked_form(to)
    lengths, depths = _depths([_edges(text, None, form) for text in _checked_texts(texts)])
    return _text_where(lengths, depths > 0, to)


def agreed(
    drawn: Iterable[Iterable[str]], *, form: Form = "relative", to: Form = "relative"
) -> str:
    """Return the text of the pixels that more than half of several readers drew.

    Args:
        drawn: Of each reader the texts, as for :func:`union`; ``-1``, or none, for nothing.
        form: The form that they are written in.
        to: The form of the result.

    Raises:
        RleError: A text is malformed.
        UsageError: As for :func:`union`.

    Examples:
        >>> agreed([["0 3"], ["1 3"], ["-1"]])
        '1 2'
    """
    _checked_form(to)
    own = [united(texts, form=form) for texts in drawn]
    lengths, depths = _depths([_edges(text, None, "relative") for text in own])
    return _text_where(lengths, 2 * depths > len(own), to)


def area_px(text: str, *, form: Form = "relative") -> int:
    """Return how many pixels a text covers, 0 for ``-1``, without making the mask.

    Raises:
        RleError: The text is malformed.
        UsageError: The form is unknown.

    Examples:
        >>> area_px("1 2 2 1")
        3
    """
    return int(runs(text, form=form)[1].sum())


def other_form(form: Form) -> Form:
    """Return the run-length form that `form` is not."""
    return "absolute" if form == "relative" else "relative"


def _edges(text: str, shape: tuple[int, int] | None, form: Form) -> NDArray[np.int64]:
    """Return start, end, start, end ... of the runs: 0-based, ends exclusive, never decreasing."""
    _checked_form(form)
    numbers = _numbers(text)
    if not numbers.size:
        return numbers
    edges = numbers.cumsum() if form == "relative" else _absolute_edges(numbers)
    pixels = MAX_PIXELS if shape is None else shape[0] * shape[1]
    if edges[-1] > pixels:
        raise OutsideError(_outside(numbers, edges, shape, form))
    return edges


def _text(edges: NDArray[np.int64], form: Form) -> str:
    """Return the text of runs, given as :func:`_edges` returns them, at least one."""
    numbers = edges.copy()
    numbers[1::2] -= edges[0::2]
    if form == "relative":
        numbers[2::2] -= edges[1:-1:2]
    else:
        numbers[0::2] += 1
    # One format call takes half as long as joining the str() of each number.
    return ("%d " * numbers.size % tuple(numbers.tolist()))[:-1]


def _text_where(lengths: NDArray[np.int64], wanted: NDArray[np.bool_], form: Form) -> str:
    """Return the text of those stretches that are wanted; the first begins at pixel 0."""
    inside = np.concatenate([[False], wanted, [False]])
    places = np.concatenate([[0], np.cumsum(lengths)])
    edges = places[inside[:-1] != inside[1:]]
    return _text(edges, form) if edges.size else EMPTY


def _depths(edges: list[NDArray[np.int64]]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the lengths of the stretches between all edges, and how many texts cover each.

    The first stretch begins at pixel 0.
    """
    places = np.concatenate([np.zeros(1, np.int64), *edges])
    steps = np.concatenate([[0], *(np.tile([1, -1], own.size // 2) for own in edges)])
    starts = np.unique(places)
    depths = np.cumsum(np.bincount(np.searchsorted(starts, places), steps).astype(np.int64))
    return np.diff(starts), depths[:-1]


def _absolute_edges(numbers: NDArray[np.int64]) -> NDArray[np.int64]:
    edges = numbers.copy()
    edges[0::2] -= 1
    edges[1::2] += edges[0::2]
    if edges[0] < 0:
        raise RleError("a run starts at 0, but absolute starts count from 1; add 1 to every start")
    backward = np.flatnonzero(edges[2::2] < edges[1:-1:2])
    if backward.size:
        at = 2 * int(backward[0])
        raise RleError(
            f"the run {numbers[at + 2]} {numbers[at + 3]} starts before the end of the run "
            f"{numbers[at]} {numbers[at + 1]}; absolute starts rise: sort and merge the runs, or "
            "read the text with form='relative' if its first numbers are gaps"
        )
    return edges


def _outside(
    numbers: NDArray[np.int64], edges: NDArray[np.int64], shape: tuple[int, int] | None, form: Form
) -> str:
    if shape is None:
        image, pixels = "any radiograph", MAX_PIXELS
    else:
        image, pixels = f"an image of {shape[0]} x {shape[1]} (rows x columns)", shape[0] * shape[1]
    says = f"the runs end at pixel {edges[-1]}, but {image} has no more than {pixels} pixels; "
    if form == "relative" and _is_absolute(numbers, pixels):
        return says + "this looks like Kaggle's absolute form; read it with form='absolute'"
    return says + "check that the text belongs to an image of this size"


def _is_absolute(numbers: NDArray[np.int64], pixels: int) -> bool:
    try:
        return bool(_absolute_edges(numbers)[-1] <= pixels)
    except RleError:
        return False


def _numbers(text: str) -> NDArray[np.int64]:
    """Return the numbers of a text, an even count of them, or none for the empty mark."""
    if not isinstance(text, str):
        raise RleError(f"the run-length text is {_kind(text)}, not text; {_WAY_OUT}")
    if text.strip() == EMPTY:
        return np.empty(0, np.int64)
    raw = text.encode("ascii", "replace")
    if raw.translate(None, _PLAIN) or not raw or raw.isspace():
        raise RleError(_malformed(text))
    # In this mode numpy reads decimal numbers, and holds those beyond int64 at its largest.
    numbers = np.fromstring(raw, np.int64, sep=" ")
    if numbers.size % 2:
        raise RleError(
            f"the run-length text holds an odd count of numbers ({numbers.size}), but they come in "
            f"pairs; it may be cut off; {_WAY_OUT}"
        )
    if numbers[numbers.argmax()] > MAX_PIXELS:
        raise RleError(
            f"the run-length text holds the number {_largest(text)}, more than the pixels of any "
            f"radiograph ({MAX_PIXELS}); check that the text is whole"
        )
    if np.count_nonzero(numbers[1::2]) < numbers.size // 2:
        at = int(np.flatnonzero(numbers[1::2] == 0)[0])
        raise ZeroRunError(
            f"run {at + 1} ({numbers[2 * at]} 0) has length 0, but a run is 1 pixel or longer; "
            "leave it out, adding its gap to the next one's"
        )
    return numbers


def _malformed(text: str) -> str:
    tokens = text.split()
    if not tokens:
        return f"the run-length text is empty; {_WAY_OUT}"
    if EMPTY in tokens:
        return (
            f"the empty mark -1 stands among {len(tokens) - 1} other numbers, but it stands alone; "
            f"{_WAY_OUT}"
        )
    bad = next((token for token in tokens if not re.fullmatch("[0-9]+", token)), text)
    if re.fullmatch("-[0-9]+", bad):
        return f"the run-length text holds the negative number {_short(bad)}; {_WAY_OUT}"
    return f"the run-length text holds {_short(repr(bad))}, not a whole number; {_WAY_OUT}"


def _largest(text: str) -> str:
    return _short(max((token.lstrip("0") for token in text.split()), key=lambda t: (len(t), t)))


def _short(word: str) -> str:
    return word if len(word) <= 40 else f"{word[:40]}..."


def _kind(value: object) -> str:
    return f"{_short(repr(value))} ({type(value).__name__})"


def _mask_edges(mask: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return the edges of a bool mask's runs, as :func:`_edges` does."""
    used = np.flatnonzero(mask.any(axis=0))
    if not used.size:
        return used
    first, last = int(used[0]), int(used[-1])
    columns = mask[:, first : last + 1].T
    if not columns.flags.c_contiguous:
        # OpenCV transposes in blocks that fit the cache, several times faster than numpy.
        columns = cv2.transpose(columns.T.view(np.uint8)).view(np.bool_)
    flat = columns.reshape(-1)
    edges = np.flatnonzero(flat[1:] != flat[:-1])
    edges += 1
    if flat[0] or flat[-1]:
        opening, closing = np.flatnonzero(flat[:1]), np.flatnonzero(flat[-1:]) + flat.size
        edges = np.concatenate([opening, edges, closing])
    edges += first * mask.shape[0]
    return edges


def _checked_mask(mask: NDArray[Any]) -> NDArray[np.bool_]:
    if not isinstance(mask, np.ndarray) or mask.ndim != 2 or not mask.size:
        found = f"shape {mask.shape}" if isinstance(mask, np.ndarray) else _kind(mask)
        raise UsageError(f"a mask is an array of (rows, columns), but this one is {found}")
    if mask.dtype == np.bool_:
        return mask
    if mask.dtype.kind not in "iu":
        raise UsageError(
            f"a mask holds bool or whole numbers, but this one holds {mask.dtype}; cut it with a "
            "threshold first, as in mask >= 0.5"
        )
    whole: NDArray[np.bool_] = mask != 0
    return whole


def _checked_shape(shape: tuple[int, int]) -> tuple[int, int]:
    try:
        rows, columns = map(operator.index, shape)
    except (TypeError, ValueError):
        rows = columns = 0
    if rows < 1 or columns < 1:
        raise UsageError(f"a shape is (rows, columns), two whole numbers above 0, not {shape!r}")
    if rows * columns > MAX_PIXELS:
        raise UsageError(f"shape {shape!r} has more pixels than any radiograph ({MAX_PIXELS})")
    return rows, columns


def _checked_form(form: Form) -> None:
    if form not in _FORMS:
        raise UsageError(f"unknown run-length form {form!r}; use 'relative' or 'absolute'")


def _checked_texts(texts: Iterable[str]) -> Iterable[str]:
    if isinstance(texts, str):
        raise UsageError("expected several run-length texts, found one str; put it into a list")
    return texts
