"""How data elements are written: their heads, and how to tell when a file does not say it rightly.

Source: DICOM PS3.5 section 7.1 (data elements), 6.2 (value representations).
"""

import struct
from collections.abc import Callable
from typing import Literal, NamedTuple

from pleura.errors import DamagedError, DicomError, TruncatedError

PIXEL_DATA = 0x7FE00010
UNDEFINED = 0xFFFFFFFF
ORDERS: tuple[Literal["little"], Literal["big"]] = ("little", "big")
"""Of the bytes of a number, by whether a data set is written in big endian."""
ITEM = 0xFFFEE000
ITEM_END = 0xFFFEE00D
SEQUENCE_END = 0xFFFEE0DD
DELIMITERS = (ITEM, ITEM_END, SEQUENCE_END)

MAX_ELEMENTS = 100_000
BEFORE_PIXELS = (-1, PIXEL_DATA & 0xFFFF0000)
"""Between these lie the tags of what is read alike, whatever it is."""

# PS3.5 7.1.2: these have a 16-bit length, every other VR (also one of the future) a 32-bit one.
_SHORT_VRS = {
    vr.encode(): vr
    for vr in "AE AS AT CS DA DS DT FL FD IS LO LT PN SH SL SS ST TM UI UL US".split()  # noqa: SIM905
}
_LONG_VRS = {
    vr.encode(): vr
    for vr in "OB OD OF OL OV OW SQ SV UC UN UR UT UV".split()  # noqa: SIM905
}
# By big_endian: tag, VR, 16-bit length; tag and 32-bit length; reserved bytes and 32-bit length.
_EXPLICIT = (struct.Struct("<HH2sH"), struct.Struct(">HH2sH"))
_IMPLICIT = (struct.Struct("<HHL"), struct.Struct(">HHL"))
_LONG = (struct.Struct("<HL"), struct.Struct(">HL"))

_SIZES = {"US": 2, "SS": 2, "UL": 4, "SL": 4, "AT": 4, "FL": 4, "FD": 8}
_LONGEST_TEXT = 10_240  # of a VR with a 16-bit length: LT

_ALIKE = 16
"""So many heads of one odd form in a row need no other proof."""

_SHOWING = 3
"""So many elements at the beginning of a data set show how it is written."""

OnOddity = Callable[[str, int], None]
"""Told what is odd about an element's head, and its tag."""


class ShortBufferError(Exception):
    """The walk needs bytes that lie in the file but were not loaded."""


class Encoding(NamedTuple):
    """How elements are written: with their VR or without, and in which byte order."""

    explicit: bool = True
    big_endian: bool = False


EXPLICIT_LITTLE = Encoding()
EXPLICIT_BIG = Encoding(big_endian=True)
IMPLICIT_LITTLE = Encoding(explicit=False)


class ElementHead(NamedTuple):
    """What precedes a value; `vr` is "" where none is written, `length` may be `UNDEFINED`."""

    tag: int
    vr: str
    start: int
    length: int


class Element(NamedTuple):
    """Where one value lies: `buffer[start:end]`; `vr` is "" in implicit VR data.

    For a value of undefined length `end` is where its sequence delimiter begins.
    """

    vr: str
    start: int
    end: int
    undefined: bool


Form = Callable[[bytes, int, bool], ElementHead]
"""Reads a head at a position, in big endian or not."""


def tag_text(tag: int) -> str:
    """Return a tag the way the standard writes it: "(0028,0010)"."""
    return f"({tag >> 16:04X},{tag & 0xFFFF:04X})"


def plain_elements(
    buffer: bytes, position: int, encoding: Encoding, size: int, tags: tuple[int, int], most: int
) -> dict[int, Element]:
    """Return elements from `position` on by tag, as long as nothing about them is out of order.

    That is so while their tags rise, they have a VR that the standard knows, and their values lie
    in what is loaded. Nearly all elements of nearly all files are so. To read them alone takes half
    of the time that :func:`read_head` and what is asked of others take.

    Args:
        buffer: The file, or its beginning.
        position: Where the first of them begins.
        encoding: How they should be written; implicit VR data has none of them.
        size: Where the data set ends.
        tags: All of their tags are more than the first and less than the second of these, which is
            no more than that of Pixel Data.
        most: How many are returned at most.
    """
    found: dict[int, Element] = {}
    if not encoding.explicit:
        return found
    head, long = _EXPLICIT[encoding.big_endian].unpack_from, _LONG[encoding.big_endian].unpack_from
    limit, (after, before) = min(size, len(buffer)), tags
    last, short_vr, made = limit - 12, _SHORT_VRS.get, tuple.__new__
    for _ in range(most):
        if position > last:
            break
        group, number, code, length = head(buffer, position)
        tag = group << 16 | number
        vr, start = short_vr(code), position + 8
        if vr is None:
            vr, start = _LONG_VRS.get(code), position + 12
            reserved, length = long(buffer, position + 6)
            if vr is None or reserved:
                break
        position = start + length
        if not after < tag < before or position > limit:
            break
        found[tag] = made(Element, (vr, start, position, False))
        after = tag
    return found


def read_head(
    buffer: bytes, position: int, encoding: Encoding, size: int, on_oddity: OnOddity
) -> ElementHead:
    """Return the head of the element at `position`.

    Args:
        buffer: The file, or its beginning.
        position: Where the element begins.
        encoding: How it should be written. An element that has a VR nobody knows, or none in a
            data set of explicit VRs, is read in the one way in which another element follows it.
        size: Where the data set ends.
        on_oddity: Told of such an element.

    Raises:
        TruncatedError: The data set ends within the head.
        DamagedError: There is no way to read it.
        ShortBufferError: It lies beyond `buffer` but within `size`.
    """
    if position + 8 > size:
        raise cut_within_head(position, size)
    if position + 12 > len(buffer) < size:
        raise ShortBufferError
    explicit, big_endian = encoding
    if not explicit:
        return _implicit(buffer, position, big_endian)
    group, number, vr, length = _EXPLICIT[big_endian].unpack_from(buffer, position)
    known = _SHORT_VRS.get(vr)
    if known is not None:
        return ElementHead(group << 16 | number, known, position + 8, length)
    if vr in _LONG_VRS:
        if position + 12 > size:
            raise cut_within_head(position, size)
        reserved, length = _LONG[big_endian].unpack_from(buffer, position + 6)
        fits = length <= size - position - 12 or length == UNDEFINED
        if reserved == 0 and (fits or (group, number) == (0x7FE0, 0x0010)):
            return ElementHead(group << 16 | number, _LONG_VRS[vr], position + 12, length)
    if group == 0xFFFE:  # delimiters carry no VR
        return _implicit(buffer, position, big_endian)
    return _odd_head(buffer, position, encoding, size, on_oddity)


def tag_and_length(
    buffer: bytes, position: int, big_endian: bool, size: int | None = None
) -> tuple[int, int]:
    """Return tag and length of an item or a delimiter.

    Raises:
        TruncatedError, ShortBufferError: As :func:`read_head`.
    """
    size = len(buffer) if size is None else size
    if position + 8 > size:
        raise cut_within_head(position, size)
    if position + 8 > len(buffer):
        raise ShortBufferError
    group, number, length = _IMPLICIT[big_endian].unpack_from(buffer, position)
    return group << 16 | number, length


def begins_element(buffer: bytes, position: int, encoding: Encoding, size: int, after: int) -> bool:
    """Return whether an element that may follow the tag `after` stands at `position`.

    So does the end of the data set, or an item or a delimiter.

    Raises:
        ShortBufferError: As :func:`read_head`.
    """
    if position >= size:
        return position == size
    if position + 8 > size:
        return False
    if position + 12 > len(buffer) < size:
        raise ShortBufferError
    explicit, big_endian = encoding
    group, number, length = _IMPLICIT[big_endian].unpack_from(buffer, position)
    tag, start = group << 16 | number, position + 8
    if group == 0xFFFE:
        return tag in DELIMITERS
    if tag <= after:
        return False
    if explicit:
        vr = buffer[position + 4 : position + 6]
        if vr in _SHORT_VRS:
            length = _EXPLICIT[big_endian].unpack_from(buffer, position)[3]
        elif vr in _LONG_VRS and position + 12 <= size:
            reserved, length = _LONG[big_endian].unpack_from(buffer, position + 6)
            if reserved:
                return False
            start += 4
        else:
            return False
    return bool(length == UNDEFINED or start + length <= size)


def evident_encoding(
    buffer: bytes, start: int, size: int, stated: Encoding | None
) -> Encoding | None:
    """Return how the data set at `start` is written, as its first elements show.

    Args:
        buffer: The file, or its beginning.
        start: Where the data set begins.
        size: Where it ends.
        stated: How it should be written; it is believed where it can be.

    Returns:
        `stated` where the elements fit it, else another one that they fit, else None.
    """
    # Lengths of implicit data are never two letters of a VR: nearly every value is shorter.
    candidates = [EXPLICIT_LITTLE, EXPLICIT_BIG, IMPLICIT_LITTLE]
    if stated is not None and stated.explicit:
        candidates.insert(0, stated)
    fitting = (one for one in candidates if _fits(buffer, start, size, one))
    return next(fitting, None)


def overrun(head: ElementHead, size: int, after: int) -> DicomError:
    """Return the error of an element that reaches beyond the end: which breaks off, or lies.

    Args:
        head: Of the element.
        size: Where the data set ends.
        after: The tag of the element before it.
    """
    tag, vr, start, length = head
    left = size - start
    what = f"{tag_text(tag)} at byte {start:,}"
    if tag > after and _may_be_so_long(tag, vr, length):
        return TruncatedError(
            f"{what} has {length:,} bytes, but the file ends after {left:,} of them: it is"
            " truncated; copy it again from its source"
        )
    why = "its length" if tag > after else "its tag or the length of the element before it"
    return DamagedError(
        f"{what} claims {length:,} bytes, but {left:,} are left in the file: {why} is damaged;"
        " export the file again"
    )


def cut_within_head(position: int, size: int) -> TruncatedError:
    """Return the error of a data set that ends within the head of an element."""
    return TruncatedError(
        f"a data element begins at byte {position:,}, but the file ends at {size:,}, within its tag"
        " and length: it is truncated; copy it again from its source"
    )


def _implicit(buffer: bytes, position: int, big_endian: bool) -> ElementHead:
    group, number, length = _IMPLICIT[big_endian].unpack_from(buffer, position)
    return ElementHead(group << 16 | number, "", position + 8, length)


def _short(buffer: bytes, position: int, big_endian: bool) -> ElementHead:
    group, number, vr, length = _EXPLICIT[big_endian].unpack_from(buffer, position)
    return ElementHead(group << 16 | number, _vr_text(vr), position + 8, length)


def _long(buffer: bytes, position: int, big_endian: bool) -> ElementHead:
    head = _short(buffer, position, big_endian)
    length = _LONG[big_endian].unpack_from(buffer, position + 6)[1]
    return head._replace(start=position + 12, length=length)


def _vr_text(vr: bytes) -> str:
    """Return a VR as messages may show it and values be read by: "" where it is no letters."""
    return vr.decode("ascii") if vr.isascii() and vr.isalpha() else ""


def _odd_head(
    buffer: bytes, position: int, encoding: Encoding, size: int, on_oddity: OnOddity
) -> ElementHead:
    """Return the head of an element without a VR that the standard knows, in explicit VR data.

    Written are such: without any VR (implicit VR inside explicit VR), with a 16-bit length as some
    writers use for every VR, or with a 32-bit one as the standard asks for.
    """
    vr = buffer[position + 4 : position + 6]
    known = vr in _LONG_VRS
    lettered = known or (_vr_text(vr) != "" and vr.isupper())
    for form in (_long, _short, _implicit) if lettered else (_implicit, _short, _long):
        if position + 12 > size and form is _long:
            continue
        head = form(buffer, position, encoding.big_endian)
        if _leads_on(buffer, head, form, encoding, size):
            if form is _implicit:
                on_oddity("is written without a VR", head.tag)
            elif not known:
                on_oddity(f"has the VR {vr!r}, which does not exist", head.tag)
            elif form is _short:
                on_oddity(f"has the VR {vr!r} with a length of 16 bits", head.tag)
            return head
    if known:
        return _long(buffer, position, encoding.big_endian)  # it reaches beyond the end
    raise DamagedError(
        f"{tag_text(_implicit(buffer, position, encoding.big_endian).tag)} at byte {position:,} has"
        f" the VR {vr!r}, which does not exist, and no length that leads to another element; it is"
        " damaged: export the file again"
    )


def _leads_on(buffer: bytes, head: ElementHead, form: Form, encoding: Encoding, size: int) -> bool:
    """Return whether another element, or the end, stands where the value of `head` ends.

    Others of the same odd form may come before it.
    """
    if head.length == UNDEFINED:
        return begins_element(buffer, head.start, encoding, size, UNDEFINED)
    bare = Encoding(False, encoding.big_endian)
    for _ in range(_ALIKE):
        end, tag = head.start + head.length, head.tag
        # A known VR is proof enough, also where tags do not rise.
        if begins_element(buffer, end, encoding, size, 0):
            return True
        if begins_element(buffer, end, bare, size, tag):
            return True
        if end + 12 > size:
            return False
        head = form(buffer, end, encoding.big_endian)
        if head.tag <= tag:
            return False
    return True


def first_elements(buffer: bytes, start: int, encoding: Encoding, size: int) -> dict[int, Element]:
    """Return the elements that a data set begins with, as :func:`plain_elements` reads them."""
    return plain_elements(buffer, start, encoding, size, BEFORE_PIXELS, MAX_ELEMENTS - 1)


def shows_itself(plain: dict[int, Element]) -> bool:
    """Return whether a data set is evidently written so as these first elements of it were read.

    Args:
        plain: From :func:`plain_elements`, from the beginning of the data set on.
    """
    first = next(iter(plain), 0)
    return len(plain) >= _SHOWING and 0 < first < 1 << 24


def _fits(buffer: bytes, start: int, size: int, encoding: Encoding) -> bool:
    """Return whether the first elements are written so, each tag above the one before."""
    plain = plain_elements(buffer, start, encoding, size, (0, PIXEL_DATA), _SHOWING)
    if shows_itself(plain):
        return True
    position, after = start, 0
    for count in range(_SHOWING):
        try:
            if not begins_element(buffer, position, encoding, size, after):
                return False
            if position == size:
                return count > 0
            head = read_head(buffer, position, encoding, size, _ignore)
        except ShortBufferError:  # a long value; what was seen so far fits
            return count > 0
        if count == 0 and head.tag >> 24:  # group 0008 read in the wrong byte order is 0800
            return False
        if head.length == UNDEFINED:
            return True
        position, after = head.start + head.length, head.tag
    return True


def _ignore(what: str, tag: int) -> None:
    """Take no note."""


def _may_be_so_long(tag: int, vr: str, length: int) -> bool:
    """Return whether an element may have a value of so many bytes."""
    if tag in (PIXEL_DATA, ITEM) or tag >> 16 & 1:  # of private elements nothing is known
        return True
    # Only here, for whoever looks for files imports this module.
    from pydicom.datadict import dictionary_VM, dictionary_VR

    try:
        known, many = dictionary_VR(tag).split(" or "), dictionary_VM(tag) != "1"
    except KeyError:
        return False
    if vr and vr not in (*known, "UN"):
        return False
    if any(one.encode() in _LONG_VRS for one in known):
        return True
    most = max(_SIZES.get(one, _LONGEST_TEXT) for one in known)
    return length <= (0xFFFF if many else most)
