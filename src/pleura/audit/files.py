"""What the files say of themselves: copies, headers, encodings."""

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path, PurePath
from typing import get_args

from pleura.audit.findings import Finding, Item, found
from pleura.data.copies import Duplicate
from pleura.data.files import ARCHIVES
from pleura.data.index import Index
from pleura.data.records import ImageRecord
from pleura.data.scan import FailureCode, Scan
from pleura.dicom.geometry import MOST_RADIOGRAPH_MM, least_radiograph_mm
from pleura.dicom.suffixes import suffix_of
from pleura.dicom.values import age_years
from pleura.pictures.flags import other_view, sideways

LEAST_SIDE_PX = 256
MOST_ELONGATED = 1.6
ENOUGH_FILES = 10
"""Below this many files nothing is said of how sizes are spread."""

_UID = re.compile(r"(?:0|[1-9][0-9]*)(?:\.(?:0|[1-9][0-9]*))*")
_CHEST = re.compile("CHEST|THORAX|LUNG", re.IGNORECASE)
_RADIOGRAPHY = {"", "CR", "DX", "DR", "RG", "RF", "OT"}
_AGE = re.compile("[0-9]{3}[DWMY]")

Check = Callable[[Scan], str | None]
"""Returns the value that is wrong, an empty text where the code says it all, None where all is
well."""


def file_findings(index: Index, root: Path) -> Iterator[Finding]:
    """Yield what is to be said of the files of `index`; paths are given below `root`."""
    yield from _failures(index, root)
    yield from _copies(index.duplicates, root)
    yield from _near_duplicates(index.records)
    scans = [(record, index.scans[record.path]) for record in index.records]
    dicom = [(record, scan) for record, scan in scans if not scan.is_plain]
    for code, check in _CHECKS.items():  # a JPEG or PNG has no header that could be wrong
        values = ((record, check(scan)) for record, scan in dicom)
        yield found(code, (Item(r.image_id, value) for r, value in values if value is not None))
    yield from _notes(scans)
    yield from _patient_ids(index)
    passed = (Item(kind, _how_many(kind, count)) for kind, count in index.not_read.items())
    yield found("not-read", passed, count=sum(index.not_read.values()))
    yield from _unlike_the_others(scans)


def below(root: Path, path: str) -> str:
    """Return a path as it is below `root`."""
    try:
        return str(Path(path).relative_to(root))
    except ValueError:
        return path


def cluster_members(records: Iterable[ImageRecord]) -> dict[int, list[ImageRecord]]:
    """Return the members of each cluster of near-duplicates by its number."""
    members: dict[int, list[ImageRecord]] = defaultdict(list)
    for record in records:
        if record.cluster is not None:
            members[record.cluster].append(record)
    return members


def cluster_items(clusters: Iterable[tuple[int, Sequence[ImageRecord]]]) -> Iterator[Item]:
    """Yield an item for each image of the clusters, with the others of its cluster."""
    for number, own in clusters:
        ids = [record.image_id for record in own]
        for image_id in ids:
            others = tuple(other for other in ids if other != image_id)
            yield Item(image_id, f"cluster {number}", others)


def _failures(index: Index, root: Path) -> Iterator[Finding]:
    for code in get_args(FailureCode):
        yield found(
            code,
            (
                Item(below(root, item.path), item.reason.removeprefix(f"{item.path}: "))
                for item in index.unreadable
                if item.code == code
            ),
        )


def _notes(scans: Sequence[tuple[ImageRecord, Scan]]) -> Iterator[Finding]:
    """Say of each kind of note which files were read with one."""
    items: dict[str, list[Item]] = defaultdict(list)
    for record, scan in scans:
        for note in scan.notes:
            items[note.kind].append(Item(record.image_id, note.text))
    for code, own in items.items():
        yield found(code, own, count=len({item.id for item in own}))


def _how_many(kind: str, count: int) -> str:
    """Return how many files of a kind were passed over; an archive stands for itself."""
    if kind not in ARCHIVES and suffix_of(PurePath(kind)) in ARCHIVES:
        return "an archive, which is not opened"
    return f"{count:,} file{'s' * (count != 1)}"


def _copies(duplicates: Sequence[Duplicate], root: Path) -> Iterator[Finding]:
    """Name each copy by its file, because it shares its id, or its picture, with what is used."""
    kinds: dict[str, list[Item]] = defaultdict(list)
    for copy in duplicates:
        code = {"same-uid": "duplicate-uid", "same-pixels": "duplicate-pixels"}[copy.reason]
        item = Item(below(root, copy.path), f"set aside for {copy.kept_id}", (copy.kept_id,))
        kinds[code if copy.agrees else "contradicting-duplicates"].append(item)
    for code in ("contradicting-duplicates", "duplicate-uid", "duplicate-pixels"):
        yield found(code, kinds[code])


def _near_duplicates(records: Sequence[ImageRecord]) -> Iterator[Finding]:
    clusters = cluster_members(records)
    inside = [  # what lies on both sides is a leak, and named there
        (number, own)
        for number, members in clusters.items()
        for part in ("train", "test")
        if len(own := [record for record in members if record.part == part]) > 1
    ]
    yield found("near-duplicates", cluster_items(inside), count=len(inside))
    labelled = {n: [r for r in own if r.labelled] for n, own in clusters.items()}
    contradicting = [(n, own) for n, own in labelled.items() if len({r.positive for r in own}) > 1]
    items = cluster_items(contradicting)
    yield found("near-duplicates-disagree", items, count=len(contradicting))


def _invalid_uid(scan: Scan) -> str | None:
    uids = {"SOP": scan.image_id, "study": scan.study_uid, "series": scan.series_uid}
    faults = {
        "missing": [name for name, uid in uids.items() if not uid],
        "invalid": [n for n, u in uids.items() if u and (len(u) > 64 or not _UID.fullmatch(u))],
    }
    return "; ".join(f"{fault}: {', '.join(n)}" for fault, n in faults.items() if n) or None


def _spacing_too_long(scan: Scan) -> str | None:
    longest = max((len(part.strip()) for part in scan.spacing_text.split("\\")), default=0)
    return scan.spacing_text if longest > 16 else None


def _spacing_inconsistent(scan: Scan) -> str | None:
    if not scan.spacing_text:
        return None
    if scan.spacing_mm is None:
        return scan.spacing_text[:60]
    down, across = scan.spacing_mm
    longest = max(scan.rows * down, scan.columns * across)
    if abs(down - across) > 0.01 * max(down, across):
        return f"{down:g} x {across:g} mm"
    if down == across == 1:
        return "1 x 1 mm, which programs write if they know none"
    if not least_radiograph_mm(age_years(scan.age)) <= longest <= MOST_RADIOGRAPH_MM:
        return f"{down:.3g} mm, a radiograph of {longest / 10:.1f} cm"
    return None


def _lateral(scan: Scan) -> str | None:
    if other_view(scan.view):
        return f"view {scan.view[:16]}"
    orientation = sideways(scan.patient_orientation)
    return f"patient orientation {orientation}" if orientation else None


def _not_chest(scan: Scan) -> str | None:
    if scan.body_part and not _CHEST.search(scan.body_part):
        return f"body part {scan.body_part[:40]}"
    return f"modality {scan.modality[:16]}" if scan.modality not in _RADIOGRAPHY else None


def _age_implausible(scan: Scan) -> str | None:
    return scan.age[:16] if scan.age and age_years(scan.age) is None else None


def _age_format(scan: Scan) -> str | None:
    readable = age_years(scan.age) is not None
    return scan.age[:16] if readable and not _AGE.fullmatch(scan.age) else None


_CHECKS: dict[str, Check] = {
    "invalid-uid": _invalid_uid,
    "patient-id-missing": lambda s: None if s.patient_key else "",
    "monochrome1": lambda s: "" if s.photometric_interpretation == "MONOCHROME1" else None,
    "spacing-too-long": _spacing_too_long,
    "spacing-inconsistent": _spacing_inconsistent,
    "spacing-missing": lambda s: None if s.spacing_text else "",
    "view-missing": lambda s: None if s.view else "",
    "lateral-view": _lateral,
    "not-chest": _not_chest,
    "for-processing": lambda s: "" if s.intent == "FOR PROCESSING" else None,
    "age-format": _age_format,
    "age-implausible": _age_implausible,
}


def _patient_ids(index: Index) -> Iterator[Finding]:
    """Say which files' own patient ids stand for no patient."""
    codes = {"shared": "shared-patient-id", "unique": "unique-patient-ids"}
    for use, code in codes.items():
        own = (r for r in index.records if index.own_ids[r.path] == use)
        yield found(code, (Item(record.image_id, f"{record.part} file") for record in own))


def _unlike_the_others(scans: Sequence[tuple[ImageRecord, Scan]]) -> Iterator[Finding]:
    if not scans:
        return
    encodings = Counter((scan.transfer_syntax, scan.bits_stored) for _, scan in scans)
    usual = encodings.most_common(1)[0][0]
    yield found(
        "mixed-encodings",
        (
            Item(record.image_id, f"{scan.transfer_syntax}, {scan.bits_stored} bits")
            for record, scan in scans
            if (scan.transfer_syntax, scan.bits_stored) != usual
        ),
        {"encodings": len(encodings)},
    )
    sizes = Counter((scan.rows, scan.columns) for _, scan in scans)
    size, count = sizes.most_common(1)[0]
    one_size = len(scans) >= ENOUGH_FILES and count >= 0.9 * len(scans)
    yield found(
        "odd-size",
        (
            Item(record.image_id, f"{scan.rows} x {scan.columns}")
            for record, scan in scans
            if _odd(scan.rows, scan.columns) or (one_size and (scan.rows, scan.columns) != size)
        ),
        {"sizes": len(sizes)},
    )


def _odd(rows: int, columns: int) -> bool:
    short, long = sorted((rows, columns))
    return short < LEAST_SIDE_PX or long > MOST_ELONGATED * short
