"""A folder of simulated radiographs, laid out as pleura reads any other, with what was drawn."""

import contextlib
import functools
import json
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pleura.data.radiographs import AnyRadiograph, radiograph_files, read_any_radiograph
from pleura.dicom.secondary import write_secondary_capture
from pleura.dicom.square import square_shape
from pleura.errors import DataError, LimitError, PleuraError, UsageError
from pleura.formats.csv_cells import csv_text
from pleura.formats.rle import mask2rle
from pleura.processes.guarded import guarded_map
from pleura.processes.isolation import Reply
from pleura.processes.progress import OnProgress, untold
from pleura.storage.atomic import remove, write_text
from pleura.storage.content import stamp_at
from pleura.storage.database import Store
from pleura.storage.elsewhere import holds, is_address
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
from pleura.synthesis.simulate.sources import (
    SourceRadiograph,
    SourceRadiographs,
    find_radiographs,
    kept,
)

if TYPE_CHECKING:
    from pleura.cluster.shards import Cluster

PARAMETERS = "simulate.csv"

_COLUMNS = (
    *("ImageId", "source", "patient", "nih_patient", "kind", "side", "shape", "wanted", "area"),
    *("darkening", "line", "density", "fluid", "fake", "distractors"),
)
_LARGEST_RADIOGRAPH = 2048
_TRIES = 40  # radiographs to try for one image
_FEW = 4  # of them are fetched before one is tried, where they lie at addresses
_SHARD = 32  # radiographs that a worker of a cluster draws at a time
_STORE = ".simulate.sqlite"
"""Beside the files until all are written: what was found of sources, and the rows."""


class _NotAtHandError(Exception):
    """A radiograph at an address was not brought to this process."""


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
    order, rng = _order(len(radiographs), seed, number)
    return _drawn([radiographs[index] for index in order], rng, size, prevalence)


def _order(count: int, seed: int, number: int) -> tuple[list[int], np.random.Generator]:
    """Return which of `count` radiographs are tried in turn, and what else is drawn by."""
    rng = np.random.default_rng([seed, number])
    turn = _turn(count, seed, number // count)
    return [int(turn[number % count]), *rng.integers(count, size=_TRIES - 1).tolist()], rng


@functools.lru_cache(4)
def _turn(count: int, seed: int, number: int) -> NDArray[np.int64]:
    """Return ``(count,)``: the order of all radiographs in one turn, the same for all of it."""
    return np.random.default_rng([seed, 1 << 32, number]).permutation(count)


def _drawn(
    sources: Sequence[SourceRadiograph], rng: np.random.Generator, size: int, prevalence: float
) -> tuple[SourceRadiograph, AnyRadiograph, Simulated]:
    for source in sources:
        if is_address(source.path) and not holds(source.path):
            raise _NotAtHandError
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
    cluster: "Cluster | None" = None,
    on_progress: OnProgress = untold,
) -> SimulatedCohort:
    """Write simulated radiographs in the layout of the SIIM-ACR set.

    ``dicom-images-train`` holds ``study/series/image.dcm``, ``train-rle.csv`` the masks,
    ``patients.csv`` the patient of each radiograph's source (so that folds keep what is of one
    patient together), ``simulate.csv`` what was drawn. The tables are written last: a folder
    without them was interrupted, and the same arguments finish it: what was drawn is not drawn
    again. The same arguments give the same bytes, whoever works on them.

    Args:
        folder: Radiographs without a pneumothorax (or with and without, and `labels`); may be an
            address that is at hand.
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
        cluster: Where radiographs are read and drawn; all of it must see `out`. None: this machine.
        on_progress: Told (radiographs done, radiographs in all), of looking for lungs and of
            drawing.

    Raises:
        UsageError: A number out of its range, or `out` is a file or holds files already; or no
            cluster is there, has no room, or does not see `out`.
        InputError: No radiograph can be used, or a table cannot be read.
        OutputError: A file could not be written, or another process writes there.
    """
    _check(count, seed, size, prevalence)
    tables = [path for path in (labels, exclude) if path is not None]
    sources_seen = [(path, stamp_at(path)) for path in (*radiograph_files(folder), *tables)]
    made_of = (sources_seen, count, seed, size, prevalence, originals)
    with contextlib.ExitStack() as held:
        if cluster is not None:
            from pleura.cluster.ray_cluster import joined

            held.enter_context(joined(cluster.where))  # once, for what is looked at and drawn
        held.enter_context(new_folder(out, "simulate", *made_of))
        identity = blake2b(repr(made_of).encode(errors="replace"), digest_size=16).hexdigest()
        with Store(out / _STORE, identity, private=True) as store:
            sources = find_radiographs(
                folder,
                labels,
                exclude=exclude,
                size=size,
                workers=workers,
                cluster=cluster,
                store=store,
                on_progress=on_progress,
            )
            if not sources.radiographs:
                raise DataError(
                    f"{folder}: no radiograph can be drawn on ({len(sources.refused)} refused, "
                    f"{sources.positive} with a pneumothorax, {sources.unlabelled} without a "
                    f"label, {sources.excluded} excluded)"
                )
            unchanged = sources.negatives if originals else ()
            how = Drawing(
                sources.radiographs, unchanged, folder, out / TRAIN_FOLDER, seed, size, prevalence
            )
            numbers = [str(number) for number in range(-len(unchanged), count)]
            make = partial(drawn_on, cluster, how, workers)
            texts = kept(store, "drawn", numbers, make, on_progress)
        rows = [_Row(**json.loads(text)) for text in texts]
        _write_tables(rows, out)
        remove(out / _STORE)
        return SimulatedCohort(out, Counter(row.kind for row in rows), sources)


def _write_tables(rows: Sequence["_Row"], out: Path) -> None:
    write_text(out / PARAMETERS, csv_text(_COLUMNS, [row.cells for row in rows]))
    write_text(
        out / PATIENTS, csv_text(("ImageId", "patient"), [(r.image_id, r.patient) for r in rows])
    )
    write_text(
        out / ANNOTATIONS,
        csv_text(("ImageId", "EncodedPixels"), [(r.image_id, r.rle) for r in rows]),
    )


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


@dataclass(frozen=True, slots=True)
class Drawing:
    """What radiographs are drawn from, and how.

    Attributes:
        radiographs: Those that are drawn on.
        unchanged: Those that are written as they are, by numbers below 0.
        below: The folder that names of sources are told from.
        folder: Where files go.
        seed: As for :func:`write_simulated`.
        size: Likewise.
        prevalence: Likewise.
    """

    radiographs: Sequence[SourceRadiograph]
    unchanged: Sequence[SourceRadiograph]
    below: Path
    folder: Path
    seed: int
    size: int
    prevalence: float

    def tried(self, number: int) -> list[SourceRadiograph]:
        """Return the radiographs that a number is drawn on, the first of which that can be."""
        if number < 0:
            return [self.unchanged[number]]
        order, _ = _order(len(self.radiographs), self.seed, number)
        return [self.radiographs[index] for index in order]


class _Piece(NamedTuple):
    """A radiograph to be written, in what it takes to draw it: a process is given no more."""

    number: int
    tried: Sequence[SourceRadiograph]


def drawn_on(
    cluster: "Cluster | None",
    how: Drawing,
    workers: int,
    numbers: Sequence[str],
    on_progress: OnProgress,
) -> Iterator[tuple[str, str]]:
    """Draw radiographs and write their files; yield each number with its row as a text.

    Args:
        cluster: Where; None: on this machine.
        how: What from.
        workers: Processes; 0 means one per core.
        numbers: Which, as texts.
        on_progress: Told (radiographs done, radiographs in all).

    Raises:
        DataError, InputError: As for :func:`draw`.
        PleuraError: Processes died over a radiograph.
    """
    found: Iterator[tuple[str, str | None]]
    if cluster is None or not numbers:
        found = zip(numbers, _drawn_here(how, workers, numbers), strict=True)
    else:
        from pleura.data.scan_on_ray import read_on

        there = replace(how, folder=how.folder.absolute())
        found = read_on(
            cluster,
            numbers,
            partial(_drawn_there, there, workers or cluster.share.cpus),
            needs=lambda number: [str(one.path) for one in how.tried(int(number))[:_FEW]],
            shard=_SHARD,
        )
    for done, (number, text) in enumerate(found, 1):
        if text is None:
            raise PleuraError(
                f"{how.folder}: two processes that drew radiograph {number} died over it, most "
                "likely for memory; give each worker more of a machine with `cpus`"
            )
        yield number, text or next(_drawn_here(how, 1, [number]))
        on_progress(done, len(numbers))


def _drawn_there(how: Drawing, workers: int, numbers: Sequence[str]) -> list[str]:
    """Draw on a machine of a cluster; "" stands for what reads more than is at hand there."""
    if not how.folder.parent.is_dir():
        raise UsageError(
            f"{how.folder.parent}: is not seen by the machine {os.uname().nodename} of the "
            "cluster; name a folder that all share"
        )
    return list(_drawn_here(how, workers, numbers))


def _drawn_here(how: Drawing, workers: int, numbers: Sequence[str]) -> Iterator[str]:
    """Yield the row of each number as a text; "" where a file of it is not at hand."""
    alone = replace(how, radiographs=how.radiographs[:0], unchanged=())
    write = partial(_written, alone, len(how.radiographs))
    pieces = [_Piece(int(number), how.tried(int(number))) for number in numbers]

    def name(piece: _Piece) -> str:
        return f"{how.folder.parent}: simulated radiograph {piece.number}"

    def needs(piece: _Piece, most: int = _TRIES) -> list[Path]:
        return [one.path for one in piece.tried[:most]]

    first = partial(needs, most=_FEW)
    replies = guarded_map(write, pieces, name=name, needs=first, workers=workers)
    for piece, (reply,) in zip(pieces, replies, strict=True):
        if isinstance(reply, Reply) and not reply.fields:
            ((reply,),) = guarded_map(write, [piece], name=name, needs=needs)
        if isinstance(reply, LimitError):
            raise reply
        yield json.dumps(reply.fields) if reply.fields else ""


def _written(how: Drawing, count: int, piece: _Piece) -> Reply:
    """Draw one radiograph, write its file, and return its row; below 0, take one as it is.

    An empty reply says that a file is not at hand.
    """
    number, below, size = piece.number, how.below, how.size
    try:
        if number < 0:
            source = piece.tried[0]
            radiograph = read_any_radiograph(source.path)
            pixels, rle, parameters = radiograph.prepared(size), "-1", ORIGINAL
        else:
            rng = _order(count, how.seed, number)[1]
            source, radiograph, made = _drawn(piece.tried, rng, size, how.prevalence)
            pixels, rle, parameters = made.pixels, mask2rle(made.mask), made.parameters
    except _NotAtHandError:
        return Reply({})
    names = new_names(np.random.default_rng([how.seed, 1 << 33, *_key(number)]))
    identity = f"simulated-{source.patient}"
    rows, columns = radiograph.pixels.shape
    shown = square_shape(rows, columns, radiograph.aspect)
    spacing = radiograph.spacing_mm and radiograph.spacing_mm * rows / shown[0] * max(shown) / size
    write_secondary_capture(
        names.path(how.folder),
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
