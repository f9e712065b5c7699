"""Bytes from an address, by fsspec: each fetched once, tried again a bounded number of times.

Who may read is found by the ways of each store: environment, profile, role of the machine. Of what
a library says of a failure only its kind is kept, because its text may quote an address with a
key.
"""

import asyncio
import contextlib
import errno
import hashlib
import random
import re
import threading
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Self

from pleura.errors import AddressError, ArchiveError, OutputError, PleuraError
from pleura.remote.address import DICOMWEB, WEB, Address, scheme_of, without_secrets
from pleura.remote.dicomweb import (
    BROKE_OFF,
    FILE,
    LIST,
    Rows,
    file_in,
    headers,
    is_dicomweb,
    names_below,
    plain_url,
    rows_in,
)
from pleura.remote.failures import reason, status_of
from pleura.storage.archive import HEADER_BYTES, unpack
from pleura.storage.content import Stamp

MAX_OBJECT_BYTES = 512 << 20
"""A larger object is not fetched: its bytes lie in memory until its answer is written."""

ATTEMPTS = 4
"""So often an object is asked for."""

_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.5, 8.0
_CONNECT_S = 10.0
FETCHED_AHEAD = 32
"""So many objects are fetched at a time. A store takes 0.1 to 0.2 s to begin with each, however
small; so with few on the way a machine of many cores would wait: docs/explanation/scale.md."""

AHEAD_BYTES = 256 << 20
"""Of several objects on the way so many bytes lie in memory until they are read."""

_PART_BYTES = 1 << 18
_SLOWEST = 1 << 20  # bytes a second: a large file may take longer to be put than one attempt
_PACKAGES = {
    **dict.fromkeys(("s3", *WEB), "pip install 'pleura[s3]' brings"),
    "gs": "pip install 'pleura[gs]' brings",
    "az": "pip install 'pleura[az]' brings",
}
_NOTHING_SAID = Stamp(0, 0, 0, 0)
_THERE_ALREADY = {412}
_KNOWS_NO_CONDITION = {501}


@dataclass(frozen=True, slots=True, repr=False)
class Brought:
    """What lay at an address.

    Attributes:
        address: Where.
        content: All bytes.
        stamp: What the store said of them.
    """

    address: Address
    content: bytes
    stamp: Stamp


@dataclass(frozen=True, slots=True)
class NotBrought:
    """An object that could not be had.

    Attributes:
        address: Where it should be.
        reason: Why, beginning with its address.
    """

    address: Address
    reason: str


class Objects:
    """What lies at addresses; use it in a ``with`` block, from any number of threads.

    Args:
        seconds: What one attempt at one object may take.
        pause: What to do for so many seconds between two attempts.
    """

    def __init__(self, seconds: float = 60.0, pause: Callable[[float], None] | None = None) -> None:
        self._seconds = seconds
        self._closed = threading.Event()
        self._pause = pause or self._closed.wait
        self._awaited: set[Future[Any]] = set()
        self._pool = ThreadPoolExecutor(FETCHED_AHEAD, thread_name_prefix="pleura-fetch")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._closed.set()  # nobody waits for an object that nobody wants any more
        for answer in list(self._awaited):
            answer.cancel()
        self._pool.shutdown(wait=True, cancel_futures=True)

    def begin(self, address: Address, stamp: Stamp | None) -> "Future[Brought | NotBrought]":
        """Begin to fetch an object in a thread, as :meth:`fetch` does.

        Args:
            address: Where.
            stamp: What the store said of it when it was listed; None where it said nothing.
        """
        return self._pool.submit(self._tried, address, stamp)

    def begin_part(self, url: str, start: int, end: int) -> "Future[bytes]":
        """Begin to fetch a part of an object in a thread.

        Its result raises AddressError where it could not be had.
        """

        def part(store: Any, path: str, run: Callable[..., Any]) -> bytes:
            return _read(url, run, path, start, end)

        return self._pool.submit(self._asked, url, without_secrets(url), part)

    def _tried(self, address: Address, stamp: Stamp | None) -> Brought | NotBrought:
        try:
            return self.fetch(address, stamp)
        except AddressError as error:
            return NotBrought(address, str(error))

    def fetch(self, address: Address, stamp: Stamp | None = None) -> Brought:
        """Return all bytes of an object.

        Raises:
            AddressError: It could not be had whole; or it has another digest than it must have.
        """
        member = address.member
        known = (0 if stamp is None else stamp.size) if member is None else member.piece
        if known > MAX_OBJECT_BYTES:
            raise AddressError(
                f"{address}: has {known:,} bytes; at most {MAX_OBJECT_BYTES:,} are fetched"
            )
        part = (None, None) if member is None else (member.start, member.start + known)

        def whole(store: Any, path: str, run: Callable[..., Any]) -> bytes:
            content = _read(address.url, run, path, *part)
            if known and len(content) != known:
                raise OSError(errno.EIO, BROKE_OFF)
            return content

        if member is not None and member.fault:
            raise AddressError(f"{address}: {member.fault}")
        content = self._asked(address.url, str(address), whole)
        if member is not None:
            try:
                content = unpack(content, member)
            except ArchiveError as error:
                raise AddressError(f"{address}: {error}") from error
        _require_digest(address, content)
        return Brought(address, content, stamp or Stamp(len(content), 0, 0, 0))

    def beginnings(self, addresses: Sequence[Address], most: int) -> list[bytes | None]:
        """Return how objects begin, asked side by side; None for one that could not be had."""

        def begins(address: Address) -> bytes | None:
            member = address.member
            start = 0 if member is None else member.start
            end = start + (
                most if member is None else min(member.piece, HEADER_BYTES + 2 * most + 1024)
            )

            def part(store: Any, path: str, run: Callable[..., Any]) -> bytes:
                return _read(address.url, run, path, start, end)

            try:
                found = self._asked(address.url, str(address), part)
                return found[:most] if member is None else unpack(found, member, most)
            except (AddressError, ArchiveError):
                return None

        return list(self._pool.map(begins, addresses))

    def stamp(self, address: Address) -> Stamp | None:
        """Return what the store says of an object; None where it cannot be asked, or need not."""
        if address.digest:
            return None
        try:
            about = self.about(address.url)
        except AddressError:
            return None
        return None if about is None else stamp_of(about)

    def stamps(self, addresses: list[Address]) -> list[Stamp | None]:
        """Return :meth:`stamp` of many, asked side by side."""
        return list(self._pool.map(self.stamp, addresses))

    def about(self, url: str) -> Mapping[str, Any] | None:
        """Return what a store says of what lies at an address: its ``type`` above all.

        Returns:
            None where nothing lies there.

        Raises:
            AddressError: The store could not be asked, or does not answer whoever asks.
        """
        if is_dicomweb(url):
            return {"type": "file"}  # nobody says more of an instance

        def info(store: Any, path: str, run: Callable[..., Any]) -> Mapping[str, Any] | None:
            try:
                return dict(run("info", path))
            except FileNotFoundError:
                return None

        found: Mapping[str, Any] | None = self._asked(url, without_secrets(url), info)
        return found

    def below(self, url: str) -> Iterator[tuple[str, Stamp]]:
        """Yield address and stamp of each object below an address, page by page.

        A store of the S3 kind is asked for a thousand at a time, a PACS study by study, others
        folder by folder.

        Raises:
            AddressError: It could not be listed.
        """
        ways = {"s3": self._pages_of_s3, **dict.fromkeys(DICOMWEB, self._studies)}
        for page in ways.get(scheme_of(url), self._folders)(url):
            yield from page

    @contextlib.contextmanager
    def open(self, url: str) -> Iterator[Any]:
        """Yield what lies at an address as an open file, read in parts where they are asked for.

        Raises:
            AddressError: It cannot be opened, or read on.
        """
        shown = without_secrets(url)

        def opened(store: Any, path: str, run: Callable[..., Any]) -> Any:
            return store.open(path, "rb", block_size=_PART_BYTES)

        file = self._asked(url, shown, opened)
        self._ask_parts_again(file, url, shown)
        try:
            with file:
                yield file
        except PleuraError:
            raise
        except Exception as error:
            raise AddressError(f"{shown}: {reason(error, scheme_of(url))[0]}") from error

    def put_new(self, url: str, content: bytes) -> bool:
        """Put an object where none is yet, and return whether it was put.

        Of two who do so at the same time one succeeds, where the store knows that condition
        (``If-None-Match: *``, as S3, Google's and Azure's do); else it is looked at first.

        Raises:
            OutputError: It could not be put.
        """

        def put(store: Any, path: str, run: Callable[..., Any]) -> bool:
            try:
                run("pipe_file", path, content, mode="create")
            except FileExistsError:
                return False
            except Exception as error:
                if status_of(error) in _THERE_ALREADY:
                    return False
                if status_of(error) not in _KNOWS_NO_CONDITION:
                    raise
                if self.about(url) is not None:
                    return False
                run("pipe_file", path, content)
            return True

        return bool(self._asked(url, without_secrets(url), put, writes=True))

    def put(self, files: Mapping[str, Path]) -> Iterator[str]:
        """Put files at addresses, each whole or not at all, and yield each when it is there.

        Raises:
            OutputError: One could not be put.
        """
        from pleura.processes.workers import ahead  # which imports much

        def put(url: str) -> str:
            path = files[url]

            def sent(store: Any, place: str, run: Callable[..., Any]) -> None:
                run("put_file", str(path), place)

            seconds = self._seconds + path.stat().st_size / _SLOWEST
            self._asked(url, without_secrets(url), sent, writes=True, seconds=seconds)
            return url

        yield from ahead(lambda url: self._pool.submit(put, url), files, FETCHED_AHEAD)

    def remove(self, url: str) -> None:
        """Remove an object, if there is one.

        Raises:
            OutputError: It could not be removed.
        """

        def remove(store: Any, path: str, run: Callable[..., Any]) -> None:
            with contextlib.suppress(FileNotFoundError):
                run("rm_file", path)

        self._asked(url, without_secrets(url), remove, writes=True)

    def _ask_parts_again(self, file: Any, url: str, shown: str) -> None:
        """Let each part of an open file be asked for as often as an object is."""
        cache = getattr(file, "cache", None)
        fetch = getattr(cache, "fetcher", None)
        if cache is not None and fetch is not None:
            cache.fetcher = lambda start, end: self._asked(url, shown, lambda *_: fetch(start, end))

    def _pages_of_s3(self, url: str) -> Iterator[list[tuple[str, Stamp]]]:
        bucket, _, prefix = url.removeprefix("s3://").partition("/")
        more: dict[str, str] = {}

        def page(store: Any, path: str, run: Callable[..., Any]) -> Any:
            return run("call_s3", "list_objects_v2", Bucket=bucket, Prefix=prefix, **more)

        while True:
            found = self._asked(url, without_secrets(url), page)
            yield [
                (f"s3://{bucket}/{one['Key']}", stamp_of(one))
                for one in found.get("Contents", ())
                if not one["Key"].endswith("/")
            ]
            if not found.get("IsTruncated"):
                return
            more = {"ContinuationToken": found["NextContinuationToken"]}

    def _studies(self, url: str) -> Iterator[list[tuple[str, Stamp]]]:
        def ask(url: str) -> Rows:
            def listed(store: Any, path: str, run: Callable[..., Any]) -> bytes:
                return bytes(run("cat_file", path, headers=headers(url, LIST)))

            return rows_in(self._asked(url, without_secrets(url), listed), url)

        for names in names_below(url, ask, self._pool.map):
            yield [(name, _NOTHING_SAID) for name in names]

    def _folders(self, url: str) -> Iterator[list[tuple[str, Stamp]]]:
        scheme, waiting = scheme_of(url), [url.rstrip("/")]

        def listed(store: Any, path: str, run: Callable[..., Any]) -> Any:
            return run("ls", path, detail=True)

        while waiting:
            found = sorted(
                self._asked(waiting[0], without_secrets(waiting.pop(0)), listed),
                key=lambda one: str(one["name"]),
            )
            yield [
                (f"{scheme}://{one['name']}", stamp_of(one))
                for one in found
                if one["type"] == "file"
            ]
            waiting[:0] = [
                f"{scheme}://{one['name']}" for one in found if one["type"] == "directory"
            ]

    def _asked(
        self,
        url: str,
        shown: str,
        ask: Callable[..., Any],
        *,
        writes: bool = False,
        seconds: float = 0.0,
    ) -> Any:
        """Return what `ask` gives, asked again for a while where that may help.

        Args:
            url: The address.
            shown: The same without secrets.
            ask: What is to be done with the store.
            writes: Whether that writes there.
            seconds: What one attempt may take; 0 for as long as any.

        Raises:
            AddressError: It gave nothing; the text begins with `shown`.
            OutputError: The same, where it was to write.
        """
        failed = OutputError if writes else AddressError
        store, path = self._store(url, shown)

        def run(name: str, *args: Any, **more: Any) -> Any:
            """Call a method of the store for as long as one attempt may take."""
            if not getattr(store, "async_impl", False):
                return getattr(store, name)(*args, **more)
            asked = getattr(store, f"_{name}")(*args, **more)
            return self._waited(store.loop, asked, seconds or self._seconds)

        for attempt in range(ATTEMPTS):
            try:
                return ask(store, path, run)
            except (AttributeError, NameError, TypeError, AddressError):
                raise  # a mistake of ours, or said already
            except Exception as error:  # of whatever library the store is read by
                why, passes = reason(error, scheme_of(url), writes=writes)
                if not passes:
                    raise failed(f"{shown}: {why}") from error
                last = attempt + 1 == ATTEMPTS
                if not last:  # at random, so that many do not come at once
                    longest = min(_LONGEST_WAIT_S, _FIRST_WAIT_S * 2**attempt)
                    self._pause(random.uniform(longest / 2, longest))
                if last or self._closed.is_set():
                    raise failed(
                        f"{shown}: {why}, {attempt + 1} times; run it again when its server is well"
                    ) from error
        raise AssertionError("unreachable")

    def _waited(
        self, loop: asyncio.AbstractEventLoop, asked: Coroutine[Any, Any, Any], seconds: float
    ) -> Any:
        """Return what comes of a request, for which nobody waits once this is closed."""
        answer = asyncio.run_coroutine_threadsafe(asyncio.wait_for(asked, seconds), loop)
        self._awaited.add(answer)
        if self._closed.is_set():
            answer.cancel()
        try:
            return answer.result()
        finally:
            self._awaited.discard(answer)

    def _store(self, url: str, shown: str) -> tuple[Any, str]:
        import fsspec

        scheme = scheme_of(url)
        try:
            store, path = fsspec.core.url_to_fs(plain_url(url), **_options(scheme, self._seconds))
        except ImportError as error:
            raise AddressError(
                f"{shown}: what reads {scheme}:// is not installed; {_PACKAGES[scheme]} it"
            ) from error
        except Exception as error:
            raise AddressError(f"{shown}: {reason(error, scheme)[0]}") from error
        if hasattr(store, "retries"):
            store.retries = 1
        return store, path


def _read(
    url: str, run: Callable[..., Any], path: str, start: int | None, end: int | None
) -> bytes:
    """Return what lies at an address, or a part of it; DICOMweb gives no parts."""
    if is_dicomweb(url):
        return file_in(bytes(run("cat_file", path, headers=headers(url, FILE))))[start:end]
    return bytes(run("cat_file", path, start=start, end=end))


def pattern_of(url: str) -> re.Pattern[str]:
    """Return what matches the addresses that one with ``*``, ``?``, ``[]`` or ``**`` stands for."""
    from fsspec.utils import glob_translate

    return re.compile(glob_translate(url))


def stamp_of(about: Mapping[str, Any]) -> Stamp:
    """Return what a store says of an object as the stamp of a file."""
    size = about.get("size") or about.get("Size") or 0
    changed = next((about[key] for key in _CHANGED if about.get(key)), 0)
    tag = str(next((about[key] for key in _TAGS if about.get(key)), ""))
    number = int.from_bytes(hashlib.blake2b(tag.encode(), digest_size=7).digest()) if tag else 0
    return Stamp(int(size), _nanoseconds(changed), 0, number)


_CHANGED = ("LastModified", "last_modified", "mtime", "updated")
_TAGS = ("ETag", "etag", "content_md5", "md5Hash")


def _nanoseconds(moment: Any) -> int:
    if isinstance(moment, datetime):
        return int(moment.timestamp()) * 1_000_000_000
    if isinstance(moment, int | float):
        return int(moment * 1_000_000_000)
    return int.from_bytes(hashlib.blake2b(str(moment).encode(), digest_size=7).digest())


def _options(scheme: str, seconds: float) -> dict[str, Any]:
    """Return how a store is to be asked: once, for attempts are counted here; nothing is kept."""
    if scheme == "s3":
        tried_once = {"total_max_attempts": 1}
        limits = {"connect_timeout": _CONNECT_S, "read_timeout": seconds, "retries": tried_once}
        # One connection: an object is not looked at before it is fetched.
        return {"config_kwargs": limits, "use_listings_cache": False, "max_concurrency": 1}
    if scheme in WEB:
        return {"use_listings_cache": False}
    return {}


def _require_digest(address: Address, content: bytes) -> None:
    if not address.digest:
        return
    kind, _, wanted = address.digest.partition(":")
    found = hashlib.new(kind, content, usedforsecurity=False).hexdigest()
    if found != wanted:
        raise AddressError(
            f"{address}: has the {kind} digest {found[:16]}..., and must have {wanted[:16]}...; "
            "fetch it anew from its source, or correct the list"
        )
