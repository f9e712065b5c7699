"""A PACS that is asked over DICOMweb: what it lists (QIDO-RS), and what a file comes in (WADO-RS).

An address is that of the service, a study, a series or an instance, with ``dicomweb+`` before it,
and perhaps a query behind it. An instance that was listed is named ``UID.dcm``, or by its modality
where that is none of radiographs, such as ``UID.ct``: so names say what is meant, as in a folder.

Source: DICOM PS3.18 10.4 (Retrieve), 10.6 (Search), F.2 (JSON).
"""

import base64
import errno
import itertools
import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from netrc import NetrcParseError, netrc
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, quote, urlsplit

from pleura.errors import AddressError, UsageError
from pleura.remote.address import DICOMWEB, scheme_of, without_secrets

TOKEN = "DICOMWEB_TOKEN"
"""The environment variable that may hold a bearer token."""

FILE = 'multipart/related; type="application/dicom"; transfer-syntax=*'
"""The media type of a file as it was stored, whatever its transfer syntax."""

LIST = "application/dicom+json"
"""The media type of what was found."""

PAGE = 200
"""So many studies or instances are asked for at a time; some services give no more."""

BROKE_OFF = "broke off"

Rows = list[dict[str, Any]]

_PLACE = re.compile(
    r"(?P<service>(?s:.*?))(?:/studies(?:/(?P<study>[^/]+)(?:/series/(?P<series>[^/]+)"
    r"(?:/instances/(?P<instance>[^/]+))?)?)?)?/?"
)
_KIND = re.compile(r"\.[a-z][a-z0-9]{0,9}$")
_MODALITY, _STUDY, _SERIES, _INSTANCE = "00080060", "0020000D", "0020000E", "00080018"
_RADIOGRAPHS = {"", "CR", "DX", "DR", "RG"}


def is_dicomweb(url: str) -> bool:
    """Return whether an address is one of DICOMweb."""
    return scheme_of(url) in DICOMWEB


def is_instance(url: str) -> bool:
    """Return whether an address of DICOMweb is that of one file."""
    return bool(_parts(url).get("instance"))


def plain_url(url: str) -> str:
    """Return the address of HTTP behind one of DICOMweb, others as they are.

    Example:
        >>> plain_url("dicomweb+https://pacs/studies/1.2/series/3/instances/4.5.dcm")
        'https://pacs/studies/1.2/series/3/instances/4.5'
    """
    if not is_dicomweb(url):
        return url
    plain = url.partition("+")[2]
    return _KIND.sub("", plain) if is_instance(url) else plain


def headers(url: str, form: str) -> dict[str, str]:
    """Return the headers to ask an address of DICOMweb with for a media type.

    A user in the address comes first, then a token, then what ``.netrc`` has for the host.

    Raises:
        AddressError: There is a file ``.netrc`` that cannot be read.
    """
    if "@" in urlsplit(url).netloc:
        return {"Accept": form}
    token = os.environ.get(TOKEN)
    right = f"Bearer {token}" if token else _of_netrc(urlsplit(url).hostname or "")
    return {"Accept": form, **({"Authorization": right} if right else {})}


def _of_netrc(host: str) -> str:
    """Return what authorizes at a host; "" where nobody says."""
    path = Path(os.environ.get("NETRC") or "~/.netrc").expanduser()
    try:
        found = netrc(path).authenticators(host)
    except FileNotFoundError:
        return ""
    except (NetrcParseError, OSError, ValueError) as error:  # whose text may quote a password
        line = f" (line {error.lineno})" if isinstance(error, NetrcParseError) else ""
        raise AddressError(
            f"{path}: cannot be read{line}; write machine HOST login USER password PASSWORD"
        ) from None
    if found is None:
        return ""
    return f"Basic {base64.b64encode(f'{found[0]}:{found[2]}'.encode()).decode()}"


def file_in(answer: bytes) -> bytes:
    """Return the file in an answer of WADO-RS: its one part, or all of it where it has no parts.

    Raises:
        OSError: The answer breaks off.
    """
    if answer[128:132] == b"DICM":
        return answer
    mark, _, rest = answer.lstrip(b"\r\n").partition(b"\r\n")
    if not mark.startswith(b"--"):
        return answer
    start, end = rest.find(b"\r\n\r\n"), rest.find(b"\r\n" + mark)
    if start < 0 or end < start:
        raise OSError(errno.EIO, BROKE_OFF)
    return rest[start + 4 : end]


def rows_in(answer: bytes, url: str) -> Rows:
    """Return what an answer of QIDO-RS lists; an empty one lists nothing.

    Raises:
        AddressError: It is no such list.
    """
    try:
        found = json.loads(answer or b"[]")
    except ValueError:
        found = None
    if not isinstance(found, list) or not all(isinstance(row, dict) for row in found):
        raise AddressError(
            f"{without_secrets(url)}: its server answered with what is no list in DICOM JSON; name "
            "the address of its DICOMweb service, such as dicomweb+https://HOST/dicom-web"
        )
    return found


def names_below(
    url: str,
    ask: Callable[[str], Rows],
    side_by_side: Callable[[Callable[[str], list[str]], Iterable[str]], Iterable[list[str]]],
) -> Iterator[list[str]]:
    """Yield the addresses of the instances of one study after the other.

    Args:
        url: The address of a service, perhaps with a query for studies; of a study or a series,
            perhaps with one for its instances.
        ask: Returns what an address lists.
        side_by_side: Calls a function for several addresses at once, as ``map`` does for one.

    Raises:
        AddressError: The server gives what cannot be used.
        UsageError: The query says itself which page is meant.
    """
    found, query = _parts(url), urlsplit(url).query
    if {"limit", "offset"} & {name for name, _ in parse_qsl(query, keep_blank_values=True)}:
        raise UsageError(
            f"{without_secrets(url)}: pleura asks for the pages by itself; leave limit and offset "
            "out of the query"
        )
    studies = f"{found['service']}/studies"
    if found["study"]:
        yield _instances(ask, query, url.partition("?")[0].rstrip("/"))
        return
    seen: dict[str, None] = {}
    for page in _pages(studies, query, ask):
        named = dict.fromkeys(f"{studies}/{_uid(row, _STUDY, studies)}" for row in page)
        # What arrives meanwhile moves the others, and some stand on the next page again.
        fresh = [name for name in named if name not in seen]
        yield from side_by_side(partial(_instances, ask, ""), fresh)
        seen = named


def _instances(ask: Callable[[str], Rows], query: str, url: str) -> list[str]:
    """Return the addresses of the instances of a study or series, sorted."""
    found = _parts(url)
    more = "&".join(filter(None, [query, f"includefield={_MODALITY}"]))
    names = []
    for row in itertools.chain.from_iterable(_pages(f"{url}/instances", more, ask)):
        series = found["series"] or _uid(row, _SERIES, url)
        above = f"{found['service']}/studies/{found['study']}/series/{series}"
        names.append(f"{above}/instances/{_uid(row, _INSTANCE, url)}.{_kind(row)}")
    return sorted(names)


def _pages(url: str, query: str, ask: Callable[[str], Rows]) -> Iterator[Rows]:
    """Yield what an address lists, page by page; a server may also give all at once."""
    before: Rows = []
    for offset in itertools.count(0, PAGE):
        page = ask(f"{url}?{query}{'&' * bool(query)}limit={PAGE}&offset={offset}")
        if page and page == before:
            raise AddressError(
                f"{without_secrets(url)}: its server gives the same page again and again, so it "
                "cannot be listed; name studies or series"
            )
        yield page
        if len(page) != PAGE:
            return
        before = page


def _uid(row: Mapping[str, Any], tag: str, url: str) -> str:
    uid = quote(_value(row, tag), safe="")
    if not uid.strip("."):
        raise AddressError(
            f"{without_secrets(url)}: its server lists an entry without ({tag[:4]},{tag[4:]}), "
            "which cannot be asked for; correct it there"
        )
    return uid


def _kind(row: Mapping[str, Any]) -> str:
    """Return what an instance's name ends in."""
    modality = _value(row, _MODALITY).upper()
    if modality in _RADIOGRAPHS:
        return "dcm"
    return modality.lower() if _KIND.fullmatch(f".{modality.lower()}") else "other"


def _value(row: Mapping[str, Any], tag: str) -> str:
    """Return the first value of an element in DICOM JSON; "" where there is none."""
    element = row.get(tag)
    values = element.get("Value") if isinstance(element, dict) else None
    return str(values[0]).strip() if isinstance(values, list) and values else ""


def _parts(url: str) -> Mapping[str, str | None]:
    found = _PLACE.fullmatch(url.partition("?")[0])
    return {} if found is None else found.groupdict()
