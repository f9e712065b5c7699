"""How a file wants its values shown, where what it says of a table is not what the table holds."""

import numpy as np
import pytest

from pleura.dicom.radiograph import open_radiograph, read_radiograph
from pleura.errors import DicomError
from tests.dicom_files import BIG_ENDIAN, EXPLICIT, IMPLICIT, make_dicom

RAMP12 = np.arange(4096, dtype=np.uint16).reshape(64, 64)
SIGNED12 = (RAMP12.astype(np.int32) - 2048).astype(np.int16)


def table(entries, label, first=0, vr="US", syntax=EXPLICIT, width=2):
    """A lookup table; the three values of its descriptor are written as 16-bit words."""
    order = ">" if syntax == BIG_ENDIAN else "<"
    descriptor = np.array([len(entries) % 65536, first % 65536, label], order + "u2")
    data = np.asarray(entries).astype(f"{order}u{width}").tobytes()
    return [{"LUTDescriptor": (vr, descriptor.tobytes()), "LUTData": ("OW", data)}]


@pytest.fixture
def radiograph(tmp_path):
    def read(pixels=RAMP12, **attributes):
        path = tmp_path / "x.dcm"
        path.write_bytes(make_dicom(pixels, **{"BitsStored": 12} | attributes))
        return read_radiograph(path)

    return read


def curve(bits, length=4096):
    """A table that ends at the largest value of `bits` bits, not a straight line."""
    return np.rint((np.arange(length) / (length - 1)) ** 0.5 * ((1 << bits) - 1))


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize(
    ("label", "holds"),
    [
        (16, 12),
        (16, 10),
        (16, 14),
        (16, 15),
        (16, 8),
        (12, 10),
        (10, 16),
        (12, 14),
        (0, 12),
        (40, 9),
    ],
)
def test_a_voi_table_spans_what_its_entries_span(radiograph, label, holds, photometric):
    attributes = {"PhotometricInterpretation": photometric}
    right = radiograph(VOILUTSequence=table(curve(holds), holds), **attributes)
    wrong = radiograph(VOILUTSequence=table(curve(holds), label), **attributes)
    np.testing.assert_array_equal(wrong.pixels, right.pixels)
    assert right.pixels.max() == 65535
    assert right.header.notes == ()
    (note,) = wrong.header.notes
    assert note.kind == "table-label"
    assert note.text.endswith(
        f"states {label} bits, but the entries that pixels can have need {holds}: white is the"
        f" largest value of {holds} bits"
    )


def test_a_table_of_bytes_is_one_whatever_its_label(radiograph):
    right = radiograph(VOILUTSequence=table(curve(8), 8, width=1))
    wrong = radiograph(VOILUTSequence=table(curve(8), 16, width=1))
    np.testing.assert_array_equal(wrong.pixels, right.pixels)


def test_entries_that_no_pixel_can_have_do_not_count(radiograph):
    """A table over 16 bits, and pixels of 12."""
    found = radiograph(VOILUTSequence=table(np.arange(65536), 16))
    np.testing.assert_array_equal(found.pixels, np.rint(RAMP12 * (65535 / 4095)))
    assert len(found.header.notes) == 1


def test_entries_that_no_pixel_has_do_not_count_either(radiograph):
    """The same where the file says that its pixels have 16 bits too."""
    found = radiograph(BitsStored=16, VOILUTSequence=table(np.arange(65536), 16))
    np.testing.assert_array_equal(found.pixels, np.rint(RAMP12 * (65535 / 4095)))
    (note,) = found.header.notes
    assert note.kind == "window-of-other-values"
    assert "VOI LUT spans 16 bits, but over these pixels it gives 12 at most" in note.text


def test_a_dark_picture_under_a_right_table_stays_dark(radiograph):
    """It uses half of the table, so nothing says that the table is one for other values."""
    found = radiograph(np.minimum(RAMP12, 2047), VOILUTSequence=table(np.arange(4096) * 16, 16))
    assert found.pixels.max() == pytest.approx(65535 / 2, rel=0.01)
    assert found.header.notes == ()


def test_results_are_drawn_by_the_range_of_the_entries_too(tmp_path):
    path = tmp_path / "x.dcm"
    path.write_bytes(make_dicom(RAMP12, BitsStored=12, VOILUTSequence=table(curve(12), 16)))
    assert open_radiograph(path).rules.voi.bits == 12


# The sign of a table's first input


def shifted(entries, first):
    """A table from `first` on that gives, over the inputs that pixels have, the given outputs."""
    return table(entries, 12, first)


VOI, MODALITY = "VOILUTSequence", "ModalityLUTSequence"


@pytest.mark.parametrize(
    ("pixels", "sequence", "first", "label", "attributes"),
    [
        (SIGNED12, MODALITY, -2048, "US", {}),
        (SIGNED12, VOI, -2048, "US", {}),
        (SIGNED12, VOI, -1024, "US", {"RescaleSlope": "0.5", "RescaleIntercept": "0"}),
        (SIGNED12, VOI, -3048, "US", {"RescaleIntercept": "-1000", "RescaleSlope": "1"}),
        (RAMP12, VOI, -1024, "US", {"RescaleIntercept": "-1024", "RescaleSlope": "1"}),
        (RAMP12, VOI, -4095, "US", {"RescaleSlope": "-1", "RescaleIntercept": "0"}),
        (RAMP12, VOI, 40000, "SS", {"RescaleIntercept": "40000", "RescaleSlope": "1"}),
        (
            SIGNED12,
            VOI,
            37952,
            "SS",
            {"RescaleIntercept": "40000", "RescaleSlope": "1"},
        ),  # signed, yet all positive
        (RAMP12, MODALITY, 36000, "SS", {"BitsStored": 16}),
        (RAMP12 + np.uint16(40000), VOI, 40000, "SS", {"BitsStored": 16}),
    ],
)
@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT, BIG_ENDIAN])
def test_the_sign_follows_the_values_whatever_the_label(
    radiograph, pixels, sequence, first, label, attributes, syntax
):
    entries = np.arange(4096)[::-1]
    right = "SS" if first < 0 else "US"
    found = {
        vr: radiograph(
            pixels,
            transfer_syntax=syntax,
            **{sequence: table(entries, 12, first, vr, syntax)} | attributes,
        )
        for vr in (right, label)
    }
    np.testing.assert_array_equal(found[label].pixels, found[right].pixels)
    if first != 36000:  # beyond all pixels, and so all are its first entry
        assert len(np.unique(found[right].pixels)) > 1000
    assert found[right].header.notes == ()
    if syntax != IMPLICIT:  # which has no labels
        (note,) = found[label].header.notes
        assert note.kind == "table-label"
        assert f"is labelled {label}, but its inputs range from" in note.text
        assert note.text.endswith(f"the first is read as {first}")


def test_a_table_that_the_rule_would_put_beyond_all_values_is_read_the_other_way(radiograph):
    """Unsigned pixels, and a table that begins below them all the same."""
    entries = np.arange(4100)
    found = radiograph(VOILUTSequence=table(entries, 13, -4, "SS"))
    expected = radiograph(VOILUTSequence=table(entries[4:], 13, 0))
    np.testing.assert_array_equal(found.pixels, expected.pixels)


def test_a_table_without_three_numbers_is_refused(radiograph):
    broken = table(np.arange(4), 12)
    broken[0]["LUTDescriptor"] = ("US", bytes(4))
    with pytest.raises(
        DicomError, match=r"LUT Descriptor is \(0, 0\); it must be length, start, bits"
    ):
        radiograph(VOILUTSequence=broken)


@pytest.mark.parametrize("vr", ["OW", "OB"])
@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT, BIG_ENDIAN])
@pytest.mark.parametrize("length", [4096, 4095])
def test_entries_of_a_byte_are_packed_into_words(radiograph, syntax, vr, length):
    """In big endian words the second byte comes first."""
    entries = (np.arange(length) * 37 % 251).astype(np.uint8)
    packed = np.append(entries, np.uint8(0))[: length + length % 2]
    swapped = syntax == BIG_ENDIAN and vr == "OW"
    found = table(entries, 8, syntax=syntax)
    found[0]["LUTData"] = (vr, (packed.reshape(-1, 2)[:, ::-1] if swapped else packed).tobytes())
    expected = radiograph(VOILUTSequence=table(entries, 8)).pixels
    read = radiograph(transfer_syntax=syntax, VOILUTSequence=found)
    np.testing.assert_array_equal(read.pixels, expected)


def test_a_function_matters_only_with_a_window(radiograph):
    entries = curve(12)
    expected = radiograph(VOILUTSequence=table(entries, 12)).pixels
    read = radiograph(VOILUTSequence=table(entries, 12), VOILUTFunction="CUBIC").pixels
    np.testing.assert_array_equal(read, expected)
    np.testing.assert_array_equal(radiograph(VOILUTFunction="CUBIC").pixels, radiograph().pixels)
    with pytest.raises(DicomError, match=r"VOI LUT Function is 'CUBIC'; LINEAR, LINEAR_EXACT and"):
        radiograph(VOILUTFunction="CUBIC", WindowCenter="9", WindowWidth="9")


def notes_of(found):
    return "; ".join(note.text for note in found.header.notes)


@pytest.mark.parametrize(
    "empty",
    [{}, {"LUTExplanation": "NORMAL"}, {"LUTDescriptor": table(curve(12), 12)[0]["LUTDescriptor"]}],
    ids=["empty", "a name", "no data"],
)
@pytest.mark.parametrize("sequence", ["VOILUTSequence", "ModalityLUTSequence"])
def test_the_first_item_that_holds_a_table_is_taken(radiograph, sequence, empty):
    own = table(curve(12)[::-1], 12)
    right, found = radiograph(**{sequence: own}), radiograph(**{sequence: [empty, *own]})
    np.testing.assert_array_equal(found.pixels, right.pixels)
    assert notes_of(found).endswith("has an item that holds no table; the first that does is taken")
    window = {"WindowCenter": "2048", "WindowWidth": "1000"}
    right, found = radiograph(**window), radiograph(**{sequence: [empty]}, **window)
    np.testing.assert_array_equal(found.pixels, right.pixels)
    assert notes_of(found).endswith("has an item that holds no table; it is left out")


@pytest.mark.parametrize("sequence", ["VOILUTSequence", "ModalityLUTSequence"])
@pytest.mark.parametrize("stated", [4000, 4100, 1])
def test_a_table_has_as_many_entries_as_there_are(radiograph, sequence, stated):
    own = table(curve(12), 12)
    right = radiograph(**{sequence: own})
    descriptor = np.array([stated, 0, 12], "<u2").tobytes()
    own[0]["LUTDescriptor"] = ("US", descriptor)
    found = radiograph(**{sequence: own})
    np.testing.assert_array_equal(found.pixels, right.pixels)
    assert f"states {stated:,} entries, but there are 4,096: these are taken" in notes_of(found)


@pytest.mark.parametrize("sequence", ["VOILUTSequence", "ModalityLUTSequence"])
@pytest.mark.parametrize("bits", [10, 12, 14, 16])
@pytest.mark.parametrize("falling", [False, True])
def test_entries_of_the_other_byte_order_are_turned(radiograph, sequence, bits, falling):
    entries = curve(bits)[::-1] if falling else curve(bits)
    right = radiograph(**{sequence: table(entries, bits)})
    turned = table(entries.astype(np.uint16).byteswap(), bits)
    found = radiograph(**{sequence: turned})
    np.testing.assert_array_equal(found.pixels, right.pixels)
    assert "has the two bytes of its entries the other way round" in notes_of(found)
    assert "other way round" not in notes_of(right)


def test_entries_that_are_rough_either_way_are_taken_as_they_stand(radiograph):
    steps = np.random.default_rng(0).integers(0, 4096, 4096)
    assert "other way round" not in notes_of(radiograph(VOILUTSequence=table(steps, 12)))


def test_a_table_of_bytes_of_another_number_is_refused(radiograph):
    own = table(np.arange(100), 8, width=1)
    own[0]["LUTDescriptor"] = ("US", np.array([300, 0, 8], "<u2").tobytes())
    with pytest.raises(DicomError, match=r"has 100 bytes, but its descriptor states 300 entries"):
        radiograph(VOILUTSequence=own)


@pytest.mark.parametrize(
    ("number", "relationship", "passed_over"),
    [("12.1", "LOG", True), ("12.2", "DISP", True), ("12.1", "LIN", False), ("1", "LOG", False)],
)
def test_a_table_that_leads_back_to_the_beam_is_not_for_showing(
    radiograph, number, relationship, passed_over
):
    own = {
        "SOPClassUID": f"1.2.840.10008.5.1.4.1.1.{number}",
        "PixelIntensityRelationship": relationship,
    }
    plain, found = (radiograph(**own), radiograph(**own, ModalityLUTSequence=table(curve(12), 12)))
    assert np.array_equal(found.pixels, plain.pixels) == passed_over


def test_a_term_that_each_window_repeats_is_one(radiograph):
    windows = {"WindowCenter": "2048\\1000", "WindowWidth": "1000\\500"}
    right = radiograph(VOILUTFunction="SIGMOID", **windows)
    found = radiograph(VOILUTFunction="SIGMOID\\SIGMOID", **windows)
    np.testing.assert_array_equal(found.pixels, right.pixels)
    assert "VOI LUT Function 'SIGMOID\\\\SIGMOID' is read as one term" in notes_of(found)
    with pytest.raises(DicomError, match="VOI LUT Function is"):
        radiograph(VOILUTFunction="SIGMOID\\LINEAR", **windows)


def test_a_rescale_beside_a_modality_table_does_not_count(radiograph):
    own = {"ModalityLUTSequence": table(curve(12)[::-1], 12)}
    right = radiograph(**own)
    found = radiograph(**own, RescaleSlope="-2", RescaleIntercept="100")
    np.testing.assert_array_equal(found.pixels, right.pixels)
    assert "Rescale Slope stands beside a Modality LUT, which counts" in notes_of(found)
    assert not radiograph(**own, RescaleSlope="1", RescaleIntercept="0").header.notes


@pytest.mark.parametrize(
    ("half", "whole", "note"),
    [
        (
            {"RescaleSlope": "2"},
            {"RescaleIntercept": "0"},
            "Rescale Intercept, which is taken for 0",
        ),
        ({"RescaleIntercept": "-9"}, {"RescaleSlope": "1"}, "Rescale Slope, which is taken for 1"),
    ],
)
def test_half_a_rescale_is_noted(radiograph, half, whole, note):
    window = {"WindowCenter": "2048", "WindowWidth": "1000"}
    right, found = radiograph(**half, **whole, **window), radiograph(**half, **window)
    np.testing.assert_array_equal(found.pixels, right.pixels)
    assert not right.header.notes
    assert note in notes_of(found)


def test_what_is_none_of_an_image_is_left_out_with_a_note(radiograph):
    right = radiograph()
    found = radiograph(PresentationLUTSequence=table(curve(12)[::-1], 12))
    np.testing.assert_array_equal(found.pixels, right.pixels)
    assert "Presentation LUT Sequence is none of an image; it is left out" in notes_of(found)


def test_a_shape_that_contradicts_the_photometric_interpretation_is_noted(radiograph):
    right = radiograph(PhotometricInterpretation="MONOCHROME1")
    found = radiograph(PhotometricInterpretation="MONOCHROME1", PresentationLUTShape="IDENTITY")
    np.testing.assert_array_equal(found.pixels, right.pixels)
    assert "is IDENTITY, which contradicts MONOCHROME1" in notes_of(found)
    both = radiograph(PhotometricInterpretation="MONOCHROME1", PresentationLUTShape="INVERSE")
    assert not both.header.notes
    found = radiograph(PresentationLUTShape="INVERSE")
    np.testing.assert_array_equal(found.pixels, right.pixels)
    assert "is INVERSE, which contradicts MONOCHROME2: the former counts" in notes_of(found)
