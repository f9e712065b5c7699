"""What belongs together: images of one patient, of one picture, and those linked over a third."""

from collections import Counter, defaultdict
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pleura.pictures.near_duplicates import components

ENOUGH_FILES = 10
"""Below this many files nothing is said of how patient ids are spread."""

MOST_OF_ONE = 0.5
"""A patient id on more than this share of a part's images stands for no patient."""

IdUse = Literal["groups", "shared", "unique", ""]


def group_by(*labels: Sequence[Hashable]) -> NDArray[np.int64]:
    """Return the number of each place's group: places that share a label are in one group.

    So are places that others link: one shares a label with the first and another with the second.

    Args:
        labels: Sequences of one length: patients, clusters, hashes ... None and an empty text are
            no label.

    Returns:
        ``(places,)``, numbered from 0 in the order of the groups' first places.
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
    shared = _shared_ids(carried, sizes)
    pictures = Counter(key for key, _ in {(key, picture) for _, key, picture in keyed})
    rest = {
        part: _use_of([k for p, k in carried if p == part and k not in shared], pictures)
        for part in sizes
    }
    if len(pictures) == 1 and not shared:
        rest = dict.fromkeys(sizes, "")  # one id on a few images: a patient, or a placeholder
    return ["" if not b.key else "shared" if b.key in shared else rest[b.part] for b in bearers]


def _shared_ids(carried: Mapping[tuple[str, str], int], sizes: Mapping[str, int]) -> set[str]:
    """Return the ids that fill each part of enough files where they occur."""
    fills: dict[str, list[bool]] = defaultdict(list)
    for (part, key), count in carried.items():
        if sizes[part] >= ENOUGH_FILES:
            fills[key].append(count > MOST_OF_ONE * sizes[part])
    return {key for key, votes in fills.items() if all(votes)}


def _use_of(keys: Sequence[str], pictures: Mapping[str, int]) -> IdUse:
    """Return what ids are good for that do not fill their part, each on so many `pictures`."""
    if any(pictures[key] > 1 for key in keys):
        return "groups"
    return "unique" if len(keys) >= ENOUGH_FILES else ""
