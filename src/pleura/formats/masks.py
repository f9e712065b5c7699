"""Masks in any form that pleura takes, as :class:`~pleura.formats.annotations.Annotations`.

::

    masks.csv          run lengths, relative (SIIM-ACR) or absolute (Kaggle): see annotations
    masks.json         COCO: polygons or run lengths
    folder of masks    PNG, TIFF, BMP, GIF, NIfTI, each named as its radiograph; DICOM Segmentations

A mask is of the radiograph whose file has its name (``case_7.png`` and ``case_7_mask.nii.gz`` of
``case_7.dcm``), a DICOM Segmentation of the one that it refers to. A file in which no pixel is
inside says that there is no pneumothorax; a radiograph without a file is unlabelled.
"""

import glob
import os
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

from pleura.choices import MaskReaders
from pleura.dicom.suffixes import stem_of, suffix_of
from pleura.errors import AnnotationError, OtherFormError
from pleura.formats.annotation_table import columns_of, read_annotations
from pleura.formats.annotations import MASK_COLUMN, Annotations, RowProblem, TableNote, doubt_notes
from pleura.formats.coco import image_names, key_of_image, read_coco
from pleura.formats.mask_file import FoundMask, is_mask_file, read_mask_files
from pleura.formats.mask_picture import WHICH_LABEL, is_whole
from pleura.formats.rle import EMPTY, Form, mask2rle
from pleura.storage.archive import is_folder, places, walk_files, why_closed
from pleura.storage.elsewhere import path_at

TABLE_SUFFIXES = (".csv", ".csv.gz", ".tsv", ".txt")
_OF_SEVERAL = (
    "{}: holds the value {:g}, which may be another structure, for of these files {}; "
    + WHICH_LABEL
)
_ENDINGS = ("_mask", "-mask", "_seg", "-seg")
_TEXTS = {
    ".csv",
    ".csv.gz",
    ".html",
    ".json",
    ".log",
    ".md",
    ".pdf",
    ".py",
    ".toml",
    ".tsv",
    ".txt",
}
"""Suffixes of what lies beside masks and is none to anybody."""

_LONGEST = 200  # bytes: a file that is being written has some more in its name


@dataclass(frozen=True, slots=True)
class MaskReading:
    """How a source of masks is to be read.

    Attributes:
        form: The run-length form of a table.
        image_column: A table's column of ids; empty: ``ImageId``.
        mask_column: Its column of run lengths; empty: ``EncodedPixels``.
        label: Which value, category, segment or class is the pneumothorax, where there are
            several.
        reader_column: A table's column of readers; empty: found by its name.
        readers: Which pixels count where several readers drew on one image.
    """

    form: Form = "relative"
    image_column: str = ""
    mask_column: str = ""
    label: str = ""
    reader_column: str = ""
    readers: MaskReaders = "union"


@dataclass(slots=True)
class _Found:
    """What a folder or a COCO file holds, while it is read."""

    path: Path
    masks: dict[str, list[str]] = field(default_factory=dict)
    sizes: dict[str, tuple[int, int]] = field(default_factory=dict)
    problems: list[RowProblem] = field(default_factory=list)
    rows: int = 0
    scores: dict[str, float] = field(default_factory=dict)
    spacings_mm: dict[str, tuple[float, float]] = field(default_factory=dict)
    algorithms: dict[str, tuple[str, str]] = field(default_factory=dict)

    def take(self, found: FoundMask) -> None:
        """Take in one mask."""
        self.rows += 1
        fault = found.fault
        if found.shape is not None and not fault:
            shape = found.shape
            known = self.sizes.setdefault(found.image_id, shape)
            if known != shape:
                fault = (
                    f"its mask has {shape[0]} x {shape[1]} pixels, but another one of this image "
                    f"has {known[0]} x {known[1]}; keep the right one"
                )
        if fault:
            problem = RowProblem(self.rows, found.image_id, fault, found.code, place=found.place)
            self.problems.append(problem)
            return
        if found.spacing_mm is not None:
            self.spacings_mm[found.image_id] = found.spacing_mm
        if self.algorithms.setdefault(found.image_id, found.algorithm) != found.algorithm:
            self.algorithms[found.image_id] = ("", "")  # of several makers none made the whole
        own = self.masks.setdefault(found.image_id, [])
        if found.runs != EMPTY and found.runs not in own:
            own.append(found.runs)

    def annotations(self, notes: tuple[TableNote, ...] = ()) -> Annotations:
        """Return what was taken in; an image with a problem has no mask."""
        bad = {problem.image_id for problem in self.problems}
        good = {key: tuple(texts) for key, texts in self.masks.items() if key not in bad}
        return Annotations(
            path=self.path,
            form="relative",
            rows=self.rows,
            masks=good,
            lines={key: (0,) * max(1, len(texts)) for key, texts in good.items()},
            problems=tuple(self.problems),
            notes=(*notes, *doubt_notes(good, self.sizes, "relative")),
            last={key: texts[-1] if texts else EMPTY for key, texts in good.items()},
            sizes=self.sizes,
            scores={key: score for key, score in self.scores.items() if key in good},
            spacings_mm=self.spacings_mm,
            algorithms={key: made for key, made in self.algorithms.items() if made[0]},
        )


def read_masks(path: str | os.PathLike[str], reading: MaskReading = MaskReading()) -> Annotations:
    """Return what a source of masks says, one entry per image.

    Args:
        path: A table of run lengths, a COCO file, a file with one mask, or a folder, an archive or
            a glob of such.
        reading: How it is to be read.

    Raises:
        AnnotationError: It cannot be read as a whole, is an archive that is not looked into, or
            holds no mask.
        OtherFormError: A table is written in the other run-length form.
    """
    path = path_at(path)
    if closed := why_closed(path):
        raise AnnotationError(closed)
    if _is_table(path):
        columns = (reading.image_column, reading.mask_column)
        said = (reading.reader_column, reading.readers)
        return read_annotations(
            path, form=reading.form, columns=columns, label=reading.label, readers=said
        )
    if reading.reader_column or reading.readers != "union":
        raise AnnotationError(
            f"{path}: only a table of run lengths says who drew a mask; leave `reader_column` and "
            "`readers` out"
        )
    if _are_several(path):
        return _folder(path, reading)
    if suffix_of(path) == ".json":
        return _coco(path, reading)
    return _files(path, [path], reading)


def _is_table(path: Path) -> bool:
    """Return whether a source of masks is read as a table of run lengths."""
    suffix = suffix_of(path)
    if suffix == ".json" or _are_several(path):
        return False
    return suffix in TABLE_SUFFIXES or not is_mask_file(path)


def is_mask_table(path: Path, reading: MaskReading) -> bool:
    """Return whether a source holds masks, and not scores or labels: a table by its columns."""
    if suffix_of(path) not in TABLE_SUFFIXES or is_folder(path):
        return True
    column = reading.mask_column or MASK_COLUMN
    return column in (columns_of(path, {column}) or set())


def names_in(path: Path, reading: MaskReading) -> frozenset[str]:
    """Return what a source of masks calls its images, those refused too; no mask is decoded.

    Raises:
        AnnotationError: It cannot be read as a whole.
    """
    if _are_several(path):
        return frozenset(key_of_mask(file, _root_of(path)) for file in mask_files(path))
    if suffix_of(path) == ".json":
        return frozenset(image_names(path))
    if suffix_of(path) not in TABLE_SUFFIXES and is_mask_file(path):
        return frozenset({key_of_mask(path, path.parent)})
    try:
        table = read_masks(path, reading)
    except OtherFormError:  # what says so is told where the table is read
        return frozenset()
    return frozenset(table.masks) | table.refused


def files_of_masks(path: Path) -> list[Path]:
    """Return the files that a source of masks consists of."""
    return mask_files(path) if _are_several(path) else [path]


def _are_several(path: Path) -> bool:
    return is_folder(path) or places(str(path)) != [path]


def _root_of(path: Path) -> Path:
    """Return the folder that names of masks count from; a glob's is where its pattern begins."""
    if is_folder(path):
        return path
    return next((above for above in path.parents if not glob.has_magic(str(above))), path.parent)


def mask_files(folder: Path) -> list[Path]:
    """Return the files below a folder that may be masks, sorted; or those that a glob matches."""
    return [path for path in _listed(folder) if is_mask_file(path)]


def _listed(folder: Path) -> list[Path]:
    found = (path for place in places(str(folder)) for path in walk_files(place))
    return sorted(path for path in found if not path.name.startswith("."))


def key_of_mask(path: Path, folder: Path) -> str:
    """Return the name of the radiograph that a mask's file is of: its own, below `folder`."""
    stem = stem_of(path)
    for ending in _ENDINGS:
        if stem.lower().endswith(ending) and len(stem) > len(ending):
            stem = stem[: -len(ending)]
            break
    place = path.parent.relative_to(folder)
    return (place / stem).as_posix()


def file_of_mask(name: str, suffix: str) -> PurePosixPath | None:
    """Return the file, below a folder, that is read as the mask of `name`; None: there is none.

    Args:
        name: A name without suffix, or a path with ``/``.
        suffix: Of the file, such as ``.png``.
    """
    ending = _ENDINGS[0] if name.lower().endswith(_ENDINGS) else ""  # one is taken off in reading
    path = PurePosixPath(f"{name}{ending}{suffix}")
    safe = name.isprintable() and not path.is_absolute() and ".." not in path.parts
    if not safe or path.name.startswith(".") or len(path.name.encode()) > _LONGEST:
        return None
    return path if key_of_mask(Path(path), Path()) == name else None


def _folder(path: Path, reading: MaskReading) -> Annotations:
    listed = _listed(path)
    files = [file for file in listed if is_mask_file(file)]
    kinds = Counter(suffix_of(file) or "without a suffix" for file in set(listed).difference(files))
    others = {kind: count for kind, count in sorted(kinds.items()) if kind not in _TEXTS}
    what = ", ".join(f"{count:,} {kind}" for kind, count in others.items())
    if not files:
        raise AnnotationError(
            f"{path}: holds no mask (PNG, TIFF, BMP, GIF, NIfTI or DICOM Segmentation)"
            + (f", but {what}, which are not read as masks" if what else "")
            + "; name the folder of the masks"
        )
    note = TableNote("not-a-mask", sum(others.values()), what)
    return _files(path, files, reading, [note] if others else [])


def _files(
    path: Path, files: list[Path], reading: MaskReading, notes: Iterable[TableNote] = ()
) -> Annotations:
    found = _Found(path)
    maps = 0
    read: list[FoundMask] = []
    for file, masks in zip(files, read_mask_files(files, reading.label), strict=True):
        own = _of_file(file, _root_of(path), masks)
        read += own
        maps += not own
    for mask in read if reading.label else _of_one_value(read):
        found.take(mask)
    if not found.rows:
        raise AnnotationError(
            f"{path}: holds maps of probabilities alone, which are no masks; threshold them first"
        )
    if len(found.problems) == found.rows:
        raise AnnotationError(f"{found.problems[0].reason}")
    of_maps = [TableNote("probability-maps", maps)] if maps else []
    return found.annotations((*notes, *of_maps))


def _of_one_value(masks: list[FoundMask]) -> list[FoundMask]:
    """Return masks with a fault for those that may be of another structure than the others.

    So it is where a file beside them holds several values, or another one: their values are labels.
    """
    several = next((mask.place for mask in masks if mask.fault.endswith(WHICH_LABEL)), "")
    valued = {mask.value: mask.place for mask in reversed(masks) if mask.value}
    if not several and (len(valued) < 2 or all(map(is_whole, valued))):
        return masks
    told = [f"{place} holds the value {value:g}" for value, place in sorted(valued.items())[:2]]
    beside = f"{several} holds several values" if several else " and ".join(told)
    said = {mask.place: _OF_SEVERAL.format(mask.place, mask.value, beside) for mask in masks}
    return [mask._replace(fault=said[mask.place]) if mask.value else mask for mask in masks]


def _of_file(file: Path, folder: Path, masks: list[FoundMask] | AnnotationError) -> list[FoundMask]:
    place = file.relative_to(folder).as_posix()
    key = key_of_mask(file, folder)
    if isinstance(masks, AnnotationError):
        return [FoundMask(key, place=place, fault=str(masks))]
    return [
        one._replace(image_id=one.image_id or key, place=place).tried(f"{file}: ") for one in masks
    ]


def _coco(path: Path, reading: MaskReading) -> Annotations:
    found = _Found(path)
    for image in read_coco(path, reading.label):
        key = key_of_image(image.name)
        if image.fault:
            found.take(FoundMask(key, place=key, fault=image.fault))
        for mask in image.masks:
            of_image = FoundMask(key, image.shape, mask2rle(mask), place=key)
            found.take(of_image.tried(""))
        if not image.masks and not image.fault:
            found.take(FoundMask(key, image.shape, place=key))
        if image.score is not None:
            found.scores[key] = image.score
    return found.annotations()


def renamed(annotations: Annotations, names: dict[str, str]) -> Annotations:
    """Return annotations with the images called otherwise; those not in `names` keep theirs."""

    def name(key: str) -> str:
        return names.get(key, key)

    return replace(
        annotations,
        masks={name(key): texts for key, texts in annotations.masks.items()},
        lines={name(key): lines for key, lines in annotations.lines.items()},
        last={name(key): text for key, text in annotations.last.items()},
        sizes={name(key): size for key, size in annotations.sizes.items()},
        scores={name(key): score for key, score in annotations.scores.items()},
        spacings_mm={name(key): one for key, one in annotations.spacings_mm.items()},
        algorithms={name(key): made for key, made in annotations.algorithms.items()},
        problems=tuple(
            replace(problem, image_id=name(problem.image_id)) for problem in annotations.problems
        ),
    )
