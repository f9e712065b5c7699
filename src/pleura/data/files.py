"""Which files are meant: of folders, of globs, and by how they begin.

Everything below a folder is either meant or counted: what cannot be told apart from a damaged
radiograph is taken, so that it is refused with its reason when it is read. Plain pictures (PNG,
JPEG, TIFF, NIfTI) are meant where a folder holds no DICOM file: beside DICOM files they are masks,
previews or results.

This module imports nothing of weight: a program looks for files before it loads what reads them.
"""

import glob
import itertools
import os
import stat
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePath

from pleura.dicom.own_result import is_own_drawing, is_own_result
from pleura.dicom.signature import data_start, head_of
from pleura.dicom.suffixes import DICOM_SUFFIXES, PICTURES, is_picture, suffix_of
from pleura.errors import DataError
from pleura.storage import elsewhere
from pleura.storage.archive import SUFFIXES, is_folder, walk_files

ARCHIVES = {".zip", ".tar", ".tgz", ".tar.gz", ".7z", ".rar", ".bz2", ".xz", ".zst"}
"""Suffixes of what may hold radiographs, and is not looked into: damaged ZIP and tar files, for
whole ones are folders (:mod:`pleura.storage.archive`), and what is packed in another way."""
DOCUMENTS = {
    ".csv",
    ".json",
    ".toml",
    ".txt",
    ".md",
    ".log",
    ".py",
    ".parquet",
    ".npy",
    ".html",
    ".pdf",
    ".xml",
    ".yaml",
    ".h5",
}
DOCUMENTS |= {f"{suffix}.gz" for suffix in DOCUMENTS}
"""Suffixes of what lies beside any data set: tables, texts, pages, results."""
_NO_RADIOGRAPHS = {*DOCUMENTS, *ARCHIVES, *PICTURES}

HIDDEN = "hidden"
DICOMDIR = "DICOMDIR"
NO_SUFFIX = "no suffix"
NO_FILE = "pipes and devices"
OWN_RESULT = "results of pleura"
"""What files are counted as, where it is not their suffix."""

_TEXT = bytes({*range(0x20, 0x100), *b"\t\n\r\f\v\b\x1b"} - {0x7F})


@dataclass(frozen=True, slots=True)
class Listing:
    """The files that are meant, and what else was found.

    Attributes:
        files: Without repeats. A folder that cannot be entered is one of them, and so is a file of
            which it cannot be told what it is: reading them says why.
        archives: Archives, which are not looked into.
        passed: How many others were passed over, by what they are: their suffix, or words.
        pictures: Those of them that are pictures.
    """

    files: list[Path] = field(default_factory=list)
    archives: list[Path] = field(default_factory=list)
    passed: Counter[str] = field(default_factory=Counter)
    pictures: list[Path] = field(default_factory=list)

    @property
    def others(self) -> str:
        """How many files were passed over, and what they are, in words."""
        return in_words(self.passed + Counter({"archives": len(self.archives)}))


def nearest(table: Path, paths: Iterable[str]) -> set[str]:
    """Return the paths below the nearest folder above a table below which there are any, or all."""
    known = {path: Path(path) for path in paths}
    for folder in table.parents:
        below = {path for path, known_path in known.items() if known_path.is_relative_to(folder)}
        if below:
            return below
    return {*known}


def expand(inputs: Iterable[str]) -> Listing:
    """Return the files that `inputs` name: files, folders, or globs.

    Of a folder they are all DICOM files below it, and where there is none, all plain pictures. An
    archive (ZIP, tar) is a folder.

    A file is taken as it is, whatever its suffix; a name without a file is kept, so that it gets
    its row and its error like any other bad input; so is an archive that cannot be looked into.
    The order is that of the inputs, sorted within a folder or glob, without repeats. Results of
    pleura are taken where they are named one by one, and then refused when they are read.

    Raises:
        DataError: A folder holds neither.
    """
    found: dict[Path, None] = {}
    passed: Counter[str] = Counter()
    beside: set[Path] = set()
    for text in inputs:
        if is_folder(Path(text)):  # False where it may not be looked at
            paths, others = _inputs_below(Path(text), beside)
            if not paths and not others[OWN_RESULT]:
                raise _holds_none(text, others)
        elif os.path.lexists(text):
            paths, others = [Path(text)], Counter()
        else:
            matches = sorted(glob.glob(text, recursive=True))  # noqa: PTH207
            paths, others = _inputs_of_glob(map(Path, matches or [text]), beside)
        found.update(dict.fromkeys(paths))
        passed += others
    passed -= Counter(map(suffix_of, beside & found.keys()))  # those that are named as well
    if not found and passed:
        raise _holds_none(" ".join(inputs), passed)
    return Listing(files=list(found), passed=passed)


def _holds_none(place: str, others: Mapping[str, int]) -> DataError:
    what = f" ({in_words(others)})" if others else ""
    return DataError(
        f"{place}: holds no DICOM file and no picture of a radiograph{what}; name a file, or the "
        "folder above them"
    )


def _inputs_of_glob(matches: Iterable[Path], beside: set[Path]) -> tuple[list[Path], Counter[str]]:
    found: list[Path] = []
    passed: Counter[str] = Counter()
    for match in matches:
        if is_folder(match):
            paths, others = _inputs_below(match, beside)
            found += paths
            passed += others
        elif is_own_result(match):
            passed[OWN_RESULT] += 1
        else:
            found.append(match)
    return found, passed


def _inputs_below(folder: Path, beside: set[Path]) -> tuple[list[Path], Counter[str]]:
    """Return the inputs below a folder, and what else is there; add to `beside` pictures of it."""
    found: list[Path] = []
    passed: Counter[str] = Counter()
    pictures: list[Path] = []
    for path in walk_files(folder):
        reason = why_not_input(path)
        if not reason:
            found.append(path)
        elif reason in PICTURES:
            pictures.append(path)
        else:
            passed[reason] += 1
    found, others = _or_pictures(found, pictures)
    beside.update(set(pictures).difference(found))
    return sorted(found), passed + others


def _or_pictures(found: list[Path], pictures: list[Path]) -> tuple[list[Path], Counter[str]]:
    """Return the DICOM files of a folder, or its pictures where it has none; the others, counted.

    Archives are no DICOM files here: they are among `found` to be refused by name.
    """
    if any(suffix_of(path) not in ARCHIVES for path in found):
        return found, Counter(map(suffix_of, pictures))
    own = [path for path in pictures if is_own_drawing(path)]
    meant = sorted(set(pictures).difference(own))
    return found + meant, Counter({OWN_RESULT: len(own)} if own else {})


def why_not_input(path: Path) -> str:
    """Return what a file below a folder is counted as; "" where it is to be predicted.

    Results of pleura are never inputs. An archive is one, so that it is refused by its name.
    """
    reason = passed_over(path)
    if reason in ARCHIVES:
        return ""
    return reason or (OWN_RESULT if is_own_result(path) else "")


def in_words(passed: Mapping[str, int]) -> str:
    """Return how many files were passed over, and what they are, in words."""
    total = sum(passed.values())
    kinds = ", ".join(f"{count:,} {kind}" for kind, count in sorted(passed.items()))
    return f"{total:,} other file{'s' * (total != 1)}{': ' * bool(total)}{kinds}"


def dicom_files(folder: Path) -> list[Path]:
    """Return the DICOM files below `folder`, sorted: what :func:`sorted_out` takes for such."""
    return sorted_out(folder).files


def sorted_out(
    *folders: Path, also: Callable[[Path], bool] | None = None, pictures: bool = False
) -> Listing:
    """Return the DICOM files below folders, sorted; archives; and what else there is, by kind.

    Args:
        folders: Folders; a file stands for itself.
        also: Which of the other files count as well.
        pictures: Whether plain pictures count where there is no DICOM file.
    """
    listing = Listing()
    drawn: list[Path] = []
    for path in dict.fromkeys(itertools.chain.from_iterable(map(walk_files, folders))):
        reason = passed_over(path)
        if (
            not reason
            or (also is not None and also(path))
            or (reason in SUFFIXES and not is_folder(path))
        ):
            listing.files.append(path)
        elif reason in ARCHIVES:
            listing.archives.append(path)
        elif pictures and is_picture(path):
            drawn.append(path)
        else:
            listing.passed[reason] += 1
            listing.pictures.extend([path] * is_picture(path))
    listing.files[:], others = _or_pictures(listing.files, drawn)
    listing.passed.update(others)
    listing.files.sort()
    return listing


def passed_over(path: Path) -> str:
    """Return what a file below a folder is counted as; "" where it is taken for DICOM.

    It is taken for DICOM by its suffix (``.dcm``, ``.dicom``, ``.ima``, each also as ``.gz``), or
    by how it begins. So that it is reported and not lost, it is taken as well where it may be a
    damaged radiograph: where it cannot be read and no suffix says what it is, and where it has no
    suffix (but perhaps ``.gz``) and holds nothing, or no text.

    Returns:
        A suffix such as ``.csv``, ``.zip`` or ``.json.gz``, one of the words of this module, or "".
    """
    reason = passed_over_by_name(path)
    suffix = suffix_of(path)
    if reason in (HIDDEN, DICOMDIR) or suffix.removesuffix(".gz") in DICOM_SUFFIXES:
        return reason
    try:
        if _is_no_file(path):
            return NO_FILE
        head = head_of(path)
    except (OSError, ValueError):  # reading it will say why
        return suffix if suffix in _NO_RADIOGRAPHS else ""
    if data_start(head) is not None:
        return ""
    if suffix in {"", ".gz"} and not (head and _is_text(head)):
        return ""
    return suffix or NO_SUFFIX


def _is_no_file(path: Path) -> bool:
    if elsewhere.holds(path):
        return False
    try:
        mode = os.stat(path).st_mode  # noqa: PTH116
    except NotADirectoryError:  # it lies in an archive
        return False
    return not stat.S_ISREG(mode) and not stat.S_ISDIR(mode)


def passed_over_by_name(path: PurePath) -> str:
    """Return what a file is counted as whose name is all that is known; "" where it is taken.

    It is taken by its suffix, or where it has none.
    """
    if path.name.startswith("."):
        return HIDDEN
    if path.name.upper() == DICOMDIR:  # the table of contents of a medium, no picture
        return DICOMDIR
    suffix = suffix_of(path).removesuffix(".gz")
    return "" if suffix in {"", *DICOM_SUFFIXES} else suffix_of(path)


def is_known_by_name(path: PurePath) -> bool:
    """Return whether a file's name says what it is, so that nobody looks how it begins."""
    suffix = suffix_of(path)
    return (
        passed_over_by_name(path) in (HIDDEN, DICOMDIR)
        or suffix.removesuffix(".gz") in DICOM_SUFFIXES
        or suffix in _NO_RADIOGRAPHS - SUFFIXES
    )


def _is_text(head: bytes) -> bool:
    return head.startswith((b"\xff\xfe", b"\xfe\xff")) or not head.translate(None, _TEXT)
