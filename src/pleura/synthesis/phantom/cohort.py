"""A made-up cohort, written as the real SIIM-ACR set is written, with the same traps in it.

The radiographs come from :mod:`pleura.synthesis.phantom.radiography`; this module decides who is
imaged how often, who has a pneumothorax, and what is wrong with the files.
"""

import itertools
import uuid
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pleura.dicom.secondary import write_secondary_capture
from pleura.errors import UsageError
from pleura.formats.rle import mask2rle
from pleura.processes.progress import OnProgress, untold
from pleura.processes.workers import ordered_map
from pleura.storage.atomic import write_bytes, write_text
from pleura.synthesis.new_folder import new_folder
from pleura.synthesis.phantom.anatomy import draw_person
from pleura.synthesis.phantom.radiography import draw_phantom

TRAIN_FOLDER = "dicom-images-train"
TEST_FOLDER = "dicom-images-test"
ANNOTATIONS = "train-rle.csv"
PATIENTS = "patients.csv"
TRUTH = "test-truth.csv"

_SMALLEST = 64  # pixels; below it ribs and vessels run into one another
_RADIOGRAPH_MM = 400
_DIRTY_FROM = 10  # training images from which on some files are faulty
_BROKEN_FROM = 50
_SPLIT_SHARE = 0.25  # of the positives have several rows
_RADIOGRAPHS_PER_PATIENT = (0.5, 0.25, 0.15, 0.1)  # 1, 2, 3, 4 radiographs


@dataclass(frozen=True, slots=True)
class Cohort:
    """What :func:`write_cohort` wrote.

    Attributes:
        out: The folder with everything in it.
        train_images: Folder of the training files.
        test_images: Folder of the test files.
        annotations: The training rows, ``ImageId, EncodedPixels``.
        patients: Training image to patient.
        truth: The test rows, in the form of `annotations`.
        train: Training images, without the faulty extra files below.
        test: Test images.
        train_positives: Training images with a pneumothorax, unlabelled ones included.
        test_positives: Test images with a pneumothorax.
        several_rows: Training images of which the mask is spread over several rows.
        unlabelled: Training images without a row.
        repeated: Extra files that repeat another's SOP Instance UID in another study's folder.
        twins: Extra files with another's pixels under a UID of their own, annotated the same.
        unreadable: Extra files that break off halfway; annotated as empty.
    """

    out: Path
    train_images: Path
    test_images: Path
    annotations: Path
    patients: Path
    truth: Path
    train: int
    test: int
    train_positives: int
    test_positives: int
    several_rows: int
    unlabelled: int
    repeated: int
    twins: int
    unreadable: int

    @property
    def files(self) -> int:
        """How many DICOM files there are, the faulty ones included."""
        return self.train + self.test + self.repeated + self.twins + self.unreadable


@dataclass(frozen=True, slots=True)
class Names:
    """What a made-up file is called, in its path and in its header."""

    sop: str
    study: str
    series: str
    patient_id: str

    def path(self, folder: Path) -> Path:
        """Return where the file lies below `folder`."""
        return folder / self.study / self.series / f"{self.sop}.dcm"


@dataclass(frozen=True, slots=True)
class _Job:
    """One image to draw: everything a worker needs.

    Attributes:
        names: One entry per file to write with the same pixels, the first the image itself.
        patient: Number of the patient, from 1.
        body: Seed of the patient's body, shared by all of one patient's radiographs.
        radiograph: Seed of this radiograph.
        positive: Whether there is a pneumothorax.
        labelled: Whether the image has a row.
        broken: Whether the file breaks off halfway.
    """

    names: tuple[Names, ...]
    patient: int
    body: np.random.SeedSequence
    radiograph: np.random.SeedSequence
    positive: bool
    labelled: bool = True
    broken: bool = False

    @property
    def twin(self) -> str | None:
        """The image id of the copy that has a UID of its own."""
        return next((n.sop for n in self.names if n.sop != self.names[0].sop), None)


def write_cohort(
    out: Path,
    *,
    train: int,
    test: int,
    seed: int,
    size: int = 1024,
    prevalence: float = 0.35,
    clean: bool = False,
    workers: int | None = None,
    on_progress: OnProgress = untold,
) -> Cohort:
    """Write made-up radiographs with known masks in the layout of the SIIM-ACR set.

    ``dicom-images-train`` and ``dicom-images-test`` hold ``study/series/image.dcm``;
    ``train-rle.csv`` and ``test-truth.csv`` hold the masks, ``patients.csv`` groups the training
    images. The tables are written last: a folder without them was interrupted, and the
    same arguments finish it. The same arguments give the same bytes, whatever the number of
    workers.

    From 10 training images on, some files have the faults of the real set: images without a row
    (2 %), files that repeat another's UID (2 %), one copy of an image under a UID of its own; from
    50 on, one file that breaks off halfway.

    Args:
        out: A new or empty folder, or one that was interrupted.
        train: Training images, 1 or more.
        test: Test images, 0 or more; their patients are not among the training patients.
        seed: 0 or more.
        size: Side of the square radiographs in pixels, 64 or more.
        prevalence: Share of images with a pneumothorax, 0 to 1, exact up to rounding.
        clean: Leave out every fault and oddity of the real set: one row per image, no blanks in the
            table, ages with their unit, one patient id per patient, spacings that suit the size.
        workers: Processes to draw with; None means one per core.
        on_progress: Called with (images done, images in all) after each image.

    Raises:
        UsageError: A number out of its range, or `out` is a file or holds files already.
        OutputError: A file could not be written, or another process writes there.
        PleuraError: A worker process was killed.
    """
    _check(train, test, seed, size, prevalence, workers)
    with new_folder(out, "phantom", train, test, seed, size, prevalence, clean):
        jobs = _plan(train, seed, 0, prevalence)
        trials = _plan(test, seed, 1, prevalence)
        if clean:
            jobs, trials = _tidied(jobs, "train"), _tidied(trials, "test")
        else:
            jobs = _soiled(jobs, np.random.default_rng([seed, 2]))
        progress = _counter(on_progress, len(jobs) + len(trials))
        write = partial(_written, size=size, clean=clean, workers=workers, progress=progress)
        rows = write(jobs, out / TRAIN_FOLDER)
        truth = write(trials, out / TEST_FOLDER)
        (out / TEST_FOLDER).mkdir(parents=True, exist_ok=True)
        write_text(out / PATIENTS, _patient_table(jobs))
        write_text(out / TRUTH, _row_table(trials, truth, clean))
        write_text(out / ANNOTATIONS, _row_table(jobs, rows, clean))
        return _cohort(out, jobs, trials, rows)


def _check(
    train: int, test: int, seed: int, size: int, prevalence: float, workers: int | None
) -> None:
    lowest = (("train", train, 1), ("test", test, 0), ("seed", seed, 0), ("size", size, _SMALLEST))
    for name, value, least in (*lowest, ("workers", 1 if workers is None else workers, 1)):
        if value < least:
            raise UsageError(f"{name} is {value}; it must be {least} or more")
    if not 0 <= prevalence <= 1:
        raise UsageError(f"prevalence is {prevalence}; it must lie between 0 and 1")


# ---------------------------------------------------------------------------- the plan


def _plan(count: int, seed: int, stream: int, prevalence: float) -> list[_Job]:
    """Return `count` images: who, with what, under which names."""
    rng = np.random.default_rng([seed, stream])
    radiographs = np.random.SeedSequence([seed, stream, 1]).spawn(count)
    patients = _patients(rng, count)
    bodies = np.random.SeedSequence([seed, stream, 2]).spawn(max(patients, default=0))
    positive = np.zeros(count, dtype=bool)
    positive[rng.permutation(count)[: round(prevalence * count)]] = True
    return [
        _Job(
            names=(new_names(rng),),
            patient=patient,
            body=bodies[patient - 1],
            radiograph=radiograph,
            positive=bool(positive),
        )
        for patient, radiograph, positive in zip(patients, radiographs, positive, strict=True)
    ]


def _patients(rng: np.random.Generator, count: int) -> list[int]:
    """Return the patient's number, from 1, of each of `count` radiographs in random order."""
    numbers: list[int] = []
    while len(numbers) < count:
        radiographs = 1 + int(rng.choice(len(_RADIOGRAPHS_PER_PATIENT), p=_RADIOGRAPHS_PER_PATIENT))
        numbers += [1 + (numbers[-1] if numbers else 0)] * radiographs
    return [int(number) for number in rng.permutation(numbers[:count])]


def new_names(rng: np.random.Generator) -> Names:
    """Draw the names of a file: UIDs made of random numbers, and a random patient id."""
    sop, study, series = (f"2.25.{_uuid(rng).int}" for _ in range(3))
    return Names(sop, study, series, str(_uuid(rng)))


def _uuid(rng: np.random.Generator) -> uuid.UUID:
    return uuid.UUID(bytes=rng.bytes(16), version=4)


def _soiled(jobs: list[_Job], rng: np.random.Generator) -> list[_Job]:
    """Return `jobs` with the faults of the real set in some of them."""
    count = len(jobs)
    if count < _DIRTY_FROM:
        return jobs
    jobs = list(jobs)
    few = max(1, round(0.02 * count))
    order = [int(index) for index in rng.permutation(count)[: 2 * few + 1]]
    for index in order[:few]:
        jobs[index] = replace(jobs[index], labelled=False)
    for index in order[few : 2 * few]:
        again = replace(new_names(rng), sop=jobs[index].names[0].sop)
        jobs[index] = replace(jobs[index], names=(*jobs[index].names, again))
    original = jobs[order[-1]]
    jobs[order[-1]] = replace(original, names=(*original.names, new_names(rng)))
    if count >= _BROKEN_FROM:
        radiograph = np.random.SeedSequence(int(rng.integers(2**63)))
        names = (new_names(rng),)
        jobs.append(_Job(names, original.patient, original.body, radiograph, False, broken=True))
    return jobs


def _tidied(jobs: list[_Job], part: str) -> list[_Job]:
    """Return `jobs` with a patient id that all images of one patient share."""
    return [
        replace(job, names=(replace(job.names[0], patient_id=f"phantom-{part}-{job.patient}"),))
        for job in jobs
    ]


# ---------------------------------------------------------------------------- the files


def _written(
    jobs: Sequence[_Job],
    folder: Path,
    *,
    size: int,
    clean: bool,
    workers: int | None,
    progress: Callable[[], None],
) -> list[tuple[str, ...]]:
    """Write the files of all jobs and return their run-length rows, in order."""
    rows = []
    for texts in ordered_map(partial(_write_image, folder, size, clean), jobs, workers or 0):
        rows.append(texts)
        progress()
    return rows


def _write_image(folder: Path, size: int, clean: bool, job: _Job) -> tuple[str, ...]:
    """Draw one image, write its files, and return its run-length rows."""
    rng = np.random.default_rng(job.radiograph)
    person = draw_person(np.random.default_rng(job.body))
    phantom = draw_phantom(rng, size=size, pneumothorax=job.positive, person=person)
    for names in job.names:
        write_secondary_capture(
            names.path(folder),
            phantom.pixels,
            sop_uid=names.sop,
            study_uid=names.study,
            series_uid=names.series,
            patient_id=names.patient_id,
            patient_name=names.patient_id,
            age=phantom.age,
            sex=phantom.sex,
            view=phantom.view,
            spacing_mm=_RADIOGRAPH_MM / size if clean else phantom.spacing_mm,
            age_with_unit=clean,
        )
    if job.broken:
        path = job.names[0].path(folder)
        content = path.read_bytes()
        write_bytes(path, content[: len(content) // 2])
    pieces = [phantom.mask] if clean else _pieces(rng, phantom.mask)
    return tuple(mask2rle(piece) for piece in pieces)


def _pieces(rng: np.random.Generator, mask: NDArray[np.bool_]) -> list[NDArray[np.bool_]]:
    """Return one to four masks, some overlapping, of which the union is `mask`."""
    used = np.flatnonzero(mask.any(axis=1))
    count = int(rng.integers(2, 5))
    if rng.random() >= _SPLIT_SHARE or len(used) < 4 * count:
        return [mask]
    cuts = np.linspace(used[0], used[-1] + 1, count + 1).round().astype(int)
    overlap = int(rng.choice((0, 0, 1, 2))) * (cuts[1] - cuts[0]) // 6
    pieces = []
    for top, bottom in itertools.pairwise(cuts):
        piece = np.zeros_like(mask)
        piece[top : bottom + overlap] = mask[top : bottom + overlap]
        pieces.append(piece)
    return [piece for piece in pieces if piece.any()]


def _counter(on_progress: OnProgress, total: int) -> Callable[[], None]:
    done = 0

    def count() -> None:
        nonlocal done
        done += 1
        on_progress(done, total)

    return count


# ---------------------------------------------------------------------------- the tables


def _row_table(jobs: Iterable[_Job], rows: Iterable[tuple[str, ...]], clean: bool) -> str:
    """Return the run-length table, with the blanks after the commas that the real one has."""
    comma = "," if clean else ", "
    lines = [f"ImageId{comma}EncodedPixels"]
    for job, texts in zip(jobs, rows, strict=True):
        if not job.labelled:
            continue
        for image in (job.names[0].sop, job.twin):
            if image is not None:
                lines += [f"{image}{comma}{text}" for text in texts]
    return "\n".join(lines) + "\n"


def _patient_table(jobs: Iterable[_Job]) -> str:
    lines = ["ImageId,patient"]
    for job in jobs:
        for image in (job.names[0].sop, job.twin):
            if image is not None:
                lines.append(f"{image},{job.patient:08d}")
    return "\n".join(lines) + "\n"


def _cohort(
    out: Path, jobs: Sequence[_Job], trials: Sequence[_Job], rows: Sequence[tuple[str, ...]]
) -> Cohort:
    whole = [job for job in jobs if not job.broken]
    extra = sum(len(job.names) - 1 for job in jobs)
    twins = sum(job.twin is not None for job in jobs)
    labelled = zip(jobs, rows, strict=True)
    return Cohort(
        out=out,
        train_images=out / TRAIN_FOLDER,
        test_images=out / TEST_FOLDER,
        annotations=out / ANNOTATIONS,
        patients=out / PATIENTS,
        truth=out / TRUTH,
        train=len(whole),
        test=len(trials),
        train_positives=sum(job.positive for job in whole),
        test_positives=sum(job.positive for job in trials),
        several_rows=sum(job.labelled and len(texts) > 1 for job, texts in labelled),
        unlabelled=sum(not job.labelled for job in whole),
        repeated=extra - twins,
        twins=twins,
        unreadable=len(jobs) - len(whole),
    )
