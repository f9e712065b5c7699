"""Plays kagglehub in tests: its functions, arguments, exceptions and cache, without a network.

Modelled on kagglehub 1.0.2. What it hands out is prepared as folders (or as an exception to raise);
a download copies the folder into the cache, and a second one finds it there.
"""

import shutil
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType


def _kind(module, name, *bases):
    return type(name, bases, {"__module__": module})


RequestException = _kind("requests.exceptions", "RequestException", OSError)
ConnectionError_ = _kind("requests.exceptions", "ConnectionError", RequestException)
ReadTimeout = _kind("requests.exceptions", "ReadTimeout", RequestException)


class HTTPError(RequestException):
    def __init__(self, *words, response=None):
        super().__init__(*words)
        self.response = response


HTTPError.__module__ = "requests.exceptions"


class Response:
    """Like requests.Response, it is false where the status says that something went wrong."""

    def __init__(self, status_code):
        self.status_code = status_code

    def __bool__(self):
        return self.status_code < 400


class KaggleApiHTTPError(HTTPError):
    def __init__(self, message, response=None):
        super().__init__(message, response=response)


class UnauthenticatedError(Exception):
    def __init__(self, message="User is not authenticated"):
        super().__init__(message)


class BackendError(Exception):
    def __init__(self, message, error_code=None):
        self.error_code = error_code
        super().__init__(message)


class CredentialError(Exception):
    pass


class KaggleEnvironmentError(Exception):
    pass


class NotFoundError(Exception):
    pass


class DataCorruptionError(Exception):
    pass


EXCEPTIONS = (
    KaggleApiHTTPError,
    UnauthenticatedError,
    BackendError,
    CredentialError,
    KaggleEnvironmentError,
    NotFoundError,
    DataCorruptionError,
)


def refused(status):
    return KaggleApiHTTPError(f"{status} Client Error.\n\nYou don't", Response(status))


@dataclass
class Kaggle:
    """What there is to download, and what was asked.

    Attributes:
        cache: The folder of KAGGLEHUB_CACHE.
        things: Handle -> a folder to hand out, or an exception to raise.
        asked: The handles in the order in which they were asked for.
        brought: The handles that were not in the cache yet.
    """

    cache: Path
    things: dict = field(default_factory=dict)
    asked: list = field(default_factory=list)
    brought: list = field(default_factory=list)

    def dataset_download(self, handle, path=None, *, force_download=False, output_dir=None):
        place = self.cache / "datasets" / handle / "versions" / "1"
        return self._download(handle, place)

    def competition_download(self, handle, path=None, *, force_download=False, output_dir=None):
        return self._download(handle, self.cache / "competitions" / handle)

    def _download(self, handle, place):
        print(f"Downloading to {place}.archive...")  # as kagglehub's log does, to stdout
        self.asked.append(handle)
        thing = self.things[handle]
        if isinstance(thing, BaseException):
            raise thing
        if not place.exists():
            self.brought.append(handle)
            shutil.copytree(thing, place, symlinks=True)
        return str(place)


def install(monkeypatch, cache):
    """Put the stand-in where `import kagglehub` finds it, and return what it will hand out."""
    import sys

    kaggle = Kaggle(cache)
    module, exceptions = ModuleType("kagglehub"), ModuleType("kagglehub.exceptions")
    for kind in EXCEPTIONS:
        setattr(exceptions, kind.__name__, kind)
    vars(module).update(
        dataset_download=kaggle.dataset_download,
        competition_download=kaggle.competition_download,
        exceptions=exceptions,
        __path__=[],
    )
    monkeypatch.setitem(sys.modules, "kagglehub", module)
    monkeypatch.setitem(sys.modules, "kagglehub.exceptions", exceptions)
    monkeypatch.setenv("KAGGLEHUB_CACHE", str(cache))
    return kaggle


def small_layouts(fetch):
    """Return the two stages with counts small enough for tests: see :func:`write_set`."""
    from dataclasses import replace

    return {
        1: replace(fetch.LAYOUTS[1], published=fetch.FetchedCounts(3, 2, 4, 3)),
        2: replace(fetch.LAYOUTS[2], published=fetch.FetchedCounts(5, 2, 6, 5)),
    }


STAGE_1 = {
    "dicom-images-train/1.1/1.1.1/1.dcm": "train one",
    "dicom-images-train/1.2/1.2.1/2.dcm": "train two",
    "dicom-images-train/1.3/1.3.1/3.dcm": "train three",
    "dicom-images-test/1.4/1.4.1/4.dcm": "test four",
    "dicom-images-test/1.5/1.5.1/5.dcm": "test five",
    "train-rle.csv": "ImageId, EncodedPixels\n1, -1\n2, 0 2\n2, 5 5\n3, -1\n",
}
STAGE_2 = {
    "stage_2_images/ID_a.dcm": "a",
    "stage_2_images/ID_b.dcm": "bb",
    "stage_2_train.csv": "ImageId,EncodedPixels\n1,-1\n2,0 2\n2,5 5\n3,-1\n4,-1\n5,-1\n",
    "stage_2_sample_submission.csv": "ImageId,EncodedPixels\nID_a,-1\nID_b,-1\n",
}


def write_files(folder, files):
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def read_files(folder):
    found = (path for path in folder.rglob("*") if path.is_file() or path.is_symlink())
    return {path.relative_to(folder).as_posix(): path.read_text() for path in found}
