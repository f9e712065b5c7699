"""What belongs together: images of one patient, of one picture, and those linked over a third."""

from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

ENOUGH_FILES = 10
"""Below this many files nothing is said of how patient ids are spread."""

MOST_OF_ONE = 0.5
"""A patient id on more than this share of a part's images stands for no patient."""

IdUse = Literal["groups", "shared", "unique", ""]


def components(pairs: Iterable[tuple[int, int]], count: int) -> NDArray[np.int64]:
    """Return a number for each of `count` places, equal for places that `pairs` connect.

    The numbers run from 0 on, in the order of each component's first place.
    """
    ends = np.array(list(pairs), np.int64).reshape(-1, 2)
    links = coo_matrix((np.ones(len(ends)), (ends[:, 0], ends[:, 1])), shape=(count, count))
    _, labels = connected_components(links, directed=False)
    _, firsts, numbers = np.unique(labels, return_index=True, return_inverse=True)
    return np.asarray(np.argsort(np.argsort(firsts))[numbers], np.int64)


def group_by(*labels: Sequence[Hashable]) -> NDArray[np.int64]:
    """Return a number for each place, equal where a label is shared or others link them.

    Args:
        labels: Sequences of one length: patients, clusters, hashes ... None and an empty text are
            no label.
    """
    pairs = []
    for own in labels:
        first: dict[Hashable, int] = {}
        for place, label in enumerate(own):
            if label not in (None, ""):
                pairs.append((first.setdefault(label, place), place))
    return components(pairs, len(labels[0]) if labels else 0)


@dataclass(frozen=True, slots=True)
class Bearer:
    """An image that carries a patient id in its file.

    Attributes:
        key: The id, or a hash of it; empty where there is none.
        part: ``train`` or ``test``.
        picture: Equal for images that show one picture, which say one thing once.
    """

    key: str
    part: str
    picture: Hashable


def judge_ids(bearers: Sequence[Bearer]) -> list[IdUse]:
    """Return for each image what the patient id in its file is good for.

    ``shared``: most images carry it, so it stands for nobody (most of each part of enough images
    where it occurs). Of the others in a part, ``groups``: they stand for patients, because one of
    them is on more than one picture. ``unique``: none is. Empty: there is no id, or there are too
    few images to say.
    """
    keyed = {(b.part, b.key, b.picture) for b in bearers if b.key}
    carried = Counter((part, key) for part, key, _ in keyed)
    sizes = Counter(part for part, _, _ in keyed)
    large = {part for part, count in sizes.items() if count >= ENOUGH_FILES}
    fills: dict[str, list[bool]] = defaultdict(list)
    for (part, key), count in carried.items():
        if part in large:
            fills[key].append(count > MOST_OF_ONE * sizes[part])
    shared = {key for key, votes in fills.items() if all(votes)}
    pictures = Counter(key for key, _ in {(key, picture) for _, key, picture in keyed})
    rest = {
        part: _use_of([k for p, k in carried if p == part and k not in shared], pictures)
        for part in sizes
    }
    if len(pictures) == 1 and not shared:
        rest = dict.fromkeys(sizes, "")  # one id on a few images: a patient, or a placeholder
    return ["" if not b.key else "shared" if b.key in shared else rest[b.part] for b in bearers]


def _use_of(keys: Sequence[str], pictures: Mapping[str, int]) -> IdUse:
    """Return what ids are good for that do not fill their part, each on so many `pictures`."""
    if any(pictures[key] > 1 for key in keys):
        return "groups"
    return "unique" if len(keys) >= ENOUGH_FILES else ""
