"""The page of an audit: one HTML file that shows what was found, with pictures to look at.

The page stands alone (see :mod:`pleura.rendering.page`). It names images by UID, never a patient.
Findings, figures and galleries are there without its script; the script adds the filters, the
viewer and the table of all images, of which only the rows that are seen are made.
"""

import math
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup

from pleura.audit import charts
from pleura.audit.catalogue import GROUPS, SEVERITIES, Severity
from pleura.audit.findings import (
    Association,
    Audit,
    AuditComparison,
    Balance,
    Finding,
    ImageSummary,
    Item,
)
from pleura.audit.thumbs import Thumb
from pleura.printable import few
from pleura.rendering.page import json_block, picture_source, render
from pleura.storage.atomic import write_text

LISTED = 8
"""Items of a finding that stand on the page; the others come on request."""

PICTURES, CLUSTERS = 24, 12
"""Pictures, and clusters of pictures, that a finding shows at most."""

_LABELS = {
    "positive": "pneumothorax",
    "negative": "no pneumothorax",
    "unlabelled": "unlabelled",
    "test": "test",
}
_PATIENTS_FROM = {
    "map": "from the patient map",
    "siim": "from the SIIM-ACR map of pleura and names of NIH's radiographs",
    "labels": "from the table of labels",
    "header": "from the files' own ids",
    "": "not known",
}


def write_page(
    audit: Audit,
    thumbs: Mapping[str, Thumb],
    negative: Sequence[str],
    positive: Sequence[str],
    path: Path,
) -> None:
    """Write the page, whole or not at all. The same audit gives the same bytes.

    Args:
        audit: What was found.
        thumbs: Pictures by image id. An image of a finding that has none is only listed.
        negative: Ids for the gallery of images without a pneumothorax.
        positive: Ids for the gallery of images with one.
        path: Where the page shall stand.

    Raises:
        OutputError: The page could not be written.
    """
    write_text(path, render_page(audit, thumbs, negative, positive))


def render_page(
    audit: Audit, thumbs: Mapping[str, Thumb], negative: Sequence[str], positive: Sequence[str]
) -> str:
    """Return the page as HTML; see :func:`write_page`. Every text of the audit is escaped."""
    page = _Page(audit, thumbs)
    severities = {
        severity: sum(finding.severity == severity for finding in audit.findings)
        for severity in reversed(SEVERITIES)
    }
    groups = {group: sum(finding.group == group for finding in audit.findings) for group in GROUPS}
    return render(
        "pleura.audit",
        "audit",
        audit=audit,
        tiles=list(_tiles(audit)),
        changes=None if audit.changes is None else list(_changes(audit.changes)),
        verdict=_verdict(severities),
        severities={name: count for name, count in severities.items() if count},
        groups={name: count for name, count in groups.items() if count},
        findings=[page.card(finding) for finding in audit.findings],
        balance=None if audit.balance is None else _balance(audit, audit.balance),
        negative=list(page.radiographs(negative)),
        positive=list(page.radiographs(positive)),
        pictures=[_picture(thumb) for thumb in thumbs.values()],
        data=json_block(page.data()),
        labels=_LABELS,
        command=f"pleura audit {shlex.quote(audit.source)} --out DIR",
        version=_version(),
    )


@dataclass(frozen=True, slots=True)
class _Tile:
    name: str
    value: str
    meaning: str = ""


@dataclass(frozen=True, slots=True)
class _Picture:
    source: str
    width: int
    height: int
    outline: str


@dataclass(frozen=True, slots=True)
class _Radiograph:
    """A picture in its place: its number, what is said below it, and its name in words."""

    number: int
    width: int
    height: int
    masked: bool
    id: str
    words: str
    caption: str
    detail: str


@dataclass(frozen=True, slots=True)
class _Sheet:
    """Pictures that belong together; `missing` of them are not on the page."""

    radiographs: tuple[_Radiograph, ...]
    note: str
    together: bool
    missing: int


@dataclass(frozen=True, slots=True)
class _Card:
    finding: Finding
    number: int
    figures: tuple[tuple[str, str], ...]
    sheets: tuple[_Sheet, ...]
    shown: int
    items: tuple[Item, ...]
    images: int


class _Page:
    """An audit with its pictures, and where each image is."""

    def __init__(self, audit: Audit, thumbs: Mapping[str, Thumb]) -> None:
        self.audit = audit
        self.thumbs = thumbs
        self.numbers = {image_id: number for number, image_id in enumerate(thumbs)}
        self.rows: dict[str, int] = {}
        for row, image in enumerate(audit.images):
            self.rows.setdefault(image.id, row)

    def radiograph(self, image_id: str, note: str = "") -> _Radiograph:
        picture = self.thumbs[image_id]
        row = self.rows.get(image_id)
        image = None if row is None else self.audit.images[row]
        label = "" if image is None else _LABELS[image.label]
        height, width = picture.picture.shape
        return _Radiograph(
            number=self.numbers[image_id],
            width=width,
            height=height,
            masked=bool(picture.outline),
            id=image_id,
            words=", ".join(part for part in ("Radiograph", label, note, image_id) if part),
            caption=note or ("" if image is None else _area(image) or label),
            detail="" if image is None else _person(image),
        )

    def radiographs(self, ids: Iterable[str]) -> Iterator[_Radiograph]:
        for image_id in dict.fromkeys(ids):
            if image_id in self.thumbs:
                yield self.radiograph(image_id)

    def card(self, finding: Finding) -> _Card:
        sheets = tuple(self._sheets(finding))
        rows = {self.rows.get(i) for item in finding.items for i in (item.id, *item.others)}
        return _Card(
            finding=finding,
            number=self.audit.findings.index(finding),
            figures=tuple((name, _figure(name, value)) for name, value in finding.figures.items()),
            sheets=sheets,
            shown=sum(len(sheet.radiographs) for sheet in sheets),
            items=finding.items[:LISTED],
            images=len(rows - {None}),
        )

    def _sheets(self, finding: Finding) -> Iterator[_Sheet]:
        """Yield the pictures of a finding: those of a cluster together, the others in one sheet."""
        single: dict[str, _Radiograph] = {}
        left, seen = PICTURES, set[frozenset[str]]()
        for item in finding.items:
            ids = tuple(dict.fromkeys((item.id, *item.others)))
            shown = [image_id for image_id in ids if image_id in self.thumbs][:left]
            key = frozenset(ids)
            if not left or len(seen) == CLUSTERS:
                break
            if not shown or key in seen or item.id in single:
                continue
            left -= len(shown)
            if len(ids) == 1:
                single[item.id] = self.radiograph(item.id, item.note)
                continue
            seen.add(key)
            radiographs = tuple(self.radiograph(image_id) for image_id in shown)
            yield _Sheet(radiographs, item.note, True, len(ids) - len(radiographs))
        if single:
            yield _Sheet(tuple(single.values()), "", False, 0)

    def data(self) -> dict[str, Any]:
        """Return what the script works on; an image is named by its row, all else by its text."""
        images = self.audit.images
        return {
            "images": {
                "id": [image.id for image in images],
                "path": [_without_id(image) for image in images],
                "part": _column(image.part for image in images),
                "label": _column(_LABELS[image.label] for image in images),
                "area": [image.area_px for image in images],
                "rows": _column(image.rows for image in images),
                "columns": _column(image.columns for image in images),
                "sex": _column(image.sex for image in images),
                "age": [image.age_years for image in images],
                "view": _column(image.view for image in images),
                "encoding": _column(image.encoding for image in images),
                "cluster": [image.cluster for image in images],
                "group": [image.group for image in images],
            },
            "pictures": [self._named(image_id) for image_id in self.thumbs],
            "findings": [self._finding(finding) for finding in self.audit.findings],
        }

    def _named(self, text: str) -> int | str:
        return self.rows.get(text, text)

    def _finding(self, finding: Finding) -> dict[str, Any]:
        # The members of a cluster each name all others; the cluster is written once.
        clusters: dict[frozenset[str], int] = {}
        members: list[list[int | str]] = []
        places: dict[int, int] = {}
        for place, item in enumerate(finding.items):
            if not item.others:
                continue
            ids = (item.id, *item.others)
            number = clusters.setdefault(frozenset(ids), len(clusters))
            if number == len(members):
                members.append([self._named(text) for text in dict.fromkeys(ids)])
            places[place] = number
        return {
            "code": finding.code,
            "severity": finding.severity,
            "items": [self._named(item.id) for item in finding.items],
            "notes": _column(item.note for item in finding.items),
            "clusters": members,
            "in": places,
        }


def _without_id(image: ImageSummary) -> str:
    """Return the path with NUL, which no path has, for the id that most file names repeat."""
    return image.path.replace(image.id, "\0") if image.id else image.path


def _column(values: Iterable[str | int]) -> dict[str, list[Any]]:
    """Return a column of which few values differ: these, and which of them each row has."""
    numbers: dict[str | int, int] = {}
    at = [numbers.setdefault(value, len(numbers)) for value in values]
    return {"values": list(numbers), "at": at}


def _picture(shown: Thumb) -> _Picture:
    height, width = shown.picture.shape
    # A contour runs through the middles of the outermost pixels.
    outline = "".join(
        "M" + " ".join(f"{x}.5 {y}.5" for x, y in polygon) + "Z"
        for polygon in (np.asarray(points).tolist() for points in shown.outline)
    )
    return _Picture(picture_source(shown.picture), width, height, outline)


def _verdict(severities: Mapping[Severity, int]) -> str:
    named = [
        f"{count:,} {severity}{'s' if count > 1 else ''}"
        for severity, count in severities.items()
        if count
    ]
    return ", ".join(named) or "Nothing found that would hurt"


def _tiles(audit: Audit) -> Iterator[_Tile]:
    counts = audit.counts
    if counts.files_train is None and counts.files_test is None:
        yield _Tile("Rows", _count(counts.rows), "of the annotation table")
        yield _Tile("Images", _count(counts.images), "that it describes")
        yield _Tile("Pneumothorax", _count(counts.positive), _share(counts.positive, counts.images))
        yield _Tile("Without", _count(counts.empty), _share(counts.empty, counts.images))
        yield _Tile("Several rows", _count(counts.several_rows), "united to one mask")
    else:
        yield _Tile("Training files", _count(counts.files_train))
        yield _Tile("Test files", _count(counts.files_test))
        yield _Tile("Labelled", _count(counts.labelled), "ready to use")
        yield _Tile(
            "Pneumothorax",
            _count(counts.labelled_positive),
            _share(counts.labelled_positive, counts.labelled),
        )
        yield _Tile("Unlabelled", _count(counts.unlabelled), "kept apart")
        yield _Tile("Duplicates", _count(counts.duplicates), "set aside")
        yield _Tile("Unreadable", _count(counts.unreadable), "left out")
    known = audit.patients_from if counts.patients else ""
    origin = ", ".join(_PATIENTS_FROM.get(part, part) for part in known.split("+"))
    yield _Tile("Patients", _count(counts.patients), origin)


def _changes(changes: AuditComparison) -> Iterator[tuple[str, str, str]]:
    """Yield what changed, from what to what, and which images, a line each."""
    for count in changes.counts:
        before, after = _count(count.before), _count(count.after)
        yield count.name.replace("_", " "), f"{before} \N{RIGHTWARDS ARROW} {after}", ""
    for finding in changes.findings:
        before, after = _count(finding.before), _count(finding.after)
        moved = [("new", finding.came), ("gone", finding.went)]
        which = "; ".join(f"{word}: {few(ids, LISTED)}" for word, ids in moved if ids)
        yield finding.name, f"{before} \N{RIGHTWARDS ARROW} {after}", which
    for what, ids in changes.images():
        yield f"images {what}", f"{len(ids):,}", few(ids, LISTED)


def _count(value: int | None) -> str:
    return "\N{EN DASH}" if value is None else f"{value:,}"


def _share(part: int | None, whole: int | None) -> str:
    return f"{100 * part / whole:.1f} % of them" if part is not None and whole else ""


def _figure(name: str, value: float) -> str:
    """Return a figure of a finding as it is read: a share in percent, a count with its commas."""
    if not math.isfinite(value):
        return "undefined"
    if "share" in name.split() and 0 <= value <= 1:
        return f"{100 * value:.1f} %"
    return f"{value:,.0f}" if value == int(value) else f"{value:,.3g}"


def _area(image: ImageSummary) -> str:
    if image.area_px is None:
        return ""
    size = image.rows * image.columns
    share = f" ({100 * image.area_px / size:.2g} %)" if size else ""
    return f"{image.area_px:,} px{share}"


def _person(image: ImageSummary) -> str:
    age = "" if image.age_years is None else f"{image.age_years} y"
    return " · ".join(part for part in (image.view, image.sex, age) if part)


def _balance(audit: Audit, balance: Balance) -> dict[str, Any]:
    """Return what the template asks for of a balance."""
    attributes = list(dict.fromkeys(stratum.attribute for stratum in balance.strata))
    drawn = [charts.prevalence_svg(balance, attribute) for attribute in attributes]
    flagged = {item.id for f in audit.findings if f.code == "shortcut" for item in f.items}
    return {
        "counts": balance,
        "interval": charts.wilson(balance.positive, balance.images, balance.patients),
        "areas": Markup(charts.area_svg(balance)),
        "prevalences": [Markup(chart) for chart in drawn if chart],
        "quantiles": [(_quantile(q.share), q) for q in balance.area_quantiles],
        "strata": [(s, charts.wilson(s.positive, s.images, s.patients)) for s in balance.strata],
        "associations": [
            (a, a.attribute in flagged, _meaning(a, a.attribute in flagged))
            for a in balance.associations
        ],
    }


def _quantile(share: float) -> str:
    named = {0.0: "smallest", 0.5: "median", 1.0: "largest"}
    return named.get(share, f"{100 * share:g} %")


def _meaning(association: Association, flagged: bool) -> str:
    v, name = association.cramers_v, association.attribute
    strength = next(
        word
        for limit, word in ((0.1, "hardly"), (0.3, "weakly"), (0.5, "moderately"), (2, "strongly"))
        if not v >= limit
    )
    if flagged:
        return f"Goes {strength} with the label: a network may learn the {name} instead."
    if association.p < 0.05:
        sure = "More" if association.p < 0.001 else "Perhaps more"
        return f"{sure} than chance, but it goes {strength} with the label."
    return "Not more than by chance."


def _version() -> str:
    try:
        return version("pleura")
    except PackageNotFoundError:
        return "unknown"
