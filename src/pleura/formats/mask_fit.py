"""Whether the masks of a table were made for the pictures that they are to be laid on."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from pleura.formats.annotations import (
    Annotations,
    RowFault,
    RowProblem,
    Verdict,
    by_line,
    doubt_notes,
)
from pleura.formats.mask_doubts import why_impossible
from pleura.formats.mask_size import Misfit, exchanged, find_misfits
from pleura.formats.rle import Form, other_form

_SMALLEST: Final = 64
"""Pixels a side. In smaller pictures a mask of a table may look like anything."""


def check_masks(annotations: Annotations, shapes: Mapping[str, tuple[int, int]]) -> Annotations:
    """Return the annotations without the images whose masks were not made for their own picture.

    Their runs leave it, or touch each other only in a picture of another height, or in the other
    run-length form (see :mod:`pleura.formats.mask_size`).

    Args:
        annotations: What :func:`read_annotations` returned.
        shapes: Image id -> ``(rows, columns)`` of its file, best for all images in one call (the
            verdicts on form and size go by the majority too). Images without an entry are left as
            they are.

    Returns:
        A copy in which each such image is among the problems instead of the masks.

    Raises:
        OtherFormError: Most mask rows do not fit their picture, and do in the other run-length
            form.
    """
    verdict = Verdict(annotations.path, annotations.form)
    laid = [
        _Laid(image_id, line, text, shapes[image_id])
        for image_id, texts in annotations.masks.items()
        if image_id in shapes and _is_of_this_size(annotations, image_id, shapes[image_id])
        for line, text in zip(annotations.lines[image_id], texts, strict=False)
    ]
    for mask in laid:
        mask.fault = verdict.of(mask.text, mask.shape)
    whole = [m for m in laid if m.fault is None or m.fault.code == "runs-outside"]
    misfits = find_misfits([m.text for m in whole], [m.shape for m in whole], annotations.form)
    for mask in whole:
        tried = mask.fault is None and min(mask.shape) >= _SMALLEST
        why = why_impossible(mask.text, mask.shape, annotations.form) if tried else ""
        mask.fault = RowFault(why, "impossible-mask") if why else mask.fault
    for place, misfit in misfits.items():
        mask = whole[place]
        verdict.other_form += misfit.size is None and mask.fault is None
        mask.made_for = misfit.size
        mask.fault = _misfit_fault(misfit, mask, other_form(annotations.form))
    verdict.refuse_other_form()
    other_size = _of_another_size(annotations, shapes)
    problems = other_size + [
        RowProblem(mask.line, mask.image_id, mask.fault.reason, mask.fault.code, mask.made_for)
        for mask in laid
        if mask.fault is not None
    ]
    bad = {problem.image_id for problem in problems}
    unsized = {key: own for key, own in shapes.items() if _is_of_this_size(annotations, key, own)}
    return replace(
        annotations,
        notes=(*annotations.notes, *doubt_notes(annotations.masks, unsized, annotations.form)),
        masks={key: texts for key, texts in annotations.masks.items() if key not in bad},
        lines={key: lines for key, lines in annotations.lines.items() if key not in bad},
        problems=by_line([*annotations.problems, *problems]),
    )


def _of_another_size(
    annotations: Annotations, shapes: Mapping[str, tuple[int, int]]
) -> list[RowProblem]:
    """Return a problem for each image whose masks say that they have another size than it."""
    problems = []
    for image_id, size in annotations.sizes.items():
        shape = shapes.get(image_id)
        if shape is None or shape == size or image_id not in annotations.masks:
            continue
        made, has = (f"{rows} x {columns}" for rows, columns in (size, shape))
        way_out = exchanged(size, shape) or (
            "; resize the mask, or take the image that it was drawn on"
        )
        line, place, says = 0, annotations.path.name, "the mask has"
        if annotations.sizes_said:
            line, place, says = annotations.lines[image_id][0], "", "its row says"
        reason = f"{says} {made} pixels (rows x columns), but its image has {has}{way_out}"
        problems.append(RowProblem(line, image_id, reason, "another-size", size, place=place))
    return problems


def _is_of_this_size(annotations: Annotations, image_id: str, shape: tuple[int, int]) -> bool:
    """Return whether only the runs can tell that a mask is of another size than `shape`."""
    size = annotations.sizes.get(image_id)
    return size is None or (annotations.sizes_said and size == shape)


@dataclass(slots=True)
class _Laid:
    """One mask text, the picture that it is to be laid on, and what is wrong with that."""

    image_id: str
    line: int
    text: str
    shape: tuple[int, int]
    fault: RowFault | None = None
    made_for: tuple[int, int] | None = None


def _misfit_fault(misfit: Misfit, mask: _Laid, other: Form) -> RowFault:
    """Return what is wrong with a mask that was not made for its picture."""
    if misfit.size is None:
        return mask.fault or RowFault(
            f"the runs of neighbouring columns touch only when read in the {other} run-length "
            "form, unlike the other rows; write all rows in one form",
            "mixed-forms",
        )
    size, picture = (" x ".join(map(str, shape)) for shape in (misfit.size, mask.shape))
    if mask.fault is not None:
        return RowFault(
            f"{mask.fault.reason}; it was likely made for {size} (rows x columns)", mask.fault.code
        )
    if misfit.alike is not None:
        others, told = misfit.alike
        why = f"as {others} of the {told} masks of this table that show it were"
    else:
        why = "where alone its runs in neighbouring columns touch"
    if misfit.size == mask.shape[::-1]:
        why += " (the runs may have been counted along the rows)"
    return RowFault(
        f"the mask was likely made for a picture of {size} (rows x columns), {why}, but its image "
        f"has {picture}; resize the mask, or take the image that it was drawn on",
        "another-size",
    )
