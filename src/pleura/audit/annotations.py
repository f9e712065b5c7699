"""What the annotation table says, and whether its masks can be."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import get_args

from pleura.audit.findings import Finding, Item, found
from pleura.audit.orientation import lying_otherwise, orientation_evidence
from pleura.data.index import Index
from pleura.data.matching import ids_alike
from pleura.data.records import ImageRecord
from pleura.data.scan import FailureCode
from pleura.formats import rle
from pleura.formats.annotations import Annotations, LabelCode, ProblemCode, RowProblem
from pleura.pictures.measures import mask_cells, outside_body

TINY_SHARE = 0.0003
"""Of the image: 314 pixels of 1024 x 1024. Ten of SIIM-ACR's 2,669 masks are smaller."""

HUGE_SHARE = 0.1
"""Of the image. Eight of SIIM-ACR's 2,669 masks are larger."""

OUTSIDE_SHARE = 0.5

_PROBLEMS, _LABEL_PROBLEMS = get_args(ProblemCode), get_args(LabelCode)
NOT_TAKEN = {*get_args(FailureCode), *_PROBLEMS, *_LABEL_PROBLEMS, "absolute-form"} - {
    "own-result",
    "other-object",
}
"""Findings of inputs that could not be taken."""


@dataclass(frozen=True, slots=True)
class MaskFacts:
    """What one mask says of itself.

    Attributes:
        image_id: Its image.
        area_px: Pixels.
        share: Of the image.
        evidence: See :func:`pleura.audit.orientation.orientation_evidence`.
        outside: Share of its pixels outside the body; None where the picture was not read.
    """

    image_id: str
    area_px: int
    share: float
    evidence: tuple[float, ...]
    outside: float | None


def annotation_findings(index: Index) -> Iterator[Finding]:
    """Yield what is to be said of the table of a data folder, and of its masks."""
    if index.table is None and index.labels.table is None:
        train = [record.image_id for record in index.records if record.part == "train"]
        yield found("no-annotations", map(Item, train), count=index.files_train)
        return
    refused = {problem.image_id for problem in index.bad_annotations}
    refused |= {problem.image_id for problem in index.bad_labels}
    unlabelled = [record.image_id for record in index.unlabelled]
    yield found("unlabelled", (Item(i) for i in unlabelled if i not in refused))
    yield found("rows-without-file", _without_file(index.rows_without_file, index))
    yield found("annotated-test", map(Item, index.annotated_test))
    yield from _problems(index.bad_annotations, _PROBLEMS)
    yield from _label_findings(index)
    if index.table is not None:
        yield from _rows(index.table)
    yield from mask_findings(_facts(index))


def _label_findings(index: Index) -> Iterator[Finding]:
    """Yield what is to be said of the table of image labels."""
    yield from _problems(index.bad_labels, _LABEL_PROBLEMS)
    labels = index.labels.of
    said = [(record, labels[record.path]) for record in index.train if record.path in labels]
    yield found(
        "label-against-mask",
        (
            Item(record.image_id, f"label {label.probability:g}, line {label.line}")
            for record, label in said
            if record.mask_known
            and label.probability is not None
            and (label.probability > 0.5) != record.positive
        ),
    )
    differ = ((record, label.otherwise) for record, label in said if label.otherwise)
    yield found("labels-differ", (Item(record.image_id, which) for record, which in differ))
    if index.labels.table is not None:
        yield found("label-uncertain", map(Item, index.labels.table.uncertain))
    yield found("labels-without-file", _without_file(index.labels.without_file, index))
    alone = [record for record in index.train if not record.mask_known]
    boxes = sum(bool(record.boxes) for record in alone)
    yield found(
        "label-alone",
        (Item(r.image_id, f"{r.label:g}, believed {r.label_weight:g}") for r in alone),
        {"images with boxes": boxes} if boxes else None,
    )


def _without_file(ids: Sequence[str], index: Index) -> Iterator[Item]:
    zeros = ids_alike(ids, index.names)
    return (Item(image_id, zeros.get(image_id, "")) for image_id in ids)


def table_findings(table: Annotations, records: Sequence[ImageRecord]) -> Iterator[Finding]:
    """Yield what is to be said of a table without files; `records` are those made from it."""
    yield from _problems(table.problems, _PROBLEMS)
    yield from _rows(table)
    yield from mask_findings([_mask_facts(record, None) for record in records if record.positive])


def absolute_form(rows: int, reason: str) -> Finding:
    """Return the finding of a table that is written in the other run-length form."""
    return found("absolute-form", [Item("table", reason)], count=rows)


def mask_findings(facts: Sequence[MaskFacts]) -> Iterator[Finding]:
    """Yield what is to be said of masks."""
    lying = lying_otherwise([fact.evidence for fact in facts])
    if lying is not None:
        yield found(lying[0], (Item(facts[place].image_id) for place in lying[1]))
    yield _masks("tiny-mask", (fact for fact in facts if fact.share < TINY_SHARE))
    yield _masks("huge-mask", (fact for fact in facts if fact.share > HUGE_SHARE))
    yield found(
        "mask-outside-body",
        (
            Item(fact.image_id, f"{fact.outside:.0%} of it")
            for fact in facts
            if fact.outside is not None and fact.outside > OUTSIDE_SHARE
        ),
    )


def _masks(code: str, facts: Iterable[MaskFacts]) -> Finding:
    return found(code, (Item(f.image_id, f"{f.area_px:,} px, {f.share:.2%}") for f in facts))


def _facts(index: Index) -> list[MaskFacts]:
    return [_mask_facts(r, index) for r in index.train if r.positive and r.mask_known]


def _mask_facts(record: ImageRecord, index: Index | None) -> MaskFacts:
    mask = rle.rle2mask(record.encoded_pixels or rle.EMPTY, (record.rows, record.columns))
    cells = mask_cells(mask)
    picture = index.scans[record.path].picture if index is not None else None
    area = record.area_px or 0
    return MaskFacts(
        image_id=record.image_id,
        area_px=area,
        share=area / mask.size,
        evidence=orientation_evidence(cells),
        outside=None if picture is None else outside_body(picture, cells),
    )


def _problems(problems: Sequence[RowProblem], codes: Sequence[str]) -> Iterator[Finding]:
    for code in codes:
        alike = [problem for problem in problems if problem.code == code]
        items = (Item(p.image_id, f"{p.where}: {p.reason}") for p in alike)
        yield found(code, items, _likely_size(alike))


def _likely_size(problems: Sequence[RowProblem]) -> dict[str, float]:
    """Return the commonest size that masks of another size were made for, if there are any."""
    sizes = Counter(problem.made_for for problem in problems if problem.made_for)
    for (rows, columns), _ in sizes.most_common(1):
        return {"rows of the likely size": rows, "columns of the likely size": columns}
    return {}


def _rows(table: Annotations) -> Iterator[Finding]:
    yield _several_rows(table)
    yield _several_readers(table)
    touching = [
        Item(image_id, f"{table.told_by(image_id)}line {line}")
        for image_id, texts in table.masks.items()
        for line, text in zip(table.lines[image_id], texts, strict=False)
        if _touch(text, table)
    ]
    yield found("touching-runs", touching)
    for code in dict.fromkeys(note.code for note in table.notes):
        own = [note for note in table.notes if note.code == code]
        items = [Item(note.table or table.path.name, note.says) for note in own]
        yield found(code, items, count=sum(note.count for note in own))


def _several_rows(table: Annotations) -> Finding:
    several = {key: texts for key, texts in table.masks.items() if len(texts) > 1}
    overlaps = {key: rle.overlap_px(texts, form=table.form) for key, texts in several.items()}
    items = [
        Item(key, f"{len(texts)} rows" + (f", overlap {overlaps[key]:,} px" * bool(overlaps[key])))
        for key, texts in several.items()
    ]
    return found("several-rows", items, _several_figures(several, overlaps, table))


def _several_readers(table: Annotations) -> Finding:
    items = [Item(key, f"{number} readers") for key, number in table.readers.items()]
    items += [
        Item(key, f"{len(table.masks[key])} rows, {100 * share:.0f} % of the pixels are in several")
        for key, share in table.drawn_twice().items()
    ]
    return found("several-readers", items)


def _several_figures(
    several: Mapping[str, tuple[str, ...]], overlaps: Mapping[str, int], table: Annotations
) -> dict[str, float]:
    """Return how many images overlap, and the share of pixels that the last row alone loses."""
    whole = sum(rle.area_px(rle.united(texts, form=table.form)) for texts in several.values())
    last = sum(rle.area_px(table.last[key], form=table.form) for key in several)
    return {
        "images with rows that overlap": sum(map(bool, overlaps.values())),
        "share of their pixels lost by keeping the last row alone": (
            1 - last / whole if whole else 0.0
        ),
    }


def _touch(text: str, table: Annotations) -> bool:
    starts, lengths = rle.runs(text, form=table.form)
    return bool((starts[1:] == starts[:-1] + lengths[:-1]).any())
