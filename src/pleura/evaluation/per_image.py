"""One row per image of an evaluation, as CSV and as Parquet: what every figure is made of.

A patient is a number that groups the images here, never an id.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import numpy as np

from pleura.evaluation.mix import SIZES, size_class
from pleura.evaluation.outcomes import Outcome
from pleura.formats.csv_cells import csv_line
from pleura.inference.parquet import write_parquet
from pleura.storage.atomic import atomic_path

COLUMNS = {
    "image_id": "text",
    "group": "count",
    "truth": "text",
    "truth_is": "text",
    "score": "number",
    "raw_score": "number",
    "threshold": "number",
    "called": "text",
    "dice": "number",
    "iou": "number",
    "truth_px": "count",
    "predicted_px": "count",
    "image_px": "count",
    "lesions": "count",
    "lesions_found": "count",
    "false_lesions": "count",
    "outlines": "text",
    "hausdorff95_px": "number",
    "surface_distance_px": "number",
    "hausdorff95_mm": "number",
    "surface_distance_mm": "number",
    "size": "text",
    "sex": "text",
    "age_years": "count",
    "view": "text",
    "negatives": "text",
    "fold": "count",
}
"""The columns, and what each holds."""

Cell = str | int | float | None


def rows_of(
    outcomes: Sequence[Outcome], folds: Mapping[str, int] = MappingProxyType({})
) -> list[dict[str, Cell]]:
    """Return a row for each image: a value for each of :data:`COLUMNS`, None where unknown.

    Args:
        outcomes: One per image.
        folds: Image id -> fold.
    """
    groups = {name: n for n, name in enumerate(dict.fromkeys(o.patient for o in outcomes), 1)}
    return [_row(item, groups[item.patient], folds.get(item.image_id)) for item in outcomes]


def write_per_image(
    outcomes: Sequence[Outcome], path: Path, folds: Mapping[str, int] = MappingProxyType({})
) -> tuple[Path, Path]:
    """Write the rows as CSV and as Parquet, of one name; return both paths.

    Args:
        outcomes: One per image.
        path: The name of either; its suffix does not count.
        folds: Image id -> fold.

    Raises:
        OutputError: One could not be written.
    """
    rows = rows_of(outcomes, folds)
    table, typed = path.with_suffix(".csv"), path.with_suffix(".parquet")
    with atomic_path(table) as partial, partial.open("w", encoding="utf-8", newline="") as file:
        file.write(csv_line(COLUMNS))
        for row in rows:
            file.write(csv_line(["" if cell is None else cell for cell in row.values()]))
    write_parquet([[*row.values()] for row in rows], COLUMNS, {}, typed)
    return table, typed


_OUTLINES = {
    (True, True): "both",
    (True, False): "truth alone",
    (False, True): "answer alone",
    (False, False): "none",
}


def _row(item: Outcome, group: int, fold: int | None) -> dict[str, Cell]:
    masks, apart = item.annotated, item.surfaces
    share = item.truth_px / max(item.image_px, 1)
    size = SIZES[int(size_class(np.array([share]))[0])][0] if item.positive and share else ""
    return {
        "image_id": item.image_id,
        "group": group,
        "truth": "positive" if item.positive else "negative",
        "truth_is": "mask" if masks or item.truth_px else "label",
        "score": item.score,
        "raw_score": item.raw_score,
        "threshold": item.threshold,
        "called": "positive" if item.called else "negative",
        "dice": item.dice if masks else None,
        "iou": item.iou if masks else None,
        "truth_px": item.truth_px if masks or item.truth_px else None,
        "predicted_px": item.predicted_px,
        "image_px": item.image_px,
        "lesions": item.lesions if masks else None,
        "lesions_found": item.lesions_found if masks else None,
        "false_lesions": item.false_lesions if masks else None,
        "outlines": _OUTLINES[item.truth_px > 0, item.predicted_px > 0] if masks else "",
        "hausdorff95_px": None if apart is None else apart.hausdorff95_px,
        "surface_distance_px": None if apart is None else apart.mean_px,
        "hausdorff95_mm": None if apart is None else apart.hausdorff95_mm,
        "surface_distance_mm": None if apart is None else apart.mean_mm,
        "size": size,
        "sex": item.traits.sex,
        "age_years": item.traits.age_years,
        "view": item.traits.view,
        "negatives": item.traits.negatives,
        "fold": fold,
    }
