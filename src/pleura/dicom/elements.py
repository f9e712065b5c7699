"""The data elements of a DICOM byte stream: one bounded walk, no recursion, no global settings.

pydicom reads data sets, but it takes a file that ends too early for a complete one, walks nested
sequences by recursion (a 19 KB file can keep it busy for half a minute), and speaks through
process-wide warnings. Reading a stranger's file needs the opposite, so this module walks the
top level itself: every length is checked against the size of the file before it is believed.

Where a file breaks a rule, and the rest of it leaves one way only to read it, it is read and a
note says so: delimiters that are missing or stray, heads that are odd. Nothing else is guessed.

Source: DICOM PS3.5 section 7 (data element and nested data set encoding), A.4 (fragments).
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from pleura.dicom.codestream import begins_frame
from pleura.dicom.encoding import (
    BEFORE_PIXELS,
    DELIMITERS,
    EXPLICIT_LITTLE,
    IMPLICIT_LITTLE,
    ITEM,
    ITEM_END,
    MAX_ELEMENTS,
    ORDERS,
    PIXEL_DATA,
    SEQUENCE_END,
    UNDEFINED,
    Element,
    ElementHead,
    Encoding,
    ShortBufferError,
    begins_element,
    cut_within_head,
    evident_encoding,
    overrun,
    plain_elements,
    read_head,
    tag_and_length,
    tag_text,
)
from pleura.dicom.notes import Note, NoteKind
from pleura.errors import DamagedError, DicomError

__all__ = ["MAX_ELEMENTS", "PIXEL_DATA", "DataSet", "fragments", "walk"]

_CHARACTER_SET = 0x00080005
_ROWS, _COLUMNS, _BITS_ALLOCATED = 0x00280010, 0x00280011, 0x00280100

MAX_DEPTH = 64

_CLOSING = b"\xfe\xff\xdd\xe0\0\0\0\0"
"""The sequence delimiter that ends compressed pixel data."""

_DELIMITER_TEXT = {ITEM: "item", ITEM_END: "item delimiter", SEQUENCE_END: "sequence delimiter"}


@dataclass(frozen=True, slots=True)
class DataSet:
    """The top-level elements of a data set and the bytes they lie in.

    Attributes:
        buffer: The file, or its beginning.
        elements: Where each value lies, by tag.
        encoding: How they are written.
        ambiguous: Tags that stand twice with different values; of these the first is in `elements`.
        notes: What readers of these values put up with or left out, as they come upon it; items of
            its sequences add to the same list.
    """

    buffer: bytes
    elements: dict[int, Element]
    encoding: Encoding
    ambiguous: frozenset[int] = frozenset()
    notes: list[Note] = field(default_factory=list, repr=False, compare=False)

    def __contains__(self, tag: int) -> bool:
        return tag in self.elements

    def note(self, kind: NoteKind, text: str) -> None:
        """Add a note; the same one twice counts once."""
        note = Note(kind, text)
        if note not in self.notes:
            self.notes.append(note)

    def raw(self, tag: int) -> bytes:
        """Return the bytes of an element's value; b"" where it is absent or empty.

        Raises:
            DamagedError: It stands twice, with different values.
        """
        if tag in self.ambiguous:
            raise _twice(tag)
        element = self.elements.get(tag)
        return b"" if element is None else self.buffer[element.start : element.end]

    def first_item(self, tag: int) -> "DataSet | None":
        """Return the first item of a sequence, None where there is none.

        Raises:
            DicomError: The sequence is malformed.
        """
        return next(self.items(tag), None) if tag in self.elements else None

    def items(self, tag: int) -> "Iterator[DataSet]":
        """Yield the items of a sequence; none where it is absent or empty.

        Raises:
            DicomError: The sequence is malformed.
        """
        sequence = self.elements.get(tag)
        if sequence is None:
            return
        if tag in self.ambiguous:
            raise _twice(tag)
        stated = IMPLICIT_LITTLE if sequence.vr == "UN" else self.encoding
        position = sequence.start
        while position + 8 <= sequence.end:
            item, length = tag_and_length(self.buffer, position, stated.big_endian)
            if item != ITEM:
                raise DamagedError(
                    f"the sequence {tag_text(tag)} holds something else than items; export the"
                    " file again"
                )
            start = position + 8
            end = sequence.end if length == UNDEFINED else start + length
            if end > sequence.end:
                raise DamagedError(
                    f"an item of the sequence {tag_text(tag)} is longer than it; export the file"
                    " again"
                )
            inner = evident_encoding(self.buffer, start, end, stated) or stated
            item_walk = _Walk(self.buffer, end, inner)
            found = item_walk.data_set(start, item=True)
            for note in found.notes:
                self.note(note.kind, note.text)
            if _CHARACTER_SET in self:  # it holds for the items too
                found.elements.setdefault(_CHARACTER_SET, self.elements[_CHARACTER_SET])
            yield replace(found, notes=self.notes)
            position = item_walk.end if length == UNDEFINED else end


def _twice(tag: int) -> DamagedError:
    return DamagedError(
        f"{tag_text(tag)} stands twice with different values, and readers differ in which one they"
        " take; export the file again"
    )


def walk(
    buffer: bytes,
    start: int,
    encoding: Encoding,
    size: int,
    groups: tuple[int, int] | None = None,
    plain: dict[int, Element] | None = None,
) -> DataSet:
    """Return the elements from `start` up to and with Pixel Data, or to the end.

    Args:
        buffer: The file, or its beginning.
        start: Where the first element begins.
        encoding: How the elements are written.
        size: Where the data set ends, at most the size of the file in bytes. It may lie beyond
            `buffer`: a native Pixel Data value need not have been loaded.
        groups: Stop before the first element that is not of these, from one to the other (for the
            file meta information).
        plain: What :func:`pleura.dicom.encoding.first_elements` returns, where it was asked.

    Raises:
        TruncatedError: It breaks off.
        DamagedError: An element reaches beyond the end though none may be so long, a delimiter is
            missing and nothing else shows where a sequence ends, or a VR cannot be.
        DicomError: Sequences are nested deeper than `MAX_DEPTH`, or there are more than
            `MAX_ELEMENTS` elements.
        ShortBufferError: An element lies beyond `buffer` but within `size`.
    """
    return _Walk(buffer, size, encoding).data_set(start, groups, plain=plain)


def fragments(data: DataSet) -> Sequence[memoryview]:
    """Return the fragments of an encapsulated Pixel Data value, without its offset table.

    They are parts of `data.buffer`, and keep it in memory.

    Raises:
        DamagedError: There is none, or one does not state its length.
    """
    pixels = data.elements[PIXEL_DATA]
    found: list[tuple[int, int]] = []
    if pixels.end > pixels.start:
        found, _ = _Walk(data.buffer, pixels.end, EXPLICIT_LITTLE).pixel_items(pixels.start)
    whole = memoryview(data.buffer)
    parts = [whole[begin:end] for begin, end in found]
    table = b"".join(parts[:1])
    if not any(table[:4]):  # an offset table begins with 0, for there the first frame lies
        parts = parts[1:]
    elif begins_frame(table) or not any(map(begins_frame, parts[1:2])):
        data.note("loose-structure", "(7FE0,0010) has no offset table before its first fragment")
    else:
        data.note("loose-structure", "(7FE0,0010) has an offset table that is none; it is left out")
        parts = parts[1:]
    if any(len(part) % 2 for part in parts):
        data.note("loose-structure", "(7FE0,0010) has a fragment of an odd number of bytes")
    if not any(parts):
        raise DamagedError("(7FE0,0010) Pixel Data holds no fragment; export the file again")
    return parts


class _Open(NamedTuple):
    """A sequence or an item that is being walked."""

    tag: int  # of the sequence; of the last element within the item
    encoding: Encoding
    is_item: bool


class _Walk:
    """One pass over the elements of a buffer, with what was odd on the way."""

    def __init__(self, buffer: bytes, size: int, encoding: Encoding) -> None:
        self._buffer = buffer
        self._size = size
        self._encoding = encoding
        self._oddities: dict[str, int] = {}
        self._ambiguous: set[int] = set()
        self._notes: list[Note] = []
        self.end = size

    def data_set(
        self,
        start: int,
        groups: tuple[int, int] | None = None,
        *,
        item: bool = False,
        behind: bool = False,
        plain: dict[int, Element] | None = None,
    ) -> DataSet:
        """Return the elements of the top level; an item ends with its delimiter too.

        Where that is, `end` says afterwards. `behind` is for what follows Pixel Data.
        """
        buffer, size, encoding = self._buffer, self._size, self._encoding
        elements: dict[int, Element] = {}
        position, loaded, tag, left = start, len(buffer), 0, MAX_ELEMENTS
        highest, limit = BEFORE_PIXELS
        if groups:
            highest, limit = (groups[0] << 16) - 1, groups[1] + 1 << 16
        while left > 0:
            left -= 1
            if plain is None:
                plain = plain_elements(buffer, position, encoding, size, (highest, limit), left)
            if plain:
                elements |= plain
                tag = highest = next(reversed(plain))
                position, left = plain[tag].end, left - len(plain)
            plain = None
            if self._ends(position, groups):
                return self._walked(elements)
            before = tag
            head = read_head(buffer, position, encoding, size, self._odd)
            tag, vr, begin, length = head
            if tag in DELIMITERS:
                if item and tag in (ITEM, ITEM_END):  # an item may lack its delimiter
                    self.end = position if tag == ITEM else begin
                    return self._walked(elements)
                position, tag = self._stray(head), before
                continue
            if length == UNDEFINED:
                end, position = self._undefined(head)
            else:
                end, position = self._stated(head, before, elements)
            self._add(elements, tag, Element(vr, begin, end, length == UNDEFINED))
            highest = max(highest, tag)
            if tag == PIXEL_DATA:
                if not behind and loaded == size:
                    self._add_what_follows(position, elements)
                return self._walked(elements)
        raise DicomError(f"more than {MAX_ELEMENTS:,} data elements; this is no radiograph")

    def pixel_items(self, start: int) -> tuple[list[tuple[int, int]], int]:
        """Return where the items of compressed pixel data lie, and where the value ends.

        Source: DICOM PS3.5 A.4: items of stated length up to a sequence delimiter.
        """
        buffer, size = self._buffer, self._size
        found: list[tuple[int, int]] = []
        position = start
        for _ in range(MAX_ELEMENTS):
            if self._ends_unclosed(position, found):
                return found, position
            tag, length = tag_and_length(buffer, position, False, size)
            if tag == SEQUENCE_END:
                return found, position
            if tag == ITEM_END and length == 0:
                position = self._stray(ElementHead(tag, "", position + 8, length))
            elif tag == ITEM:
                begin, position = position + 8, position + 8 + length
                if length == UNDEFINED:
                    raise DamagedError(
                        "a fragment of the compressed pixel data has no length; export the file"
                        " again"
                    )
                if position > size:
                    raise self._fragment_overrun(begin, length)
                found.append((begin, position))
            elif position + 9 <= size and self._item_or_end(position + 1):
                self._odd("is followed by a pad byte outside of its fragment", PIXEL_DATA)
                position += 1
            else:
                raise DamagedError(
                    f"{tag_text(tag)} stands at byte {position:,} of the compressed pixel data,"
                    " where a fragment should begin or (FFFE,E0DD) end it: the length of the"
                    " fragment before it is wrong; export the file again"
                )
        raise DicomError(f"a sequence of more than {MAX_ELEMENTS:,} parts; this is no radiograph")

    def _sizes(self, elements: dict[int, Element]) -> tuple[int, int]:
        """Return how many bytes native pixels need, without and with a pad byte; 0 if unknown."""
        values = [elements.get(tag) for tag in (_ROWS, _COLUMNS, _BITS_ALLOCATED)]
        order = ORDERS[self._encoding.big_endian]
        size = math.prod(
            int.from_bytes(self._buffer[value.start : value.end], order) if value else 0
            for value in values
        )
        return (size + 7) // 8, (size + 15) // 16 * 2

    def _walked(self, elements: dict[int, Element]) -> DataSet:
        notes = [
            Note("loose-structure", f"{tag_text(tag)} {what}")
            for what, tag in self._oddities.items()
        ]
        notes += self._notes
        return DataSet(self._buffer, elements, self._encoding, frozenset(self._ambiguous), notes)

    def _add(self, elements: dict[int, Element], tag: int, element: Element) -> None:
        """Keep an element; of one that stands twice the first, and whether they differ."""
        kept = elements.setdefault(tag, element)
        if kept is element:
            return
        one, other = (self._buffer[each.start : each.end].strip(b" \0") for each in (kept, element))
        if one != other:
            self._ambiguous.add(tag)
            self._odd("stands twice, with different values", tag)

    def _add_what_follows(self, position: int, elements: dict[int, Element]) -> None:
        """Add elements that stand behind Pixel Data, where that is followed by some.

        Others may follow, such as padding and signatures, but also those that belong before it.
        """
        if position == self._size:
            return
        try:
            if begins_element(self._buffer, position, self._encoding, self._size, 0):
                more = _Walk(self._buffer, self._size, self._encoding)
                found = more.data_set(position, behind=True)
                for tag, element in found.elements.items():
                    self._add(elements, tag, element)
                    if tag < PIXEL_DATA:
                        self._odd("stands behind Pixel Data, where it does not belong", tag)
                self._ambiguous |= found.ambiguous
                return
        except DicomError:
            pass
        left = self._size - position
        if left > self._buffer.count(self._buffer[position : position + 1], position):
            text = f"{left:,} bytes behind (7FE0,0010), which are no elements, are left out"
            self._notes.append(Note("bytes-ignored", text))

    def _odd(self, what: str, tag: int) -> None:
        """Keep what is odd, with the first element that it is so of."""
        self._oddities.setdefault(what, tag)

    def _ends(self, position: int, groups: tuple[int, int] | None) -> bool:
        """Return whether nothing that is wanted of a data set follows, padding aside."""
        if self._size - position < 8 and not any(self._buffer[position : self._size]):
            return True
        if groups is None:
            return False
        order = ORDERS[self._encoding.big_endian]
        group = int.from_bytes(self._buffer[position : position + 2], order)
        return not groups[0] <= group <= groups[1]

    def _stray(self, head: ElementHead) -> int:
        """Return where to go on behind a delimiter that closes nothing."""
        if head.tag == ITEM or head.length:
            raise DamagedError(
                f"{tag_text(head.tag)}, a sequence's {_DELIMITER_TEXT[head.tag]}, stands at byte"
                f" {head.start - 8:,} outside of any sequence: the length of the element before it"
                " is wrong; export the file again"
            )
        self._odd("stands where it closes nothing", head.tag)
        return head.start

    def _stated(
        self, head: ElementHead, before: int, elements: dict[int, Element]
    ) -> tuple[int, int]:
        """Return where a value of stated length ends, and where to go on behind it."""
        position = end = head.start + head.length
        if end > self._size:
            if head.tag != PIXEL_DATA or self._size - head.start not in self._sizes(elements):
                raise overrun(head, self._size, before)
            self._odd("claims more bytes than the file has, which holds all pixels", PIXEL_DATA)
            end = self._size
        if end > len(self._buffer) and head.tag != PIXEL_DATA:
            raise ShortBufferError
        return end, position

    def _undefined(self, head: ElementHead) -> tuple[int, int]:
        """Return where a value of undefined length ends, and where to go on behind it."""
        if head.tag == PIXEL_DATA:
            _, end = self.pixel_items(head.start)
            return end, end + 8 * self._buffer.startswith(_CLOSING[:4], end)
        return self._sequence(head)

    def _sequence(self, head: ElementHead) -> tuple[int, int]:
        """Return where the delimiter lies that closes a sequence, and where to go on behind it.

        The open sequences and items are kept on a list, not on Python's own stack.
        """
        opened = [_Open(head.tag, self._inner(head.vr, self._encoding), False)]
        position = head.start
        for _ in range(MAX_ELEMENTS):
            current = opened[-1]
            if position >= self._size:
                raise self._never_closed(opened)
            part = self._part(current, position)
            if current.is_item and part.tag in (SEQUENCE_END, ITEM):
                self._odd("has an item that no delimiter closes", opened[-2].tag)
                opened.pop()
            if part.tag == SEQUENCE_END:
                opened.pop()
                if not opened:
                    return position, part.start
                position = part.start
            elif part.tag == ITEM_END:
                if current.is_item:
                    opened.pop()
                else:
                    self._odd("stands where it closes nothing", ITEM_END)
                position = part.start
            elif part.tag == ITEM:
                position = self._enter(opened, part)
            elif current.is_item:
                opened[-1] = current._replace(tag=part.tag)
                position = self._enter(opened, part, current.tag)
            else:
                self._end_unclosed(opened, part.tag, position)
                if not opened:
                    return position, position
        raise DicomError(f"a sequence of more than {MAX_ELEMENTS:,} parts; this is no radiograph")

    def _part(self, current: _Open, position: int) -> ElementHead:
        """Return the head of an element within an item, of an item or delimiter in a sequence."""
        if current.is_item:
            return read_head(self._buffer, position, current.encoding, self._size, self._odd)
        tag, length = tag_and_length(
            self._buffer, position, current.encoding.big_endian, self._size
        )
        return ElementHead(tag, "", position + 8, length)

    def _end_unclosed(self, opened: list[_Open], found: int, position: int) -> None:
        """Close the innermost sequence where no item of it begins but what it lies in goes on."""
        tag = opened.pop().tag
        outer = opened[-1].encoding if opened else self._encoding
        if not begins_element(self._buffer, position, outer, self._size, tag):
            raise DamagedError(
                f"{tag_text(found)} stands at byte {position:,}, where an item of the sequence"
                f" {tag_text(tag)} should begin, or (FFFE,E0DD) end it; the sequence is damaged:"
                " export the file again"
            )
        self._odd("is a sequence that no delimiter closes", tag)

    def _enter(self, opened: list[_Open], part: ElementHead, after: int = 0) -> int:
        """Return where to go on: within a part of undefined length, then open, or behind it."""
        if part.length != UNDEFINED:
            end = part.start + part.length
            if end > self._size:
                raise overrun(part, self._size, after)
            return end
        encoding = opened[-1].encoding
        if part.tag == ITEM:
            shown = evident_encoding(self._buffer, part.start, self._size, encoding)
            if shown not in (None, encoding):
                self._odd("has an item in another encoding than what it lies in", opened[-1].tag)
            opened.append(_Open(0, shown or encoding, True))
        else:
            opened.append(_Open(part.tag, self._inner(part.vr, encoding), False))
        if len(opened) > 2 * MAX_DEPTH:
            raise DicomError(f"sequences are nested deeper than {MAX_DEPTH}; refused")
        return part.start

    def _inner(self, vr: str, encoding: Encoding) -> Encoding:
        # PS3.5 6.2.2: UN of undefined length is a sequence written in implicit VR little endian.
        return IMPLICIT_LITTLE if vr == "UN" else encoding

    def _never_closed(self, opened: Sequence[_Open]) -> DicomError:
        """Return the error of sequences that are open where the file ends."""
        tags = [part.tag for part in opened if not part.is_item]
        if any(part.is_item and part.tag == PIXEL_DATA for part in opened):
            return DamagedError(
                f"the sequence {tag_text(tags[0])} is never closed, its delimiter (FFFE,E0DD) is"
                " missing, so Pixel Data lies within it; export the file again"
            )
        return cut_within_head(self._size, self._size)

    def _fragment_overrun(self, begin: int, length: int) -> DicomError:
        if len(self._buffer) < self._size:
            raise ShortBufferError
        if self._buffer.rfind(_CLOSING, begin, self._size) < 0:
            return overrun(ElementHead(PIXEL_DATA, "", begin, length), self._size, 0)
        return DamagedError(
            f"a fragment of the compressed pixel data at byte {begin:,} claims {length:,} bytes,"
            " more than there are up to the sequence delimiter (FFFE,E0DD): its length is damaged;"
            " export the file again"
        )

    def _ends_unclosed(self, position: int, found: Sequence[tuple[int, int]]) -> bool:
        """Return whether compressed pixel data ends at `position` although nothing closes it.

        That is so where the file ends, where nothing but zeros follows, and where another element
        begins. Whether the frame is whole is seen when it is decoded.
        """
        buffer, size = self._buffer, self._size
        if position + 8 > len(buffer) < size:
            raise ShortBufferError
        rest = buffer[position : min(position + 8, size)]
        if rest[:2] == _CLOSING[:2] and len(rest) == 8:
            return False
        if not (
            _CLOSING.startswith(rest)
            or len(rest) == 1  # a pad byte
            or buffer.count(0, position, size) == size - position
            or begins_element(buffer, position, EXPLICIT_LITTLE, size, PIXEL_DATA)
        ):
            return False
        if not found:
            raise cut_within_head(position, size)
        self._odd("is compressed data that no sequence delimiter (FFFE,E0DD) closes", PIXEL_DATA)
        return True

    def _item_or_end(self, position: int) -> bool:
        return tag_and_length(self._buffer, position, False, self._size)[0] in (ITEM, SEQUENCE_END)
