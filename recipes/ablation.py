"""What each part of the recipe of the model that comes with pleura is worth: one change at a time.

    python -m recipes.ablation radiographs NIH LABELS SIIM WHERE   the further radiographs that rows
    need python -m recipes.ablation train WHERE [ROW ...]         five folds of each row; goes on
    python -m recipes.ablation table WHERE                   figures, and what sets rows apart

WHERE holds what docs/explanation/weights.md makes: ``siim-256``, ``simulated-256`` and
``first/model.h5``, the same prepared at the other sizes of :data:`ROWS`, and afterwards
``ablation``. Trainings are short (10 epochs at 256 px, a third of the steps of runs/real.toml) and
made to be compared. As many folds train side by side as there are cores, a thread each.
"""

import argparse
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from pleura.config import Run, load_run
from pleura.data.arrays import Prepared, open_prepared
from pleura.data.known_labels import known_labels
from pleura.data.patients import siim_patient
from pleura.data.prepare import prepare_pixels
from pleura.data.radiographs import radiograph_files, radiograph_id, read_any_radiograph
from pleura.dicom.secondary import write_secondary_capture
from pleura.evaluation.comparison import compare
from pleura.evaluation.decision import fit_decision
from pleura.evaluation.intervals import Draws, Score, draw_patients
from pleura.evaluation.outcomes import Outcome
from pleura.evaluation.scores import summarise
from pleura.formats.rle import mask2rle
from pleura.formats.submission import write_submission
from pleura.models.blocks import Outputs
from pleura.models.bundle import read_bundle
from pleura.stages.evaluate import count_predictions, outcome_of
from pleura.stages.folds import keep_said, read_said
from pleura.stages.train import is_trained, train_model
from pleura.storage.atomic import write_text
from pleura.synthesis.phantom.cohort import ANNOTATIONS, PATIENTS, TRAIN_FOLDER, new_names
from pleura.synthesis.simulate import distractors, write_simulated
from pleura.training.batches import Truth
from pleura.training.loop import Trainer
from pleura.training.losses import image_bce
from pleura.training.objective import Objective

FOLDS = 5
RUN = Path(__file__).parents[1] / "runs/real.toml"
FIRST = "first/model.h5"
WHOLE_MASK = 0.6
"""A mask of a larger share stands for one that nobody drew; no real one is so large."""


@dataclass(frozen=True, slots=True)
class Row:
    """One recipe.

    Attributes:
        says: What is different.
        settings: Over runs/real.toml.
        extra: Folders of further radiographs, by name, without their size.
        start: The model to begin with, below WHERE; ``{fold}`` is the number of the fold.
        size: Side in pixels.
        against: The row that it is compared with.
    """

    says: str
    settings: tuple[str, ...] = ("train.epochs=10",)
    extra: tuple[str, ...] = ("simulated",)
    start: str = FIRST
    size: int = 256
    against: str = "base"


_TWICE = ("train.epochs=20",)  # without further radiographs an epoch is half as long
_FINISH = ("train.epochs=3", "train.learning_rate=3e-4")
_BASE = "ablation/base/fold-{fold}/model.h5"

ROWS = {
    "base": Row("nothing"),
    "seed": Row("the seed, and with it the folds", ("train.epochs=10", "train.seed=2")),
    "extra-only": Row("no first training", start=""),
    "start-only": Row("no NIH and no simulated radiographs beside the masks", _TWICE, extra=()),
    "quarter": Row(
        "a quarter of the radiographs NIH's and simulated, not half",
        ("train.epochs=17", "train.extra_share=0.25"),
    ),
    "alone": Row("neither: ImageNet and masks alone", _TWICE, extra=(), start=""),
    "scratch": Row(
        "neither ImageNet nor a first training",
        ("train.epochs=10", "network.pretrained=false"),
        start="",
        against="extra-only",
    ),
    "no-ema": Row("no moving average", ("train.epochs=10", "train.ema=0")),
    "plain": Row(
        "no distractors on the simulated radiographs (and no first training)",
        extra=("plain",),
        start="",
        against="extra-only",
    ),
    "labels": Row(
        "a sixth of the further radiographs are NIH's whose label says pneumothorax, mask unknown",
        extra=("simulated", *["labels"] * 12),
    ),
    "256": Row("3 epochs more at 256 px", _FINISH, start=_BASE),
    "320": Row("3 epochs more at 320 px", _FINISH, start=_BASE, size=320, against="256"),
    "384": Row("3 epochs more at 384 px", _FINISH, start=_BASE, size=384, against="256"),
    "512": Row("3 epochs more at 512 px", _FINISH, start=_BASE, size=512, against="256"),
}


class KnownByImage(Objective):
    """A loss that takes a radiograph whose mask covers all of it by its image label alone."""

    def __call__(self, outputs: Outputs, truth: Truth) -> Tensor:
        """Return the loss of a batch."""
        drawn = truth.mask.mean((1, 2, 3)) < WHOLE_MASK
        image = image_bce(outputs.score, truth.positive)
        mask = self._mask_loss(outputs.mask[drawn], truth.mask[drawn]) if drawn.any() else 0 * image
        # The mean over the batch, as if what nobody drew were drawn without a fault.
        return mask * drawn.float().mean() + self._settings.image_loss * image


def main() -> None:
    """Do what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    radiographs = commands.add_parser("radiographs")
    for name in ("nih", "labels", "siim", "where"):
        radiographs.add_argument(name, type=Path)
    train = commands.add_parser("train")
    train.add_argument("where", type=Path)
    train.add_argument("rows", nargs="*", choices=ROWS)
    fold = commands.add_parser("fold")
    fold.add_argument("where", type=Path)
    fold.add_argument("row", choices=ROWS)
    fold.add_argument("fold", type=int)
    table = commands.add_parser("table")
    table.add_argument("where", type=Path)
    asked = parser.parse_args()
    if asked.command == "radiographs":
        write_plain(asked.nih, asked.labels, asked.siim, asked.where / "plain")
        write_known_by_image(asked.nih, asked.labels, asked.siim, asked.where / "labels")
    elif asked.command == "train":
        train_rows(asked.where, asked.rows or list(ROWS))
    elif asked.command == "fold":
        train_fold(asked.where, asked.row, asked.fold)
    else:
        print_table(asked.where)


def write_plain(nih: Path, labels: Path, siim: Path, out: Path) -> None:
    """Write the simulated radiographs of docs/explanation/weights.md, but without distractors."""
    distractors.CHANCES.update(dict.fromkeys(distractors.CHANCES, 0.0))
    write_simulated(
        nih, out, count=2000, seed=1, labels=labels, exclude=siim, originals=True, workers=1
    )


def write_known_by_image(nih: Path, labels: Path, siim: Path, out: Path) -> None:
    """Write the radiographs whose label says pneumothorax, each with a mask of all of it."""
    known = known_labels(labels)
    judged = {siim_patient(radiograph_id(path)) for path in radiograph_files(siim)}
    masks, patients = [], ["ImageId,patient"]
    for number, path in enumerate(radiograph_files(nih)):
        label = known.get(radiograph_id(path))
        if label is None or not label.positive or label.patient in judged:
            continue
        pixels = prepare_pixels(read_any_radiograph(path).pixels, 512)
        names = new_names(np.random.default_rng([1, 1 << 34, number]))
        write_secondary_capture(
            names.path(out / TRAIN_FOLDER),
            pixels,
            sop_uid=names.sop,
            study_uid=names.study,
            series_uid=names.series,
            patient_id=label.patient,
            patient_name="",
            age=None,
            sex="",
            view="",
            spacing_mm=None,
        )
        masks.append((names.sop, mask2rle(np.ones(pixels.shape, bool))))
        patients.append(f"{names.sop},{label.patient}")
    write_submission(out / ANNOTATIONS, masks)
    write_text(out / PATIENTS, "\n".join(patients) + "\n")
    print(f"{out}: {len(masks)} radiographs")


def train_rows(where: Path, rows: list[str]) -> None:
    """Train all folds of some rows, in order, as many at once as there are cores."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}

    def one(job: tuple[str, int]) -> None:
        command = ["fold", str(where), job[0], str(job[1])]
        subprocess.run(
            [sys.executable, "-m", "recipes.ablation", *command], env=environment, check=True
        )
        print(*job, flush=True)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(one, [(row, fold) for row in rows for fold in range(FOLDS)]))


def train_fold(where: Path, name: str, fold: int) -> None:
    """Train one fold of a row; what is finished is left as it is."""
    run, prepared = _settings(where, name, fold)
    trainer = Trainer(prepared, _out(where, name) / f"fold-{fold}", run.network, run.train)
    if "labels" in ROWS[name].extra:
        trainer.learner.loss_of = KnownByImage(run.train)
    if not is_trained(trainer):
        train_model(trainer, resume=True)


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """What the five folds of a row say of all images, by image id.

    Attributes:
        outcomes: With the row's own thresholds.
        masks: Dice of the mask alone at the threshold that is best for the positives, no image
            called empty: what the choice of a score threshold, on 71 radiographs a coarse one,
                hides.
        draws: Resamples of patients.
    """

    outcomes: list[Outcome]
    masks: NDArray[np.float64]
    draws: Draws

    @property
    def positive(self) -> NDArray[np.bool_]:
        """Which images show a pneumothorax."""
        return np.array([one.positive for one in self.outcomes])


def print_table(where: Path) -> None:
    """Print the rows that are finished, as Markdown, and below what sets them apart."""
    print("| what is different | AUROC | positive Dice | its masks alone | mean Dice |")
    print("| --- | --- | --- | --- | --- |")
    found: dict[str, Found] = {}
    for name, row in ROWS.items():
        if all((_out(where, name) / f"fold-{k}/model.h5").exists() for k in range(FOLDS)):
            one = found[name] = _judged(where, name)
            told = summarise(one.outcomes)
            figures = told.auroc, told.positive_dice, _masks(one, one.masks), told.mean_dice
            print("|", " | ".join([row.says, *map(str, figures)]), "|")
    print("\n| | less | AUROC | positive Dice | its masks alone |\n| --- | --- | --- | --- | --- |")
    for name, one in found.items():
        other = found.get(ROWS[name].against)
        if other is not None and other is not one:
            pairs = {
                d.name: d.difference for d in compare(one.outcomes, other.outcomes).differences
            }
            apart = pairs["auroc"], pairs["positive_dice"], _masks(one, one.masks - other.masks)
            print("|", " | ".join([name, ROWS[name].against, *map(_signed, apart)]), "|")


def _masks(found: Found, values: NDArray[np.float64]) -> Score:
    """Return the mean of values over the positives."""
    positive = found.positive
    return found.draws.score(found.draws.among(positive).mean(values[positive]), positive)


def _judged(where: Path, name: str) -> Found:
    held = []
    for fold in range(FOLDS):  # each begins with a model of its own in some rows
        run, prepared = _settings(where, name, fold)
        trainer = Trainer(prepared, _out(where, name) / f"fold-{fold}", run.network, run.train)
        bundle = read_bundle(trainer.out / "model.h5")
        rows, ones = read_said(keep_said(bundle, trainer))
        held += zip(rows, ones, strict=True)
    decision = fit_decision(count_predictions(prepared, held), run.train.calibration)
    bundle = decision.applied(bundle)
    said = sorted(held, key=lambda one: prepared.train[one[0]].image_id)
    outcomes = [outcome_of(prepared.train[row], one, bundle) for row, one in said]
    counted = count_predictions(prepared, said)
    best = counted.dice[counted.positive].mean(axis=0).argmax()
    draws = draw_patients([one.patient for one in outcomes])
    return Found(outcomes, counted.dice[:, best], draws)


def _settings(where: Path, name: str, fold: int) -> tuple[Run, Prepared]:
    row = ROWS[name]
    texts = [
        "train.progressive_sizes=[]",
        f"train.folds={FOLDS}",
        f"train.fold={fold}",
        *row.settings,
    ]
    if row.start:
        texts.append(f"train.init_from={where / row.start.format(fold=fold)}")
    extra = [str(where / f"{folder}-{row.size}") for folder in row.extra]
    run = load_run(RUN, [*texts, f"train.extra={json.dumps(extra)}"])
    return run, open_prepared(where / f"siim-{row.size}")


def _out(where: Path, name: str) -> Path:
    return where / "ablation" / name


def _signed(score: Score) -> str:
    return f"{score.value:+.3f} ({score.low:+.3f} to {score.high:+.3f})"


if __name__ == "__main__":
    main()
