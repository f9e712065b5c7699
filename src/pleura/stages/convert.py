"""Masks from any form that is read to another one, and what that form cannot hold.

Nothing is lost unsaid: what the target has no place for is counted before anything is written.
"""

import datetime
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path, PurePosixPath
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pleura import config
from pleura.choices import MaskTarget, Match
from pleura.data.image_masks import of_files
from pleura.data.matching import without_suffix
from pleura.data.radiographs import open_any_radiograph, read_any_header
from pleura.data.scan import Scan, scan_files
from pleura.data.sources import find_sources
from pleura.dicom.suffixes import suffix_of
from pleura.errors import DataError, InputError, UsageError
from pleura.formats.annotations import Annotations, is_id
from pleura.formats.coco_writer import CocoMask, coco_text
from pleura.formats.csv_cells import text_of
from pleura.formats.csv_table import columns_shown, open_table
from pleura.formats.mask_doubts import why_impossible
from pleura.formats.mask_fit import check_masks
from pleura.formats.mask_picture import write_mask_picture
from pleura.formats.masks import MaskReading, file_of_mask, read_masks
from pleura.formats.nifti import write_nifti_mask
from pleura.formats.rle import EMPTY, Form, overlap_px, rle2mask, union, united
from pleura.formats.submission import name_fault, write_mask_table
from pleura.inference.tables import Provenance, answers_in, read_answered_masks, read_made_with
from pleura.models.bundle import OperatingPoint
from pleura.processes.guarded import guarded
from pleura.processes.isolation import Reply
from pleura.processes.progress import OnProgress, untold
from pleura.results.source import require_referable
from pleura.results.writing import write_drawn
from pleura.storage.atomic import atomic_folder, write_text
from pleura.storage.lock import contents

_TABLES: Final[dict[MaskTarget, Form]] = {"siim": "relative", "absolute": "absolute"}
_SUFFIXES: Final[dict[MaskTarget, str]] = {
    "png": ".png",
    "tiff": ".tif",
    "nifti": ".nii.gz",
    "seg": ".dcm",
}
_FILE_SUFFIXES: Final[dict[MaskTarget, str]] = {"siim": ".csv", "absolute": ".csv", "coco": ".json"}

_ANSWERS: Final = frozenset({"image_id", "called", "score"})
"""Columns of pleura's predictions.csv that are read here."""


@dataclass(frozen=True, slots=True)
class Conversion:
    """What is wanted.

    Attributes:
        to: The form to write.
        reading: How the source is to be read.
        images: Folder of the radiographs that the masks are of.
        match: What the source calls an image by.
        size: ``(rows, columns)`` of all images, where neither source nor files say it.
        polygons: Whether COCO is written as polygons, else as packed run lengths.
        strict: Whether a loss is an error.
    """

    to: MaskTarget
    reading: MaskReading = field(default_factory=MaskReading)
    images: Path | None = None
    match: Match = ""
    size: tuple[int, int] | None = None
    polygons: bool = False
    strict: bool = False


class ConversionLoss(NamedTuple):
    """What the target cannot hold: of what kind, of how many images (or columns), in words."""

    kind: str
    number: int
    says: str


@dataclass(frozen=True, slots=True)
class ConvertedMasks:
    """What was written.

    Attributes:
        images: How many images.
        positive: How many of them have a mask.
        losses: What was lost.
        failures: Each image that was left out, with the reason.
        paths_as_ids: Whether a table was written whose ids are names or paths of files.
    """

    images: int
    positive: int
    losses: tuple[ConversionLoss, ...]
    failures: tuple[tuple[str, str], ...]
    paths_as_ids: bool = False


@dataclass(frozen=True, slots=True)
class _Image:
    """One image to be written; `shape` is None, and `file` empty, where nobody needs them."""

    name: str
    file: str
    texts: tuple[str, ...]
    shape: tuple[int, int] | None
    score: float | None
    spacing_mm: tuple[float, float] | None
    algorithm: tuple[str, str]

    @property
    def mask(self) -> NDArray[np.bool_]:
        return union(self.texts, self.sized)

    @property
    def sized(self) -> tuple[int, int]:
        assert self.shape is not None, "the plan gives a size wherever one is needed"
        return self.shape


def convert(
    source: Path,
    out: Path,
    how: Conversion,
    *,
    workers: int = 0,
    on_loss: Callable[[ConversionLoss], None] | None = None,
    on_progress: OnProgress = untold,
) -> ConvertedMasks:
    """Write the masks of `source` in another form, whole or not at all.

    Args:
        source: A source of masks (:func:`pleura.formats.masks.read_masks`), or the folder or the
            ``predictions.csv`` of a prediction. Whoever calls this holds `out`.
        out: The file, or for pictures and NIfTI the folder, to write; it is not there yet.
        how: What is wanted.
        workers: Processes that read the radiographs; 0 means one per core.
        on_loss: Told what gets lost, before anything is written.
        on_progress: Told (masks done, masks in all).

    Raises:
        UsageError: `out` is there already or is called wrongly, or a size is missing.
        AnnotationError, DataError: The source cannot be read as a whole, or nothing is left of it;
            or something would be lost, and that was to be an error.
        OutputError: It could not be written.
    """
    _require_new(source, out, how.to)
    if how.to == "seg" and how.images is None:
        raise UsageError(
            "a DICOM Segmentation refers to the radiograph that its mask is of; name the folder of "
            "these with `images`"
        )
    table, losses, failures = _read(source, how.reading)
    files: dict[str, Scan] = {}
    root = Path()
    if how.images is not None:
        table, files, root = _on_files(table, how, workers)
    elif how.size is not None:
        table = check_masks(table, dict.fromkeys(table.masks, how.size))
    failures += [(problem.image_id, str(problem)) for problem in table.problems]
    images = _planned(table, files, root, how, failures)
    if not images:
        why = f"; the first reason: {failures[0][1]}" if failures else ""
        raise DataError(f"{source}: holds no mask that can be converted{why}")
    content, in_polygons = _as_coco(images, how)
    losses += [*_lost(images, how.to), *in_polygons]
    if on_loss is not None:
        for loss in losses:
            on_loss(loss)
    if how.strict and (losses or failures):
        told = [loss.says for loss in losses] + [reason for _, reason in failures[:1]]
        left_out = f"{len(failures):,} images are left out; " if failures else ""
        raise DataError(
            f"{source}: {left_out}{'; '.join(told)}; nothing is written, as `strict` asks"
        )
    if how.to == "coco":
        write_text(out, content)
    elif how.to in _TABLES:
        write_mask_table(out, ((image.name, image.texts) for image in images))
    else:
        answers = answers_in(source)
        made_with = None if answers is None else _made_with(answers.parent)
        _write_files(images, out, _SUFFIXES[how.to], made_with, on_progress)
    return ConvertedMasks(
        len(images),
        sum(bool(image.texts) for image in images),
        tuple(losses),
        tuple(failures),
        how.to in _TABLES and not all(is_id(image.name) for image in images),
    )


def _as_coco(images: Sequence[_Image], how: Conversion) -> tuple[str, list[ConversionLoss]]:
    """Return the text of a COCO file, where one is wanted, and what its polygons lose."""
    if how.to != "coco":
        return "", []
    content, other = coco_text(_for_coco(images), polygons=how.polygons)
    says = f"{_images(len(other))} other pixels as polygons, whose holes are filled"
    lost = [ConversionLoss("polygons", len(other), f"{says} ({other[0]})")] if other else []
    return content, lost


def _require_new(source: Path, out: Path, to: MaskTarget) -> None:
    wanted = _FILE_SUFFIXES.get(to)
    if wanted is not None and suffix_of(out) != wanted:
        raise UsageError(f"`out` {out}: what is written is read by its suffix; end it in {wanted}")
    if wanted is None and source.is_dir() and out.resolve().is_relative_to(source.resolve()):
        raise UsageError(f"`out` {out}: lies in {source}, which is read; name a folder beside it")
    if out.is_dir() and wanted is None:
        if contents(out):
            raise UsageError(f"`out` {out}: holds files already; name a new or empty folder")
    elif out.exists() or out.is_symlink():
        raise UsageError(f"`out` {out}: is there already; name another place, or remove it")


def _read(
    source: Path, reading: MaskReading
) -> tuple[Annotations, list[ConversionLoss], list[tuple[str, str]]]:
    """Return the masks of a source, what was lost in reading, and what it says was not answered."""
    answers = answers_in(source)
    if answers is None:
        table = read_masks(source, reading)
        return table, _unread(table), []
    table = read_answered_masks(answers)
    scores, unsaid, failures = {}, 0, []
    with open_table(answers, _ANSWERS.issubset) as rows:
        if not set(rows.columns) >= _ANSWERS:
            raise DataError(
                f"{answers}: has the columns {columns_shown(rows.columns)}, but a prediction's has "
                "image_id, called and score"
            )
        for _, row, _ in rows.whole_rows():
            name, called = text_of(row["image_id"]), row["called"]
            if name not in table.masks:
                shown = name or text_of(row.get("path", ""))
                failures.append((shown, f"{shown}: has no answer to convert"))
                continue
            if row["score"]:
                scores[name] = _score(answers, row["score"])
            unsaid += called != ("positive" if table.masks[name] else "negative")
    losses = _unread(table)
    if unsaid:
        says = f"{_images(unsaid)} a label that its mask does not say"
        losses.append(ConversionLoss("labels", unsaid, says))
    return replace(table, scores=scores), losses, failures


def _made_with(prediction: Path) -> Provenance:
    """Return what made a prediction of pleura; or, where its folder does not say, that it did."""
    return read_made_with(prediction) or Provenance(
        "not known", "", OperatingPoint(), version("pleura")
    )


def _score(path: Path, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise DataError(f"{path}: {text[:40]!r} is no score") from None


def _unread(table: Annotations) -> list[ConversionLoss]:
    """Return what of a source is not read as a mask."""
    losses = []
    if table.unused:
        says = f"columns that are not masks: {columns_shown(table.unused)}"
        losses.append(ConversionLoss("columns", len(table.unused), says))
    maps = sum(note.count for note in table.notes if note.code == "probability-maps")
    if maps:
        losses.append(
            ConversionLoss("maps", maps, f"{maps:,} maps of probabilities, which are no masks")
        )
    for note in table.notes:
        if note.code == "not-a-mask":
            says = f"{note.count:,} files that are not read as masks: {note.says}"
            losses.append(ConversionLoss("files", note.count, says))
    return losses


def _on_files(
    table: Annotations, how: Conversion, workers: int
) -> tuple[Annotations, dict[str, Scan], Path]:
    """Return the masks by the ids of their radiographs, those that fit; these; their folder."""
    reading = how.reading
    sources = find_sources(
        config.Data(
            images=str(how.images),
            annotations=str(table.path),
            image_column=reading.image_column,
            mask_column=reading.mask_column,
            mask_label=reading.label,
            reader_column=reading.reader_column,
            readers=reading.readers,
            match=how.match,
            rle=table.form,
        )
    )
    found = scan_files([*sources.train, *sources.test], pixels=False, workers=workers)
    scans = [scan for scan in found if isinstance(scan, Scan)]
    named, files = of_files(table, scans, how.match, sources.root)
    shapes = {image_id: (scan.rows, scan.columns) for image_id, scan in files.items()}
    return check_masks(named, shapes), files, sources.root


def _planned(
    table: Annotations,
    files: dict[str, Scan],
    root: Path,
    how: Conversion,
    failures: list[tuple[str, str]],
) -> list[_Image]:
    """Return what is to be written; what cannot be is added to `failures`."""
    form = _TABLES.get(how.to, "relative")
    taken: dict[str, str] = {}
    images = []
    for image_id, texts in table.masks.items():
        scan = files.get(image_id)
        if scan is None and how.images is not None:
            reason = f"{image_id}: {how.images} holds no radiograph of this name that can be read"
            failures.append((image_id, reason))
            continue
        shape = table.sizes.get(image_id, how.size)
        if scan is not None:
            shape = scan.rows, scan.columns
        if shape is None and how.to not in _TABLES:
            raise UsageError(
                f"{table.path}: run lengths do not say how large their images are; name the folder "
                "of the images with `images`, or their size with `size` ROWSxCOLUMNS"
            )
        image = _Image(
            _name(image_id, scan, root, how),
            "" if scan is None else scan.path,
            tuple(dict.fromkeys(united([text], form=table.form, to=form) for text in texts)),
            shape,
            table.scores.get(image_id),
            table.spacings_mm.get(image_id) or (None if scan is None else scan.measure_mm),
            table.algorithms.get(image_id, ("", "")),
        )
        key = image.name if how.to in _TABLES else without_suffix(image.name)
        fault = _fault(image, how.to)
        if not fault and taken.setdefault(key, image_id) != image_id:
            fault = f"is written as {taken[key]} is; rename one of them"
        if fault:
            failures.append((image_id, f"{image_id}: {fault}"))
        else:
            images.append(image)
    return images


def _name(image_id: str, scan: Scan | None, root: Path, how: Conversion) -> str:
    """Return what the target calls an image: its id in a table, else its file below the folder."""
    if how.to in _TABLES:
        return image_id
    name = image_id
    if scan is not None:
        name = Path(scan.path).relative_to(root).as_posix()
    return name if how.to == "coco" else without_suffix(name)


def _fault(image: _Image, to: MaskTarget) -> str:
    """Return why the target cannot hold an image; empty where it can."""
    if to in _TABLES:
        return name_fault(image.name)
    if to == "coco":
        clean = image.name.isprintable() and image.name == image.name.strip()
        return "" if clean and PurePosixPath(image.name).name else "this is no name of a file"
    if file_of_mask(image.name, _SUFFIXES[to]) is None:
        return "no file can have this name; name the images' folder with `images`"
    if to == "seg":
        return _unreferable(image)
    why = why_impossible(united(image.texts), image.sized) if image.texts else ""
    return f"as {to} it would not be read again: {why}" if why else ""


def _unreferable(image: _Image) -> str:
    """Return why no DICOM Segmentation can refer to a radiograph; empty where one can."""
    try:
        guarded(_require_referable, Path(image.file), image.file)
    except InputError as error:
        return str(error)
    return ""


def _lost(images: Sequence[_Image], to: MaskTarget) -> list[ConversionLoss]:
    """Return what of the images a form has no place for; of polygons that is seen when drawn."""
    losses = []
    scored = sum(i.score is not None and (to != "coco" or not i.texts) for i in images)
    if scored:
        where = "and no lesion to keep it with" if to == "coco" else "that the form does not hold"
        losses.append(ConversionLoss("scores", scored, f"{_images(scored)} a score {where}"))
    made = sum(bool(image.algorithm[0]) for image in images)
    if made and to != "seg":
        says = f"{_images(made)} an algorithm that made them, which the form does not hold"
        losses.append(ConversionLoss("algorithms", made, says))
    if to not in _SUFFIXES:
        return losses
    several = [image for image in images if len(image.texts) > 1]
    if several:
        says = f"{_images(len(several))} several lesions, which become one mask"
        losses.append(ConversionLoss("lesions", len(several), says))
    overlapping = sum(overlap_px(image.texts) > 0 for image in several)
    if overlapping:
        says = f"{_images(overlapping)} lesions that overlap, which is no longer seen"
        losses.append(ConversionLoss("overlaps", overlapping, says))
    return losses


def _images(count: int) -> str:
    return "1 image has" if count == 1 else f"{count:,} images have"


def _for_coco(images: Sequence[_Image]) -> Iterator[CocoMask]:
    for image in images:
        lesions = [rle2mask(text, image.sized) for text in image.texts if text != EMPTY]
        own = tuple(lesions) if len(lesions) > 1 else ()
        yield CocoMask(image.name, image.mask, image.score, own)


def _write_files(
    images: Sequence[_Image],
    out: Path,
    suffix: str,
    made_with: Provenance | None,
    on_progress: OnProgress,
) -> None:
    with atomic_folder(out) as folder:
        for done, image in enumerate(images, 1):
            name = file_of_mask(image.name, suffix)
            assert name is not None, "the plan leaves such a name out"
            if suffix == ".dcm":
                write_one = partial(_write_segmentation, path=folder / name, made_with=made_with)
                guarded(write_one, image, image.file)
            elif suffix == ".nii.gz":
                write_nifti_mask(folder / name, image.mask, image.spacing_mm)
            else:
                write_mask_picture(folder / name, image.mask)
            on_progress(done, len(images))


def _require_referable(path: Path) -> Reply:
    require_referable(read_any_header(path))
    return Reply({})


def _write_segmentation(image: _Image, path: Path, made_with: Provenance | None) -> Reply:
    opened = open_any_radiograph(Path(image.file))
    if opened.radiograph.pixels.shape != image.sized:
        raise DataError(f"{image.file}: has another size than a moment ago; convert it again")
    now = datetime.datetime.now().astimezone()
    write_drawn(
        opened,
        image.mask,
        path,
        made_with=made_with,
        algorithm=image.algorithm,
        version=version("pleura"),
        moment=now,
    )
    return Reply({})
