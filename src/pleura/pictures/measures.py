"""What a picture says by itself: its faults, where the body is, and a hash of how it looks.

Everything is measured on a thumb of 128 x 128 pixels, so that a file costs hardly more than its
decoding. What an upright radiograph looks like was learned from real ones: ``orientation.npz``
beside this module holds one linear map per posture of a radiograph, and three small networks that
judge the sides. ``python -m recipes.measures`` fits them to nearly 700 radiographs of NIH
ChestX-ray14 (71 of them as the SIIM-ACR challenge published them), to made-up phantoms, and to
turned, inverted and cropped copies of both. The file holds weights for 24 x 24 cells, each summed
up over thousands of such copies; no radiograph is stored in it.

``docs/explanation/pictures.md`` says how often each measure is right and how often it is wrong.

Source:
    Wang et al., "ChestX-ray8: Hospital-scale Chest X-ray Database and Benchmarks", CVPR 2017 (the
    radiographs); Zauner, "Implementation and Benchmarking of Perceptual Image Hash Functions", 2010
    (the hash from the signs of cosine coefficients).
"""

import functools
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

ORIENTATION = Path(__file__).with_name("orientation.npz")

POSTURES: tuple[tuple[str, ...], ...] = (
    (),
    ("upside-down",),
    ("rotated",),  # to the left
    ("rotated",),  # to the right
    ("hard-cropped",),
    ("inverted",),
    ("inverted", "upside-down"),
    ("inverted", "rotated"),
    ("inverted", "rotated"),
    ("inverted", "hard-cropped"),
)
"""The faults of each posture that ``orientation.npz`` has a map for, in its order."""

LOOK_SIDE = 24
"""Cells per side of the look that the maps are applied to."""

# Margins above which a posture's fault is reported. What they cost: docs/explanation/pictures.md.
INVERTED_FROM = 1.0
UPSIDE_DOWN_FROM = 0.5
ROTATED_FROM = 0.5
HARD_CROPPED_FROM = 1.0
MIRRORED_FROM = 9.0

BLANK_SPREAD = 4.0
"""Grey levels of 255: up to here a picture is blank."""

LOW_CONTRAST_SPREAD = 48.0
"""Grey levels of 255: below it a picture has low contrast."""

SATURATED_SHARE = 0.1
"""Of the picture inside its frame: from here on it is burnt out."""

FRAME_SHARE = 0.2
"""Of the picture: from here on an even frame is wide."""

_THUMB = 128
_WAVES = 24
_LONGEST = np.argsort(np.add.outer(np.arange(_WAVES), np.arange(_WAVES)), axis=None, kind="stable")
_LONGEST = _LONGEST[1:257]
_BODY_SIDE = 32
_CELLS, _FINEST = 64, 256
_EVEN = 6  # grey levels within which the rows of a frame differ; JPEG leaves about 3
_STEP, _ABRUPT = 12, 0.25  # behind a frame a quarter of the picture differs by 12 grey levels
_WHITE = 253
_PALE = 250
_LEAST_INSIDE = 32  # of 128: a frame that leaves less is none
_DARK = 0.1  # of the way from the darkest to the lightest grey: open background lies below


@dataclass(frozen=True, slots=True)
class Maps:
    """What ``orientation.npz`` holds.

    Attributes:
        weights: ``(10, 576)`` float32: for each posture a weight per cell of the look.
        bias: ``(10,)`` float32: what is added for each posture.
        hidden: ``(96, 576)`` float32: for each inner unit that judges the sides, a weight per cell.
        hidden_bias: ``(96,)`` float32.
        sides: ``(96,)`` float32: the weight of each inner unit; more says more mirrored.
    """

    weights: Floats
    bias: Floats
    hidden: Floats
    hidden_bias: Floats
    sides: Floats


@dataclass(frozen=True, slots=True)
class Picture:
    """What is kept of a picture; plain text and numbers alone.

    Attributes:
        hash: 256 bits (hex) that change little where the picture looks nearly the same.
        body: 32 x 32 bits (hex), row by row: 1 where the body is, 0 for the open background and for
            a frame around the picture.
        spread: Grey levels, of 255, between the darkest and the lightest hundredth.
        white: Share of the picture inside its frame that is white without a grey; black where it
            looks inverted.
        frame: Share of the picture that an even frame takes.
        pale_frame: Whether there is a nearly white edge on all four sides.
        inverted: Margin by which the picture looks inverted rather than not; so too the next three.
        upside_down: Margin for standing on its head.
        rotated: Margin for lying on a side.
        hard_cropped: Margin for being cut out of a radiograph.
        mirrored: Margin for having the heart on the wrong side.
    """

    hash: str
    body: str
    spread: float
    white: float
    frame: float
    pale_frame: bool
    inverted: float
    upside_down: float
    rotated: float
    hard_cropped: float
    mirrored: float

    @property
    def blank(self) -> bool:
        """Whether it shows nothing: nearly one grey value."""
        return self.spread <= BLANK_SPREAD


def measure(pixels: NDArray[np.uint8] | NDArray[np.uint16], maps: Maps | None = None) -> Picture:
    """Return what `pixels` say by themselves.

    Args:
        pixels: ``(rows, columns)``, uint8 or uint16, at least one of each, 0 black (air) to the
            type's largest value white, as in :class:`pleura.dicom.radiograph.Radiograph`. A picture
            that is not square is measured as if it were stretched to one.
        maps: What to read the posture with; None means ``orientation.npz``.
    """
    return measure_thumb(thumb_of(pixels), maps)


def measure_thumb(thumb: NDArray[np.uint8], maps: Maps | None = None) -> Picture:
    """Return what a picture says by itself, from its thumb.

    Args:
        thumb: ``(128, 128)`` uint8, as :func:`thumb_of` returns it.
        maps: As for :func:`measure`.
    """
    top, bottom, left, right = _frame(thumb)
    inside = thumb[top : _THUMB - bottom, left : _THUMB - right]
    levels = np.bincount(inside.ravel(), minlength=256)
    low, high = _spread(levels)
    margins = margins_of(_look(inside), maps or _maps())
    turned = margins["inverted"] > INVERTED_FROM
    lightest = levels[: 256 - _WHITE] if turned else levels[_WHITE:]
    return Picture(
        hash=_hash(inside),
        body=_body(255 - thumb if turned else thumb, (top, bottom, left, right)),
        spread=float(high - low),
        white=float(lightest.sum() / inside.size),
        frame=float(1 - inside.size / thumb.size),
        pale_frame=_pale_frame(thumb),
        inverted=margins["inverted"],
        upside_down=margins["upside-down"],
        rotated=margins["rotated"],
        hard_cropped=margins["hard-cropped"],
        mirrored=margins["mirrored"],
    )


def faults(picture: Picture) -> tuple[str, ...]:
    """Return the codes of what seems wrong with a picture, in the order of the audit's catalogue.

    They are ``blank``, ``inverted``, ``upside-down``, ``rotated``, ``mirrored``, ``hard-cropped``,
    ``saturated``, ``low-contrast`` and ``burned-in-border``. Where one explains another, only the
    first is named: a blank picture is that alone, a frame or a cut is not looked for where greys
    are missing, and a picture is called mirrored where nothing else is wrong. ``mirrored`` is a
    hint: the heart may lie on the right, or in the middle.
    """
    if picture.blank:
        return ("blank",)
    poor = {
        "saturated": picture.white >= SATURATED_SHARE,
        "low-contrast": picture.spread < LOW_CONTRAST_SPREAD,
    }
    framed = picture.frame >= FRAME_SHARE or picture.pale_frame
    found = {
        "inverted": picture.inverted > INVERTED_FROM,
        "upside-down": picture.upside_down > UPSIDE_DOWN_FROM,
        "rotated": picture.rotated > ROTATED_FROM,
        "mirrored": False,
        "hard-cropped": picture.hard_cropped > HARD_CROPPED_FROM
        and not framed
        and not any(poor.values()),
        **poor,
        "burned-in-border": framed and not any(poor.values()),
    }
    found["mirrored"] = picture.mirrored > MIRRORED_FROM and not any(found.values())
    return tuple(code for code, so in found.items() if so)


def outside_body(picture: Picture, cells: Floats) -> float:
    """Return the share of a mask that lies outside the body, 0 for an empty mask.

    Args:
        picture: The mask's picture.
        cells: ``(64, 64)`` float32, what :func:`mask_cells` returns for the mask.
    """
    share = cv2.resize(cells, (_BODY_SIDE, _BODY_SIDE), interpolation=cv2.INTER_AREA)
    total = float(share.sum())
    if total == 0:
        return 0.0
    bits = np.unpackbits(np.frombuffer(bytes.fromhex(picture.body), np.uint8))
    return float(share[bits.reshape(_BODY_SIDE, _BODY_SIDE) == 0].sum()) / total


def mask_cells(mask: NDArray[np.bool_]) -> Floats:
    """Return how much of each cell of a grid over a mask is inside it.

    Args:
        mask: ``(rows, columns)`` bool; fastest where it lies in memory down the columns, as
            :func:`pleura.formats.rle.rle2mask` returns it.

    Returns:
        ``(64, 64)`` float32, 0 to 255, to a hundredth or so; not all 0 for any mask that is not
        empty, up to some 1,000 pixels a side. A large mask is looked at in every fourth pixel or so
        of every fourth column, unless it has none there.
    """
    step = max(1, min(mask.shape) // _FINEST)
    seen = mask[::step, ::step]
    if not seen.any():
        seen = mask
    columns = np.ascontiguousarray(seen.T).view(np.uint8) * np.uint8(255)
    how = cv2.INTER_AREA if min(seen.shape) >= _CELLS else cv2.INTER_NEAREST
    small = cv2.resize(columns, (_CELLS, _CELLS), interpolation=how)
    return np.asarray(small.T, np.float32)


# ------------------------------------------------------------------------------ the thumb


def thumb_of(pixels: NDArray[Any]) -> NDArray[np.uint8]:
    """Return `pixels` as ``(128, 128)`` uint8, by halving and then averaging over areas."""
    return shrink(pixels, _THUMB)


def shrink(pixels: NDArray[Any], side: int) -> NDArray[np.uint8]:
    """Return `pixels` as ``(side, side)`` uint8, by halving and then averaging over areas.

    Halving by exactly two is several times as fast as one step over the whole way.
    """
    picture = np.ascontiguousarray(pixels)
    if picture.dtype != np.uint8:
        picture = cv2.convertScaleAbs(picture, alpha=1 / 257)
    while max(picture.shape) >= 2 * side:
        rows, columns = (_halved(length, side) for length in picture.shape)
        even = picture[: rows * (2 if rows < picture.shape[0] else 1), :]
        even = even[:, : columns * (2 if columns < picture.shape[1] else 1)]
        picture = cv2.resize(even, (columns, rows), interpolation=cv2.INTER_AREA)
    return _resized(picture, side)


def inside_thumb(thumb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return a thumb, ``(128, 128)`` as :func:`thumb_of` gives it, without an even frame."""
    top, bottom, left, right = _frame(thumb)
    return thumb[top : _THUMB - bottom, left : _THUMB - right]


def inside_frame(pixels: NDArray[Any]) -> NDArray[np.uint8]:
    """Return `pixels`, ``(rows, columns)`` uint8 or uint16, as uint8 without an even frame."""
    picture = np.asarray(pixels)
    if picture.dtype != np.uint8:
        picture = cv2.convertScaleAbs(np.ascontiguousarray(picture), alpha=1 / 257)
    top, bottom, left, right = _frame(thumb_of(picture))
    rows, columns = picture.shape
    return picture[
        top * rows // _THUMB : rows - bottom * rows // _THUMB,
        left * columns // _THUMB : columns - right * columns // _THUMB,
    ]


def _halved(length: int, side: int) -> int:
    return length // 2 if length >= 2 * side else length


def _resized(picture: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    grows = min(picture.shape) < side
    how = cv2.INTER_LINEAR if grows else cv2.INTER_AREA
    return np.asarray(cv2.resize(picture, (side, side), interpolation=how), dtype=np.uint8)


def _frame(thumb: NDArray[np.uint8]) -> tuple[int, int, int, int]:
    """Return how many lines of one grey there are at the top, bottom, left and right.

    They count where the picture begins abruptly behind them. The open background beside a body
    does not: how much of it is even depends on window and compression.
    """
    rows, columns = ((thumb.min(axis), thumb.max(axis)) for axis in (1, 0))
    frame = (
        _even_lines(thumb, *rows),
        _even_lines(thumb[::-1], *(ends[::-1] for ends in rows)),
        _even_lines(thumb.T, *columns),
        _even_lines(thumb.T[::-1], *(ends[::-1] for ends in columns)),
    )
    top, bottom, left, right = frame
    if min(_THUMB - top - bottom, _THUMB - left - right) < _LEAST_INSIDE:
        return 0, 0, 0, 0
    return frame


def _even_lines(
    thumb: NDArray[np.uint8], darkest: NDArray[np.uint8], lightest: NDArray[np.uint8]
) -> int:
    """Return how many rows from the first on are of one grey, all together.

    One more is counted: the next may be half frame, half picture.

    Args:
        thumb: Turned so that the side in question is at the top.
        darkest: The darkest grey of each row.
        lightest: The lightest grey of each row.
    """
    if lightest[0] - darkest[0] > _EVEN:
        return 0
    spread = np.maximum.accumulate(lightest) - np.minimum.accumulate(darkest)
    lines = int(np.count_nonzero(spread <= _EVEN)) + 1
    if lines >= _THUMB:
        return 0
    step = cv2.absdiff(thumb[lines], thumb[0])
    return lines if np.count_nonzero(step > _STEP) >= _ABRUPT * _THUMB else 0


def _pale_frame(thumb: NDArray[np.uint8]) -> bool:
    edges = (thumb[0], thumb[-1], thumb[:, 0], thumb[:, -1])
    return all(int(edge.min()) >= _PALE for edge in edges)


def spread_of(picture: NDArray[np.uint8]) -> int:
    """Return how far apart the darkest and the lightest hundredth of pixels are, of any shape."""
    low, high = _spread(np.bincount(picture.ravel(), minlength=256))
    return high - low


def _spread(levels: NDArray[np.int64]) -> tuple[int, int]:
    """Return the grey levels of the darkest and of the lightest hundredth of a histogram."""
    below = levels.cumsum()
    ends = np.searchsorted(below, (0.01 * below[-1], 0.99 * below[-1]))
    return int(ends[0]), int(ends[1])


# ---------------------------------------------------------------------------- the posture


def look_of(pixels: NDArray[Any]) -> Floats:
    """Return a picture's look: what its posture is read from.

    Returns:
        ``(576,)`` float32: 24 x 24 cells inside the frame, row by row, each with its rank among all
        from -1 (darkest) to 1. So a window or a gamma changes little, and inverting a picture
        changes all signs.
    """
    return _look(inside_thumb(thumb_of(pixels)))


def _look(inside: NDArray[np.uint8]) -> Floats:
    return ranked(_resized(inside, LOOK_SIDE)).ravel()


def ranked(picture: NDArray[np.uint8]) -> Floats:
    """Return each pixel's rank among all, from -1 to 1, in the picture's shape.

    Pixels of one grey have one rank.
    """
    levels = np.bincount(picture.ravel(), minlength=256)
    ranks = (levels.cumsum() - 0.5 * levels) * (2 / picture.size) - 1
    return np.asarray(ranks.astype(np.float32)[picture])


def margins_of(look: Floats, maps: Maps) -> dict[str, float]:
    """Return for each fault of posture how far the best posture with it is ahead of those without.

    For ``mirrored`` it is how much more the look resembles a mirrored radiograph than one that is
    not, if it is upright. Where the picture seems inverted, its negative is asked.

    Args:
        look: ``(576,)``, as :func:`look_of` returns it.
        maps: What the margins are computed with.
    """
    values = (maps.weights @ look + maps.bias).tolist()
    margins = {
        code: max(values[place] for place in own) - max(values[place] for place in others)
        for code, (own, others) in _PLACES.items()
    }
    turned = margins["inverted"] > INVERTED_FROM
    return {**margins, "mirrored": _mirrored(-look if turned else look, maps)}


def _mirrored(look: Floats, maps: Maps) -> float:
    """Return the log-odds, twice, of being mirrored; a mirrored look has their negative."""
    other = look.reshape(LOOK_SIDE, LOOK_SIDE)[:, ::-1].ravel()
    units = np.tanh(np.stack([look, other]) @ maps.hidden.T + maps.hidden_bias) @ maps.sides
    return float(units[0] - units[1])


_PLACES = {
    code: (
        [place for place, codes in enumerate(POSTURES) if code in codes],
        [place for place, codes in enumerate(POSTURES) if code not in codes],
    )
    for code in ("inverted", "upside-down", "rotated", "hard-cropped")
}


@functools.cache
def _maps() -> Maps:
    with np.load(ORIENTATION, allow_pickle=False) as stored:
        return Maps(*(stored[field.name].astype(np.float32) for field in fields(Maps)))


# ----------------------------------------------------------------------- the hash, the body


def _hash(inside: NDArray[np.uint8]) -> str:
    """Return the signs of the 256 longest cosine waves, the constant one left out."""
    waves = cv2.dct(ranked(_resized(inside, 64)))[:_WAVES, :_WAVES].ravel()
    return np.packbits(waves[_LONGEST] > 0).tobytes().hex()


def _body(thumb: NDArray[np.uint8], frame: tuple[int, int, int, int]) -> str:
    """Return the map of what is not open background: dark, and reaching the picture's edge."""
    small = _resized(thumb, _BODY_SIDE)
    low, high = _spread(np.bincount(small.ravel(), minlength=256))
    dark = (small < low + _DARK * (high - low)).view(np.uint8)
    top, bottom, left, right = (round(lines * _BODY_SIDE / _THUMB) for lines in frame)
    edged = np.ones((_BODY_SIDE + 2, _BODY_SIDE + 2), np.uint8)
    inner = edged[1:-1, 1:-1]
    inner[top : _BODY_SIDE - bottom, left : _BODY_SIDE - right] = dark[
        top : _BODY_SIDE - bottom, left : _BODY_SIDE - right
    ]
    _, parts = cv2.connectedComponents(edged, connectivity=4)
    return np.packbits(parts[1:-1, 1:-1] != parts[0, 0]).tobytes().hex()
