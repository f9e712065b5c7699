"""Findings as data: the catalogue of all that an audit can find, and what one audit found.

The form of ``findings.json`` is :class:`Audit` itself; `SCHEMA` names its version, and
``docs/findings.md`` describes every code.
"""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Literal

SCHEMA = "pleura.findings/1"
"""Rises when a reader of ``findings.json`` must change; new codes and new keys do not raise it."""

Severity = Literal["note", "warning", "error"]
Group = Literal["files", "pictures", "annotations", "leaks", "balance"]
Label = Literal["positive", "negative", "unlabelled", "test"]

SEVERITIES: tuple[Severity, ...] = ("note", "warning", "error")
GROUPS: tuple[Group, ...] = ("files", "pictures", "annotations", "leaks", "balance")


@dataclass(frozen=True, slots=True)
class Kind:
    """What a code means.

    Attributes:
        severity: ``note`` (harmless, but know it), ``warning`` (look at it: pleura treats it, or a
            person must judge) or ``error`` (unusable, contradictory, or a score would be a lie).
        group: The part of the data it is about.
        unit: What its count counts: ``files``, ``images``, ``rows``, ``clusters``, ``ids`` ...
        title: What is found, to be read after the count: "12 files ...".
        treatment: What pleura does about it.
        override: How to have it otherwise.
    """

    severity: Severity
    group: Group
    unit: str
    title: str
    treatment: str
    override: str


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
    """One thing that the audit found; `code` is stable, the texts are those of its :class:`Kind`.

    Attributes:
        code: Such as ``duplicate-uid``.
        severity: See :class:`Kind`.
        group: See :class:`Kind`.
        count: How many of `unit` it concerns.
        unit: See :class:`Kind`.
        title: See :class:`Kind`.
        treatment: See :class:`Kind`.
        override: See :class:`Kind`.
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
        if self.count != 1:
            return f"{self.count:,} {self.unit} {self.title}"
        words, verbs = self.title.split(" "), set(_SINGULAR)
        for place, word in enumerate(words):
            if word in verbs:
                words[place] = _SINGULAR[word]
                break
        return f"1 {self.unit.removesuffix('s')} {' '.join(words)}".replace(" their ", " its ")


_SINGULAR = {
    "are": "is",
    "have": "has",
    "do": "does",
    "go": "goes",
    "carry": "carries",
    **{
        verb: f"{verb}s"
        for verb in (
            *("begin", "break", "come", "hold", "lie", "look", "read", "repeat", "say", "show"),
            *("stand", "write"),
        )
    },
}


@dataclass(frozen=True, slots=True)
class Counts:
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
class Stratum:
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
        strata: Counts by sex, age band and view.
        associations: Of attributes with the label.
    """

    images: int
    positive: int
    patients: int
    area_quantiles: tuple[Quantile, ...]
    area_edges_percent: tuple[float, ...]
    area_counts: tuple[int, ...]
    strata: tuple[Stratum, ...]
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
class Comparison:
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
        findings: Errors first, then warnings, then notes; within these as in `CATALOGUE`.
        images: One entry per image, duplicates left out.
        patients_from: How patients are known: ``map`` (a table), ``siim`` (the map of the SIIM-ACR
            set that comes with pleura), ``header`` (the files' own ids), ``siim+header`` or empty.
        changes: What changed since an older audit; None where none was named.
        schema: `SCHEMA`.
    """

    source: str
    counts: Counts
    balance: Balance | None
    findings: tuple[Finding, ...]
    images: tuple[ImageSummary, ...]
    patients_from: str = ""
    changes: Comparison | None = None
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
    kind, items = CATALOGUE[code], tuple(items)
    return Finding(
        code=code,
        severity=kind.severity,
        group=kind.group,
        count=len(items) if count is None else count,
        unit=kind.unit,
        title=kind.title,
        treatment=kind.treatment,
        override=kind.override,
        figures=dict(figures or {}),
        items=items,
    )


def in_order(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Return the findings that concern anything: errors first, then as in the catalogue."""
    place = {code: number for number, code in enumerate(CATALOGUE)}
    kept = [finding for finding in findings if finding.count]
    return tuple(sorted(kept, key=lambda f: (-SEVERITIES.index(f.severity), place[f.code])))


_LOOK = "look at them; leave a file out by moving it out of the folder"
_MEND_TABLE = "mend the table"

CATALOGUE: Mapping[str, Kind] = {
    # ------------------------------------------------------------------------------ files
    "not-dicom": Kind(
        "error",
        "files",
        "files",
        "have a DICOM name without being DICOM",
        "they are left out",
        "move them out of the folder, or convert them to DICOM",
    ),
    "truncated": Kind(
        "error",
        "files",
        "files",
        "break off before their pixel data ends",
        "they are left out: half a picture is never used",
        "copy them again from their source",
    ),
    "unreadable": Kind(
        "error",
        "files",
        "files",
        "cannot be read as a radiograph",
        "they are left out",
        "the reason beside each file says what to do",
    ),
    "contradicting-duplicates": Kind(
        "error",
        "files",
        "files",
        "repeat another file's UID with other pixels, or its pixels with another mask",
        "the first one that is labelled is used, and it may be the wrong one",
        "look at both and remove the wrong one",
    ),
    "duplicate-uid": Kind(
        "warning",
        "files",
        "files",
        "carry the SOP Instance UID of another file",
        "one file of each UID is used",
        "remove the copy that you do not want",
    ),
    "duplicate-pixels": Kind(
        "warning",
        "files",
        "files",
        "show exactly the same picture as another training file",
        "one file of each picture is used, one that is labelled if there is one",
        "remove the copy that you do not want",
    ),
    "near-duplicates": Kind(
        "warning",
        "files",
        "clusters",
        "hold images that show the same picture: re-encoded, resized, windowed or trimmed",
        "all are used; where patients are not known, folds keep a cluster on one side",
        "remove the copies that you do not want",
    ),
    "near-duplicates-disagree": Kind(
        "error",
        "files",
        "clusters",
        "of near-duplicates hold an image with a pneumothorax and one without",
        "all are used as they are annotated, and one annotation is wrong",
        "look at them and mend the table",
    ),
    "invalid-uid": Kind(
        "warning",
        "files",
        "files",
        "have a SOP, study or series UID that is missing or invalid (such as stage 2's ID_...)",
        "it is used as the image's id as it is; DICOM results cannot refer to it",
        "give the files valid UIDs",
    ),
    "shared-patient-id": Kind(
        "warning",
        "files",
        "images",
        "carry a patient id that most files share, so it stands for nobody",
        "the id is not used to group images",
        "name a patient map with --patients",
    ),
    "unique-patient-ids": Kind(
        "note",
        "files",
        "images",
        "each carry a patient id of their own, so none groups a patient's images",
        "the id is not used to group images",
        "name a patient map with --patients",
    ),
    "patient-id-missing": Kind(
        "note",
        "files",
        "files",
        "carry no patient id",
        "they are grouped by a patient map, else by near-duplicates alone",
        "name a patient map with --patients",
    ),
    "not-read": Kind(
        "note",
        "files",
        "files",
        "are no DICOM and were passed over",
        "only DICOM files are read",
        "convert pictures to DICOM if they are radiographs to use",
    ),
    "foreign-table": Kind(
        "note",
        "files",
        "files",
        "have the name of an annotation table or a patient map, but not its columns or its images",
        "they are passed over",
        "name the table with --annotations, the map with --patients",
    ),
    "mixed-encodings": Kind(
        "note",
        "files",
        "files",
        "are encoded (transfer syntax, bits stored) otherwise than the commonest kind",
        "all are decoded to the same grey scale",
        "none is needed; see whether the encoding goes with the label",
    ),
    "monochrome1": Kind(
        "note",
        "files",
        "files",
        "are MONOCHROME1: their smallest value is white",
        "they are inverted when they are read, so that air is black",
        "correct the header if that is wrong; see the finding inverted",
    ),
    "odd-size": Kind(
        "warning",
        "files",
        "files",
        "have an unusual size: small, very long, or unlike all the others",
        "they are letterboxed to a square and resampled",
        _LOOK,
    ),
    "spacing-too-long": Kind(
        "note",
        "files",
        "files",
        "write their pixel spacing with more than the 16 characters that DICOM allows",
        "it is read as it is",
        "none is needed",
    ),
    "spacing-inconsistent": Kind(
        "warning",
        "files",
        "files",
        "have a pixel spacing that cannot be: not two equal positive numbers, or a film of less "
        "than 20 or more than 60 cm",
        "areas are counted in pixels; one in mm2 would be wrong",
        "correct the spacing; a picture that was resized needs a new one",
    ),
    "spacing-missing": Kind(
        "note",
        "files",
        "files",
        "say nothing of their pixel spacing",
        "areas are counted in pixels",
        "none is needed",
    ),
    "view-missing": Kind(
        "note",
        "files",
        "files",
        "do not say from where they were taken (View Position)",
        "they are used as frontal",
        _LOOK,
    ),
    "lateral-view": Kind(
        "warning",
        "files",
        "files",
        "are lateral, oblique or decubitus by their header",
        "they are used; pleura is made for frontal radiographs",
        _LOOK,
    ),
    "not-chest": Kind(
        "warning",
        "files",
        "files",
        "do not show a chest by their header (body part or modality)",
        "they are used",
        _LOOK,
    ),
    "age-format": Kind(
        "note",
        "files",
        "files",
        "write the age without its unit (38 for 038Y)",
        "it is read as years",
        "none is needed",
    ),
    "age-implausible": Kind(
        "warning",
        "files",
        "files",
        "have an age that is none: unreadable, or above 120 years",
        "the age is not used",
        "correct it where ages matter to you",
    ),
    # --------------------------------------------------------------------------- pictures
    "blank": Kind(
        "error",
        "pictures",
        "images",
        "are blank: nearly one grey value",
        "they are used as they are",
        _LOOK,
    ),
    "inverted": Kind(
        "warning",
        "pictures",
        "images",
        "look inverted: air white, bone black",
        "they are used as they are; nothing is turned by guess",
        "correct Photometric Interpretation (0028,0004), or leave them out",
    ),
    "upside-down": Kind(
        "warning",
        "pictures",
        "images",
        "look upside down",
        "they are used as they are; nothing is turned by guess",
        _LOOK,
    ),
    "rotated": Kind(
        "warning",
        "pictures",
        "images",
        "look turned onto their side",
        "they are used as they are; nothing is turned by guess",
        _LOOK,
    ),
    "mirrored": Kind(
        "warning",
        "pictures",
        "images",
        "look mirrored: the heart seems to lie on the right (or it does)",
        "they are used as they are; nothing is turned by guess",
        _LOOK,
    ),
    "hard-cropped": Kind(
        "warning",
        "pictures",
        "images",
        "look cropped into the lungs",
        "they are used as they are",
        _LOOK,
    ),
    "saturated": Kind(
        "warning",
        "pictures",
        "images",
        "are burnt out: a large part has no grey value but the lightest",
        "they are used as they are",
        _LOOK,
    ),
    "low-contrast": Kind(
        "warning",
        "pictures",
        "images",
        "have very little contrast",
        "they are used as they are",
        _LOOK,
    ),
    "burned-in-border": Kind(
        "warning",
        "pictures",
        "images",
        "have a wide even border burned in",
        "they are used as they are; the border takes resolution from the lungs",
        "crop it off",
    ),
    # ------------------------------------------------------------------------ annotations
    "no-annotations": Kind(
        "error",
        "annotations",
        "files",
        "stand without an annotation table",
        "none of them is used to train",
        "name the table with --annotations",
    ),
    "absolute-form": Kind(
        "error",
        "annotations",
        "rows",
        "read only as the other run-length form than was asked for",
        "no row of the table is used",
        "read it with --rle absolute (or --rle relative)",
    ),
    "malformed-rows": Kind(
        "error",
        "annotations",
        "rows",
        "cannot be read as annotations",
        "the image of such a row stays unlabelled",
        _MEND_TABLE,
    ),
    "runs-outside": Kind(
        "error",
        "annotations",
        "rows",
        "have runs that leave their image",
        "the image of such a row stays unlabelled",
        _MEND_TABLE,
    ),
    "zero-runs": Kind(
        "error",
        "annotations",
        "rows",
        "have a run of length 0",
        "the image of such a row stays unlabelled",
        _MEND_TABLE,
    ),
    "empty-beside-mask": Kind(
        "error",
        "annotations",
        "images",
        "are marked -1, as having no pneumothorax, beside a mask",
        "they stay unlabelled",
        _MEND_TABLE,
    ),
    "missing-transpose": Kind(
        "error",
        "annotations",
        "images",
        "have masks that fit a chest only when rows and columns are exchanged",
        "they are used as they are written: down the columns",
        "write the runs down the columns: encode the mask's transpose",
    ),
    "unlabelled": Kind(
        "warning",
        "annotations",
        "images",
        "have no usable annotation",
        "they are kept apart and never used as negatives",
        "add rows for them, -1 where there is no pneumothorax",
    ),
    "rows-without-file": Kind(
        "warning",
        "annotations",
        "images",
        "are annotated, but no file that can be read is theirs",
        "their rows are not used",
        "name the folder of the files with --images",
    ),
    "annotated-test": Kind(
        "warning",
        "annotations",
        "images",
        "of the test part are described by the table",
        "the table is not used for them",
        "name the test folder with --test-images, or the training folder with --images",
    ),
    "mask-outside-body": Kind(
        "warning",
        "annotations",
        "images",
        "have a mask of which a large part lies outside the body",
        "it is used as it is written",
        "look at them and mend the table",
    ),
    "huge-mask": Kind(
        "warning",
        "annotations",
        "images",
        "have a mask of more than a tenth of the image, as large as a small lung",
        "it is used as it is written",
        "look at them",
    ),
    "tiny-mask": Kind(
        "warning",
        "annotations",
        "images",
        "have a mask of a few pixels: less than 0.03 % of the image",
        "it is used as it is written; it may vanish at a small network size",
        "look at them",
    ),
    "several-rows": Kind(
        "note",
        "annotations",
        "images",
        "are described by several rows",
        "their mask is the union of the rows",
        "none is needed; a library that keeps the last row alone loses the share given here",
    ),
    "repeated-rows": Kind(
        "note",
        "annotations",
        "rows",
        "repeat a row of their image word for word",
        "each is used once",
        "none is needed",
    ),
    "touching-runs": Kind(
        "note",
        "annotations",
        "rows",
        "have runs that touch, so their text is not the shortest",
        "the runs are joined",
        "none is needed",
    ),
    "header-variant": Kind(
        "note",
        "annotations",
        "tables",
        "have a header with blanks around a name",
        "the blanks are passed over",
        "none is needed",
    ),
    "no-header": Kind(
        "note",
        "annotations",
        "tables",
        "have no header",
        "the first line is read as a row",
        "none is needed",
    ),
    "byte-order-mark": Kind(
        "note",
        "annotations",
        "tables",
        "begin with a byte-order mark",
        "it is passed over",
        "none is needed",
    ),
    "empty-mark-variant": Kind(
        "note",
        "annotations",
        "rows",
        "write the empty mark with blanks around it",
        "the blanks are passed over",
        "none is needed",
    ),
    # ------------------------------------------------------------------------------ leaks
    "test-in-train": Kind(
        "error",
        "leaks",
        "images",
        "of the test part are among the training images, by UID or pixels",
        "they stay in both; a score on them is not honest",
        "remove them from one side",
    ),
    "near-duplicates-across-parts": Kind(
        "error",
        "leaks",
        "clusters",
        "of near-duplicates lie on both sides of training and test",
        "they stay in both; a score on them is not honest",
        "remove them from one side",
    ),
    "patients-across-parts": Kind(
        "warning",
        "leaks",
        "patients",
        "have images in the training and in the test part",
        "they stay in both; a score on the test part is too good",
        "none within the challenge; elsewhere split by patient",
    ),
    "fold-splits-patients": Kind(
        "error",
        "leaks",
        "patients",
        "have images in more than one fold of the fold table",
        "the table is refused by prepare and train",
        "make the folds with pleura folds",
    ),
    "fold-splits-clusters": Kind(
        "error",
        "leaks",
        "clusters",
        "of near-duplicates lie in more than one fold of the fold table",
        "they stay where the table puts them",
        "make the folds with pleura folds",
    ),
    "no-patients": Kind(
        "warning",
        "leaks",
        "images",
        "have no known patient: no map, and no useful patient id",
        "folds are made by cluster of near-duplicates; a patient may land on both sides",
        "name a patient map with --patients",
    ),
    "some-patients": Kind(
        "warning",
        "leaks",
        "images",
        "have no known patient: their files carry no useful patient id",
        "folds keep near-duplicates of them together; a patient may land on both sides",
        "name a patient map with --patients",
    ),
    "unmapped-patients": Kind(
        "warning",
        "leaks",
        "images",
        "are missing from the patient map",
        "each counts as a patient of its own (near-duplicates as one)",
        "add them to the map",
    ),
    "submission-repeats-ids": Kind(
        "warning",
        "leaks",
        "ids",
        "come more than once in a sample submission; in stage 1 that told which test images have "
        "a pneumothorax",
        "sample submissions are never used",
        "make the ids unique",
    ),
    # ---------------------------------------------------------------------------- balance
    "one-class": Kind(
        "error",
        "balance",
        "images",
        "are labelled, but all with the same label",
        "a network cannot be trained on them",
        "add images of the other label",
    ),
    "shortcut": Kind(
        "warning",
        "balance",
        "attributes",
        "go with the label, so a network may learn them instead of the finding",
        "nothing is changed",
        "balance the attribute, or judge within its strata",
    ),
}
"""Every code, in the order of a report."""
