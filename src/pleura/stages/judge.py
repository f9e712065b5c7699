"""Anybody's predictions against a truth, without a model and without a radiograph.

Predictions are masks in any form of :mod:`pleura.formats.masks` (nnU-Net's folder is one), a table
of scores, both, or the folder that ``pleura predict`` wrote; the truth is masks or a table of image
labels. The figures are those that ``pleura evaluate`` gives for a model, over the images that both
know.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pleura import config
from pleura.data.groups import Bearer, judge_ids
from pleura.data.image_patients import number_patients
from pleura.data.matching import first_id_alike, match_keys, match_names
from pleura.data.patients import nih_patient, patient_doubts, read_patients
from pleura.data.scan import Failure, Scan, scan_files
from pleura.data.sources import find_sources
from pleura.dicom.values import age_years
from pleura.errors import DataError, RleError, UsageError
from pleura.evaluation.comparison import Comparison, compare
from pleura.evaluation.figures import Evaluation
from pleura.evaluation.intervals import Score
from pleura.evaluation.mix import Mix
from pleura.evaluation.outcomes import Outcome, Traits, outcome
from pleura.evaluation.ranking import ranking_doubts
from pleura.evaluation.report import Report, write_report
from pleura.evaluation.scores import summarise
from pleura.evaluation.way_round import WayRound
from pleura.formats.annotations import Annotations
from pleura.formats.csv_table import shown
from pleura.formats.label_row import ImageLabel
from pleura.formats.rle import rle2mask, united
from pleura.printable import few
from pleura.stages.judge_sides import (
    Judging,
    KnownTruth,
    Predicted,
    match_sides,
    read_predictions,
    read_truth,
    without_misfits,
)

_OF_SCORES = ("auroc", "average_precision", "brier", "calibration_error")


_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Judgement:
    """What predictions are worth.

    Attributes:
        evaluation: The figures.
        outcomes: One per image that both sides know.
        notes: What a reader must know to believe the figures.
        failures: Each id that could not be used, with its reason.
    """

    evaluation: Evaluation
    outcomes: tuple[Outcome, ...]
    notes: tuple[str, ...]
    failures: tuple[tuple[str, str], ...]


def judge(
    predictions: Path,
    truth: Path,
    how: Judging = Judging(),  # noqa: B008 - frozen
    *,
    scores: Path | None = None,
    mixes: Sequence[Mix] = (),
    negatives: Mapping[str, str] | None = None,
) -> Judgement:
    """Return how predictions fare against the truth.

    Args:
        predictions: Masks, a table of scores, or the folder that ``pleura predict`` wrote.
        truth: Masks, or a table of image labels.
        how: How they are to be read.
        scores: A table of scores beside predicted masks.
        mixes: Other sets to re-weigh the figures to.
        negatives: Image id -> what kind of negative it is.

    Raises:
        DataError: A table cannot be read as a whole, or the two sides have no image in common.
        AnnotationError: Masks cannot be read as a whole.
        UsageError: Run lengths do not say how large the images are, and nobody else does.
    """
    if how.threshold is not None and not math.isfinite(how.threshold):
        raise UsageError(f"`threshold` {how.threshold}: a score is compared with a finite number")
    said, right = read_predictions(predictions, scores, how), read_truth(truth, how)
    files, unread = _radiographs(right.ids, how)
    said, right = without_misfits(said, right, how, files)
    paired = _paired(said, right, how, negatives or {}, files)
    paired.failures += unread
    if not paired.outcomes:
        raise DataError(_why_none(said, right, paired, str(predictions), str(truth)))
    evaluation = summarise(paired.outcomes, mixes=mixes)
    evaluation, more = _without_scores(evaluation, said, paired.outcomes, how)
    if how.patients is None and all(item.patient == item.image_id for item in paired.outcomes):
        more.append(
            "No patient is known, so each image counts as one, and intervals are too narrow where "
            "patients have several; name who is on them with `patients`."
        )
    elif paired.without_patient:
        more.append(
            f"Of {paired.without_patient:,} of {len(paired.outcomes):,} images the patient is not "
            "known: each of them counts as one."
        )
    whose = {item.image_id: item.patient for item in paired.outcomes}
    doubts = patient_doubts({name: one for name, one in whose.items() if name != one})
    more += [f"{sentence[:1].upper()}{sentence[1:]}." for sentence in doubts]
    for source, masks in ((predictions, said.masks), (truth, right.masks)):
        more += [f"{source}: {sentence}." for sentence in masks.doubts] if masks else []
    alone = [(name, f"has a {_ONE_SIDE[0]}") for name in paired.missing]
    alone += [(name, f"has a {_ONE_SIDE[1]}") for name in paired.extra]
    return Judgement(
        evaluation, tuple(paired.outcomes), (*paired.notes(), *more), (*paired.failures, *alone)
    )


def compare_judged(
    ours: Judgement, theirs: Judgement, *, margin: float | None = None
) -> Comparison:
    """Return how two judgements of the same truth differ, over the images that both judged.

    Raises:
        DataError: They have no image in common.
    """
    others = {item.image_id: item for item in theirs.outcomes}
    both = [item for item in ours.outcomes if item.image_id in others]
    if not both:
        raise DataError(
            f"of the {len(ours.outcomes):,} images that the one judged and the {len(others):,} of "
            "the other none is the same; give two predictions of the same images"
        )
    figures = (ours.evaluation, theirs.evaluation)
    return compare(
        both,
        [others[item.image_id] for item in both],
        margin=margin,
        undefined=[n for n in _OF_SCORES if any(math.isnan(getattr(f, n).value) for f in figures)],
    )


def write_judgement(
    judgement: Judgement,
    path: Path,
    predictions: str,
    truth: str,
    comparison: Comparison | None = None,
) -> None:
    """Write the HTML page of a judgement, with a comparison if given.

    Raises:
        OutputError: The page could not be written.
    """
    report = Report(
        title="pleura: predictions",
        evaluation=judgement.evaluation,
        outcomes=judgement.outcomes,
        facts={"Predictions": predictions, "Truth": truth},
        notes=judgement.notes,
        comparison=comparison,
    )
    write_report(report, path)


def _why_none(
    said: Predicted, right: KnownTruth, paired: "_Paired", predictions: str, truth: str
) -> str:
    """Return why the two sides have no image in common that can be judged."""
    for source, side in ((predictions, said), (truth, right)):
        if side.problems and not side.ids:
            name, fault = side.problems[0]
            return f"{source}: none of its {len(side.problems):,} rows can be used; {name}: {fault}"
    if shared := len(right.ids) - len(paired.missing):
        first = "".join(f" {name}: {fault}" for name, fault in paired.failures[:1])
        return (
            f"{predictions}: {shared:,} of its ids are of {truth} too, but none can be judged: "
            + " ".join(paired.notes())
            + first
        )
    advice = "name the column of ids with `image_column`, or what they are with `match`"
    return (
        f"{predictions}: none of its {len(said.ids):,} ids belongs to the {len(right.ids):,} "
        f"of {truth}; the first are {next(iter(said.ids), 'none')} and "
        f"{next(iter(right.ids), 'none')}; {first_id_alike(said.ids, right.ids) or advice}"
        + "".join(f" ({name}: {fault})" for name, fault in paired.failures[:1])
    )


_ONE_SIDE = ("truth and no prediction", "prediction and no truth")


@dataclass(slots=True)
class _Paired:
    """The images that both sides know, and what came of the others.

    Attributes:
        outcomes: One per image that both know.
        failures: Each id that could not be used, with its reason.
        missing: Images without a prediction.
        extra: Predictions without a truth.
        not_assessed: How many were not assessed.
        without_label: Of how many the label is not certain.
        without_patient: Of how many outcomes the patient is not known.
        way_round: Which way round the masks fit.
    """

    outcomes: list[Outcome]
    failures: list[tuple[str, str]]
    missing: list[str]
    extra: list[str]
    not_assessed: int = 0
    without_label: int = 0
    without_patient: int = 0
    way_round: WayRound = field(default_factory=WayRound)

    def notes(self) -> list[str]:
        """Return what was left out, as sentences."""
        said = []
        for names, what in zip((self.missing, self.extra), _ONE_SIDE, strict=True):
            said += _counted(names, f"has a {what}", f"have a {what}")
        for count, one, many in (
            (self.not_assessed, "image was not assessed", "images were not assessed"),
            (self.without_label, "image has no certain label", "images have no certain label"),
        ):
            if count:
                what = one if count == 1 else many
                said.append(f"{count:,} {what}; left out of all figures.")
        return said + self.way_round.doubts()


def _paired(
    said: Predicted,
    truth: KnownTruth,
    how: Judging,
    negatives: Mapping[str, str],
    files: Mapping[str, Scan],
) -> _Paired:
    """Return how each prediction fares that has one truth; `files` are by the ids of the truth."""
    matched = match_sides(said, truth, how, files)
    twice = [name for names in matched.twice.values() for name in names]
    several, used = set(twice), set(matched.names.values())
    paired = _Paired(
        outcomes=[],
        failures=[
            *said.problems,
            *((name, f"means {n} predictions") for name, n in matched.ambiguous.items()),
            *truth.problems,
            *((name, "means the same prediction as another one") for name in twice),
        ],
        missing=[name for name in truth.ids if name not in matched.names],
        extra=[name for name in said.ids if name not in used],
    )
    also = {name: [own] for name, own in matched.names.items()}
    for name, file in files.items():
        also.setdefault(name, []).extend((file.image_id, file.path))
    patients = _patients(truth.ids, also, how)
    headers = {} if patients else patients_of_headers(files)
    beside = _Beside(patients, negatives, files, headers, paired.way_round)
    for name in truth.ids:
        own = matched.names.get(name)
        if own is None or name in several:
            continue
        label = truth.label(name)
        if label is not None and label.probability is None:
            paired.without_label += 1
        elif own in said.table.scores and said.table.scores[own] is None:
            paired.not_assessed += 1
        else:
            patient = _patient(name, label, beside)
            try:
                paired.outcomes.append(_outcome(name, own, said, truth, how, beside, patient))
                paired.without_patient += patient is None
            except (RleError, DataError) as error:
                paired.failures.append((name, str(error)))
    return paired


class _Beside(NamedTuple):
    """What is known beside the two sides, by the ids of the truth."""

    patients: Mapping[str, str]
    negatives: Mapping[str, str]
    files: Mapping[str, Scan]
    headers: Mapping[str, str]
    """Patients by the files' own ids."""
    way_round: WayRound
    """To be told of every two masks."""


def _outcome(
    name: str,
    own: str,
    said: Predicted,
    truth: KnownTruth,
    how: Judging,
    beside: _Beside,
    patient: str | None,
) -> Outcome:
    """Return how the prediction `own` fares against the truth of `name`, an image of `patient`."""
    texts, given = said.texts(own), said.table.scores.get(own)
    right = None if truth.masks is None else truth.masks.masks[name]
    label, file = truth.label(name), beside.files.get(name)
    both = right is not None and texts is not None
    size = _size(_stated(said.masks, own), _stated(truth.masks, name), file) or how.size
    if size is None and (both or texts):
        raise UsageError(
            "run lengths do not say how large the images are; give `image_size` ROWSxCOLUMNS, such "
            "as 1024x1024, or the folder of the radiographs with `images`"
        )
    mask = _mask(texts, said.masks, size or (1, 1))
    true = None if right is None or size is None else _mask(right, truth.masks, size)
    if both and true is not None:
        beside.way_round.add(mask, true)
    called = said.table.called.get(own) if texts is None else bool(texts)
    score = float(bool(called)) if given is None else given
    item = outcome(
        name,
        score,
        mask,
        true if both else None,
        patient,
        _traits(beside.negatives.get(name, ""), label, file),
        labelled_positive=bool(label and (label.probability or 0) > 0.5) or bool(right),
        spacing_mm=_spacing(name, own, said, truth, file),
    )
    item = replace(item, threshold=said.table.thresholds.get(own))
    if both:
        return item
    item = replace(item, truth_px=0 if true is None else int(np.count_nonzero(true)))
    if called is None:
        return replace(item, threshold=how.limit, called=score >= how.limit)
    return replace(item, called=called)


def _spacing(
    name: str, own: str, said: Predicted, truth: KnownTruth, file: Scan | None
) -> tuple[float, float] | None:
    """Return the spacing of the radiograph, else that which the masks themselves say."""
    if file is not None:
        return file.measure_mm
    sides = ((truth.masks, name), (said.masks, own))
    told = (side.spacings_mm.get(key) for side, key in sides if side is not None)
    return next(filter(None, told), None)


def _stated(masks: Annotations | None, name: str) -> tuple[int, int] | None:
    return None if masks is None else masks.sizes.get(name)


def _size(
    predicted: tuple[int, int] | None, true: tuple[int, int] | None, file: Scan | None
) -> tuple[int, int] | None:
    """Return the size that masks and a radiograph state; None where none does.

    Raises:
        DataError: They state several.
    """
    if predicted and true and predicted != true:
        wrong, has = (f"{rows} x {columns}" for rows, columns in (predicted, true))
        raise DataError(f"its predicted mask has {wrong} pixels, but the true one has {has}")
    found = predicted or true
    if file is None:
        return found
    shape = (file.rows, file.columns)
    if found and found != shape:
        raise DataError(
            f"its mask has {found[0]} x {found[1]} pixels, but its radiograph {file.path} has "
            f"{shape[0]} x {shape[1]}"
        )
    return shape


def _mask(
    texts: Sequence[str] | None, table: Annotations | None, shape: tuple[int, int]
) -> NDArray[np.bool_]:
    if texts is None or table is None:
        return np.zeros(shape, np.bool_)
    return rle2mask(united(texts, form=table.form), shape)


def _patients(
    ids: Sequence[str], also: Mapping[str, Sequence[str]], how: Judging
) -> Mapping[str, str]:
    """Return the patients of images by the table that is named; none where none is.

    `also` holds what else an image of the truth is called.

    Raises:
        DataError: The table cannot be read, or knows none of the images.
    """
    if how.patients is None:
        return {}
    table = read_patients(how.patients)
    found = match_keys(ids, table, how.match, also=also).names
    if ids and not found:
        first = next(iter(table), "nothing")
        raise DataError(
            f"{how.patients}: none of the {len(table):,} images of this patient map is among the "
            f"{len(ids):,} of the truth; the first are {shown(first)} and {shown(ids[0])}; "
            + (first_id_alike(table, ids) or "name the map of these images")
        )
    return {name: table[own] for name, own in found.items()}


def _patient(name: str, label: ImageLabel | None, beside: _Beside) -> str | None:
    number = nih_patient(PurePosixPath(name).name)
    known = beside.patients.get(name) or (label.patient if label is not None else "")
    public = "" if number is None else f"nih {number}"
    return known or public or beside.headers.get(name)


def patients_of_headers(files: Mapping[str, Scan]) -> Mapping[str, str]:
    """Return numbers of patients by what files say themselves, where their ids group images."""
    scans = files.values()
    uses = judge_ids([Bearer(scan.patient_key, "test", scan.path) for scan in scans])
    own = [
        scan.patient_key if use == "groups" else None for scan, use in zip(scans, uses, strict=True)
    ]
    return {
        name: number for name, number in zip(files, number_patients(own), strict=True) if number
    }


def _radiographs(
    ids: Sequence[str], how: Judging
) -> tuple[Mapping[str, Scan], list[tuple[str, str]]]:
    """Return what the headers of the radiographs say, by the ids of the truth; failures."""
    if how.images is None:
        return {}, []
    sources = find_sources(config.Data(images=str(how.images)))
    read = scan_files([*sources.train, *sources.test], pixels=False)
    scans = {scan.image_id: scan for scan in read if isinstance(scan, Scan)}
    names = match_names(ids, [*scans.values()], how.match).names
    unread = [(scan.path, scan.reason) for scan in read if isinstance(scan, Failure)]
    return {name: scans[image_id] for name, image_id in names.items()}, unread


def _traits(negatives: str, label: ImageLabel | None, file: Scan | None) -> Traits:
    """Return what is known beside the picture: what a header says goes before a table."""
    sex, age, view = ("", "", "") if file is None else (file.sex, file.age, file.view)
    if label is not None:
        sex, age, view = sex or label.sex, age or label.age, view or label.view
    return Traits(negatives=negatives, sex=sex, age_years=age_years(age), view=view)


def _without_scores(
    evaluation: Evaluation, said: Predicted, outcomes: Sequence[Outcome], how: Judging
) -> tuple[Evaluation, list[str]]:
    """Return the figures without those that what was predicted does not allow, and why."""
    undefined = Score(math.nan, math.nan, math.nan)
    if not said.table.scores:
        strata = tuple(replace(part, auroc=undefined) for part in evaluation.strata)
        mixes = tuple(replace(mix, auroc=undefined) for mix in evaluation.mixes)
        naive = evaluation.naive and replace(evaluation.naive, auroc=math.nan)
        evaluation = replace(evaluation, strata=strata, mixes=mixes, naive=naive)
        why = (
            "The predictions are masks without scores, so AUROC, average precision, Brier score "
            "and calibration error are undefined; give a table of scores with `scores`."
        )
        unsaid: dict[str, Any] = dict.fromkeys(_OF_SCORES, undefined)
        return replace(evaluation, **unsaid), [why]
    ranking = ranking_doubts(evaluation.auroc, [item.score for item in outcomes])
    notes = [*said.table.notes, *ranking]
    if said.masks is None:
        notes.append(
            f"An image is called positive from the score {how.limit:g} on"
            + (", where no column called says otherwise." if said.table.called else ".")
        )
    if not all(0 <= item.score <= 1 for item in outcomes):
        evaluation = replace(evaluation, brier=undefined, calibration_error=undefined)
        notes.append(
            "Some scores lie outside 0 to 1 and so are no probabilities: Brier score and "
            "calibration error are undefined."
        )
    return evaluation, notes


def _counted(names: Sequence[str], one: str, many: str) -> list[str]:
    if not names:
        return []
    what = f"1 image {one}" if len(names) == 1 else f"{len(names):,} images {many}"
    return [f"{what}; left out of all figures: {few(names, _SHOWN)}."]
