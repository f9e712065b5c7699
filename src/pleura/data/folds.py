"""Splits that keep a patient, and a cluster of near-duplicates, on one side."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pleura.data.fold_table import write_folds
from pleura.data.groups import group_by
from pleura.data.matching import first_id_alike
from pleura.data.records import ImageRecord
from pleura.errors import DataError

_AREA_CLASSES = 3


@dataclass(frozen=True, slots=True)
class Fold:
    """One fold: how many images and positives it holds, of how many groups, and how large masks.

    Attributes:
        images: Images.
        positive: Of these, with a pneumothorax.
        groups: Patients, clusters and lone images, each counted once.
        median_area_px: Median area of its masks; None where it has none.
    """

    images: int
    positive: int
    groups: int
    median_area_px: float | None

    @property
    def prevalence(self) -> float:
        """Share of its images with a pneumothorax."""
        return self.positive / self.images


@dataclass(frozen=True, slots=True)
class FoldReport:
    """What a split is worth.

    Attributes:
        folds: The folds, in order.
        prevalence: Over all folds.
        split_patients: Patients with images in more than one fold; must be none.
        split_clusters: Clusters of near-duplicates in more than one fold; must be none.
        without_patient: Images of no known patient.
        largest_group: How many images the largest group has, and how many positives of these.
    """

    folds: tuple[Fold, ...]
    prevalence: float
    split_patients: tuple[str, ...]
    split_clusters: tuple[str, ...]
    without_patient: int
    largest_group: tuple[int, int]

    @property
    def largest_deviation(self) -> float:
        """How far a fold's prevalence lies from that of all, at most; 0.005 is half a point."""
        return max(abs(fold.prevalence - self.prevalence) for fold in self.folds)


def assign_folds(records: Sequence[ImageRecord], folds: int, seed: int = 0) -> NDArray[np.int64]:
    """Return the fold of each record: as its fold table says, or balanced by label and area.

    Without a table, all images of a patient come into one fold, and all images of a cluster of
    near-duplicates; an image without either is a group of its own.

    Args:
        records: Labelled records.
        folds: Number of folds.
        seed: The same seed gives the same folds.

    Returns:
        ``(records,)``, 0 to folds - 1.

    Raises:
        DataError: There are fewer groups than folds, an unlabelled record, or a fold table with
            another number of folds or with a patient in two of them.
    """
    unlabelled = [record.image_id for record in records if not record.labelled]
    if unlabelled:
        raise DataError(f"{unlabelled[0]}: an unlabelled image cannot be put into a fold")
    if records and all(record.fold is not None for record in records):
        return _from_table(records, folds)
    if not records:
        raise DataError("no image is labelled, so there is nothing to split; see pleura audit")
    groups = group_numbers(records)
    count = len(set(groups.tolist()))
    if count < folds:
        raise DataError(f"{count} patients cannot make {folds} folds; ask for fewer folds")
    strata = _strata(records, folds)
    result = np.zeros(len(records), np.int64)
    from sklearn.model_selection import StratifiedGroupKFold  # it takes its time

    splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    for fold, (_, chosen) in enumerate(splitter.split(strata, strata, groups)):
        result[chosen] = fold
    return result


def fold_records(
    records: Sequence[ImageRecord], folds: Mapping[str, int], table: str
) -> list[ImageRecord]:
    """Return the records with the folds that a table gives to the labelled ones.

    Args:
        records: Any images.
        folds: Image id -> fold.
        table: What to call the table in a message.

    Raises:
        DataError: The table leaves one of them out.
    """
    missing = [r.image_id for r in records if r.labelled and r.image_id not in folds]
    if missing:
        raise DataError(
            f"{table}: {len(missing):,} labelled images have no fold in it, the first is "
            f"{missing[0]}; "
            + (first_id_alike(folds, missing) or "make the table of these files with pleura folds")
        )
    return [replace(r, fold=folds[r.image_id]) if r.labelled else r for r in records]


def require_sound_folds(records: Sequence[ImageRecord]) -> None:
    """Check that the fold table, where there is one, keeps every patient in one fold.

    Raises:
        DataError: It does not.
    """
    split = split_values(records, [record.patient for record in records])
    if split:
        raise DataError(
            f"the fold table puts images of {len(split):,} patients into more than one fold; make "
            "it with pleura folds"
        )


def split_values(
    records: Sequence[ImageRecord], values: Sequence[str | int | None]
) -> tuple[str, ...]:
    """Return the values (patients, clusters) that stand in more than one fold of the fold table."""
    return _split(values, [record.fold for record in records])


def group_numbers(records: Sequence[ImageRecord]) -> NDArray[np.int64]:
    """Return the group of each record: what a patient or a cluster holds together has one number.

    Returns:
        ``(records,)``, from 0. Two images of one patient have one number, and so have two of one
        cluster, and two that a third links, whether that is among `records` or not.
    """
    return group_by(
        [record.patient for record in records],
        [record.cluster for record in records],
        [record.group for record in records],
    )


def report_folds(records: Sequence[ImageRecord], folds: NDArray[np.int64]) -> FoldReport:
    """Return what a split is worth, counted anew from records and folds alone.

    Args:
        records: Labelled records.
        folds: ``(records,)``: the fold of each, from 0, each fold with one image or more.
    """
    groups = group_numbers(records)
    positive = np.array([bool(record.positive) for record in records])
    areas = np.array([record.area_px or 0 for record in records])
    masks_known = np.array([record.mask_known for record in records])
    parts = []
    for number in range(int(folds.max()) + 1):
        inside = folds == number
        masks = areas[inside & positive & masks_known]
        parts.append(
            Fold(
                images=int(inside.sum()),
                positive=int(positive[inside].sum()),
                groups=len(np.unique(groups[inside])),
                median_area_px=float(np.median(masks)) if masks.size else None,
            )
        )
    places = folds.tolist()
    _, group = np.unique(groups, return_inverse=True)
    sizes, positives = np.bincount(group), np.bincount(group, positive)
    largest = int(sizes.argmax())
    return FoldReport(
        folds=tuple(parts),
        prevalence=float(positive.mean()),
        split_patients=_split([record.patient for record in records], places),
        split_clusters=_split([record.cluster for record in records], places),
        without_patient=sum(record.patient is None for record in records),
        largest_group=(int(sizes[largest]), int(positives[largest])),
    )


def one_sided(records: Sequence[ImageRecord]) -> str:
    """Return that most positives are of one patient or group, in words; "" where they are not.

    Figures over such records say how that one patient fares.
    """
    groups = group_numbers(records)[[bool(record.positive) for record in records]]
    most = int(np.bincount(groups).max()) if groups.size else 0
    if most < 2 or 2 * most <= groups.size:
        return ""
    return (
        f"{most} of the {groups.size} positive images that validate are of one patient, or nearly "
        "the same: what is measured on them says little of others; take another fold, or more data"
    )


def write_fold_table(records: Sequence[ImageRecord], folds: NDArray[np.int64], path: Path) -> None:
    """Write the fold of each record, with its label and area; patients are not named.

    Columns: ``image_id``, ``fold``, ``group`` (the number of its patient or cluster), ``positive``
    (0 or 1) and ``area_px``, which is empty where the mask is not known.

    Args:
        records: The images.
        folds: ``(records,)``: the fold of each, from 0.
        path: The file.

    Raises:
        OutputError: The file could not be written.
    """
    rows = [
        {
            "image_id": record.image_id,
            "fold": fold,
            "group": group,
            "positive": int(bool(record.positive)),
            "area_px": "" if record.area_px is None else record.area_px,
        }
        for record, fold, group in zip(
            records, folds.tolist(), group_numbers(records).tolist(), strict=True
        )
    ]
    write_folds(path, ["image_id", "fold", "group", "positive", "area_px"], rows)


def _from_table(records: Sequence[ImageRecord], folds: int) -> NDArray[np.int64]:
    require_sound_folds(records)
    result = np.array([record.fold for record in records], np.int64)
    count = int(result.max()) + 1
    if count != folds:
        raise DataError(
            f"the fold table has {count} folds, train.folds is {folds}; set train.folds={count}"
        )
    return result


def _strata(records: Sequence[ImageRecord], folds: int) -> NDArray[np.int64]:
    """Return 0 for no pneumothorax, 1 to 3 for one of a small to a large share of its image.

    Images without a mask have two numbers of their own, 4 and, with a pneumothorax, 5. What is too
    rare for every fold to have some of it is not told apart.
    """
    positive = np.array([bool(record.positive) for record in records])
    if min(positive.sum(), (~positive).sum()) < folds:
        return np.zeros(len(records), np.int64)
    strata = positive.astype(np.int64)
    known = np.array([record.mask_known for record in records])
    shares = np.array([(r.area_px or 0) / (r.rows * r.columns) for r in records])
    if np.count_nonzero(known & positive) >= _AREA_CLASSES * folds:
        edges = np.quantile(shares[known & positive], np.linspace(0, 1, _AREA_CLASSES + 1)[1:-1])
        areas = np.where(positive, 1 + np.searchsorted(edges, shares, side="left"), 0)
        if min(np.bincount(areas[known & positive], minlength=_AREA_CLASSES + 1)[1:]) >= folds:
            strata = areas
    for label in (False, True):
        unknown = ~known & (positive == label)
        if min(unknown.sum(), (known & (positive == label)).sum()) >= folds:
            strata[unknown] = _AREA_CLASSES + 1 + label
        else:
            strata[unknown] = int(label)
    return strata


def _split(values: Sequence[str | int | None], folds: Sequence[int | None]) -> tuple[str, ...]:
    seen: dict[str | int, set[int]] = {}
    for value, fold in zip(values, folds, strict=True):
        if value is not None and fold is not None:
            seen.setdefault(value, set()).add(fold)
    return tuple(str(value) for value, places in seen.items() if len(places) > 1)
