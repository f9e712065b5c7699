"""What one audit found, as data.

The form of ``findings.json`` is :class:`Audit` itself; `SCHEMA` names its version, and
``docs/reference/findings.md`` describes every code.
"""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Literal

from pleura.audit.catalogue import SEVERITIES, Group, Severity, catalogue, inflect

SCHEMA = "pleura.findings/1"
"""Rises when a reader of ``findings.json`` must change; new codes and new keys do not raise it."""

Label = Literal["positive", "negative", "unlabelled", "test"]


@dataclass(frozen=True, slots=True)
class Item:
    """One thing that a finding concerns.

    Attributes:
        id: An image id, a file below the data folder, ``line 12``, or an attribute's name.
        note: The value or the reason; empty where the code says it all.
        others: Ids that it belongs together with: the copy that is kept, the rest of its cluster.
    """

    id: str
    note: str = ""
    others: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that the audit found; `code` is stable, the texts are its kind's in the catalogue.

    Attributes:
        code: Such as ``duplicate-uid``.
        severity: See :class:`pleura.audit.catalogue.Kind`.
        group: See :class:`pleura.audit.catalogue.Kind`.
        count: How many of `unit` it concerns.
        unit: See :class:`pleura.audit.catalogue.Kind`.
        title: See :class:`pleura.audit.catalogue.Kind`.
        treatment: See :class:`pleura.audit.catalogue.Kind`.
        override: See :class:`pleura.audit.catalogue.Kind`.
        figures: Numbers that go with it, by name.
        items: What it concerns, all of it.
    """

    code: str
    severity: Severity
    group: Group
    count: int
    unit: str
    title: str
    treatment: str
    override: str
    figures: Mapping[str, float] = field(default_factory=dict)
    items: tuple[Item, ...] = ()

    @property
    def sentence(self) -> str:
        """What is found, in words: "1 file breaks off before its pixel data ends"."""
        unit, title = catalogue()[self.code].words(self.count)
        return f"{self.count:,} {unit} {title}"


@dataclass(frozen=True, slots=True)
class AuditCounts:
    """How much of everything there is; None where only a table was given.

    Attributes:
        files_train: Training files found, readable or not.
        files_test: Test files found.
        rows: Data rows of the annotation table.
        images: Different images that the table describes, with or without a file.
        positive: Of these, with a pneumothorax.
        empty: Of these, without.
        several_rows: Positive images with more than one non-empty row.
        overlapping: Of these, with rows that cover a pixel twice.
        labelled: Training images ready for use: a file, no duplicate, a usable annotation.
        labelled_positive: Of these, with a pneumothorax.
        unlabelled: Readable training images without a usable annotation.
        rows_without_file: Annotated images for which there is no file.
        duplicates: Files set aside as copies.
        unreadable: Files that cannot be read.
        patients: Different patients among the labelled images; None where they are not known.
    """

    files_train: int | None
    files_test: int | None
    rows: int
    images: int
    positive: int
    empty: int
    several_rows: int
    overlapping: int
    labelled: int | None
    labelled_positive: int | None
    unlabelled: int | None
    rows_without_file: int | None
    duplicates: int | None
    unreadable: int | None
    patients: int | None


@dataclass(frozen=True, slots=True)
class Quantile:
    """`area_px` pixels, `area_percent` of its image: `share` of the masks are no larger."""

    share: float
    area_px: int
    area_percent: float


@dataclass(frozen=True, slots=True)
class BalanceRow:
    """Labelled images that share a value of an attribute: sex F, view AP, age 40-49.

    `patients` of them: patients, and images that belong to none, each counted once.
    """

    attribute: str
    value: str
    images: int
    positive: int
    patients: int


@dataclass(frozen=True, slots=True)
class Association:
    """How strongly an attribute goes with the label, over the labelled images that have it.

    The images of a patient share one vote, because they are no independent witnesses. Values of few
    votes are taken together.

    Attributes:
        attribute: ``sex``, ``age``, ``view``, ``size``, ``encoding`` ...
        chi2: Pearson's statistic of the table attribute x label.
        degrees: Its degrees of freedom.
        p: The chance of a statistic as large where there is no association.
        cramers_v: Strength of the association, 0 none to 1 (Cramér 1946).
        images: How many images were counted.
        patients: How many patients, or images of none, so votes.
    """

    attribute: str
    chi2: float
    degrees: int
    p: float
    cramers_v: float
    images: int
    patients: int


@dataclass(frozen=True, slots=True)
class Balance:
    """How the labelled images are spread.

    Attributes:
        images: Labelled images.
        positive: Of these, with a pneumothorax.
        patients: Patients among them, and images that belong to none, each counted once.
        area_quantiles: Of the masks' areas, small to large.
        area_edges_percent: Edges of a histogram over the masks' share of their image, in percent,
            evenly spaced on a logarithmic axis; one more than counts.
        area_counts: The histogram's counts.
        strata: AuditCounts by sex, age band and view.
        associations: Of attributes with the label.
    """

    images: int
    positive: int
    patients: int
    area_quantiles: tuple[Quantile, ...]
    area_edges_percent: tuple[float, ...]
    area_counts: tuple[int, ...]
    strata: tuple[BalanceRow, ...]
    associations: tuple[Association, ...]

    @property
    def prevalence(self) -> float | None:
        """Share of the labelled images with a pneumothorax; None where none is labelled."""
        return self.positive / self.images if self.images else None


@dataclass(frozen=True, slots=True)
class ImageSummary:
    """One image as the page's table and a later comparison need it.

    Attributes:
        id: SOP Instance UID.
        path: Its file, below the data folder; empty where only a table was given.
        part: ``train`` or ``test``.
        label: What the annotation table says.
        area_px: Pixels of its united mask; None where it has none.
        rows: Height of the picture; 0 where only a table was given.
        columns: Width of the picture; 0 likewise.
        sex: As in the file, empty where absent.
        age_years: Whole years; None where not known.
        view: As in the file, empty where absent.
        encoding: Transfer syntax, bits stored and photometric interpretation, in words.
        pixel_hash: Equal for identical pictures; empty where pixels were not read.
        cluster: Number of its cluster of near-duplicates, from 1; None where it has none.
        mask_hash: Equal for identical masks; empty where it has none.
        group: Equal for images of one patient or picture, or linked over a third, which folds keep
            on one side; None where only a table was given.
    """

    id: str
    path: str
    part: str
    label: Label
    area_px: int | None
    rows: int
    columns: int
    sex: str
    age_years: int | None
    view: str
    encoding: str
    pixel_hash: str
    cluster: int | None
    mask_hash: str = ""
    group: int | None = None


@dataclass(frozen=True, slots=True)
class Change:
    """A number that changed; None where there was, or is, no such thing."""

    name: str
    before: int | None
    after: int | None


@dataclass(frozen=True, slots=True)
class FindingChange:
    """A finding that changed.

    Attributes:
        name: Its code.
        before: Its count; None where it was not there.
        after: Its count; None where it is gone.
        came: Ids that it concerns now and did not.
        went: Ids that it concerned and does no longer.
    """

    name: str
    before: int | None
    after: int | None
    came: tuple[str, ...]
    went: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class AuditComparison:
    """What changed; images are told apart by their part (training, test) and id.

    Attributes:
        since: The older audit, as it was named.
        counts: The counts that changed.
        findings: The findings that came, went, or concern other things.
        added: Ids of images that are new.
        removed: Ids of images that are gone.
        other_pixels: Ids of images of which the picture changed.
        other_label: Ids of images of which the label changed, with both.
        other_mask: Ids of images with a pneumothorax before and after, of which the mask changed,
            with both areas.
        other_facts: Ids of images of which the size, sex, age, view, encoding or file changed, and
            which of these.
    """

    since: str
    counts: tuple[Change, ...]
    findings: tuple[FindingChange, ...]
    added: tuple[str, ...]
    removed: tuple[str, ...]
    other_pixels: tuple[str, ...]
    other_label: tuple[tuple[str, str, str], ...]
    other_mask: tuple[tuple[str, int, int], ...]
    other_facts: tuple[tuple[str, tuple[str, ...]], ...]

    @property
    def same(self) -> bool:
        """Whether nothing changed."""
        return not any(value for name, value in asdict(self).items() if name != "since")

    def images(self) -> list[tuple[str, tuple[str, ...]]]:
        """Return for each way in which images changed its name and them, in words."""
        labels = (f"{key} ({before} to {after})" for key, before, after in self.other_label)
        masks = (f"{key} ({before:,} to {after:,} px)" for key, before, after in self.other_mask)
        facts = (f"{key} ({', '.join(names)})" for key, names in self.other_facts)
        changed = [
            ("new", self.added),
            ("gone", self.removed),
            ("with another picture", self.other_pixels),
            ("with another label", tuple(labels)),
            ("with another mask", tuple(masks)),
            ("with other facts", tuple(facts)),
        ]
        return [(what, ids) for what, ids in changed if ids]


@dataclass(frozen=True, slots=True)
class Audit:
    """All that an audit found.

    Attributes:
        source: The folder or table, as it was named.
        counts: How much of everything there is.
        balance: How it is spread; None where nothing is labelled.
        findings: Errors first, then warnings, then notes; within these as in the catalogue.
        images: One entry per image, duplicates left out.
        patients_from: How patients are known: ``map`` (a table), ``siim`` (the map of the SIIM-ACR
            set that comes with pleura), ``header`` (the files' own ids), ``siim+header`` or empty.
        changes: What changed since an older audit; None where none was named.
        schema: `SCHEMA`.
    """

    source: str
    counts: AuditCounts
    balance: Balance | None
    findings: tuple[Finding, ...]
    images: tuple[ImageSummary, ...]
    patients_from: str = ""
    changes: AuditComparison | None = None
    schema: str = SCHEMA

    def as_json(self) -> dict[str, Any]:
        """Return plain values, `schema` first."""
        images = [{name: getattr(image, name) for name in _IMAGE} for image in self.images]
        return {"schema": self.schema, **asdict(replace(self, images=())), "images": images}

    @property
    def worst(self) -> Severity | None:
        """The gravest severity found; None where nothing was."""
        found = {finding.severity for finding in self.findings}
        return next((s for s in reversed(SEVERITIES) if s in found), None)


_IMAGE = tuple(column.name for column in fields(ImageSummary))


def found(
    code: str,
    items: Iterable[Item],
    figures: Mapping[str, float] | None = None,
    count: int | None = None,
) -> Finding:
    """Return a finding of the catalogue; its count is that of its items where it is not given."""
    kind, items = catalogue()[code], tuple(items)
    unit, title = kind.words(2)
    count = len(items) if count is None else count
    return Finding(
        code=code,
        severity=kind.severity,
        group=kind.group,
        count=count,
        unit=unit,
        title=title,
        treatment=inflect(kind.treatment, count),
        override=inflect(kind.override, count),
        figures=dict(figures or {}),
        items=items,
    )


def in_order(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Return the findings that concern anything: errors first, then as in the catalogue."""
    place = {code: number for number, code in enumerate(catalogue())}
    kept = [finding for finding in findings if finding.count]
    return tuple(sorted(kept, key=lambda f: (-SEVERITIES.index(f.severity), place[f.code])))
