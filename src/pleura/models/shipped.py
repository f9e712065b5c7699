"""The trained models that come with pleura: where they lie, and what they are called.

Their names stand wherever a model.h5 may be named. ``shipped/NOTICE.md`` beside this module says
what they were trained on and under which terms; each file carries its card.
"""

import os
from pathlib import Path

FOLDER = Path(__file__).with_name("shipped")
SUFFIX = ".h5"

DEFAULT = "siim"
"""The model that predicts where none is named."""


def names() -> tuple[str, ...]:
    """Return the names of the models that come with pleura, the default first."""
    found = sorted(path.stem for path in FOLDER.glob(f"*{SUFFIX}"))
    return tuple(sorted(found, key=lambda name: name != DEFAULT))


def is_name(text: str | os.PathLike[str]) -> bool:
    """Return whether `text` is the name of such a model; a file or folder of that name wins."""
    return str(text) in names() and not Path(text).exists()


def file_of(path: str | os.PathLike[str]) -> Path:
    """Return the file that a model is read from: that of a name, or `path` as it is."""
    return FOLDER / f"{path}{SUFFIX}" if is_name(path) else Path(path)
