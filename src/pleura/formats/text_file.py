"""Files of people and programs, hostile until read: regular files, bounded, text in UTF-8.

A pipe or a device is refused before a byte is read, because it may never end or never begin.
"""

import os
import stat
from io import BufferedReader, BytesIO

from pleura.errors import PleuraError
from pleura.storage import elsewhere
from pleura.storage.archive import read_member
from pleura.storage.own_file import kind_of


def open_regular(path: str | os.PathLike[str], error: type[PleuraError]) -> BufferedReader:
    """Return a file, opened to be read as bytes.

    Args:
        path: A regular file, a link to one, or a file in an archive or at an address.
        error: What to raise where it cannot be opened.

    Raises:
        error: It is a folder, a pipe, a device or a socket, is not there, or may not be read.
        AddressError: It lies at an address, and could not be had.
    """
    content = elsewhere.content_of(path)
    if content is not None:
        return BufferedReader(BytesIO(content))
    try:
        try:
            # Without O_NONBLOCK a pipe would be waited for before it can be told that it is one.
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except NotADirectoryError:
            return BufferedReader(BytesIO(read_member(path)))
    except (OSError, ValueError) as fault:  # ValueError: a null byte in the path
        raise error(f"{path}: could not be read ({why_not_read(fault)}); check the path") from fault
    mode = os.fstat(descriptor).st_mode
    if not stat.S_ISREG(mode):
        os.close(descriptor)
        raise error(f"{path}: is {kind_of(mode)}; name a regular file")
    return os.fdopen(descriptor, "rb")


def read_text(path: str | os.PathLike[str], error: type[PleuraError], most_bytes: int) -> str:
    """Return the text of a small file, without a byte-order mark.

    Args:
        path: As for :func:`open_regular`.
        error: What to raise.
        most_bytes: A file that holds more is refused.

    Raises:
        error: As for :func:`open_regular`, or the file is too large or no text in UTF-8.
    """
    raw = read_bytes(path, error, most_bytes)
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as fault:
        raise error(
            f"{path}: holds byte 0x{raw[fault.start]:02x} where text in UTF-8 was expected"
        ) from fault


def read_bytes(path: str | os.PathLike[str], error: type[PleuraError], most_bytes: int) -> bytes:
    """Return the content of a file.

    Args:
        path: As for :func:`open_regular`.
        error: What to raise.
        most_bytes: A file that holds more is refused.

    Raises:
        error: As for :func:`open_regular`, or the file is too large.
    """
    with open_regular(path, error) as file:
        try:
            raw = file.read(most_bytes + 1)
        except OSError as fault:
            raise error(f"{path}: could not be read ({why_not_read(fault)})") from fault
    if len(raw) > most_bytes:
        raise error(f"{path}: holds more than {most_bytes:,} bytes; is it the right file?")
    return raw


def why_not_read(error: Exception) -> str:
    """Return why a file could not be read, in the system's words."""
    return (error.strerror if isinstance(error, OSError) else None) or str(error)
