"""The manifest of a prepared folder: what is in it, and the digests of all else.

It is sealed, so that damage, half a copy or an edit is noticed (:mod:`pleura.storage.seal`).
"""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from pleura import config
from pleura.data.prepare import PREPARATION
from pleura.errors import ConfigError, DataError, SealError
from pleura.storage import seal
from pleura.storage.atomic import write_text

NAME, INDEX = "manifest.json", "index.parquet"
FORMAT = 3

Masks = Literal["drawn", "shares"]
DRAWN: Final = "drawn"
SHARES: Final = "shares"
"""What ``Y_train`` holds: masks that were drawn, or maps of probability in steps of 1/255."""

_Digest = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
_Count = Annotated[int, Field(ge=0)]


@dataclass(frozen=True, slots=True, config=ConfigDict(extra="forbid", strict=True))
class Manifest:
    """What manifest.json holds.

    Attributes:
        format: Version of the folder's layout.
        preparation: Version of the rule in :mod:`pleura.data.prepare`.
        size: Side length in pixels.
        train: Labelled images.
        test: Test images.
        masks: ``drawn``, or ``shares``: maps of probability in steps of 1/255.
        fingerprint: Digest of the images, masks and settings that the arrays were made from.
        index: Digest of index.parquet.
        x_train: Digests of ``X_train.npy``, see :mod:`pleura.data.checked`.
        y_train: Likewise.
        x_test: Likewise.
    """

    format: int
    preparation: str
    size: Annotated[int, Field(ge=1, le=2**15)]
    train: _Count
    test: _Count
    masks: Masks
    fingerprint: _Digest
    index: _Digest
    x_train: list[_Digest]
    y_train: list[_Digest]
    x_test: list[_Digest]


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write the manifest, sealed; with it a folder is complete.

    Raises:
        OutputError: It could not be written.
    """
    write_text(folder / NAME, seal.sealed(asdict(manifest), indent=2) + "\n")


def read_manifest(folder: Path) -> Manifest:
    """Return the manifest of a prepared folder.

    Raises:
        DataError: There is none, it was changed since it was written, or is of another version.
    """
    path = folder / NAME
    if not path.is_file():
        raise DataError(
            f"{folder}: is not a finished prepared folder (no manifest.json); make it with "
            "pleura prepare DATA --out DIR"
        )
    try:
        with path.open("rb") as file:
            text = file.read(seal.MOST_CHARACTERS + 1).decode(errors="replace")
        table = seal.unsealed(text)
        _check_versions(path, table)
        return config.parse(Manifest, table, str(path))
    except (OSError, SealError) as error:
        raise DataError(f"{path}: {error}; prepare the folder again") from error
    except ConfigError as error:
        raise DataError(f"{error}; prepare the folder again") from error


def _check_versions(path: Path, manifest: dict[str, Any]) -> None:
    for key, ours in (("format", FORMAT), ("preparation", PREPARATION)):
        if manifest.get(key) != ours:
            raise DataError(
                f"{path}: {key} is {manifest.get(key)!r}, this pleura reads {ours!r}; "
                "prepare the folder again"
            )
