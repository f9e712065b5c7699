"""What the files say of themselves: copies, headers, encodings."""

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from pleura.data.audit.findings import Finding, Item, found
from pleura.data.index import Duplicate, Index, patient_ids_group
from pleura.data.records import ImageRecord
from pleura.data.scan import Scan, age_years

LEAST_SIDE_PX = 256
MOST_ELONGATED = 1.6
FILM_MM = (200.0, 600.0)
"""The longer side of a chest film; a cassette has 350 to 430, a child's 240."""

OLDEST_YEARS = 120
ENOUGH_FILES = 10
"""Below this many files nothing is said of how patient ids or sizes are spread."""

_UID = re.compile(r"(?:0|[1-9][0-9]*)(?:\.(?:0|[1-9][0-9]*))*")
_LATERAL = re.compile("LL|RL|[RL][AP]O|[RL]LO|.*(LAT|OBL).*", re.IGNORECASE)
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
    for code, check in _CHECKS.items():
        values = ((record, check(scan)) for record, scan in scans)
        yield found(code, (Item(r.image_id, value) for r, value in values if value is not None))
    yield from _patient_ids(scans)
    yield from _unlike_the_others(scans)


def below(root: Path, path: str) -> str:
    """Return a path as it is below `root`."""
    try:
        return str(Path(path).relative_to(root))
    except ValueError:
        return path


def cluster_members(records: Iterable[ImageRecord]) -> dict[int, list[ImageRecord]]:
    """Return the clusters of near-duplicates by number: more than one picture, nearly the same."""
    members: dict[int, list[ImageRecord]] = defaultdict(list)
    for record in records:
        if record.cluster is not None:
            members[record.cluster].append(record)
    return {n: own for n, own in members.items() if len({r.pixel_hash for r in own}) > 1}


def cluster_items(clusters: Iterable[tuple[int, Sequence[ImageRecord]]]) -> Iterator[Item]:
    """Yield an item for each image of the clusters, with the others of its cluster."""
    for number, own in clusters:
        ids = [record.image_id for record in own]
        for image_id in ids:
            others = tuple(other for other in ids if other != image_id)
            yield Item(image_id, f"cluster {number}", others)


def _failures(index: Index, root: Path) -> Iterator[Finding]:
    for code in ("not-dicom", "truncated", "unreadable"):
        yield found(
            code,
            (
                Item(below(root, item.path), item.reason.removeprefix(f"{item.path}: "))
                for item in index.unreadable
                if item.code == code
            ),
        )


def _copies(duplicates: Sequence[Duplicate], root: Path) -> Iterator[Finding]:
    kinds: dict[str, list[Item]] = defaultdict(list)
    for copy in duplicates:
        code = {"same-uid": "duplicate-uid", "same-pixels": "duplicate-pixels"}[copy.reason]
        note = f"{below(root, copy.path)} is set aside, {below(root, copy.kept)} is used"
        others = () if copy.kept_id == copy.image_id else (copy.kept_id,)
        item = Item(copy.image_id, note, others)
        kinds[code if copy.agrees else "contradicting-duplicates"].append(item)
    for code in ("contradicting-duplicates", "duplicate-uid", "duplicate-pixels"):
        yield found(code, kinds[code])


def _near_duplicates(records: Sequence[ImageRecord]) -> Iterator[Finding]:
    clusters = {
        number: own
        for number, own in cluster_members(records).items()
        if len({record.part for record in own}) == 1  # the others are leaks, and worse
    }
    yield found("near-duplicates", cluster_items(clusters.items()), count=len(clusters))
    contradicting = {
        number: own
        for number, own in clusters.items()
        if len({record.positive for record in own if record.labelled}) > 1
    }
    items = cluster_items(contradicting.items())
    yield found("near-duplicates-disagree", items, count=len(contradicting))


def _invalid_uid(scan: Scan) -> str | None:
    uids = {"SOP": scan.image_id, "study": scan.study_uid, "series": scan.series_uid}
    wrong = [name for name, uid in uids.items() if len(uid) > 64 or not _UID.fullmatch(uid)]
    return f"{' and '.join(wrong)} instance UID" if wrong else None


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
    if not FILM_MM[0] <= longest <= FILM_MM[1]:
        return f"{down:g} mm, a film of {longest / 10:.0f} cm"
    return None


def _not_chest(scan: Scan) -> str | None:
    if scan.body_part and not _CHEST.search(scan.body_part):
        return f"body part {scan.body_part[:40]}"
    return f"modality {scan.modality[:16]}" if scan.modality not in _RADIOGRAPHY else None


def _age_implausible(scan: Scan) -> str | None:
    years = age_years(scan.age)
    wrong = scan.age and (years is None or years > OLDEST_YEARS)
    return scan.age[:16] if wrong else None


def _age_format(scan: Scan) -> str | None:
    readable = age_years(scan.age) is not None
    return scan.age[:16] if readable and not _AGE.fullmatch(scan.age) else None


_CHECKS: dict[str, Check] = {
    "invalid-uid": _invalid_uid,
    "monochrome1": lambda s: "" if s.photometric_interpretation == "MONOCHROME1" else None,
    "spacing-too-long": _spacing_too_long,
    "spacing-inconsistent": _spacing_inconsistent,
    "spacing-missing": lambda s: None if s.spacing_text else "",
    "view-missing": lambda s: None if s.view else "",
    "lateral-view": lambda s: s.view[:16] if _LATERAL.fullmatch(s.view) else None,
    "not-chest": _not_chest,
    "age-format": _age_format,
    "age-implausible": _age_implausible,
}


def _patient_ids(scans: Sequence[tuple[ImageRecord, Scan]]) -> Iterator[Finding]:
    """Judge the files' own patient ids, training and test files apart."""
    kinds: dict[str, list[Item]] = defaultdict(list)
    for part in ("train", "test"):
        own = [(record, scan) for record, scan in scans if record.part == part]
        keys = [scan.patient_key for _, scan in own]
        if len(own) < ENOUGH_FILES or not all(keys) or patient_ids_group(keys):
            continue
        code = "shared-patient-id" if len(set(keys)) == 1 else "unique-patient-ids"
        kinds[code] += [Item(record.image_id, f"{part} file") for record, _ in own]
    for code in ("shared-patient-id", "unique-patient-ids"):
        yield found(code, kinds[code])


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
