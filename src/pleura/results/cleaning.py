"""Values of a stranger's file, made valid for their value representation or left out.

A PACS may refuse a file for one bad value, so nothing is copied that the standard does not allow.
Only forms of the same value are mended (a date with points, an age without unit, too many
digits, a decimal comma); what would have to be guessed or cut off is left out, because half a name
is another name.

Source: DICOM PS3.5 section 6.2.
"""

import datetime
import re
from collections.abc import Callable

from pleura.dicom.uids import is_valid_uid
from pleura.dicom.values import meaning

UNKNOWN = "\N{REPLACEMENT CHARACTER}"
"""What :func:`pleura.dicom.values.text` gives for a byte that is no printable character."""

_DATE = re.compile(r"([0-9]{4})([.-]?)([0-9]{2})\2([0-9]{2})")
_TIME = re.compile(r"([01][0-9]|2[0-3])(?::?([0-5][0-9])(?::?([0-5][0-9]|60)(\.[0-9]{1,6})?)?)?")
_AGE = re.compile(r"([0-9]{1,3})([DWMY]?)", re.IGNORECASE)
_CODE = re.compile(r"[A-Z0-9_ ]{1,16}")
_DECIMAL_LENGTH = 16
_MOST_YEARS = 150


def clean(vr: str, found: str) -> str:
    r"""Return one value as its value representation allows it, or "" where it cannot be said.

    Args:
        vr: AS, CS, DA, DS, LO, PN, SH, TM or UI.
        found: The value as :func:`pleura.dicom.values.text` gives it. Several values, joined by
            backslashes, are none of these.

    >>> clean("AS", "38"), clean("DA", "1995.07.20"), clean("CS", "f"), clean("LO", "a" * 65)
    ('038Y', '19950720', 'F', '')
    """
    found = found.strip()
    if not found or "\\" in found or UNKNOWN in found or not found.isprintable():
        return ""
    return _RULES[vr](found)


def _age(found: str) -> str:
    match = _AGE.fullmatch(found)
    if match is None:
        return ""
    number, unit = int(match[1]), match[2].upper() or "Y"  # SIIM-ACR's files say years as "38"
    return "" if unit == "Y" and number > _MOST_YEARS else f"{number:03d}{unit}"


def _code(found: str) -> str:
    return found.upper() if found.isascii() and _CODE.fullmatch(found.upper()) else ""


def _date(found: str) -> str:
    match = _DATE.fullmatch(found)
    if match is None:
        return ""
    try:
        day = datetime.date(int(match[1]), int(match[3]), int(match[4]))
    except ValueError:
        return ""
    return f"{day.year:04d}{day.month:02d}{day.day:02d}"


def _decimal(found: str) -> str:
    number = meaning(found)
    if number is None:
        return ""
    as_it_is = len(found) <= _DECIMAL_LENGTH and "," not in found
    return found if as_it_is else f"{number:.9g}"


def _name(found: str) -> str:
    groups = found.split("=")
    if len(groups) > 3 or any(len(group) > 64 or group.count("^") > 4 for group in groups):
        return ""
    return found if found.strip("^= ") else ""


def _time(found: str) -> str:
    match = _TIME.fullmatch(found)
    return "" if match is None else "".join(part or "" for part in match.groups())


def _uid(found: str) -> str:
    return found if is_valid_uid(found) else ""


def _at_most(length: int) -> Callable[[str], str]:
    return lambda found: found if len(found) <= length else ""


_RULES: dict[str, Callable[[str], str]] = {
    "AS": _age,
    "CS": _code,
    "DA": _date,
    "DS": _decimal,
    "LO": _at_most(64),
    "PN": _name,
    "SH": _at_most(16),
    "TM": _time,
    "UI": _uid,
}
