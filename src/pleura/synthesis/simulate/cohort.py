"""A folder of simulated radiographs, laid out as pleura reads any other, with what was drawn."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np

from pleura.data.known_labels import Label, known_labels
from pleura.data.patients import nih_patient
from pleura.data.radiographs import (
    AnyRadiograph,
    header_patient,
    radiograph_files,
    radiograph_id,
    read_any_radiograph,
)
from pleura.dicom.secondary import write_secondary_capture
from pleura.dicom.square import square_shape
from pleura.errors import DataError, InputError, LimitError, UsageError, is_about_memory
from pleura.formats.csv_cells import csv_text
from pleura.formats.rle import mask2rle
from pleura.processes.guarded import guarded_list, guarded_map
from pleura.processes.isolation import Reply, next_file
from pleura.processes.progress import OnProgress, untold
from pleura.storage.atomic import write_text
from pleura.storage.content import stamp_at
from pleura.synthesis.lungs import find_lungs
from pleura.synthesis.new_folder import new_folder
from pleura.synthesis.phantom.cohort import ANNOTATIONS, PATIENTS, TRAIN_FOLDER, new_names
from pleura.synthesis.simulate.radiograph import (
    ORIGINAL,
    SMALLEST_RADIOGRAPH,
    Lesion,
    Parameters,
    Simulated,
    simulate,
)

PARAMETERS = "simulate.csv"

_COLUMNS = (
    *("ImageId", "source", "patient", "nih_patient", "kind", "side", "shape", "wanted", "area"),
    *("darkening", "line", "density", "fluid", "fake", "distractors"),
)
_LARGEST_RADIOGRAPH = 2048
_TRIES = 40  # radiographs to try for one image


@dataclass(frozen=True, slots=True)
class SourceRadiograph:
    """A radiograph to draw on.

    Attributes:
        path: Its file.
        patient: Who is on it, as it may be written.
        nih_patient: The patient's number where it is one of NIH ChestX-ray14's radiographs.
    """

    path: Path
    patient: str
    nih_patient: int | None = None


@dataclass(frozen=True, slots=True)
class SourceRadiographs:
    """The radiographs that can be drawn on, and what became of the others.

    Attributes:
        radiographs: Usable radiographs, in the order of their paths.
        negatives: These and those whose lungs were not found: all that show no pneumothorax.
        refused: Path and reason of those that could not be read or whose lungs were not found.
        positive: How many were left out because the labels say they show a pneumothorax.
        unlabelled: How many were left out because the labels do not name them.
        excluded: How many were left out because of who is on them.
    """

    radiographs: tuple[SourceRadiograph, ...]
    negatives: tuple[SourceRadiograph, ...]
    refused: tuple[tuple[str, str], ...]
    positive: int
    unlabelled: int
    excluded: int


@dataclass(frozen=True, slots=True)
class SimulatedCohort:
    """What :func:`write_simulated` wrote.

    Attributes:
        out: The folder.
        kinds: How many radiographs are of each kind.
        sources: What they were made from.
    """

    out: Path
    kinds: Mapping[str, int]
    sources: SourceRadiographs


def find_radiographs(
    folder: Path,
    labels: Path | None = None,
    *,
    exclude: Path | None = None,
    size: int = 512,
    workers: int = 0,
    on_progress: OnProgress = untold,
) -> SourceRadiographs:
    """Return the radiographs below a folder that show no pneumothorax and whose lungs are found.

    Args:
        folder: DICOM files, JPEGs or PNGs.
        labels: A table, see :func:`pleura.data.known_labels.known_labels`; radiographs that are
            positive or not in it are left out. None takes every radiograph for one without a
            pneumothorax.
        exclude: A folder of radiographs; those of the same patients are left out, so that a network
            trained on what is drawn can be judged there.
        size: Side in pixels that they are drawn on at.
        workers: Processes; 0 means one per core.
        on_progress: Told (radiographs done, radiographs in all).

    Raises:
        InputError: No radiograph is there, or the table cannot be read.
    """
    paths = radiograph_files(folder)
    known = None if labels is None else known_labels(labels)
    look = partial(_looked_at, size, known, _patients_of(exclude))
    answers: list[_Verdict] = [
        ("unreadable", str(found), "") if isinstance(found, LimitError) else tuple(found)
        for found in guarded_list(look, paths, name=str, workers=workers, on_progress=on_progress)
    ]
    numbers: dict[str, str] = {}
    radiographs, negatives, refused = [], [], []
    for path, (verdict, reason, patient) in zip(paths, answers, strict=True):
        if verdict in ("usable", "doubtful"):
            own = numbers.setdefault(patient or str(path), f"source-{len(numbers) + 1}")
            public = patient.removeprefix(_PUBLIC) if patient.startswith(_PUBLIC) else own
            negatives.append(SourceRadiograph(path, public, _nih_patient(path)))
        if verdict == "usable":
            radiographs.append(negatives[-1])
        elif verdict in ("doubtful", "unreadable"):
            refused.append((str(path), reason))
    counts = Counter(verdict for verdict, _, _ in answers)
    return SourceRadiographs(
        radiographs=tuple(radiographs),
        negatives=tuple(negatives),
        refused=tuple(refused),
        positive=counts["positive"],
        unlabelled=counts["unlabelled"],
        excluded=counts["excluded"],
    )


_PUBLIC = "public:"  # marks a patient as a pseudonym that may be written

_Verdict = tuple[str, str, str]


def _patients_of(folder: Path | None) -> frozenset[str]:
    """Return who is on the radiographs below a folder; one that cannot be read says nothing."""
    found = set()
    for path in radiograph_files(folder) if folder is not None else []:
        try:
            found.add(_patient(path, radiograph_id(path), ""))
        except InputError:
            continue
    return frozenset(found - {""})


def _patient(path: Path, image_id: str, labelled: str) -> str:
    """Return the patient, marked where it is a public pseudonym; "" where nobody says."""
    public = labelled or nih_patient(image_id)
    return f"{_PUBLIC}{public}" if public else header_patient(path)


def _nih_patient(path: Path) -> int | None:
    """Return the patient of a radiograph of NIH ChestX-ray14, by its id or its file's name."""
    return nih_patient(path.stem) or nih_patient(radiograph_id(path))


def _looked_at(
    size: int, labels: Mapping[str, Label] | None, exclude: frozenset[str], paths: Sequence[Path]
) -> list[_Verdict]:
    return [_verdict(size, labels, exclude, path) for path in paths]


def _verdict(
    size: int, labels: Mapping[str, Label] | None, exclude: frozenset[str], path: Path
) -> _Verdict:
    """Return what a radiograph is good for, the reason where it is for nothing, and the patient."""
    try:
        image_id = radiograph_id(path)
        label = Label(False) if labels is None else labels.get(image_id)
        if label is None:
            return "unlabelled", "", ""
        if label.positive:
            return "positive", "", ""
        patient = _patient(path, image_id, label.patient)
        if patient in exclude:
            return "excluded", "", ""
        found = find_lungs(read_any_radiograph(path).prepared(size))
    except InputError as error:
        if error.__cause__ is not None and is_about_memory(error.__cause__):
            raise  # alone it has all the memory for itself
        return "unreadable", str(error), ""
    finally:
        next_file()
    return ("doubtful", found.doubt, patient) if found.doubt else ("usable", "", patient)


def simulated(
    radiographs: Sequence[SourceRadiograph],
    *,
    size: int = 512,
    seed: int = 0,
    prevalence: float = 0.5,
) -> Iterator[Simulated]:
    """Yield radiographs without end, for a training that draws them while it runs.

    The n-th radiograph depends on `radiographs`, `seed` and n alone.

    Raises:
        DataError: None of many radiographs could be drawn on.
        InputError: A file can no longer be read.
    """
    number = 0
    while True:
        yield draw(radiographs, seed, number, size=size, prevalence=prevalence)[2]
        number += 1


def draw(
    radiographs: Sequence[SourceRadiograph], seed: int, number: int, *, size: int, prevalence: float
) -> tuple[SourceRadiograph, AnyRadiograph, Simulated]:
    """Return the `number`-th radiograph of a seed, with its source.

    A radiograph that refuses (opaque lungs, nothing fits) is replaced by another one; which are
    refused does not depend on what is drawn.

    Raises:
        DataError: None of many radiographs could be drawn on.
        InputError: A file can no longer be read.
    """
    rng = np.random.default_rng([seed, number])
    turn = np.random.default_rng([seed, 1 << 32, number // len(radiographs)]).permutation(
        len(radiographs)
    )
    order = [
        int(turn[number % len(radiographs)]),
        *rng.integers(len(radiographs), size=_TRIES - 1).tolist(),
    ]
    for index in order:
        source = radiographs[index]
        radiograph = read_any_radiograph(source.path)
        pixels = radiograph.prepared(size)
        try:
            return (
                source,
                radiograph,
                simulate(pixels, find_lungs(pixels), rng, prevalence=prevalence),
            )
        except DataError as error:
            reason = error
    raise DataError(
        f"none of {_TRIES} radiographs could be drawn on; the last one: {reason}"
    ) from reason


def write_simulated(
    folder: Path,
    out: Path,
    *,
    count: int,
    seed: int = 0,
    size: int = 512,
    prevalence: float = 0.5,
    labels: Path | None = None,
    exclude: Path | None = None,
    originals: bool = False,
    workers: int = 0,
    on_progress: OnProgress = untold,
) -> SimulatedCohort:
    """Write simulated radiographs in the layout of the SIIM-ACR set.

    ``dicom-images-train`` holds ``study/series/image.dcm``, ``train-rle.csv`` the masks,
    ``patients.csv`` the patient of each radiograph's source (so that folds keep what is of one
    patient together), ``simulate.csv`` what was drawn. The tables are written last: a folder
    without them was interrupted, and the same arguments finish it. The same arguments give the same
    bytes, whatever the number of workers.

    Args:
        folder: Radiographs without a pneumothorax (or with and without, and `labels`).
        out: A new or empty folder, or one that was interrupted.
        count: Radiographs to write, 1 or more.
        seed: 0 or more.
        size: Side in pixels, 256 to 2048.
        prevalence: Chance of a pneumothorax, 0 to 1.
        labels: See :func:`find_radiographs`.
        exclude: See :func:`find_radiographs`.
        originals: Whether to write each radiograph without a pneumothorax once as it is, too, those
            that cannot be drawn on included.
        workers: Processes; 0 means one per core.
        on_progress: Told (radiographs done, radiographs in all), of looking for lungs and of
            drawing.

    Raises:
        UsageError: A number out of its range, or `out` is a file or holds files already.
        InputError: No radiograph can be used, or a table cannot be read.
        OutputError: A file could not be written, or another process writes there.
    """
    _check(count, seed, size, prevalence)
    tables = [path for path in (labels, exclude) if path is not None]
    sources_seen = [(path, stamp_at(path)) for path in (*radiograph_files(folder), *tables)]
    made_of = (sources_seen, count, seed, size, prevalence, originals)
    with new_folder(out, "simulate", *made_of):
        sources = find_radiographs(
            folder, labels, exclude=exclude, size=size, workers=workers, on_progress=on_progress
        )
        if not sources.radiographs:
            raise DataError(
                f"{folder}: no radiograph can be drawn on ({len(sources.refused)} refused, "
                f"{sources.positive} with a pneumothorax, {sources.unlabelled} without a label, "
                f"{sources.excluded} excluded)"
            )
        unchanged = sources.negatives if originals else ()
        write = partial(
            _written,
            sources.radiographs,
            unchanged,
            folder,
            out / TRAIN_FOLDER,
            seed,
            size,
            prevalence,
        )
        rows = []
        numbers = range(-len(unchanged), count)
        replies = guarded_map(
            write,
            numbers,
            name=lambda number: f"{out}: simulated radiograph {number}",
            workers=workers,
        )
        for done, (reply,) in enumerate(replies, 1):
            if isinstance(reply, LimitError):
                raise reply
            rows.append(_Row(**reply.fields))
            on_progress(done, len(numbers))
        write_text(out / PARAMETERS, csv_text(_COLUMNS, [row.cells for row in rows]))
        write_text(
            out / PATIENTS,
            csv_text(("ImageId", "patient"), [(r.image_id, r.patient) for r in rows]),
        )
        write_text(
            out / ANNOTATIONS,
            csv_text(("ImageId", "EncodedPixels"), [(r.image_id, r.rle) for r in rows]),
        )
        return SimulatedCohort(out, Counter(row.kind for row in rows), sources)


def _check(count: int, seed: int, size: int, prevalence: float) -> None:
    for name, value, least in (("count", count, 1), ("seed", seed, 0)):
        if value < least:
            raise UsageError(f"{name} is {value}; it must be {least} or more")
    if not SMALLEST_RADIOGRAPH <= size <= _LARGEST_RADIOGRAPH:
        raise UsageError(
            f"size is {size}; it must be {SMALLEST_RADIOGRAPH} to {_LARGEST_RADIOGRAPH}"
        )
    if not 0 <= prevalence <= 1:
        raise UsageError(f"prevalence is {prevalence}; it must lie between 0 and 1")


@dataclass(frozen=True, slots=True)
class _Row:
    """One radiograph that was written; `cells` are those of its row of ``simulate.csv``."""

    image_id: str
    patient: str
    kind: str
    rle: str
    cells: list[str]


def _cells(
    image_id: str, source: SourceRadiograph, below: Path, drawn: Parameters
) -> tuple[str, ...]:
    def each(value: Callable[[Lesion], object]) -> str:
        return " ".join(str(value(lesion)) for lesion in drawn.lesions)

    return (
        image_id,
        source.path.relative_to(below).as_posix(),
        source.patient,
        "" if source.nih_patient is None else f"{source.nih_patient}",
        drawn.kind,
        each(lambda lesion: lesion.side),
        each(lambda lesion: lesion.shape),
        each(lambda lesion: f"{lesion.wanted:.6f}"),
        each(lambda lesion: f"{lesion.area:.6f}"),
        each(lambda lesion: f"{lesion.strength.darkening:.4f}"),
        each(lambda lesion: f"{lesion.strength.line:.4f}"),
        each(lambda lesion: f"{lesion.strength.density:.4f}"),
        each(lambda lesion: f"{lesion.strength.fluid:.4f}"),
        drawn.fake,
        " ".join(drawn.distractors),
    )


def _written(
    radiographs: Sequence[SourceRadiograph],
    unchanged: Sequence[SourceRadiograph],
    below: Path,
    folder: Path,
    seed: int,
    size: int,
    prevalence: float,
    number: int,
) -> Reply:
    """Draw one radiograph, write its file, and return its row; below 0, take one as it is."""
    if number < 0:
        source = unchanged[number]
        radiograph = read_any_radiograph(source.path)
        pixels, rle, parameters = radiograph.prepared(size), "-1", ORIGINAL
    else:
        source, radiograph, made = draw(radiographs, seed, number, size=size, prevalence=prevalence)
        pixels, rle, parameters = made.pixels, mask2rle(made.mask), made.parameters
    names = new_names(np.random.default_rng([seed, 1 << 33, *_key(number)]))
    identity = f"simulated-{source.patient}"
    rows, columns = radiograph.pixels.shape
    shown = square_shape(rows, columns, radiograph.aspect)
    spacing = radiograph.spacing_mm and radiograph.spacing_mm * rows / shown[0] * max(shown) / size
    write_secondary_capture(
        names.path(folder),
        pixels,
        sop_uid=names.sop,
        study_uid=names.study,
        series_uid=names.series,
        patient_id=identity,
        patient_name=identity,
        age=radiograph.age,
        sex=radiograph.sex,
        view=radiograph.view,
        spacing_mm=spacing,
        quality=95,
        age_with_unit=True,
    )
    cells = _cells(names.sop, source, below, parameters)
    return Reply(asdict(_Row(names.sop, source.patient, parameters.kind, rle, list(cells))))


def _key(number: int) -> list[int]:
    """Return what the names of a radiograph are drawn from; numbers below 0 have their own."""
    return [number] if number >= 0 else [0, -number]
