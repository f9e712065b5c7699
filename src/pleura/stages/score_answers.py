"""Predictions of a job scored by a table of the truth, and the page that shows it."""

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pleura.choices import Match
from pleura.data.image_masks import brought
from pleura.data.table_use import TableUse, table_use
from pleura.data.unchanged import read_shown
from pleura.errors import DataError, InputError
from pleura.evaluation.figures import Evaluation
from pleura.evaluation.outcomes import Outcome, outcome
from pleura.evaluation.report import Report, choose_cases, choose_failures, write_report
from pleura.evaluation.scores import summarise
from pleura.formats.annotations import Annotations
from pleura.formats.mask_fit import check_masks
from pleura.formats.masks import MaskReading, read_masks
from pleura.formats.rle import rle2mask
from pleura.inference.row import Row
from pleura.models.bundle import Bundle
from pleura.rendering.notice import CHANGED, notice, why
from pleura.stages.evaluate import CASES, FAILURES, TILE, facts_of, tile_of
from pleura.training.curves import curves_svg

AS_USUAL = MaskReading()


class Scored(NamedTuple):
    """Answers held against the truth.

    Attributes:
        outcomes: One for each answer that counts.
        not_assessed: Images with a known truth that were not assessed: they count in no figure.
        uses: What of the table of the truth was not used.
        without: Answers about whose image the table says nothing.
    """

    outcomes: list[Outcome]
    not_assessed: int
    uses: tuple[TableUse, ...] = ()
    without: int = 0

    @property
    def notes(self) -> list[str]:
        """What a reader must know to believe the figures."""
        if not self.not_assessed:
            return []
        many = "1 image was" if self.not_assessed == 1 else f"{self.not_assessed:,} images were"
        return [f"{many} not assessed, being flagged; left out of all figures."]

    @property
    def unused(self) -> list[str]:
        """What of the answers and of the table of the truth was not used, in sentences."""
        notes = []
        if self.without:
            many = "1 answer has" if self.without == 1 else f"{self.without:,} answers have"
            notes.append(f"{many} no truth that can be used; left out of all figures.")
        return [*notes, *(f"{use}." for use in self.uses)]


def read_truth(
    answers: Sequence[Row], path: Path, reading: MaskReading = AS_USUAL, match: Match = ""
) -> Annotations:
    """Return what masks at `path` say of the images that `answers` are about.

    Masks that do not fit their images are among its problems.

    Args:
        answers: What prediction gave.
        path: The masks of these images, in any form that is read (:mod:`pleura.formats.masks`).
        reading: How they are to be read.
        match: What they call an image by; empty: its id, or its file's name or path.

    Raises:
        AnnotationError: They cannot be read as a whole.
    """
    shapes = {
        answer.image_id: (answer.rows, answer.columns)
        for answer in answers
        if answer.rows is not None and answer.columns is not None
    }
    named = [answer for answer in answers if answer.image_id]
    return check_masks(brought(read_masks(path, reading), named, match), shapes)


def truth_use(answers: Sequence[Row], truth: Annotations) -> tuple[TableUse, ...]:
    """Return what of a table of the truth was not used, if not all of it was."""
    return table_use(
        truth.path,
        codes=[problem.code for problem in truth.problems],
        ids=truth.masks,
        known={answer.image_id for answer in answers},
        columns=truth.unused,
    )


def score_answers(
    answers: Sequence[Row], truth: Annotations, leave_out: Collection[str] = ()
) -> Scored:
    """Return an outcome for each answer whose image has a mask in the table of the truth.

    Args:
        answers: What prediction gave.
        truth: What :func:`read_truth` returned for them; what is among its problems does not count.
        leave_out: Ids that do not count, because they trained the model.

    Raises:
        DataError: The table describes none of the images that count.
    """
    outcomes, not_assessed, without = [], 0, 0
    for answer in answers:
        if answer.image_id in leave_out:
            continue
        if answer.image_id not in truth.masks:
            without += answer.rle is not None
            continue
        not_assessed += not answer.assessed
        if answer.rle is None or answer.rows is None or answer.columns is None:
            continue
        shape = (answer.rows, answer.columns)
        mask, right = rle2mask(answer.rle, shape), truth.mask(answer.image_id, shape)
        outcomes.append(outcome(answer.image_id, answer.score or 0.0, mask, right))
    if not outcomes:
        refused = f" ({truth.problems[0]})" if truth.problems else ""
        flagged = f"; {not_assessed} others were not assessed" if not_assessed else ""
        raise DataError(
            f"{truth.path}: describes none of the {len(answers)} answered images, those that are "
            f"also training images left out{refused}{flagged}"
        )
    return Scored(outcomes, not_assessed, truth_use(answers, truth), without)


def write_test_report(
    bundle: Bundle, answers: Sequence[Row], scored: Scored, truth: Annotations, path: Path
) -> Evaluation:
    """Write the HTML page for scored answers; return the figures.

    Raises:
        OutputError: The page could not be written.
    """
    outcomes = scored.outcomes
    evaluation = summarise(outcomes, bundle.points)
    by_id = {answer.image_id: answer for answer in answers}

    def drawn(chosen: Sequence[str]) -> dict[str, NDArray[np.uint8]]:
        return {image_id: _answer_tile(by_id[image_id], truth) for image_id in chosen}

    report = Report(
        title="pleura: test images",
        evaluation=evaluation,
        outcomes=outcomes,
        cases=drawn(choose_cases(outcomes, CASES)),
        failures=drawn(choose_failures(outcomes, FAILURES)),
        curves_svg=curves_svg(bundle.history),
        facts={**facts_of(bundle), "Scored on": f"the test images described by {truth.path}"},
        notes=(
            "Neither the network nor its operating point saw these images before.",
            *scored.notes,
            *scored.unused,
        ),
    )
    write_report(report, path)
    return evaluation


def _answer_tile(answer: Row, table: Annotations) -> NDArray[np.uint8]:
    """Return a small picture of the bytes that were answered, with answer and truth."""
    truth = table.mask(answer.image_id, (answer.rows or 0, answer.columns or 0))
    try:
        shown = read_shown(answer.path, TILE, content=answer.fingerprint)
    except InputError as error:
        return notice(why(error), TILE)
    if shown.shape != truth.shape:
        return notice(CHANGED, TILE)
    return tile_of(shown, rle2mask(answer.rle or "-1", truth.shape), truth)
