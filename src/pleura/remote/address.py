"""The address of a radiograph: what tells it from others, and how it is shown without secrets.

An address may carry a password (``https://user:password@host/``) or be its own key (a signed
address, in its query). So its text, which goes into tables and messages, has neither.

This module imports nothing of weight.
"""

import os
import re
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit, urlunsplit

from pleura.errors import UsageError
from pleura.storage.archive import Member

DICOMWEB = ("dicomweb+http", "dicomweb+https")
WEB = ("http", "https", *DICOMWEB)
"""What addresses with a server's name begin with."""

STORES = ("s3", "gs", "az")
"""What addresses of object stores begin with."""

SCHEMES = (*STORES, *WEB)
"""What an address may begin with; ``file://`` is a path, written in another way."""

_ADDRESS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_AS_PATH = re.compile(f"^({'|'.join(map(re.escape, (*SCHEMES, 'file')))}):/(?!/)", re.IGNORECASE)
_LIKE_ADDRESS = re.compile("([A-Za-z][A-Za-z0-9+.-]+):/")


@dataclass(frozen=True, slots=True, repr=False)
class Address:
    """Where the bytes of one radiograph lie.

    Attributes:
        url: The whole address with its secrets; or a path, where a digest needs one.
        digest: What its bytes must have, such as ``sha256:0a1b...``; "" where nobody says.
        member: Which file it is in the archive at `url`; None where it is an object of its own.
    """

    url: str
    digest: str = ""
    member: Member | None = None

    def __str__(self) -> str:
        shown = without_secrets(self.url)
        return shown if self.member is None else f"{shown}/{self.member.name}"

    __repr__ = __str__

    @property
    def name(self) -> str:
        """The last part of its name, as a file would be called."""
        if self.member is not None:
            return PurePosixPath(self.member.name).name
        path = urlsplit(self.url).path if self.scheme in WEB else self.url
        name = PurePosixPath(path).name
        return unquote(name) if self.scheme in WEB else name

    @property
    def scheme(self) -> str:
        """What it begins with, such as ``s3``; "" for a path."""
        return scheme_of(self.url)

    @property
    def identity(self) -> str:
        """What tells it from all others: a signature changes, so under a digest it is left out."""
        inside = ""
        if self.member is not None:  # of one name there may be several, of which one can be read
            inside = self.member.name + f"@{self.member.start}" * bool(self.member.fault)
        return f"{self}|{self.digest}" if self.digest else f"{self.url}|{inside}"


Source = Path | Address
"""Where a radiograph is read from."""


def identity_of(source: Source) -> str:
    """Return what tells a source from all others."""
    return source.identity if isinstance(source, Address) else str(source)


def public(source: Source) -> Source:
    """Return a source without secrets, for who is to name it and not to fetch it."""
    if isinstance(source, Path):
        return source
    return replace(source, url=without_secrets(source.url))


def scheme_of(text: str) -> str:
    """Return what an address begins with, in small letters; "" where the text is a path."""
    found = _ADDRESS.match(text)
    return found[1].lower() if found else ""


def url_of(text: str) -> str:
    """Return an address that was written as a path, which has one slash of two; others as they are.

    Example:
        >>> url_of("s3:/bucket/a.dcm"), url_of("file:/a.dcm"), url_of("folder/a.dcm")
        ('s3://bucket/a.dcm', 'file:///a.dcm', 'folder/a.dcm')
    """
    return _AS_PATH.sub(lambda found: f"{found[1]}://{'/' * (found[1].lower() == 'file')}", text)


def scheme_in(text: str) -> str:
    """Return what an address of whatever kind begins with, also where it was written as a path.

    "" where the text is a path. Such is ``notes:/a.csv`` where there is a folder ``notes:``.
    """
    found = _LIKE_ADDRESS.match(text)
    return found[1].lower() if found and not os.path.lexists(text.partition("/")[0]) else ""


def path_of(text: str) -> str:
    """Return the path in a ``file://`` address; any other text as it is.

    Raises:
        UsageError: It is a path of another machine.
    """
    url = url_of(text)
    if scheme_of(url) != "file":
        return text
    parts = urlsplit(url)
    if parts.netloc not in ("", "localhost"):
        host = parts.hostname
        raise UsageError(
            f"file://{host}{parts.path}: names {host} as a machine, and only files of this one are "
            f"opened; write file:///{host}{parts.path} for a path"
        )
    return os.path.expanduser(unquote(parts.path))  # noqa: PTH111


def without_secrets(url: str) -> str:
    """Return an address without user, password, query and fragment.

    Example:
        >>> without_secrets("https://me:pw@host.org/a.dcm?X-Signature=1f")
        'https://host.org/a.dcm'
    """
    if scheme_of(url) not in WEB:
        return re.sub(r"^([A-Za-z0-9+.-]+://)[^/@]*@", r"\1", url) if scheme_of(url) else url
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))
