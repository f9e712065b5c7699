"""How elements are walked where a file breaks a rule: read with a note, or refused by its cause."""

import struct

import imagecodecs
import numpy as np
import pytest

from pleura.dicom.radiograph import read_radiograph
from pleura.errors import DamagedError, DicomError, TruncatedError
from tests.dicom_files import BIG_ENDIAN, EXPLICIT, IMPLICIT, element, encode, make_dicom

BASELINE = "1.2.840.10008.1.2.4.50"
PIXELS = np.random.default_rng(0).integers(0, 200, (16, 24)).astype(np.uint8)
JPEG = imagecodecs.jpeg8_encode(PIXELS, level=95)
DECODED = imagecodecs.jpeg8_decode(JPEG)


def item(content=b"", length=None):
    """An item; without a length it is closed by nothing that is not in `content`."""
    count = 0xFFFFFFFF if length is None else length
    return struct.pack("<HHL", 0xFFFE, 0xE000, count) + content


OFFSETS = item(length=0)
ITEM_END = struct.pack("<HHL", 0xFFFE, 0xE00D, 0)
END = struct.pack("<HHL", 0xFFFE, 0xE0DD, 0)


@pytest.fixture
def save(tmp_path):
    def save(content):
        path = tmp_path / "x.dcm"
        path.write_bytes(content)
        return path

    return save


def refused(path, match, kind=DicomError):
    with pytest.raises(kind, match=match) as caught:
        read_radiograph(path)
    assert type(caught.value) is kind or kind is DicomError
    assert "\n" not in str(caught.value)


def noted(path, expected, *words, kind="loose-structure"):
    """The file is read as it should be, and a note of `kind` has these words."""
    radiograph = read_radiograph(path)
    np.testing.assert_array_equal(radiograph.pixels, expected)
    assert {note.kind for note in radiograph.header.notes} == {kind}
    text = "; ".join(note.text for note in radiograph.header.notes)
    for word in words:
        assert word in text
    return text


def within(extra, uid=EXPLICIT, before="PatientName"):
    """A file of `PIXELS` with more bytes before its (0010,0010)."""
    content = make_dicom(PIXELS, transfer_syntax=uid, **{before: "X^Y"})
    order = ">" if uid == BIG_ENDIAN else "<"
    at = content.index(struct.pack(order + "HH", 0x0010, 0x0010))
    return content[:at] + extra + content[at:]


# Heads


def head(vr, form, value, order="<"):
    """A private element (0009,1010) of an odd VR, its length written in one of three forms."""
    tag = struct.pack(order + "HH", 0x0009, 0x1010)
    if form == "short":
        return tag + vr + struct.pack(order + "H", len(value)) + value
    if form == "long":
        return tag + vr + b"\0\0" + struct.pack(order + "L", len(value)) + value
    return tag + struct.pack(order + "L", len(value)) + value


ODD_HEADS = [
    (b"??", "short", "has the VR b'??', which does not exist"),
    (b"\0\0", "short", "does not exist"),
    (b"  ", "short", "does not exist"),
    (b"xx", "short", "does not exist"),
    (b"st", "short", "does not exist"),
    (b"??", "long", "does not exist"),
    (b"\0\0", "long", "does not exist"),
    (b"ox", "long", "does not exist"),
    (b"OX", "long", "has the VR b'OX', which does not exist"),
    (b"ZZ", "short", "does not exist"),
    (b"QQ", "long", "does not exist"),
    (b"UN", "short", "has the VR b'UN' with a length of 16 bits"),
    (b"OB", "short", "has the VR b'OB' with a length of 16 bits"),
    (b"UT", "short", "has the VR b'UT' with a length of 16 bits"),
    (b"", "none", "is written without a VR"),
]


@pytest.mark.parametrize(("uid", "order"), [(EXPLICIT, "<"), (BIG_ENDIAN, ">")])
@pytest.mark.parametrize(("vr", "form", "words"), ODD_HEADS)
@pytest.mark.parametrize("value", [b"", b"ab", b"x" * 300])
def test_an_odd_head_is_read_in_the_one_way_that_leads_on(save, uid, order, vr, form, words, value):
    if (vr, form) == (b"\0\0", "short") and (uid == BIG_ENDIAN or not value):
        words = "is written without a VR"  # which is the same bytes
    if vr == b"\0\0" and form == "long" and not value:
        value = b"ab"  # eight zeros are two elements or one
    path = save(within(head(vr, form, value, order), uid))
    noted(path, PIXELS, words, "(0009,1010)")


def test_an_odd_head_that_leads_nowhere_is_refused(save):
    for odd in (b"\x09\x00\x10\x10??\x99\x99", b"\x09\x00\x10\x10ZZ\x05\x00abc"):
        path = save(within(odd))
        refused(
            path, r"\(0009,1010\) at byte \d+ has the VR .*, which does not exist", DamagedError
        )


def test_pixel_data_of_an_odd_vr_is_read(save):
    content = make_dicom(PIXELS)
    for vr in (b"ox", b"OX", b"??"):
        noted(save(content.replace(b"\xe0\x7f\x10\x00OB", b"\xe0\x7f\x10\x00" + vr)), PIXELS)


def test_one_note_is_enough_for_many_odd_heads(save):
    many = b"".join(
        struct.pack("<HH", 0x0009, 0x1000 + number) + b"??\2\0ab" for number in range(50)
    )
    text = noted(save(within(many)), PIXELS)
    assert text.count("does not exist") == 1


# Sequences


CODE = encode({"CodeValue": "1", "CodeMeaning": "one"})
OPEN = struct.pack("<HH2sHL", 0x0008, 0x1140, b"SQ", 0, 0xFFFFFFFF)
INNER = struct.pack("<HH2sHL", 0x0008, 0x2112, b"SQ", 0, 0xFFFFFFFF)


@pytest.mark.parametrize(
    ("sequence", "words"),
    [
        (OPEN + item(CODE) + END, "(0008,1140) has an item that no delimiter closes"),
        (OPEN + item(CODE) + item(CODE) + ITEM_END + END, "has an item that no delimiter"),
        (OPEN + item(CODE) + item(CODE) + END, "has an item that no delimiter"),
        (OPEN + item(CODE, len(CODE)), "(0008,1140) is a sequence that no delimiter closes"),
        (OPEN + item(CODE) + ITEM_END, "is a sequence that no delimiter closes"),
        (OPEN, "is a sequence that no delimiter closes"),
        (OPEN + ITEM_END + END, "(FFFE,E00D) stands where it closes nothing"),
        (OPEN + item(CODE, len(CODE)) + ITEM_END + END, "(FFFE,E00D) stands where it closes"),
        (OPEN + END + END, "(FFFE,E0DD) stands where it closes nothing"),
        (element(0x00081140, "SQ", item(CODE, len(CODE))) + END, "(FFFE,E0DD) stands"),
        (ITEM_END, "(FFFE,E00D) stands where it closes nothing"),
        (OPEN + item(CODE + INNER + item(CODE) + END) + END, "(0008,2112) has an item"),
        (OPEN + item(INNER + encode({"PatientName": "A"})) + ITEM_END + END, "(0008,2112) is a"),
        (
            OPEN + item(encode({"Modality": "CR"}) + b"\x09\0\1\0??\2\0ab") + ITEM_END + END,
            "(0009,0001) has the VR b'??'",
        ),
    ],
)
def test_delimiters_that_are_missing_or_stray_are_put_up_with(save, sequence, words):
    noted(save(within(sequence)), PIXELS, words)


def test_an_item_written_in_another_vr_form_than_its_file_is_walked(save):
    inner = encode({"Modality": "CR", "StationName": "x" * 40, "Manufacturer": "y"})
    sequence = struct.pack("<HHL", 0x0008, 0x1140, 0xFFFFFFFF) + item(inner) + ITEM_END + END
    words = "(0008,1140) has an item in another encoding than what it lies in"
    noted(save(within(sequence, IMPLICIT)), PIXELS, words)
    inner = encode({"Modality": "CR", "StationName": "x" * 40}, implicit=True)
    words = "(0008,1140) has an item in another encoding than what it lies in"
    noted(save(within(OPEN + item(inner) + ITEM_END + END)), PIXELS, words)


def test_a_sequence_that_swallows_the_pixels_is_refused_by_its_name(save):
    for open_one in (item(CODE), item(CODE + INNER + item(CODE) + ITEM_END) + ITEM_END + END):
        path = save(within(OPEN + open_one))
        refused(path, r"sequence \(0008,1140\) is never closed, its delimiter", DamagedError)


def test_garbage_in_a_sequence_is_refused_by_its_name(save):
    path = save(within(OPEN + b"\x01\x02\x03\x04\x05\x06\x07\x08" + END))
    message = r"stands at byte \d+, where an item of the sequence \(0008,1140\) should begin"
    refused(path, message, DamagedError)


def test_an_item_outside_of_any_sequence_is_refused(save):
    path = save(within(item(CODE, len(CODE))))
    refused(path, r"\(FFFE,E000\), a sequence's item, stands at byte \d+ outside", DamagedError)


# Compressed pixel data


def compressed(value, behind=b""):
    """A file whose Pixel Data of undefined length is `value`, and more bytes behind it."""
    content = make_dicom(PIXELS, transfer_syntax=BASELINE, PixelData=("OB", OFFSETS + END))
    return content[: -len(OFFSETS + END)] + value + behind


EVEN = JPEG + b"\0" * (len(JPEG) % 2)
ODD = JPEG if len(JPEG) % 2 else JPEG[:-2] + b"\xff" + JPEG[-2:]
HALF = len(EVEN) // 4 * 2


@pytest.mark.parametrize(
    ("value", "behind", "words"),
    [
        (OFFSETS + item(EVEN, len(EVEN)), b"", "no sequence delimiter (FFFE,E0DD) closes"),
        (OFFSETS + item(EVEN, len(EVEN)), bytes(8), "no sequence delimiter"),
        (OFFSETS + item(EVEN, len(EVEN)), bytes(100), "no sequence delimiter"),
        (OFFSETS + item(EVEN, len(EVEN)), END[:4], "no sequence delimiter"),
        (OFFSETS + item(EVEN, len(EVEN)), END[:7], "no sequence delimiter"),
        (
            OFFSETS + item(EVEN, len(EVEN)),
            element(0xFFFCFFFC, "OB", bytes(20)),
            "no sequence delimiter",
        ),
        (OFFSETS + item(ODD, len(ODD)) + b"\0", END, "a pad byte outside of its fragment"),
        (OFFSETS + item(ODD, len(ODD)) + b" ", END, "a pad byte outside"),
        (OFFSETS + item(ODD, len(ODD)) + b"\0", bytes(30), "no sequence delimiter"),
        (OFFSETS + item(EVEN, len(EVEN)) + ITEM_END, END, "(FFFE,E00D) stands where it closes"),
        (item(EVEN, len(EVEN)), END, "has no offset table"),
        (item(EVEN[:HALF], HALF) + item(EVEN[HALF:], len(EVEN) - HALF), END, "has no offset table"),
    ],
)
def test_compressed_pixels_are_read_although_they_are_not_closed(save, value, behind, words):
    noted(save(compressed(value, behind)), DECODED, words)


@pytest.mark.parametrize("table", [bytes(4), bytes(4) + b"\xff\0\0\0", bytes(8)])
def test_an_offset_table_is_passed_over(save, table):
    value = item(table, len(table)) + item(EVEN, len(EVEN))
    radiograph = read_radiograph(save(compressed(value, END)))
    np.testing.assert_array_equal(radiograph.pixels, DECODED)
    assert radiograph.header.notes == ()


def test_compressed_pixels_in_a_value_of_stated_length_are_read(save):
    value = OFFSETS + item(EVEN, len(EVEN))
    for closed in (b"", END[:-1] + b"\0"):
        path = save(make_dicom(PIXELS, transfer_syntax=BASELINE, PixelData=("UN", value + closed)))
        content = path.read_bytes()
        at = content.index(b"\xe0\x7f\x10\x00UN\0\0") + 8
        length = struct.pack("<L", len(value + closed))
        path = save(content[:at] + length + content[at + 4 :])
        noted(path, DECODED, "(7FE0,0010) states a length where compressed data has none")


@pytest.mark.parametrize("missing", [1, 2, 9, 100, len(EVEN)])
def test_a_fragment_that_breaks_off_is_truncated(save, missing):
    whole = OFFSETS + item(EVEN, len(EVEN))
    message = rf"has {len(EVEN):,} bytes, but the file ends after {len(EVEN) - missing:,} of them"
    refused(save(compressed(whole[:-missing])), message, TruncatedError)


def test_a_file_that_ends_before_its_first_fragment_is_truncated(save):
    for value in (b"", OFFSETS[:6]):
        refused(save(compressed(value)), "within its tag and length: it is trunc", TruncatedError)
    refused(save(compressed(OFFSETS)), "holds no fragment; export", DamagedError)


def test_a_fragment_of_a_wrong_length_is_damaged(save):
    for length in (len(EVEN) + 500, 1 << 30):
        path = save(compressed(OFFSETS + item(EVEN, length), END))
        refused(path, "a fragment of .* claims .* more than there are up to .* its", DamagedError)
    path = save(compressed(OFFSETS + item(EVEN, len(EVEN) - 10), END))
    refused(path, "compressed pixel data, where a fragment should begin", DamagedError)


# What breaks off, and what does not


@pytest.mark.parametrize("uid", [IMPLICIT, EXPLICIT, BIG_ENDIAN])
def test_every_cut_in_an_element_breaks_off(save, uid):
    content = within(b"", uid)
    cuts = range(content.index(b"X^Y"), len(content) - 1, 3)
    for cut in cuts:
        with pytest.raises(DicomError) as caught:
            read_radiograph(save(content[:cut]))
        assert type(caught.value) is TruncatedError or "or the file ends too early" in str(
            caught.value
        )


@pytest.mark.parametrize(
    ("old", "new", "match"),
    [
        (
            {"Rows": 2},
            b"\x28\0\x10\0US\x02\x20",
            "claims 8,194 bytes, but .* its length is damaged",
        ),
        (
            {"Modality": "CR"},
            b"\x08\0\x60\0CS\xff\x7f",
            "claims 32,767 bytes, but .* its length is",
        ),
        ({"BitsStored": 8}, b"\x28\0\1\1OB\0\0\xff\0\0\0", "claims 255 bytes, but"),
        ({"Rows": 2}, b"\x08\0\1\0US\xff\xff", "its tag or the length of the element before it"),
    ],
)
def test_a_length_that_cannot_be_is_no_break(save, old, new, match):
    content = make_dicom(PIXELS[:2, :2])
    at = content.index(encode(old))
    refused(save(content[:at] + new + content[at + len(new) :]), match, DamagedError)


def test_pixels_that_are_all_there_do_not_break_off(save):
    content = make_dicom(PIXELS)
    at = len(content) - PIXELS.size - 4
    for claimed in (PIXELS.size + 2, 1 << 20, 0xFFFFFFFE):
        path = save(content[:at] + struct.pack("<L", claimed) + content[at + 4 :])
        noted(path, PIXELS, "(7FE0,0010) claims more bytes than the file has")
    path = save(content[:-2])
    refused(path, "has 384 bytes, but the file ends after 382 of them", TruncatedError)


ONCE = encode({"PhotometricInterpretation": "MONOCHROME2"})


@pytest.mark.parametrize("uid", [EXPLICIT, IMPLICIT, BIG_ENDIAN])
@pytest.mark.parametrize(
    ("keyword", "values"),
    [
        ("PhotometricInterpretation", ("MONOCHROME2", "MONOCHROME1")),
        ("Rows", (16, 8)),
        ("PresentationLUTShape", ("IDENTITY", "INVERSE")),
        ("PatientID", ("A", "B")),
        ("ViewPosition", ("PA", "LL")),
        ("SOPInstanceUID", ("1.2.3", "1.2.4")),
    ],
)
def test_an_element_that_stands_twice_and_differs_is_refused(save, uid, keyword, values):
    """pydicom takes the last, DCMTK the first."""
    how = {"implicit": uid == IMPLICIT, "big": uid == BIG_ENDIAN}
    content = make_dicom(PIXELS, transfer_syntax=uid, **{keyword: values[0]})
    once, other = (encode({keyword: value}, **how) for value in values)
    assert content.count(once) == 1
    for twice in (once + other, other + once):
        refused(save(content.replace(once, twice)), "stands twice with different values")
    assert not read_radiograph(save(content.replace(once, once + once))).header.notes


def test_the_transfer_syntax_and_what_lies_in_an_item_stand_once_too(save):
    content = make_dicom(PIXELS)
    once, other = (encode({"TransferSyntaxUID": uid}) for uid in (EXPLICIT, IMPLICIT))
    refused(save(content.replace(once, once + other)), "0002,0010. stands twice")
    table = encode(
        {"LUTDescriptor": ("US", bytes([0, 1, 0, 0, 8, 0])), "LUTData": ("OW", bytes(512))}
    )
    twice = table + encode({"LUTDescriptor": ("US", bytes([0, 1, 1, 0, 8, 0]))})
    lut = element(0x00283010, "SQ", item(twice, len(twice)))
    refused(save(make_dicom(PIXELS, extra=lut)), "0028,3002. stands twice")
    empty = encode({"VOILUTSequence": []})
    refused(save(make_dicom(PIXELS, extra=lut + empty)), "0028,3010. stands twice")


def test_what_nobody_asks_for_may_stand_twice_with_a_note(save):
    twice = element(0x00091001, "LO", b"one ") + element(0x00091001, "LO", b"two ")
    noted(save(make_dicom(PIXELS, extra=twice)), PIXELS, "(0009,1001) stands twice")


@pytest.mark.parametrize("uid", [EXPLICIT, IMPLICIT, BIG_ENDIAN])
def test_elements_behind_the_pixels_count(save, uid):
    how = {"implicit": uid == IMPLICIT, "big": uid == BIG_ENDIAN}
    inverted = encode({"PhotometricInterpretation": "MONOCHROME1"}, **how)
    content = make_dicom(PIXELS, transfer_syntax=uid, PhotometricInterpretation=None)
    noted(save(content + inverted), 255 - PIXELS, "(0028,0004) stands behind Pixel Data")
    content = make_dicom(PIXELS, transfer_syntax=uid)
    refused(save(content + inverted), "0028,0004. stands twice with different values")


def test_elements_behind_compressed_pixels_count(save):
    content = make_dicom(PIXELS, transfer_syntax=BASELINE, frame=JPEG, PixelSpacing=None)
    read = read_radiograph(save(content + encode({"PatientAge": "038Y"}))).header
    assert read.age == "038Y"
    assert "(0010,1010) stands behind Pixel Data" in "".join(note.text for note in read.notes)


def test_what_may_follow_the_pixels_is_passed_over(save):
    content = make_dicom(PIXELS)
    padding = element(0xFFFCFFFC, "OB", bytes(100))
    for behind in (padding, element(0xFFFAFFFA, "SQ", b""), bytes(5000), b" " * 512, b"\n"):
        assert not read_radiograph(save(content + behind)).header.notes


@pytest.mark.parametrize("behind", [b"abc" * 1000, make_dicom(PIXELS), ONCE + b"abc" * 9])
@pytest.mark.parametrize("rows", [16, 2000])
def test_other_bytes_behind_the_pixels_are_left_out_with_a_note(save, behind, rows):
    pixels = np.resize(PIXELS, (rows, 1024)) // 2
    text = noted(
        save(make_dicom(pixels) + behind), pixels, "behind (7FE0,0010)", kind="bytes-ignored"
    )
    assert f"{len(behind):,} bytes" in text


def test_pixels_behind_the_pixels_do_not_stand_for_them(save):
    again = element(0x7FE00010, "OB", (255 - PIXELS).tobytes())
    noted(save(make_dicom(PIXELS) + again * 3), PIXELS, "(7FE0,0010) stands twice")
