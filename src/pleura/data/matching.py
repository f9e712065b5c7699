"""Which file a table means by what it calls an image: its UID, its name or its path.

::

    uid    1.2.276.0.7230010.3.1.4.8323329.1000.1517875165.878027
    stem   00000001_000.png, or without the suffix
    path   train/patient00001/study1/view1_frontal.jpg

Unless one of them is named, they are tried in this order. A name that several files have belongs to
none of them: which one it means cannot be known.
"""

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Protocol

from pleura.choices import Match
from pleura.dicom.suffixes import stem_of

_CHANNEL = "_0000"
"""What nnU-Net adds to the name of a radiograph, and not to that of its mask."""

_NUMBER = re.compile(r"0*([0-9]{1,98}?)(?:[.]0+)?", re.ASCII)
_ROUNDED = re.compile(r"[0-9](?:[.,][0-9]+)?[eE][+][0-9]+", re.ASCII)


@dataclass(frozen=True, slots=True)
class Matched:
    """Which image each name means.

    Attributes:
        names: Name -> image id, of those that mean one.
        ambiguous: Names that several images have -> how many.
        twice: Image ids that several names mean -> these names.
    """

    names: Mapping[str, str] = field(default_factory=dict)
    ambiguous: Mapping[str, int] = field(default_factory=dict)
    twice: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


class Named(Protocol):
    """An image with an id and a file, such as a record or a scan."""

    @property
    def image_id(self) -> str:
        """Its id."""

    @property
    def path(self) -> str:
        """Its file."""


def match_names(names: Iterable[str], records: Sequence[Named], match: Match = "") -> Matched:
    """Return which image each name of a table means.

    Args:
        names: What a table calls images.
        records: The images.
        match: What the names are; empty: any of them.
    """
    return _matched(names, _Keys.of((r.image_id, Path(r.path)) for r in records), match)


def match_keys(
    names: Iterable[str],
    others: Iterable[str],
    match: Match = "",
    *,
    also: Mapping[str, Sequence[str]] | None = None,
    files: Mapping[str, str] | None = None,
) -> Matched:
    """Return which of other names each name means, as :func:`match_names` does for files.

    Args:
        names: The names.
        others: The other names.
        match: What names are.
        also: What else a name is called, which is tried if it means nothing itself.
        files: The file of another name, where that is known.
    """
    known = ((one, one) for one in others)
    keys = [*known, *(files or {}).items()]
    return _matched(
        names, _Keys.of((one, Path(key.replace("\\", "/"))) for one, key in keys), match, also
    )


def _matched(
    names: Iterable[str],
    keys: "_Keys",
    match: Match,
    also: Mapping[str, Sequence[str]] | None = None,
) -> Matched:
    found: dict[str, str] = {}
    ambiguous: dict[str, int] = {}
    for name in names:
        tried = (keys.ids(one, match) for one in (name, *(also or {}).get(name, ())))
        ids = next(filter(None, tried), set())
        if len(ids) == 1:
            found[name] = next(iter(ids))
        elif ids:
            ambiguous[name] = len(ids)
    meant = defaultdict(list)
    for name, image_id in found.items():
        meant[image_id].append(name)
    twice = {image_id: tuple(own) for image_id, own in meant.items() if len(own) > 1}
    return Matched(found, ambiguous, twice)


def names_of(images: Iterable[Named]) -> list[str]:
    """Return what tables may call images: their ids, and the names of their files."""
    stems = ((image.image_id, stem_of(Path(image.path))) for image in images)
    return [name for own, stem in stems for name in (own, stem, stem.removesuffix(_CHANNEL))]


def ids_alike(names: Iterable[str], others: Iterable[str]) -> dict[str, str]:
    """Return what is to be said of names that are likely others, as programs spoil ids.

    That is names that are others less their leading zeros, written as decimals (``1.0``) or in
    other letters (``A`` for ``a``), and numbers that a spreadsheet rounded (``1.2E+5``). It is only
    said, for a number may also be the number of a row.
    """

    def bare(name: str) -> str:
        return bare_name(PurePosixPath(without_suffix(name)).name)

    others = list(others)
    meant = {bare(name): name for name in others if name}
    known = set(others)
    said = {}
    for name in names:
        other = meant.get(bare(name))
        stem = PurePosixPath(without_suffix(name)).name
        if name not in known and other is not None and without_suffix(other) != stem:
            why = "but for capital letters, which tell ids apart: write ids as they are"
            if _NUMBER.fullmatch(stem):
                kept = "write numbers as decimals" if "." in stem else "lose leading zeros"
                why = f"for tables of numbers {kept}: write ids as text"
            said[name] = f"{name[:40]} may be {other[:40]}, {why}"
        elif is_rounded(stem) and name not in known:
            said[name] = f"{name[:40]} is a number that a spreadsheet rounded: write ids as text"
    return said


def bare_name(name: str) -> str:
    """Return what is left of a name where programs spoil it; names alike have the same.

    Examples:
        >>> bare_name("0012"), bare_name("12.0"), bare_name("P7")
        ('12', '12', 'p7')
    """
    number = _NUMBER.fullmatch(name.strip())
    return number[1] if number else composed(name.strip()).casefold()


def is_rounded(name: str) -> bool:
    """Return whether a name is a number that a spreadsheet rounded, such as ``1.2E+05``."""
    return _ROUNDED.fullmatch(name.strip()) is not None


def first_id_alike(names: Iterable[str], others: Iterable[str]) -> str:
    """Return the first of :func:`ids_alike`; empty where there is none."""
    return next(iter(ids_alike(names, others).values()), "")


def without_suffix(name: str) -> str:
    """Return a file's name or path as a table writes it, without its suffix, with ``/``."""
    path = PurePosixPath(name.strip().replace("\\", "/"))
    return str(path.with_name(stem_of(path))) if path.name else name.strip()


def composed(name: str) -> str:
    """Return a name with each accent and its letter as one character.

    Systems differ in how they write them, and so may a table and the files that it was made of.
    """
    return unicodedata.normalize("NFC", name)


@dataclass(frozen=True, slots=True)
class _Keys:
    """The images by each of their keys."""

    uids: Mapping[str, str]
    stems: Mapping[str, set[str]]
    paths: Mapping[tuple[str, ...], set[str]]

    @classmethod
    def of(cls, images: Iterable[tuple[str, Path]]) -> "_Keys":
        uids: dict[str, str] = {}
        stems: dict[str, set[str]] = defaultdict(set)
        paths: dict[tuple[str, ...], set[str]] = defaultdict(set)
        for image_id, path in images:
            uids[image_id] = image_id
            path = Path(composed(str(path)))
            stem = stem_of(path)
            for own in {stem, stem.removesuffix(_CHANNEL)}:
                stems[own].add(image_id)
                parts = (*path.parts[:-1], own)
                for length in range(2, len(parts) + 1):
                    paths[parts[-length:]].add(image_id)
        return cls(uids, stems, paths)

    def ids(self, name: str, match: Match) -> set[str]:
        """Return the images that a name may mean."""
        if match in ("", "uid") and name.strip() in self.uids:
            return {self.uids[name.strip()]}
        bare = composed(without_suffix(name))
        parts = tuple(part for part in PurePosixPath(bare).parts if part not in ("/", "."))
        if match in ("", "path"):
            # A table may be made above the folder here, so its path may begin further up.
            for first in range(len(parts) - 1):
                if parts[first:] in self.paths:
                    return self.paths[parts[first:]]
        if match in ("", "stem") and parts:
            return self.stems.get(parts[-1], set())
        return set()
