"""Which pictures are nearly the same: one saved again, resized, windowed or trimmed a little.

Two steps, because a hash alone takes radiographs of one patient for one radiograph: the perceptual
hash of :mod:`pleura.pictures.measures` proposes, and the pixels decide (:func:`same_picture`).
Mirrored and turned copies are not looked for. ``docs/explanation/pictures.md`` says what is found
and what is mistaken.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from pleura.pictures.measures import inside_frame, shrink

RADIUS = 60
"""Differing bits, of 256, up to which two hashes are compared by their pixels."""

SAME_FROM = 0.7
"""Correlation of the fine structure, from 0 to 1, from which two pictures are the same."""

TRIES = 8
"""Clusters that one picture is compared with, the nearest by hash first."""

Floats = NDArray[np.float32]

_SIDE = 256
_SIDES = (64, 128, 256)
_COARSE_FROM = {64: 0.87, 128: 0.86}  # by side: copies have more, most other radiographs less
_FINE = 4.0  # pixels of 256: structure coarser than this is taken away before comparing
_MARGIN = 12  # pixels of 256 at the edges that are not compared
_MOST = 0.12  # of the side, and of the scale: pictures further apart than this are not the same
_TURN = 0.012  # radians: other radiographs of a patient mostly need more to lie on one another
_FLAT = 0.5  # grey levels: fine structure below it is not lifted
_LEAST = 0.05  # of fine structure, after lifting: a picture with less is blank
_KEPT = 256  # small pictures kept in memory, 64 KiB each
_BLOCK = 256


def candidate_pairs(hashes: Sequence[str]) -> list[tuple[int, int]]:
    """Return all pairs of places ``(i, j)``, i < j, whose hashes differ in at most `RADIUS` bits.

    Of n equal hashes these are n * (n - 1) / 2 pairs; :func:`find_clusters` does not need them all.

    Args:
        hashes: 256 bits each (hex), as :attr:`pleura.pictures.measures.Picture.hash`.
    """
    words = _words(hashes)
    pairs: list[tuple[int, int]] = []
    for start in range(0, len(words), _BLOCK):
        near = _distances(words[start : start + _BLOCK], words[start:]) <= RADIUS
        rows, columns = np.nonzero(np.triu(near, 1))
        pairs += zip((rows + start).tolist(), (columns + start).tolist(), strict=True)
    return pairs


def find_clusters(
    hashes: Sequence[str], paths: Sequence[str], read: Callable[[str], NDArray[np.uint8]]
) -> list[tuple[int, ...]]:
    """Return the clusters of pictures that are nearly the same, as places in `hashes`.

    Each picture is compared with one member, the first, of at most `TRIES` clusters: those whose
    hashes are nearest, within `RADIUS`. So 10,000 copies of one radiograph cost 10,000 comparisons,
    not 50 million. Files that resemble no other by their hash are not read, others once, and the
    first of a cluster again where many others were read since.

    Args:
        hashes: 256 bits each (hex), as :attr:`pleura.pictures.measures.Picture.hash`. Leave blank
            pictures out: they are never the same as another.
        paths: The file of each.
        read: Returns the picture in a file as :func:`small` makes it, ``(256, 256)``.

    Returns:
        As :func:`clusters`.
    """
    shelf = _Shelf(paths, read)
    pairs: list[tuple[int, int]] = []
    for place, others in _proposals(_words(hashes), pairs):
        pairs += [(other, place) for other in others if _alike(shelf[other], shelf[place])]
    return clusters(pairs, len(hashes))


def same_picture(a: NDArray[Any], b: NDArray[Any]) -> bool:
    """Return whether two pictures show the same exposure.

    Meant to be true for a copy that was compressed (JPEG from quality 30), resized, windowed, given
    another gamma or bit depth, trimmed by up to 3 % per side, or framed; false for two radiographs
    of one patient. Never true for a blank picture, not even with itself. Mirrored and turned copies
    count as different.

    Args:
        a: ``(rows, columns)``, uint8 or uint16, as in :class:`pleura.dicom.radiograph.Radiograph`.
        b: The same, of any other size.
    """
    return _alike(small(a), small(b))


def clusters(pairs: Iterable[tuple[int, int]], count: int) -> list[tuple[int, ...]]:
    """Return the connected components of two or more members.

    Args:
        pairs: Places that belong together.
        count: How many places there are.

    Returns:
        The members of each, ascending; the clusters in the order of their first members.
    """
    members: dict[int, list[int]] = {}
    for place, number in enumerate(components(pairs, count).tolist()):
        members.setdefault(number, []).append(place)
    return [tuple(own) for own in members.values() if len(own) > 1]


# ------------------------------------------------------------------------------- proposals


def components(pairs: Iterable[tuple[int, int]], count: int) -> NDArray[np.int64]:
    """Return ``(count,)`` numbers, one for each place, equal for places that `pairs` connect.

    The numbers run from 0 on, in the order of each component's first place.
    """
    from scipy.sparse import coo_matrix  # it takes its time
    from scipy.sparse.csgraph import connected_components

    ends = np.array(list(pairs), np.int64).reshape(-1, 2)
    links = coo_matrix((np.ones(len(ends)), (ends[:, 0], ends[:, 1])), shape=(count, count))
    _, labels = connected_components(links, directed=False)
    _, firsts, numbers = np.unique(labels, return_index=True, return_inverse=True)
    return np.asarray(np.argsort(np.argsort(firsts))[numbers], np.int64)


def _words(hashes: Sequence[str]) -> NDArray[np.uint64]:
    """Return hashes as ``(n, 4)``."""
    return np.frombuffer(bytes.fromhex("".join(hashes)), np.uint64).reshape(-1, 4)


def _distances(some: NDArray[np.uint64], others: NDArray[np.uint64]) -> NDArray[np.uint16]:
    """Return the differing bits ``(n, m)`` of ``(n, 4)`` hashes and ``(m, 4)`` others."""
    total = np.zeros((len(some), len(others)), np.uint16)
    for word in range(4):
        total += np.bitwise_count(some[:, None, word] ^ others[None, :, word])
    return total


def _proposals(
    words: NDArray[np.uint64], pairs: Sequence[tuple[int, int]]
) -> Iterator[tuple[int, list[int]]]:
    """Yield each place with the first members of the clusters it may belong to.

    A place that was not joined to another by `pairs`, to which the caller adds, when the next is
    asked for, begins a cluster of its own.
    """
    firsts = np.empty_like(words)
    places: list[int] = []
    for place in range(len(words)):
        distances = _distances(words[place : place + 1], firsts[: len(places)])[0]
        near = np.flatnonzero(distances <= RADIUS)
        near = near[np.argsort(distances[near], kind="stable")[:TRIES]]
        before = len(pairs)
        yield place, [places[number] for number in near]
        if len(pairs) == before:
            firsts[len(places)] = words[place]
            places.append(place)


class _Shelf:
    """The small pictures of files, read when they are asked for; the last ones used are kept."""

    def __init__(self, paths: Sequence[str], read: Callable[[str], NDArray[np.uint8]]) -> None:
        self._paths, self._read = paths, read
        self._kept: OrderedDict[int, NDArray[np.uint8]] = OrderedDict()

    def __getitem__(self, place: int) -> NDArray[np.uint8]:
        if place not in self._kept:
            self._kept[place] = self._read(self._paths[place])
            if len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
        self._kept.move_to_end(place)
        return self._kept[place]


# ------------------------------------------------------------------------------- the pixels


def small(pixels: NDArray[Any]) -> NDArray[np.uint8]:
    """Return what is inside a picture's frame as ``(256, 256)`` uint8."""
    return shrink(inside_frame(pixels), _SIDE)


def _alike(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> bool:
    return likeness(a, b) >= SAME_FROM


def likeness(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> float:
    """Return the correlation of the fine structure of two pictures, the second laid onto the first.

    Args:
        a: ``(256, 256)``, what is inside the frame.
        b: The same.

    Returns:
        At most 1; 0 where one is blank, where they differ coarsely already, or where no small shift
        and scale lays one onto the other.
    """
    untouched = np.eye(2, 3, dtype=np.float32)
    place = untouched
    try:
        for side, least in _COARSE_FROM.items():  # most pairs end here, at a fortieth of the cost
            correlation, place = _laid(a, b, place, side)
            if correlation < least:
                return 0.0
    except cv2.error:  # there is nothing to see
        return 0.0
    as_it_is = _correlation(a, b, untouched)
    if as_it_is >= SAME_FROM:
        return as_it_is
    registered = _registration(a, b)
    return as_it_is if registered is None else max(as_it_is, _correlation(a, b, registered))


def _correlation(a: NDArray[np.uint8], b: NDArray[np.uint8], place: Floats) -> float:
    fine_a, fine_b = _fine(a), cv2.warpAffine(_fine(b), place, (_SIDE, _SIDE), flags=_FLAGS)
    seen = cv2.warpAffine(np.ones_like(a), place, (_SIDE, _SIDE), flags=_FLAGS)
    seen[:_MARGIN] = seen[-_MARGIN:] = seen[:, :_MARGIN] = seen[:, -_MARGIN:] = 0
    one, other = fine_a[seen > 0], fine_b[seen > 0]
    if min(float(one.std()), float(other.std())) < _LEAST:
        return 0.0
    return float(np.corrcoef(one, other)[0, 1])


_FLAGS = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP


def _registration(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> Floats | None:
    """Return the affine map ``(2, 3)``, in pixels, from places in `a` to places in `b`, or None.

    Source:
        Evangelidis and Psarakis, "Parametric Image Alignment Using Enhanced Correlation
        Coefficient Maximization", 2008, from coarse to fine.
    """
    place = np.eye(2, 3, dtype=np.float32)
    for side in _SIDES:
        try:
            _, place = _laid(a, b, place, side)
        except cv2.error:  # it found no way, or there is nothing to see
            return None
        if not _near(place):
            return None
    return place


def _laid(
    a: NDArray[np.uint8], b: NDArray[np.uint8], place: Floats, side: int
) -> tuple[float, Floats]:
    """Return correlation and map of `b` laid onto `a` at `side` pixels, beginning at `place`."""
    scale = np.array((1, 1, side / _SIDE), np.float32)
    steps = _FEW_STEPS if side == _SIDES[0] else _STEPS
    correlation, found = cv2.findTransformECC(
        _evened(a, side), _evened(b, side), place * scale, cv2.MOTION_AFFINE, steps
    )
    return float(correlation), np.asarray(found, np.float32) / scale


_STEPS = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 30, 1e-4)
_FEW_STEPS = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 8, 1e-3)


def _near(place: Floats) -> bool:
    """Return whether a map is like trimming: no turn, and no corner moved by more than `_MOST`."""
    corners = np.array([[0, 0, 1], [0, 1, 1], [1, 0, 1], [1, 1, 1]], np.float32)
    corners[:, :2] *= _SIDE
    moved = corners @ place.T - corners[:, :2]
    turn = max(abs(float(place[0, 1])), abs(float(place[1, 0])))
    return bool(np.isfinite(moved).all() and np.abs(moved).max() <= _MOST * _SIDE) and turn <= _TURN


def _evened(picture: NDArray[np.uint8], side: int) -> Floats:
    """Return a picture at `side` pixels with the same brightness and contrast everywhere."""
    small = cv2.resize(picture, (side, side), interpolation=cv2.INTER_AREA).astype(np.float32)
    return _leveled(small, side / 16)


def _fine(picture: NDArray[np.uint8]) -> Floats:
    return _leveled(picture.astype(np.float32), _FINE)


def _leveled(picture: Floats, width: float) -> Floats:
    """Return a picture less its blurred self, over the local size of what is left."""
    rest = picture - cv2.GaussianBlur(picture, (0, 0), width)
    size = np.sqrt(np.maximum(cv2.GaussianBlur(rest * rest, (0, 0), width), 0))
    return np.asarray(rest / (size + _FLAT), np.float32)
