"""The trained models that come with pleura: where they lie, and what they are called.

Their names, such as ``pleura:fast``, stand wherever a model.h5 may be named; no file or folder is
looked at for them, and any other name is a path. ``shipped/NOTICE.md`` beside this module says what
they were trained on and under which terms; each file carries its card.
"""

import os
from pathlib import Path

from pleura.errors import BundleError
from pleura.storage.elsewhere import path_at

FOLDER = Path(__file__).with_name("shipped")
SUFFIX = ".h5"
PREFIX = "pleura:"

IN_FOLDER = "model.h5"
"""The model of a folder, as a training writes it; the folder's name stands for it."""

DEFAULT = f"{PREFIX}fast"
"""The model that predicts where none is named."""


def names() -> tuple[str, ...]:
    """Return the names of the models that come with pleura, the default first."""
    found = sorted(f"{PREFIX}{path.stem}" for path in FOLDER.glob(f"*{SUFFIX}"))
    return tuple(sorted(found, key=lambda name: name != DEFAULT))


def is_name(text: str | os.PathLike[str]) -> bool:
    """Return whether `text` names a model that comes with pleura, if there is one of that name."""
    return str(text).startswith(PREFIX)


def holds_model(path: str | os.PathLike[str]) -> bool:
    """Return whether a path is a folder in which a model has the name that a training gives it."""
    return os.path.isdir(path) and os.path.lexists(Path(path) / IN_FOLDER)  # noqa: PTH112


def file_of(path: str | os.PathLike[str]) -> Path:
    """Return the file that a model is read from: that of a name or in a folder, or `path` as it is.

    Raises:
        BundleError: No model of that name comes with pleura.
    """
    if not is_name(path):
        return Path(path) / IN_FOLDER if holds_model(path) else path_at(path)
    if str(path) not in names():
        raise BundleError(
            f"{path}: no model of that name comes with pleura; there is {', '.join(names())}"
        )
    return FOLDER / f"{str(path).removeprefix(PREFIX)}{SUFFIX}"
