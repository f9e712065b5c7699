"""Results that are to lie at an address: made in a folder here, and put there as they are made.

An object is there whole or not at all. What is made for single files is put meanwhile, each time
with their rows in an object of its own below ``.rows``, so that the same command goes on from there
if this machine is lost. The tables are put at the end, one of them last: who finds it finds all
others. A lock, an object that is put only where none is, keeps
others away until then; afterwards the results do, which nobody writes over.
"""

import contextlib
import json
import secrets
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict
from hashlib import blake2b
from pathlib import Path
from typing import Self

from pleura.errors import AddressError, OutputError, SealError
from pleura.processes.progress import OnProgress, untold
from pleura.remote.address import Address, without_secrets
from pleura.remote.objects import Objects
from pleura.storage import lock, seal
from pleura.storage.atomic import why_not_written, write_bytes, write_text

_CLAIM = ".claim"
_ROWS = ".rows"
_BEGUN = ".begun"
_PART = ".part"


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
        self._rows = f"{self._url}/{_ROWS}/{self.folder.name}"
        self._done = False
        self._parts: list[str] = []
        self._unput: dict[str, str] = {}
        self._there: set[str] = set()  # names of files that this process put

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

    def parts(self, job: str) -> Iterator[dict[str, str]]:
        """Yield what was put of rows by this command, here or on another machine; see `put_part`.

        The other files that were put with them are brought into the folder, where they are not.

        Args:
            job: All that a row depends on but the file. Rows of another one are passed over.

        Raises:
            AddressError: It could not be had.
        """
        if self._objects.about(self._rows) is None:
            return
        self._parts = sorted(url for url, _ in self._objects.below(self._rows + "/"))
        self._bring()
        for url in self._parts:
            try:
                part = seal.unsealed(self._objects.fetch(Address(url)).content.decode())
            except (SealError, ValueError):
                continue  # its files are answered again
            if part.get("job") == job:
                yield part["rows"]

    def _bring(self) -> None:
        for url, _ in self._objects.below(self._url + "/"):
            name = url.removeprefix(self._url + "/")
            path = self.folder / name
            if "/" not in name or "/." in f"/{name}" or path.exists():
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            write_bytes(path, self._objects.fetch(Address(url)).content)
            self._there.add(name)

    def put_part(self, job: str, rows: Mapping[str, str]) -> None:
        """Put what was made for some files, and then their rows.

        Args:
            job: As for :meth:`parts`.
            rows: By key, as texts.

        Raises:
            OutputError: Something could not be put; the rows are put with the next ones.
        """
        self._unput.update(rows)
        write_text(self.folder / _BEGUN, "")
        self._put([name for name in self._names() if "/" in name])
        url = f"{self._rows}/{len(self._parts):08d}-{secrets.token_hex(4)}.json"
        part = self._base / _PART
        write_text(part, seal.sealed({"job": job, "rows": self._unput}))
        for _ in self._objects.put({url: part}):
            self._parts.append(url)
        self._unput = {}

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
        names, last, before = self._names(), self._tables[-1], len(self._there)
        total = len({*names, last} - self._there)
        for group in (
            [name for name in names if "/" in name],
            [name for name in names if "/" not in name and name != last],
            [last],
        ):
            self._put(group, lambda there: on_progress(there - before, total))
        self._done = True
        with contextlib.suppress(OutputError):  # the results are there, and these are not needed
            for url in self._parts:
                self._objects.remove(url)

    def _names(self) -> list[str]:
        return [
            path.relative_to(self.folder).as_posix()
            for path in sorted(self.folder.rglob("*"))
            if path.is_file() and "/." not in f"/{path.relative_to(self.folder)}"
        ]

    def _put(self, names: Iterable[str], told: Callable[[int], None] = lambda _: None) -> None:
        """Put those of some files that this process did not put yet."""
        new = {f"{self._url}/{name}": name for name in names if name not in self._there}
        for url in self._objects.put({url: self.folder / name for url, name in new.items()}):
            self._there.add(new[url])
            told(len(self._there))

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
        if (self.folder / _BEGUN).exists() or self._objects.about(self._rows) is not None:
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
