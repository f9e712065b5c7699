"""A folder of simulated films, laid out as pleura reads any other, with what was drawn on each."""

import csv
import io
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from pleura.data.films import (
    Film,
    Label,
    film_files,
    film_id,
    header_patient,
    read_film,
    read_labels,
)
from pleura.data.lungs import find_lungs
from pleura.data.patients import siim_patient
from pleura.data.phantom.cohort import (
    ANNOTATIONS,
    PATIENTS,
    TRAIN_FOLDER,
    new_names,
    require_new_folder,
)
from pleura.data.prepare import prepare_pixels
from pleura.data.simulate.film import (
    ORIGINAL,
    SMALLEST_FILM,
    Lesion,
    Parameters,
    Simulated,
    simulate,
)
from pleura.data.workers import chunked_map, ordered_map
from pleura.errors import DataError, InputError, UsageError
from pleura.formats.atomic import write_text
from pleura.formats.rle import mask2rle
from pleura.formats.secondary import write_secondary_capture

PARAMETERS = "simulate.csv"

_COLUMNS = (
    *("ImageId", "source", "patient", "kind", "side", "shape", "wanted", "area", "darkening"),
    *("line", "density", "fluid", "fake", "distractors"),
)
_LARGEST_FILM = 2048
_TRIES = 40  # films to try for one image


@dataclass(frozen=True, slots=True)
class Source:
    """A film to draw on.

    Attributes:
        path: Its file.
        patient: Who is on it, as it may be written.
    """

    path: Path
    patient: str


@dataclass(frozen=True, slots=True)
class Sources:
    """The films that can be drawn on, and what became of the others.

    Attributes:
        films: Usable films, in the order of their paths.
        negatives: These and those whose lungs were not found: all that show no pneumothorax.
        refused: Path and reason of those that could not be read or whose lungs were not found.
        positive: How many were left out because the labels say they show a pneumothorax.
        unlabelled: How many were left out because the labels do not name them.
        excluded: How many were left out because of who is on them.
    """

    films: tuple[Source, ...]
    negatives: tuple[Source, ...]
    refused: tuple[tuple[str, str], ...]
    positive: int
    unlabelled: int
    excluded: int


@dataclass(frozen=True, slots=True)
class SimulatedCohort:
    """What :func:`write_simulated` wrote.

    Attributes:
        out: The folder.
        kinds: How many films are of each kind.
        sources: What they were made from.
    """

    out: Path
    kinds: Mapping[str, int]
    sources: Sources


def find_films(
    folder: Path,
    labels: Path | None = None,
    *,
    exclude: Path | None = None,
    size: int = 512,
    workers: int = 0,
    on_progress: Callable[[int, int], None] | None = None,
) -> Sources:
    """Return the films below a folder that show no pneumothorax and whose lungs are found.

    Args:
        folder: DICOM files, JPEGs or PNGs.
        labels: A table, see :func:`pleura.data.films.read_labels`; films that are positive or not
            in it are left out. None takes every film for one without a pneumothorax.
        exclude: A folder of films; those of the same patients are left out, so that a network
            trained on what is drawn can be judged there.
        size: Side in pixels that they are drawn on at.
        workers: Processes; 0 means one per core.
        on_progress: Told (films done, films in all).

    Raises:
        InputError: No film is there, or the table cannot be read.
    """
    paths = film_files(folder)
    known = None if labels is None else read_labels(labels)
    look = partial(_looked_at, size, known, _patients_of(exclude))
    answers = list(chunked_map(look, paths, workers, on_progress))
    numbers: dict[str, str] = {}
    films, negatives, refused = [], [], []
    for path, (verdict, reason, patient) in zip(paths, answers, strict=True):
        if verdict in ("usable", "doubtful"):
            own = numbers.setdefault(patient or str(path), f"source-{len(numbers) + 1}")
            public = patient.removeprefix(_PUBLIC) if patient.startswith(_PUBLIC) else own
            negatives.append(Source(path, public))
        if verdict == "usable":
            films.append(negatives[-1])
        elif verdict in ("doubtful", "unreadable"):
            refused.append((str(path), reason))
    counts = Counter(verdict for verdict, _, _ in answers)
    return Sources(
        films=tuple(films),
        negatives=tuple(negatives),
        refused=tuple(refused),
        positive=counts["positive"],
        unlabelled=counts["unlabelled"],
        excluded=counts["excluded"],
    )


_PUBLIC = "public:"  # marks a patient as a pseudonym that may be written

_Verdict = tuple[str, str, str]


def _patients_of(folder: Path | None) -> frozenset[str]:
    """Return who is on the films below a folder; one that cannot be read says nothing."""
    found = set()
    for path in film_files(folder) if folder is not None else []:
        try:
            found.add(_patient(path, film_id(path), ""))
        except InputError:
            continue
    return frozenset(found - {""})


def _patient(path: Path, image_id: str, labelled: str) -> str:
    """Return who is on a film, marked where it is a public pseudonym; "" where nobody says."""
    public = labelled or siim_patient(image_id)
    return f"{_PUBLIC}{public}" if public else header_patient(path)


def _looked_at(
    size: int,
    labels: Mapping[str, Label] | None,
    exclude: frozenset[str],
    paths: Sequence[Path],
) -> list[_Verdict]:
    return [_verdict(size, labels, exclude, path) for path in paths]


def _verdict(
    size: int, labels: Mapping[str, Label] | None, exclude: frozenset[str], path: Path
) -> _Verdict:
    """Return what a film is good for, the reason where it cannot be drawn on, and the patient."""
    try:
        image_id = film_id(path)
        label = Label(False) if labels is None else labels.get(image_id)
        if label is None:
            return "unlabelled", "", ""
        if label.positive:
            return "positive", "", ""
        patient = _patient(path, image_id, label.patient)
        if patient in exclude:
            return "excluded", "", ""
        found = find_lungs(prepare_pixels(read_film(path).pixels, size))
    except InputError as error:
        return "unreadable", str(error), ""
    return ("doubtful", found.doubt, patient) if found.doubt else ("usable", "", patient)


def simulated(
    films: Sequence[Source], *, size: int = 512, seed: int = 0, prevalence: float = 0.5
) -> Iterator[Simulated]:
    """Yield films without end, for a training that draws them while it runs.

    The n-th film depends on `films`, `seed` and n alone.

    Raises:
        DataError: None of many films could be drawn on.
        InputError: A file can no longer be read.
    """
    number = 0
    while True:
        yield draw(films, seed, number, size=size, prevalence=prevalence)[2]
        number += 1


def draw(
    films: Sequence[Source], seed: int, number: int, *, size: int, prevalence: float
) -> tuple[Source, Film, Simulated]:
    """Return the `number`-th film of a seed, with its source.

    A film that refuses (opaque lungs, nothing fits) is replaced by another one; which are refused
    does not depend on what is drawn.

    Raises:
        DataError: None of many films could be drawn on.
        InputError: A file can no longer be read.
    """
    rng = np.random.default_rng([seed, number])
    turn = np.random.default_rng([seed, 1 << 32, number // len(films)]).permutation(len(films))
    order = [int(turn[number % len(films)]), *rng.integers(len(films), size=_TRIES - 1).tolist()]
    for index in order:
        source = films[index]
        film = read_film(source.path)
        pixels = prepare_pixels(film.pixels, size)
        try:
            return source, film, simulate(pixels, find_lungs(pixels), rng, prevalence=prevalence)
        except DataError as error:
            reason = error
    raise DataError(f"none of {_TRIES} films could be drawn on; the last one: {reason}") from reason


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
    on_progress: Callable[[int, int], None] | None = None,
) -> SimulatedCohort:
    """Write simulated films in the layout of the SIIM-ACR set.

    ``dicom-images-train`` holds ``study/series/image.dcm``, ``train-rle.csv`` the masks,
    ``patients.csv`` the patient of each film's source (so that folds keep what is of one patient
    together), ``simulate.csv`` what was drawn. The tables are written last: a folder without them
    was interrupted. The same arguments give the same bytes, whatever the number of workers.

    Args:
        folder: Films without a pneumothorax (or with and without, and `labels`).
        out: A new or empty folder.
        count: Films to write, 1 or more.
        seed: 0 or more.
        size: Side in pixels, 256 to 2048.
        prevalence: Chance of a pneumothorax, 0 to 1.
        labels: See :func:`find_films`.
        exclude: See :func:`find_films`.
        originals: Whether to write each film without a pneumothorax once as it is, too, those that
            cannot be drawn on included.
        workers: Processes; 0 means one per core.
        on_progress: Told (films done, films in all), of looking for lungs and of drawing.

    Raises:
        UsageError: A number out of its range, or `out` is a file or holds files already.
        InputError: No film can be used, or a table cannot be read.
        OutputError: A file could not be written.
    """
    _check(out, count, seed, size, prevalence)
    sources = find_films(
        folder, labels, exclude=exclude, size=size, workers=workers, on_progress=on_progress
    )
    if not sources.films:
        raise DataError(
            f"{folder}: no film can be drawn on ({len(sources.refused)} refused, "
            f"{sources.positive} with a pneumothorax, {sources.unlabelled} without a label, "
            f"{sources.excluded} excluded)"
        )
    unchanged = sources.negatives if originals else ()
    write = partial(_written, sources.films, unchanged, out / TRAIN_FOLDER, seed, size, prevalence)
    rows = []
    numbers = range(-len(unchanged), count)
    for done, row in enumerate(ordered_map(write, numbers, workers), 1):
        rows.append(row)
        if on_progress is not None:
            on_progress(done, len(numbers))
    write_text(out / PARAMETERS, _table(_COLUMNS, [row.cells(folder) for row in rows]))
    write_text(
        out / PATIENTS,
        _table(("ImageId", "patient"), [(r.image_id, r.source.patient) for r in rows]),
    )
    write_text(
        out / ANNOTATIONS, _table(("ImageId", "EncodedPixels"), [(r.image_id, r.rle) for r in rows])
    )
    return SimulatedCohort(out, Counter(row.parameters.kind for row in rows), sources)


def _check(out: Path, count: int, seed: int, size: int, prevalence: float) -> None:
    for name, value, least in (("count", count, 1), ("seed", seed, 0)):
        if value < least:
            raise UsageError(f"{name} is {value}; it must be {least} or more")
    if not SMALLEST_FILM <= size <= _LARGEST_FILM:
        raise UsageError(f"size is {size}; it must be {SMALLEST_FILM} to {_LARGEST_FILM}")
    if not 0 <= prevalence <= 1:
        raise UsageError(f"prevalence is {prevalence}; it must lie between 0 and 1")
    require_new_folder(out)


@dataclass(frozen=True, slots=True)
class _Row:
    """One film that was written."""

    image_id: str
    source: Source
    rle: str
    parameters: Parameters

    def cells(self, folder: Path) -> tuple[str, ...]:
        drawn = self.parameters

        def each(value: Callable[[Lesion], object]) -> str:
            return " ".join(str(value(lesion)) for lesion in drawn.lesions)

        return (
            self.image_id,
            self.source.path.relative_to(folder).as_posix(),
            self.source.patient,
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
    films: Sequence[Source],
    unchanged: Sequence[Source],
    folder: Path,
    seed: int,
    size: int,
    prevalence: float,
    number: int,
) -> _Row:
    """Draw one film, write its file, and return its row; below 0, take one as it is."""
    if number < 0:
        source = unchanged[number]
        film = read_film(source.path)
        pixels, rle, parameters = prepare_pixels(film.pixels, size), "-1", ORIGINAL
    else:
        source, film, made = draw(films, seed, number, size=size, prevalence=prevalence)
        pixels, rle, parameters = made.pixels, mask2rle(made.mask), made.parameters
    names = new_names(np.random.default_rng([seed, 1 << 33, *_key(number)]))
    identity = f"simulated-{source.patient}"
    spacing = film.spacing_mm and film.spacing_mm * max(film.pixels.shape) / size
    write_secondary_capture(
        names.path(folder),
        pixels,
        sop_uid=names.sop,
        study_uid=names.study,
        series_uid=names.series,
        patient_id=identity,
        patient_name=identity,
        age=film.age,
        sex=film.sex,
        view=film.view,
        spacing_mm=spacing,
        quality=95,
        age_with_unit=True,
    )
    return _Row(names.sop, source, rle, parameters)


def _key(number: int) -> list[int]:
    """Return what the names of a film are drawn from; numbers below 0 have their own."""
    return [number] if number >= 0 else [0, -number]


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    return text.getvalue()
