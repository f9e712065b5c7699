"""Results that are to lie at an address: made in a folder here, and put there when all are made.

An object is there whole or not at all, and nothing is put before all is made. One of the files is
put last: who finds it finds all others. A lock, an object that is put only where none is, keeps
others away until then; afterwards the results do, which nobody writes over.
"""

import contextlib
import itertools
import json
import secrets
import shutil
from dataclasses import asdict
from hashlib import blake2b
from pathlib import Path
from typing import Self

from pleura.errors import AddressError, OutputError
from pleura.processes.progress import OnProgress, untold
from pleura.remote.address import Address, without_secrets
from pleura.remote.objects import Objects
from pleura.storage import lock
from pleura.storage.atomic import why_not_written, write_text

_CLAIM = ".claim"
_BEGUN = ".begun"


class ResultsAt:
    """Results on their way to an address; use it in a ``with`` block.

    Attributes:
        url: The address, without secrets.
        folder: Where they are made. What is hidden there is not put anywhere. It is kept until all
            is at the address, so that the same command goes on.

    Args:
        url: The address of a folder in a store.
        command: What tells this job from others to the same address.
        tables: Names of files of which none may be at the address; the last one is put last.
        work: In which folder that of this address is made.
        objects: What asks the store.

    Raises:
        OutputError: Another process writes to the address, or results are there; or it cannot be
            written to, or the folder here cannot.
    """

    def __init__(
        self, url: str, command: str, tables: tuple[str, ...], work: Path, objects: Objects
    ) -> None:
        self.url = without_secrets(url).rstrip("/")
        self._url, self._tables, self._objects = url.rstrip("/"), tables, objects
        self._base = work / blake2b(self.url.encode(), digest_size=16).hexdigest()
        self.folder = self._base / blake2b(command.encode(), digest_size=8).hexdigest()
        self._lock = f"{self._url}/{lock.NAME}"
        self._done = False

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as held:
            try:
                self._base.mkdir(mode=0o700, parents=True, exist_ok=True)
            except OSError as error:
                raise OutputError(why_not_written(self._base, error)) from error
            held.enter_context(lock.locked_folder(self._base, "predict"))
            held.callback(self._forget)
            self._claim = self._claimed()
            self._hold()
            held.callback(self._let_go)
            self._require_none()
            self._held = held.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._held.close()

    def put(self, on_progress: OnProgress = untold) -> None:
        """Put all that lies in the folder at the address.

        Raises:
            OutputError: Something could not be put, which the same command does again; or the lock
                at the address is gone.
        """
        if self._holder()[1] != self._claim:
            raise OutputError(
                f"{self.url}: its {lock.NAME} is not this process's any more, so nothing is put "
                "there; give the same command again"
            )
        write_text(self.folder / _BEGUN, "")
        names = [
            path.relative_to(self.folder).as_posix()
            for path in sorted(self.folder.rglob("*"))
            if path.is_file() and not path.name.startswith(".")
        ]
        last = self._tables[-1]
        groups = (
            [name for name in names if "/" in name],
            [name for name in names if "/" not in name and name != last],
            [last],
        )
        put = (
            self._objects.put({f"{self._url}/{name}": self.folder / name for name in group})
            for group in groups
        )
        for done, _ in enumerate(itertools.chain.from_iterable(put), start=1):
            on_progress(done, len(names))
        self._done = True

    def _claimed(self) -> str:
        """Return by which this folder knows its own lock at the address, also one left behind."""
        path = self._base / _CLAIM
        with contextlib.suppress(OSError):
            return path.read_text()
        claim = secrets.token_hex(16)
        write_text(path, claim)
        return claim

    def _hold(self) -> None:
        me = {"holder": asdict(lock.this_process("predict")), "claim": self._claim}
        if self._objects.put_new(self._lock, json.dumps(me).encode()):
            return
        holder, claim = self._holder()
        if claim != self._claim:
            raise OutputError(
                f"{lock.in_use(self.url, holder)}. Whether it still runs cannot be seen from here: "
                f"if it has ended, and its own command is not to go on, remove "
                f"{self.url}/{lock.NAME}"
            )

    def _holder(self) -> tuple[lock.Holder | None, str]:
        """Return who holds the address, and by which claim, as far as the lock there says so."""
        try:
            said = json.loads(self._objects.fetch(Address(self._lock)).content)
            return lock.holder_of(said["holder"]), str(said["claim"])
        except (AddressError, ValueError, LookupError, TypeError, RecursionError):
            return None, ""

    def _require_none(self) -> None:
        if (self.folder / _BEGUN).exists():
            return  # what is there, this command put there
        for name in self._tables:
            if self._objects.about(f"{self._url}/{name}") is not None:
                raise OutputError(
                    f"{self.url}: holds {name} already, and results at an address are written "
                    "once; choose another address, or remove what is there"
                )

    def _forget(self) -> None:
        """Remove the folder here, unless the same command has something to go on with."""
        if self._done or not self.folder.exists():
            shutil.rmtree(self._base, ignore_errors=True)

    def _let_go(self) -> None:
        """Remove the lock, unless what is at the address is not whole."""
        if self._done or not (self.folder / _BEGUN).exists():
            with contextlib.suppress(OutputError, AddressError):
                self._objects.remove(self._lock)
