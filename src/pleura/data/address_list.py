"""A list of radiographs as a table: an address or path in each row, and its digest if one is known.

A CSV, also as ``.csv.gz``, or a Parquet file, read a few rows at a time by pyarrow.
"""

import gzip
import re
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from pleura.data.files import passed_over_by_name
from pleura.errors import DataError, UsageError
from pleura.formats.csv_table import DELIMITERS, head_of
from pleura.printable import printable
from pleura.remote.address import SCHEMES, Address, Source, path_of, scheme_of

SUFFIXES = (".csv", ".csv.gz", ".parquet")
ADDRESS_COLUMNS = ("address", "url", "path")
DIGEST_COLUMNS = ("digest", "sha256", "md5")

_LONGEST_HEAD = 1 << 16
_LENGTHS = {32: "md5", 64: "sha256"}
_DIGEST = re.compile(r"(?:(md5|sha1|sha256|sha512):)?([0-9a-f]{32,128})")


def is_list(name: str) -> bool:
    """Return whether a file may be a list of addresses, by its name."""
    return passed_over_by_name(PurePosixPath(name)) in SUFFIXES


def sources_in(file: Any, name: str, place: str) -> Iterator[Source] | None:
    """Yield what each row of a table names; None where no column of it is one of addresses.

    Args:
        file: The table, opened.
        name: What messages call it.
        place: The folder or address that relative paths in it count from.

    Raises:
        DataError: It cannot be read, or a row names nothing or has a digest that is none.
    """
    batches = _batches(file, name)
    columns = next(batches)
    address = next((one for one in ADDRESS_COLUMNS if one in columns), None)
    digest = next((one for one in DIGEST_COLUMNS if one in columns), None)
    return None if address is None else _sources(batches, name, place, address, digest)


def _sources(
    batches: Iterator[Any], name: str, place: str, address: str, digest: str | None
) -> Iterator[Source]:
    number = 0
    for batch in batches:
        texts = batch[address].to_pylist()
        digests = batch[digest].to_pylist() if digest else [None] * len(texts)
        for text, one in zip(texts, digests, strict=True):
            number += 1
            try:
                yield source_of(str(text or "").strip(), str(one or "").strip().lower(), place)
            except ValueError as error:
                raise DataError(f"{name}: row {number}: {error}") from error


def source_of(text: str, digest: str, place: str) -> Source:
    """Return what a row names; raise ValueError where it is nothing that can be read."""
    if not text:
        raise ValueError("names no file; give each row an address or a path")
    found = _DIGEST.fullmatch(digest)
    kind = None if found is None else found[1] or _LENGTHS.get(len(found[2]))
    if digest and (found is None or kind is None):
        raise ValueError(
            f"has the digest {printable(digest[:20])!r}; write sha256: or md5: and hexadecimal "
            "digits"
        )
    known = f"{kind}:{found[2]}" if found is not None else ""
    scheme = scheme_of(text)
    if scheme not in ("", "file", *SCHEMES):
        raise ValueError(f"has an address of {scheme}://; {', '.join(SCHEMES)} and file are read")
    if scheme in SCHEMES:
        return Address(text, known)
    try:
        path = path_of(text)
    except UsageError as error:  # it names a machine
        raise ValueError(str(error)) from error
    if scheme_of(place) and not scheme and not path.startswith("/"):
        return Address(f"{place.rstrip('/')}/{path}", known)
    path = path if path.startswith("/") else str(Path(place) / path)
    return Address(path, known) if known else Path(path)


def _batches(file: Any, name: str) -> Iterator[Any]:
    """Yield the names of a table's columns, and then its rows, some at a time."""
    import pyarrow as pa
    from pyarrow import csv, parquet

    try:
        if name.lower().endswith(".parquet"):
            table = parquet.ParquetFile(file)
            columns = table.schema_arrow.names
            yield columns
            yield from table.iter_batches(columns=_wanted(columns))
        else:
            packed = name.lower().endswith(".gz")
            parted = csv.ParseOptions(delimiter=_delimiter(file, name, packed=packed))
            if packed:
                file = pa.CompressedInputStream(file, "gzip")
            plain = csv.ConvertOptions(column_types=dict.fromkeys(_KNOWN, pa.string()))
            with csv.open_csv(file, parse_options=parted, convert_options=plain) as rows:
                yield rows.schema.names
                yield from rows
    except (pa.ArrowException, OSError, ValueError) as error:
        raise DataError(
            f"{name}: cannot be read as a table ({type(error).__name__}); write it as CSV with a "
            "head, or as Parquet"
        ) from error


def _delimiter(file: Any, name: str, *, packed: bool) -> str:
    """Return what parts the columns of a CSV, so that one of them is of addresses."""
    if not file.seekable():
        return DELIMITERS[0]
    head = (gzip.GzipFile(fileobj=file) if packed else file).read(_LONGEST_HEAD)
    file.seek(0)
    lines = enumerate(head.decode("utf-8", "replace").splitlines(), start=1)

    def known(names: Sequence[str]) -> bool:
        return not set(ADDRESS_COLUMNS).isdisjoint(names)

    return head_of(lines, known, Path(name), DataError).delimiter


_KNOWN = (*ADDRESS_COLUMNS, *DIGEST_COLUMNS)


def _wanted(columns: list[str]) -> list[str]:
    return [name for name in columns if name in _KNOWN]
