import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pleura.dicom.radiograph import read_header, read_radiograph
from pleura.pictures.flags import header_flags, in_words, judge, other_view
from pleura.pictures.guard import KINDS, UNLIKE, assess
from pleura.synthesis.phantom import draw_phantom
from tests.dicom_files import make_dicom

FRONTAL = {"Modality": "DX", "BodyPartExamined": "CHEST", "ViewPosition": "PA"}


def code(meaning):
    return [{"CodeValue": "1", "CodingSchemeDesignator": "SCT", "CodeMeaning": meaning}]


@pytest.fixture(scope="module")
def phantom():
    return draw_phantom(np.random.default_rng(0), size=128, pneumothorax=False).pixels


@pytest.fixture
def said(tmp_path):
    """What is said of a header with some attributes."""

    def said(**attributes):
        path = tmp_path / "radiograph.dcm"
        path.write_bytes(make_dicom(**attributes))
        return header_flags(read_header(path))

    return said


@pytest.mark.parametrize(
    ("attributes", "flags"),
    [
        ({"Modality": "CT"}, ("modality=CT",)),
        ({"Modality": "mr "}, ("modality=MR",)),
        ({"Modality": "PT\\CT"}, ("modality=PT",)),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.4"}, ("class=MR Image Storage",)),
        ({"PresentationIntentType": "FOR PROCESSING"}, ("intent=FOR PROCESSING",)),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.1.1.1"}, ("intent=FOR PROCESSING",)),
        ({"BodyPartExamined": "HAND"}, ("body-part=HAND",)),
        ({"BodyPartExamined": "rt_knees"}, ("body-part=KNEE",)),
        ({"BodyPartExamined": "LHIP"}, ("body-part=HIP",)),
        ({"BodyPartExamined": "TSPINE"}, ("body-part=TSPINE",)),
        ({"BodyPartExamined": "THORACIC SPINE"}, ("body-part=SPINE",)),
        ({"BodyPartExamined": "ABDOMEN"}, ("body-part=ABDOMEN",)),
        ({"BodyPartExamined": "ABDOMENPELVIS"}, ("body-part=ABDOMENPELVIS",)),
        ({"BodyPartExamined": "LumbarSpine"}, ("body-part=LUMBARSPINE",)),
        ({"BodyPartExamined": "UP_EXM"}, ("body-part=EXM",)),
        ({"BodyPartExamined": "LOWERLIMB"}, ("body-part=LIMB",)),
        ({"BodyPartExamined": "RODILLA"}, ("body-part=RODILLA",)),
        ({"BodyPartExamined": "Becken"}, ("body-part=BECKEN",)),
        ({"BodyPartExamined": "MAIN"}, ("body-part=MAIN",)),
        ({"AnatomicRegionSequence": code("Ankle joint")}, ("body-part=ANKLE",)),
        ({"ViewPosition": "LL"}, ("view=LL",)),
        ({"ViewPosition": "R"}, ("view=R",)),
        ({"ViewPosition": "Left"}, ("view=LEFT",)),
        ({"ViewPosition": "RT"}, ("view=RT",)),
        ({"ViewPosition": "LAT_L"}, ("view=LAT",)),
        ({"ViewPosition": "LATR"}, ("view=LATR",)),
        ({"ViewPosition": "SEITLICH"}, ("view=SEITLICH",)),
        ({"ViewPosition": "PROFILE"}, ("view=PROFILE",)),
        ({"ViewPosition": "LATDECUB"}, ("view=LATDECUB",)),
        ({"ViewPosition": "lateral"}, ("view=LATERAL",)),
        ({"ViewPosition": "XTLAT"}, ("view=XTLAT",)),
        ({"ViewPosition": "RAO"}, ("view=RAO",)),
        ({"ViewPosition": "LLD"}, ("view=LLD",)),
        ({"ViewPosition": "AP OBLIQUE"}, ("view=OBLIQUE",)),
        ({"ViewCodeSequence": code("left lateral")}, ("view=LATERAL",)),
        ({"ViewCodeSequence": code("medio-lateral oblique")}, ("view=MEDIO",)),
        ({"PatientOrientation": "A\\F"}, ("orientation=A\\F",)),
        ({"PatientOrientation": "LA\\FP"}, ()),
        ({"PatientOrientation": "L\\P"}, ("orientation=L\\P",)),
        (
            {"Modality": "CT", "BodyPartExamined": "HEAD", "ViewPosition": "AXIAL"},
            ("modality=CT", "body-part=HEAD", "view=AXIAL"),
        ),
    ],
)
def test_a_header_that_names_something_else_is_flagged(said, attributes, flags):
    assert said(**attributes) == flags


CR, CAPTURE = "1.2.840.10008.5.1.4.1.1.1", "1.2.840.10008.5.1.4.1.1.7"


def made_from(*classes):
    return [{"ReferencedSOPClassUID": one, "ReferencedSOPInstanceUID": "1.2"} for one in classes]


@pytest.mark.parametrize(
    ("attributes", "flags"),
    [
        (
            {"ImageType": "DERIVED\\SECONDARY", "SourceImageSequence": made_from(CR)},
            ("made-from=Computed Radiography Image Storage",),
        ),
        (
            {"ImageType": "DERIVED", "SourceImageSequence": made_from("1.2.3", CAPTURE, CR)},
            ("made-from=Computed Radiography Image Storage",),
        ),
        (
            {
                "ImageType": "DERIVED\\SECONDARY",
                "SourceImageSequence": made_from(CR),
                "SOPClassUID": f"{CAPTURE}.2",
            },
            ("made-from=Computed Radiography Image Storage",),
        ),
        # A scanned radiograph, one that was compressed with loss, and digital ones.
        ({"ImageType": "ORIGINAL\\SECONDARY", "SourceImageSequence": made_from(CR)}, ()),
        ({"ImageType": "DERIVED\\SECONDARY"}, ()),
        ({"SourceImageSequence": made_from(CR)}, ()),
        ({"ImageType": "DERIVED\\SECONDARY", "SourceImageSequence": made_from(CAPTURE)}, ()),
        ({"ImageType": "DERIVED\\SECONDARY", "SourceImageSequence": made_from("1.2.3", "")}, ()),
        ({"ImageType": "DERIVED\\SECONDARY", "SourceImageSequence": ("SQ", b"damaged!")}, ()),
        (
            {
                "ImageType": "DERIVED\\PRIMARY",
                "SourceImageSequence": made_from(CR),
                "SOPClassUID": "1.2.840.10008.5.1.4.1.1.1.1",
            },
            (),
        ),
    ],
)
def test_a_capture_that_was_made_from_an_image_of_another_kind_is_flagged(said, attributes, flags):
    assert said(**attributes) == flags


@pytest.mark.parametrize(
    ("keyword", "value", "flag"),
    [
        ("ImageType", "DERIVED\\PRIMARY\\BONE", "left-in=BONE"),
        ("ImageType", "DERIVED\\PRIMARY\\\\SOFT_TISSUE", "left-in=SOFT TISSUE"),
        ("SeriesDescription", "PA Soft Tissue", "left-in=SOFT TISSUE"),
        ("SeriesDescription", "ClearRead Bone Suppression", "left-in=SOFT TISSUE"),
        ("SeriesDescription", "Chest, bone image", "left-in=BONE"),
        ("AcquisitionDeviceProcessingDescription", "ENERGY SUBTRACTION BONE", "left-in=BONE"),
        ("ImageType", "DERIVED\\PRIMARY\\POST_PROCESSED", ""),
        ("SeriesDescription", "Chest dual energy standard", ""),
        ("SeriesDescription", "Ribs, bone algorithm", ""),
    ],
)
def test_a_picture_of_bones_or_of_soft_tissue_alone_is_flagged(said, keyword, value, flag):
    assert said(**{keyword: value}) == tuple(filter(None, [flag]))


@pytest.mark.parametrize(
    ("keyword", "values"),
    [
        ("Modality", ("", "CR", "DX", "DR", "RG", "OT", "RF", "XR", "CXR")),
        ("SOPClassUID", ("", "1.2.3", "1.2.840.10008.5.1.4.1.1.1", "1.2.840.10008.5.1.4.1.1.1.1")),
        (
            "BodyPartExamined",
            (
                "",
                "CHEST",
                "THORAX",
                "LUNG",
                "PORT CHEST",
                "PORTCHEST",
                "Chest 2 views",
                "CHESTABDOMEN",
                "CHEST_ABDOMEN",
                "RIB",
                "BRUST",
                "UNKNOWN",
                "HANDED OVER",
                "????",
            ),
        ),
        (
            "ViewPosition",
            ("", "PA", "AP", "ap supine", "PA/LAT", "AP LORDOTIC", "PORTABLE", "ERECT", "FLAT"),
        ),
        ("PatientOrientation", ("", "L\\F", "R\\F", "RH\\F", "A", "up", "ANY\\THING")),
    ],
)
def test_what_nobody_can_mistake_and_what_nobody_foresaw_is_fine(said, keyword, values):
    assert {value: said(**FRONTAL | {keyword: value}) for value in values} == dict.fromkeys(
        values, ()
    )


def test_the_codes_of_a_frontal_chest_are_fine_and_so_is_a_sequence_that_is_none(said):
    fine = {"ViewCodeSequence": code("postero-anterior"), "AnatomicRegionSequence": code("Chest")}
    assert said(**fine) == ()
    assert said(ViewCodeSequence=("SQ", b"\1\2\3\4\5\6\7\10")) == ()


@given(st.text(max_size=16))
def test_a_view_is_quoted_from_its_text(text):
    assert other_view(text) in text.upper()


def test_picture_size_and_header_are_flagged_together(tmp_path, phantom):
    path = tmp_path / "hand.dcm"
    pixels = np.ascontiguousarray(phantom[::-1])
    path.write_bytes(make_dicom(pixels, BodyPartExamined="HAND"))
    radiograph = read_radiograph(path)
    judged = judge(radiograph.pixels, radiograph.header, 1024)
    assert judged.flags == ("upside-down", "size=128x128", "body-part=HAND")
    assert judged.score == assess(radiograph.pixels).score
    assert judge(phantom).flags == ()


@pytest.mark.parametrize(
    ("shape", "size", "small"),
    [
        ((16, 16), 64, True),
        ((63, 800), 64, True),
        ((800, 63), 64, True),
        ((64, 64), 256, False),
        ((64, 64), 257, True),
        ((100, 128), 512, False),
        ((100, 127), 512, True),
    ],
)
def test_too_few_pixels_for_the_guard_or_the_network(phantom, shape, size, small):
    pixels = np.resize(phantom, shape)
    assert (f"size={shape[0]}x{shape[1]}" in judge(pixels, size=size).flags) == small


@pytest.mark.parametrize(
    ("border", "flags"), [((0, 0), ()), ((0, 20), ()), ((34, 34), ("bordered",))]
)
@pytest.mark.parametrize("grey", [0, 255])
def test_a_radiograph_that_fills_little_of_its_picture_is_flagged(phantom, border, flags, grey):
    small = 40 + cv2.resize(phantom, (128, 128), interpolation=cv2.INTER_AREA) // 2
    bordered = np.pad(small, [(border[0],) * 2, (border[1],) * 2], constant_values=grey)
    assert tuple(one for one in judge(bordered).flags if one == "bordered") == flags


@pytest.mark.parametrize(
    ("shape", "flag"),
    [((256, 128), ""), ((256, 100), "shape=256x100"), ((90, 256), "shape=90x256")],
)
def test_a_radiograph_that_was_squeezed_is_flagged(phantom, shape, flag):
    squeezed = cv2.resize(phantom, shape[::-1], interpolation=cv2.INTER_AREA)
    assert [one for one in judge(squeezed).flags if one.startswith("shape")] == [flag][: bool(flag)]


def test_every_flag_has_words():
    facts = ("size=16x16", "modality=CT", "class=CT Image Storage", "body-part=HAND", "view=LL")
    for flag in (
        *KINDS[1:],
        UNLIKE,
        "bordered",
        "shape=9x99",
        "blank",
        "low-contrast",
        *facts,
        "orientation=A\\F",
    ):
        assert in_words((flag,)).startswith(("looks ", "is ", "has ", "the header says "))
        assert "{" not in in_words((flag,))
    assert in_words(("blank", *facts[:4])) == (
        "is blank, has only 16 x 16 pixels, the header says modality CT, CT Image Storage, "
        "body part HAND"
    )
    assert in_words(["something new", "else=x"]) == "something new, else=x"
    assert in_words(()) == ""
