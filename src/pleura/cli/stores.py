"""What a command reads at addresses: at hand from when it is opened until the command ends."""

from pathlib import Path
from typing import TYPE_CHECKING

from pleura.cli import console

if TYPE_CHECKING:
    from pleura.config import Data


def open_stores(settings: "Data") -> "Data":
    """Return settings with paths for addresses, which are at hand until the command ends."""
    from pleura.data.stores import shown_in, stores_of

    console.hold(stores_of(settings))
    return shown_in(settings)


def open_paths(radiographs: Path | None, *tables: Path | None) -> list[Path | None]:
    """Return a folder of radiographs, tables and masks as paths, at hand likewise."""
    from pleura.data.stores import shown, stores
    from pleura.storage.elsewhere import path_at

    console.hold(stores([str(radiographs or "")], [str(path) for path in tables if path]))
    return [path and path_at(shown(str(path))) for path in (radiographs, *tables)]
