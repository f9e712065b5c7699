"""What a command reads at addresses: at hand from when it is opened until the command ends."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from pleura.cli import console
from pleura.remote.address import STORES, Address, path_of, scheme_in, url_of, without_secrets

if TYPE_CHECKING:
    from pleura.config import Data, Run, Train


def open_stores(settings: "Data") -> "Data":
    """Return settings with paths for addresses, which are at hand until the command ends."""
    from pleura.data.stores import shown_in, stores_of

    console.hold(stores_of(settings))
    return shown_in(settings)


TRAIN_ANYWHERE = ("train.extra", "train.init_from")
"""Settings of a training that may be addresses."""

READ_ANYWHERE = ("data.", "predict.inputs", *TRAIN_ANYWHERE)
"""Settings of a run that may be addresses, or how their keys begin."""


def load_run(file: Path, settings: Iterable[str]) -> "Run":
    """Return the settings in a run file, which may lie at an address, with others over them."""
    from pleura import config

    scheme = scheme_in(str(file))
    if not scheme:
        return config.load_run(file, settings)
    from pleura.remote.objects import Objects

    url = url_of(str(file))
    with Objects() as objects:
        content = objects.fetch(Address(url)).content
    return config.run_in(content, without_secrets(url), settings)


def open_run(run: "Run") -> "Run":
    """Return the settings of a run with paths for addresses, which are at hand likewise."""
    return replace(run, data=open_stores(run.data), train=open_training(run.train))


def open_training(train: "Train", work: Path | None = None, most_bytes: int = 0) -> "Train":
    """Return the settings of a training likewise.

    Args:
        train: Settings.
        work: As for :func:`open_arrays`.
        most_bytes: Likewise.
    """
    extra = [str(open_arrays(folder, work, most_bytes)) for folder in train.extra]
    start = str(open_model(train.init_from)) if train.init_from else ""
    return replace(train, extra=extra, init_from=start)


def open_model(model: str | Path) -> Path:
    """Return what a model is read by; one at an address is at hand until the command ends.

    Raises:
        AddressError: It could not be had.
        UsageError: It is at an address of a kind that no model is read from.
    """
    text = str(model)
    scheme = scheme_in(text)
    if scheme in ("", "file"):
        return Path(path_of(text))
    from pleura.models.fetched import model_at

    return console.hold(model_at(url_of(text)))


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
