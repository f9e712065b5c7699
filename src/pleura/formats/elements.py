"""The data elements of a DICOM byte stream: one bounded walk, no recursion, no global settings.

pydicom reads data sets, but it takes a file that ends too early for a complete one, walks nested
sequences by recursion (a 19 KB file can keep it busy for half a minute), and speaks through
process-wide warnings. Reading a stranger's file needs the opposite, so this module walks the
top level itself: every length is checked against the size of the file before it is believed.

Source: DICOM PS3.5 section 7 (data element and nested data set encoding).
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from pleura.errors import DicomError, TruncatedError

PIXEL_DATA = 0x7FE00010
MAX_DEPTH = 64
MAX_ELEMENTS = 100_000

_UNDEFINED = 0xFFFFFFFF
_ITEM = 0xFFFEE000
_ITEM_END = 0xFFFEE00D
_SEQUENCE_END = 0xFFFEE0DD
# PS3.5 7.1.2: these have a 16-bit length, every other VR (also one of the future) a 32-bit one.
_SHORT_VRS = {
    vr.encode(): vr
    for vr in "AE AS AT CS DA DS DT FL FD IS LO LT PN SH SL SS ST TM UI UL US".split()  # noqa: SIM905
}
# By big_endian: tag, VR, 16-bit length; tag and 32-bit length; a 32-bit length alone.
_EXPLICIT = (struct.Struct("<HH2sH"), struct.Struct(">HH2sH"))
_IMPLICIT = (struct.Struct("<HHL"), struct.Struct(">HHL"))
_LENGTH = (struct.Struct("<L"), struct.Struct(">L"))


class ShortBufferError(Exception):
    """The walk needs bytes that lie in the file but were not loaded."""


class Encoding(NamedTuple):
    """How elements are written: with their VR or without, and in which byte order."""

    explicit: bool = True
    big_endian: bool = False


class Element(NamedTuple):
    """Where one value lies: `buffer[start:end]`; `vr` is "" in implicit VR data.

    For a value of undefined length `end` is where its sequence delimiter begins.
    """

    vr: str
    start: int
    end: int
    undefined: bool


@dataclass(frozen=True, slots=True)
class DataSet:
    """The top-level elements of a data set and the bytes they lie in."""

    buffer: bytes
    elements: dict[int, Element]
    encoding: Encoding

    def __contains__(self, tag: int) -> bool:
        return tag in self.elements

    def raw(self, tag: int) -> bytes:
        """Return the bytes of an element's value; b"" where it is absent or empty."""
        element = self.elements.get(tag)
        return b"" if element is None else self.buffer[element.start : element.end]

    def first_item(self, tag: int) -> "DataSet | None":
        """Return the first item of a sequence, None where there is none.

        Raises:
            DicomError: The sequence is malformed.
        """
        sequence = self.elements.get(tag)
        if sequence is None or sequence.end - sequence.start < 8:
            return None
        item, length = _tag_and_length(self.buffer, sequence.start, self.encoding)
        if item != _ITEM:
            raise DicomError(f"the sequence {tag_text(tag)} does not begin with an item")
        start = sequence.start + 8
        end = sequence.end if length == _UNDEFINED else start + length
        if end > sequence.end:
            raise DicomError(f"an item of the sequence {tag_text(tag)} is longer than it")
        return walk(self.buffer, start, self.encoding, size=end)


def tag_text(tag: int) -> str:
    """Return a tag the way the standard writes it: "(0028,0010)"."""
    return f"({tag >> 16:04X},{tag & 0xFFFF:04X})"


def walk(
    buffer: bytes, start: int, encoding: Encoding, size: int, group: int | None = None
) -> DataSet:
    """Return the elements from `start` up to and with Pixel Data, or to the end.

    Args:
        buffer: The file, or its beginning.
        start: Where the first element begins.
        encoding: How the elements are written.
        size: Where the data set ends, at most the size of the file in bytes. It may lie beyond
            `buffer`: a native Pixel Data value need not have been loaded.
        group: Stop before the first element of another group (for the file meta information).

    Raises:
        DicomError: An element reaches beyond the end, sequences are nested deeper than
            `MAX_DEPTH`, there are more than `MAX_ELEMENTS` elements, or a delimiter is missing.
        ShortBufferError: An element lies beyond `buffer` but within `size`.
    """
    elements: dict[int, Element] = {}
    position, loaded = start, len(buffer)
    for _ in range(MAX_ELEMENTS):
        if position >= size:
            return DataSet(buffer, elements, encoding)
        if size - position < 8 and not any(buffer[position:size]):
            return DataSet(buffer, elements, encoding)
        tag, vr, begin, length = _element_header(buffer, position, encoding, size)
        if tag == _ITEM_END or (group is not None and tag >> 16 != group):
            return DataSet(buffer, elements, encoding)
        if length == _UNDEFINED:
            end = _end_of_undefined(buffer, begin, encoding, vr, size)
            position = end + 8
        else:
            position = end = begin + length
            if end > size:
                raise _cut(end, size, tag, begin)
            if end > loaded and tag != PIXEL_DATA:
                raise ShortBufferError
        elements[tag] = Element(vr, begin, end, length == _UNDEFINED)
        if tag == PIXEL_DATA:
            return DataSet(buffer, elements, encoding)
    raise DicomError(f"more than {MAX_ELEMENTS:,} data elements; this is no radiograph")


def fragments(data: DataSet) -> Sequence[bytes]:
    """Return the fragments of an encapsulated Pixel Data value, without its offset table.

    Raises:
        DicomError: A fragment does not state its length.
    """
    pixels = data.elements[PIXEL_DATA]
    found = []
    position = pixels.start
    while position < pixels.end:  # all items, as the walk has seen
        _, length = _tag_and_length(data.buffer, position, data.encoding)
        if length == _UNDEFINED:
            raise DicomError("a fragment of the compressed pixel data has no length; it is corrupt")
        found.append(data.buffer[position + 8 : position + 8 + length])
        position += 8 + length
    return found[1:]


def _element_header(
    buffer: bytes, position: int, encoding: Encoding, size: int
) -> tuple[int, str, int, int]:
    """Return (tag, vr, start of value, length of value) of the element at `position`."""
    if position + 8 > size:
        raise _cut(position + 8, size, None, position)
    if position + 12 > len(buffer) and len(buffer) < size:
        raise ShortBufferError
    explicit, big_endian = encoding
    if explicit:
        group, number, vr, length = _EXPLICIT[big_endian].unpack_from(buffer, position)
        tag = group << 16 | number
        known = _SHORT_VRS.get(vr)
        if known is not None:
            return tag, known, position + 8, length
        if group != 0xFFFE and vr.isalpha() and vr.isupper():
            if position + 12 > size:
                raise _cut(position + 12, size, tag, position)
            (length,) = _LENGTH[big_endian].unpack_from(buffer, position + 8)
            return tag, vr.decode("ascii"), position + 12, length
    # Delimiters carry no VR; and some writers switch to implicit VR inside an explicit data set.
    group, number, length = _IMPLICIT[big_endian].unpack_from(buffer, position)
    return group << 16 | number, "", position + 8, length


def _end_of_undefined(buffer: bytes, start: int, encoding: Encoding, vr: str, size: int) -> int:
    """Return where the delimiter lies that closes the undefined-length value at `start`.

    The open sequences and items are kept on a list, not on Python's own stack.
    """
    # PS3.5 6.2.2: UN of undefined length is a sequence written in implicit VR little endian.
    inner = Encoding(explicit=False) if vr == "UN" else encoding
    opened = [(False, inner)]  # pairs of (inside an item?, encoding)
    position = start
    for _ in range(MAX_ELEMENTS):
        inside_item, inner = opened[-1]
        if inside_item:
            tag, vr, begin, length = _element_header(buffer, position, inner, size)
            if tag == _ITEM_END:
                opened.pop()
                position += 8
                continue
            deeper = (False, Encoding(explicit=False) if vr == "UN" else inner)
        else:
            tag, length = _tag_and_length(buffer, position, inner, size)
            if tag == _SEQUENCE_END:
                opened.pop()
                if not opened:
                    return position
                position += 8
                continue
            if tag != _ITEM:
                raise DicomError(f"{tag_text(tag)} stands where a sequence item should begin")
            begin, deeper = position + 8, (True, inner)
        if length == _UNDEFINED:
            opened.append(deeper)
            if len(opened) > 2 * MAX_DEPTH:
                raise DicomError(f"sequences are nested deeper than {MAX_DEPTH}; refused")
            position = begin
        else:
            position = begin + length
            if position > size:
                raise _cut(position, size, tag, begin)
    raise DicomError(f"a sequence of more than {MAX_ELEMENTS:,} parts; this is no radiograph")


def _tag_and_length(
    buffer: bytes, position: int, encoding: Encoding, size: int | None = None
) -> tuple[int, int]:
    size = len(buffer) if size is None else size
    if position + 8 > size:
        raise _cut(position + 8, size, None, position)
    if position + 8 > len(buffer):
        raise ShortBufferError
    group, number, length = _IMPLICIT[encoding.big_endian].unpack_from(buffer, position)
    return group << 16 | number, length


def _cut(end: int, size: int, tag: int | None, position: int) -> TruncatedError:
    what = "a data element" if tag is None else tag_text(tag)
    return TruncatedError(
        f"{what} at byte {position:,} reaches to byte {end:,}, but the file ends at {size:,}: it"
        " is truncated or corrupt; copy it again from its source"
    )
