"""The SIIM-ACR set from kaggle.com into the layout that :mod:`pleura.data.sources` recognises.

Only the optional package kagglehub speaks to a network. It downloads into its own cache, resumes
there and does not bring anything twice. From the cache the files are put into the data folder one
by one: as a hard link where both lie on one file system, else as a copy; each appears whole or not
at all, and one that is there is passed over.

The challenge's own page hands out stage 2's test files and table alone. The DICOM files of stage 1
came through a service that has ended; users re-publish them as data sets, which differ in their
folders, so files are found by the name of the folder they lie in, wherever that lies.
"""

import contextlib
import importlib
import os
import re
import sys
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from pleura.data.files import dicom_files
from pleura.errors import (
    AnnotationError,
    DataError,
    OutputError,
    PleuraError,
    UsageError,
    first_line,
)
from pleura.fetch.downloads import Found, place_all, shown
from pleura.formats.annotation_table import read_annotations
from pleura.printable import few
from pleura.processes.progress import OnProgress, untold
from pleura.storage.atomic import require_writable
from pleura.storage.lock import locked_folder

Stage = Literal[1, 2]

DATASET: Final = "jesperdramsch/siim-acr-pneumothorax-segmentation-data"
COMPETITION: Final = "siim-acr-pneumothorax-segmentation"
TOKEN_PAGE: Final = "https://www.kaggle.com/settings/api"

_HANDLE: Final = re.compile(r"[A-Za-z0-9_-]+/[A-Za-z0-9_-]+(/versions/[1-9][0-9]*)?")
_TOKEN: Final = f"make a token at {TOKEN_PAGE} and put it into KAGGLE_API_TOKEN"


@dataclass(frozen=True, slots=True)
class FetchedCounts:
    """What a data folder holds: training and test files, rows of its table, images in the table."""

    train: int
    test: int
    rows: int
    images: int


@dataclass(frozen=True, slots=True)
class Layout:
    """How a stage looks in a data folder, and how much of it was published.

    Attributes:
        train: Folders of the training files.
        test: Folder of the test files.
        table: The annotation table.
        others: Tables that belong to it as well.
        optional: Tables that are taken where they are.
        published: The challenge's own counts.
    """

    train: tuple[str, ...]
    test: str
    table: str
    published: FetchedCounts
    others: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()


LAYOUTS: Final[Mapping[Stage, Layout]] = {
    1: Layout(
        train=("dicom-images-train",),
        test="dicom-images-test",
        table="train-rle.csv",
        optional=("sample_submission.csv",),
        published=FetchedCounts(train=10_712, test=1_377, rows=11_582, images=10_675),
    ),
    2: Layout(
        train=("dicom-images-train", "dicom-images-test"),
        test="stage_2_images",
        table="stage_2_train.csv",
        others=("stage_2_sample_submission.csv",),
        published=FetchedCounts(train=12_089, test=3_205, rows=12_954, images=12_047),
    ),
}


@dataclass(frozen=True, slots=True)
class Fetched:
    """What a data folder holds after fetching.

    Attributes:
        out: The data folder.
        stage: 1 or 2.
        sources: What was asked of Kaggle; empty where the folder was complete already.
        placed: How many files were put there.
        kept: How many were there.
        counts: What is there now.
        warnings: Each way in which that differs from what was published, and what was refused.
    """

    out: Path
    stage: Stage
    sources: tuple[str, ...]
    placed: int
    kept: int
    counts: FetchedCounts
    warnings: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """Return the same as values that JSON knows."""
        return {
            "out": str(self.out),
            "stage": self.stage,
            "sources": list(self.sources),
            "placed": self.placed,
            "kept": self.kept,
            "train": self.counts.train,
            "test": self.counts.test,
            "rows": self.counts.rows,
            "images": self.counts.images,
            "warnings": list(self.warnings),
        }


def fetch_siim(
    out: Path,
    *,
    stage: Stage = 1,
    dataset: str = DATASET,
    on_begin: Callable[[tuple[str, ...]], None] | None = None,
    on_progress: OnProgress = untold,
) -> Fetched:
    """Bring a stage of the SIIM-ACR set into `out` and return what is there then.

    A folder that holds everything is left as it is, and Kaggle is not asked. After an interruption
    the same call goes on where it was.

    Args:
        out: The data folder; it is made.
        stage: 1: training and test files of stage 1 and their table. 2: the same files, all for
            training, with stage 2's table and test files, which the challenge's page hands out.
        dataset: The Kaggle data set that holds the files of stage 1, as ``OWNER/SLUG``.
        on_begin: Told what :func:`needs` says, where Kaggle is going to be asked.
        on_progress: Told (files in place, files in all).

    Raises:
        UsageError: `dataset` is no name of a data set.
        DataError: kagglehub is missing, Kaggle cannot be reached or refuses, or what it sends does
            not hold the files.
        OutputError: There is no space or no permission to write, or another process fetches into
            this folder.
    """
    sources = _sources(stage, dataset)
    counts, warnings = check(out, stage)
    if not warnings:
        return Fetched(out, stage, (), 0, counts.train + counts.test, counts, ())
    hub = _kagglehub()
    if on_begin is not None:
        on_begin(needs(stage, dataset))
    require_writable(out)
    with locked_folder(out, "fetch"):
        return _placed(hub, sources, out, stage, on_progress)


def _placed(
    hub: Any, sources: Sequence["_Source"], out: Path, stage: Stage, on_progress: OnProgress
) -> Fetched:
    """Download the sources and put what they hold into its places."""
    layout = LAYOUTS[stage]
    folders = tuple(dict.fromkeys((*layout.train, layout.test)))
    found = Found(folders, (layout.table, *layout.others, *layout.optional))
    for source in sources:
        folder = _download(hub, source)
        if not found.add(folder):
            raise DataError(
                f"{source.page}: holds no DICOM files below {' or '.join(folders)}; what it "
                f"holds is {_listed(folder)}; name another copy with `from` OWNER/SLUG"
            )
    placed = place_all(found.offers, out, on_progress)
    counts, warnings = check(out, stage)
    return Fetched(
        out=out,
        stage=stage,
        sources=tuple(source.handle for source in sources),
        placed=placed,
        kept=len(found.offers) - placed,
        counts=counts,
        warnings=(*warnings, *found.warnings()),
    )


def needs(stage: Stage = 1, dataset: str = DATASET) -> tuple[str, ...]:
    """Return what a person must have before fetching, in sentences.

    Raises:
        UsageError: `dataset` is no name of a data set.
    """
    *competition, copy = _sources(stage, dataset)
    words = [
        f"The DICOM files of stage 1 come from {copy.page}, a copy that a user of Kaggle "
        "published; the challenge itself hands them out no longer.",
        "Several GB, and as much again while they are unpacked, go into kagglehub's cache "
        "(~/.cache/kagglehub, or where KAGGLEHUB_CACHE says).",
    ]
    if competition:
        words.append(
            f"Stage 2's table and test files come from {competition[0].page}: that needs an "
            f"account, its rules accepted at {competition[0].page}/rules, and a token from "
            f"{TOKEN_PAGE} in KAGGLE_API_TOKEN or ~/.kaggle/access_token."
        )
    else:
        words.append(
            "A public data set needs no account as a rule; where Kaggle asks for one, put a token "
            f"from {TOKEN_PAGE} into KAGGLE_API_TOKEN or ~/.kaggle/access_token."
        )
    return tuple(words)


def _count(folder: Path) -> int:
    """Return how many DICOM files a folder holds, 0 where there is none."""
    return len(dicom_files(folder)) if folder.is_dir() else 0


def check(out: Path, stage: Stage) -> tuple[FetchedCounts, tuple[str, ...]]:
    """Return what a data folder holds, and each way in which that differs from the published set.

    The files are counted, not read; ``pleura audit`` reads them.
    """
    layout, warnings = LAYOUTS[stage], []
    published = layout.published
    train = sum(_count(out / folder) for folder in layout.train)
    test = _count(out / layout.test)
    if train != published.train:
        places = " and ".join(layout.train)
        warnings.append(f"{places}: {train:,} files; {published.train:,} were published")
    if test != published.test:
        warnings.append(f"{layout.test}: {test:,} files; {published.test:,} were published")
    rows = images = 0
    try:
        table = read_annotations(out / layout.table)
    except AnnotationError as error:
        warnings.append(str(error))
    else:
        rows, images = table.rows, len(table.masks) + len(table.refused)
        if (rows, images) != (published.rows, published.images):
            warnings.append(
                f"{layout.table}: {rows:,} rows for {images:,} images; {published.rows:,} for "
                f"{published.images:,} were published"
            )
    warnings += [f"{name}: is not there" for name in layout.others if not (out / name).is_file()]
    return FetchedCounts(train, test, rows, images), tuple(warnings)


@dataclass(frozen=True, slots=True)
class _Source:
    """Something that Kaggle hands out."""

    handle: str
    competition: bool

    @property
    def page(self) -> str:
        kind = "competitions" if self.competition else "datasets"
        return f"https://www.kaggle.com/{kind}/{self.handle}"


def _sources(stage: Stage, dataset: str) -> tuple[_Source, ...]:
    """Return what a stage needs, what is refused most easily first."""
    if not _HANDLE.fullmatch(dataset):
        raise UsageError(
            f"`from` {dataset}: a data set is named OWNER/SLUG, as its page's address ends after "
            "kaggle.com/datasets/"
        )
    copy = _Source(dataset, competition=False)
    return (_Source(COMPETITION, competition=True), copy) if stage == 2 else (copy,)


def _kagglehub() -> Any:
    """Return the module kagglehub. It writes to stdout, which is for results: to stderr with it."""
    try:
        with contextlib.redirect_stdout(sys.stderr):
            importlib.import_module("kagglehub.exceptions")
            return importlib.import_module("kagglehub")
    except ImportError as error:
        raise DataError(
            f"fetching needs the package kagglehub ({error}); install it with "
            "pip install 'pleura[kaggle]'"
        ) from error


def _download(hub: Any, source: _Source) -> Path:
    call = hub.competition_download if source.competition else hub.dataset_download
    try:
        with contextlib.redirect_stdout(sys.stderr):
            return Path(call(source.handle))
    except Exception as error:
        explained = _explained(error, hub, source)
        if explained is None:
            raise
        raise explained from error


def _explained(error: Exception, hub: Any, source: _Source) -> PleuraError | None:
    """Return what an error of kagglehub means for a person, or None where that is not known."""
    known = hub.exceptions
    if isinstance(error, known.UnauthenticatedError):
        return DataError(f"{source.page}: Kaggle needs an account; {_TOKEN}")
    if isinstance(error, known.KaggleApiHTTPError):
        response: Any = getattr(error, "response", None)
        return DataError(f"{source.page}: {_refusal(getattr(response, 'status_code', 0), source)}")
    if isinstance(error, known.DataCorruptionError):
        return DataError(f"{source.page}: arrived damaged and was removed; try again")
    if isinstance(error, zipfile.BadZipFile | tarfile.TarError | zlib.error | EOFError) or (
        isinstance(error, ValueError) and "archive" in str(error)
    ):
        return DataError(
            f"{source.page}: what arrived cannot be unpacked ({first_line(error)}); remove the "
            f"file that ends in .archive for it below {_cache()} and try again"
        )
    if _is_network(error):
        return DataError(
            f"{source.page}: cannot be reached ({type(error).__name__}); check the connection and "
            "try again, what has arrived is kept"
        )
    if isinstance(error, OSError) and error.errno is not None:
        return OutputError(
            f"{error.filename or _cache()}: {error.strerror}; free some space, or name another "
            "place for the download with KAGGLEHUB_CACHE"
        )
    told = (known.CredentialError, known.BackendError, known.NotFoundError)
    if isinstance(error, (ValueError, known.KaggleEnvironmentError, *told)):
        return DataError(f"{source.page}: kagglehub gave up ({first_line(error)})")
    return None


def _refusal(status: int, source: _Source) -> str:
    if status == 401:
        return f"Kaggle does not accept the token (401); {_TOKEN}"
    if status == 403 and source.competition:
        return (
            "Kaggle does not hand out the files (403); accept the rules at "
            f"{source.page}/rules with the account of your token, and try again"
        )
    if status == 403:
        return (
            "Kaggle refuses it (403): it is private, was taken down, or wants consent on "
            "its page; name another copy with `from` OWNER/SLUG"
        )
    if status == 404:
        return "Kaggle has no such data set (404); name another copy with `from` OWNER/SLUG"
    if status == 429:
        return "Kaggle asks for a pause (429); try again later, what has arrived is kept"
    return f"Kaggle answered with status {status}; try again later, what has arrived is kept"


def _is_network(error: Exception) -> bool:
    """Return whether it is an error of the connection; requests is not ours to import."""
    packages = {kind.__module__.partition(".")[0] for kind in type(error).__mro__}
    return isinstance(error, ConnectionError | TimeoutError) or bool(
        packages & {"requests", "urllib3"}
    )


def _cache() -> str:
    return os.environ.get("KAGGLEHUB_CACHE") or str(Path.home() / ".cache" / "kagglehub")


def _listed(folder: Path) -> str:
    names = sorted(shown(path.name) for path in folder.iterdir()) if folder.is_dir() else []
    return few(names, 8) or "nothing"
