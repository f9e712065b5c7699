"""What a command reads at addresses: at hand from when it is opened until the command ends."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from pleura.cli import console
from pleura.remote.address import STORES, path_of, scheme_in, url_of, without_secrets

if TYPE_CHECKING:
    from pleura.config import Data, Run


def open_stores(settings: "Data") -> "Data":
    """Return settings with paths for addresses, which are at hand until the command ends."""
    from pleura.data.stores import shown_in, stores_of

    console.hold(stores_of(settings))
    return shown_in(settings)


READ_ANYWHERE = ("data.", "train.extra")
"""Settings of a run that may be addresses, or how their keys begin."""


def open_run(run: "Run") -> "Run":
    """Return the settings of a run with paths for addresses, which are at hand likewise."""
    extra = [str(open_arrays(folder)) for folder in run.train.extra]
    return replace(run, data=open_stores(run.data), train=replace(run.train, extra=extra))


def open_paths(radiographs: Path | None, *tables: Path | None) -> list[Path | None]:
    """Return a folder of radiographs, tables and masks as paths, at hand likewise."""
    from pleura.data.stores import shown, stores
    from pleura.storage.elsewhere import path_at

    console.hold(stores([str(radiographs or "")], [str(path) for path in tables if path]))
    return [path and path_at(shown(str(path))) for path in (radiographs, *tables)]


def open_arrays(folder: str | Path, work: Path | None = None, most_bytes: int = 0) -> Path:
    """Return the path of a prepared folder; one at an address is at hand until the command ends.

    Args:
        folder: Its path, or its address in a store.
        work: Where arrays from an address are kept; by default where pleura keeps what it fetched.
        most_bytes: So much of them is kept; 0 for half of what is free there.

    Raises:
        UsageError: It is at an address of a kind that is not read.
        AddressError: It could not be had.
    """
    from pleura.errors import UsageError
    from pleura.storage.elsewhere import path_at
    from pleura.storage.own_file import cache_folder

    text = str(folder)
    scheme = scheme_in(text)
    if scheme in ("", "file"):
        return Path(path_of(text))
    if scheme not in STORES:
        raise UsageError(
            f"{without_secrets(url_of(text))}: a prepared folder is read from this machine, or "
            f"from {', '.join(f'{one}://' for one in STORES)}; copy it to one of them"
        )
    from pleura.data.fetched import prepared_at

    keep = work or cache_folder("arrays")
    return path_at(console.hold(prepared_at(url_of(text), keep, most_bytes)).path)
