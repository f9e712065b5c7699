import pickle
import re
import shutil
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from highdicom.seg import segread
from highdicom.sr import srread
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pleura.choices import RESULT_KINDS
from pleura.data.prepare import Frame
from pleura.dicom.radiograph import read_header, read_radiograph
from pleura.dicom.square import squared
from pleura.errors import DicomError, OutputError, UsageError
from pleura.models.bundle import OperatingPoint
from pleura.results.presentation_state import MOST_LINES
from pleura.results.source import RADIOGRAPHS
from tests import dicom_tools
from tests.conftest import REAL_DATA
from tests.dicom_files import BIG_ENDIAN, DEFLATED, IMPLICIT
from tests.results.made import CR, DIGEST, MADE_WITH, MOMENT, answer, source_file, write_results

SOURCES = sorted(REAL_DATA.glob("other-dicom/*.dcm")) + sorted(REAL_DATA.glob("siim/**/*.dcm"))
needs_data = pytest.mark.skipif(
    not SOURCES, reason="the real radiographs are not here (shared/data beside the repository)"
)


@pytest.fixture
def source(tmp_path):
    return source_file(tmp_path / "x.dcm")


def write(source, folder, kinds=RESULT_KINDS, image_id="x", **changes):
    """Write the results of an answer and read them back."""
    options = {"made_with": changes.pop("made_with", MADE_WITH), "moment": MOMENT}
    options["deidentify_key"] = changes.pop("key", None)
    written = write_results(source, answer(source, **changes), folder, image_id, kinds, **options)
    return {kind: pydicom.dcmread(path) for kind, path in written.files.items()}


def items(dataset):
    """Every content item of a report, as (name, item)."""
    for item in dataset.get("ContentSequence", []):
        yield (
            item.ConceptNameCodeSequence[0].CodeMeaning
            if "ConceptNameCodeSequence" in item
            else "",
            item,
        )
        yield from items(item)


def said(dataset, name):
    return [item for key, item in items(dataset) if key == name]


def everything(dataset):
    for element in dataset:
        yield element
        if element.VR == "SQ":
            for item in element.value:
                yield from everything(item)


# Names, bytes, and what is written at all


def test_files_are_named_by_id_and_kind(source, tmp_path):
    folder = tmp_path / "out" / "dicom"
    written = write_results(source, answer(source), folder, "ID_1", RESULT_KINDS, moment=MOMENT)
    assert {kind: path.name for kind, path in written.files.items()} == {
        kind: f"ID_1.{kind}.dcm" for kind in RESULT_KINDS
    }
    assert sorted(folder.iterdir()) == sorted(written.files.values())
    assert written.notes == ()


def test_the_same_inputs_give_the_same_bytes_and_the_moment_changes_no_uid(source, tmp_path):
    first = write_results(source, answer(source), tmp_path / "a", "x", RESULT_KINDS, moment=MOMENT)
    again = write_results(source, answer(source), tmp_path / "b", "x", RESULT_KINDS, moment=MOMENT)
    later = MOMENT.replace(year=2027)
    third = write_results(source, answer(source), tmp_path / "c", "x", RESULT_KINDS, moment=later)
    for kind in RESULT_KINDS:
        assert first.files[kind].read_bytes() == again.files[kind].read_bytes()
        assert first.files[kind].read_bytes() != third.files[kind].read_bytes()
        old, new = pydicom.dcmread(first.files[kind]), pydicom.dcmread(third.files[kind])
        assert [e.value for e in everything(old) if e.VR == "UI"] == [
            e.value for e in everything(new) if e.VR == "UI"
        ]


def test_another_model_answer_or_picture_gives_other_uids(source, tmp_path):
    other = source_file(tmp_path / "y.dcm", np.full((40, 50), 7, np.uint16))
    mask = answer(source).mask.copy()
    mask[0, 0] = True
    seen = [write(source, tmp_path / "0")]
    changes = (
        {"made_with": replace(MADE_WITH, model="f" * 64)},
        {"score": 0.94},
        {"mask": mask},
        {"probability": np.zeros((40, 50), np.float32)},
        {"made_with": replace(MADE_WITH, point=OperatingPoint(0.5, 0.41, 0.001))},
        {"made_with": replace(MADE_WITH, pleura="0.2.0")},
    )
    seen += [write(source, tmp_path / str(n), **one) for n, one in enumerate(changes, 1)]
    seen.append(write(other, tmp_path / "other"))
    for keyword in ("SOPInstanceUID", "SeriesInstanceUID"):
        uids = [results[kind][keyword].value for results in seen for kind in results]
        assert len(set(uids)) == len(seen) * len(RESULT_KINDS)
    assert {results[kind].StudyInstanceUID for results in seen for kind in results} == {"1.2.3.4"}


def test_an_empty_mask_leaves_no_outline_and_takes_an_older_one_away(source, tmp_path):
    write(source, tmp_path)
    found = write(source, tmp_path, empty=True)
    assert set(found) == {"map", "sr", "sc"}
    assert not (tmp_path / "x.seg.dcm").exists()
    assert not (tmp_path / "x.gsps.dcm").exists()
    (evaluation,) = said(found["sr"], "Pneumothorax")
    assert evaluation.ConceptCodeSequence[0].CodeValue == "2667000"
    assert said(found["sr"], "Finding") == said(found["sr"], "Area") == []
    assert [
        item.ReferencedSOPSequence[0].ReferencedSOPInstanceUID
        for item in said(found["sr"], "Source of Measurement")
    ] == ["1.2.3.4.5"]


FLAGS = ("inverted", "modality=CT")
DOUBTS = "looks inverted, the header says modality CT"


def test_what_is_not_assessed_says_so_and_why_and_nothing_else(source, tmp_path):
    write(source, tmp_path)
    found = write(source, tmp_path, empty=True, assessed=False, flags=FLAGS)
    assert set(found) == {"sr", "gsps", "sc"}
    assert {path.name for path in tmp_path.iterdir()} == {
        "x.dcm",
        *(f"x.{kind}.dcm" for kind in found),
    }
    (evaluation,) = said(found["sr"], "Pneumothorax")
    (code,) = evaluation.ConceptCodeSequence
    assert (code.CodeValue, code.CodeMeaning) == ("373121007", "Not Evaluated")
    for name in ("Finding", "Area", "Probability"):
        assert said(found["sr"], name) == []
    assert (
        said(found["sr"], "Procedure reported")[0].ConceptCodeSequence[0].CodeMeaning == "Imaging"
    )
    comments = [item.TextValue for item in said(found["sr"], "Comment")]
    assert f"Not assessed: {DOUBTS}." in comments
    assert f"Not assessed: {DOUBTS}" in found["sc"].ImageComments
    (annotation,) = found["gsps"].GraphicAnnotationSequence
    assert "GraphicObjectSequence" not in annotation
    (words,) = annotation.TextObjectSequence
    assert words.UnformattedTextValue.split("\r\n") == [
        "Pneumothorax: not assessed - NOT FOR DIAGNOSIS",
        f"Why: {DOUBTS}",
    ]
    for kind, dataset in found.items():
        assert dataset.SeriesDescription.startswith("pleura: pneumothorax not assessed, ")
        everywhere = str(dataset)
        assert "2667000" not in everywhere
        assert "Absent" not in everywhere
        assert "0.03" not in everywhere, "the score counts for nothing"
        assert dicom_tools.faults(tmp_path / f"x.{kind}.dcm") == []
    (group,) = srread(tmp_path / "x.sr.dcm").content.get_image_measurement_groups()
    assert [one.value.value for one in group.get_qualitative_evaluations()] == ["373121007"]
    assert group.get_measurements() == []


def test_what_is_answered_although_flagged_says_that(source, tmp_path):
    plain = write(source, tmp_path / "plain")
    found = write(source, tmp_path, flags=FLAGS)
    assert set(found) == set(RESULT_KINDS)
    warning = f"Flagged, answered all the same: {DOUBTS}"
    assert f"{warning}." in [item.TextValue for item in said(found["sr"], "Comment")]
    assert warning in found["sc"].ImageComments
    (annotation,) = found["gsps"].GraphicAnnotationSequence
    assert warning in annotation.TextObjectSequence[0].UnformattedTextValue
    assert found["sc"].Rows > plain["sc"].Rows
    assert found["sr"].SOPInstanceUID != plain["sr"].SOPInstanceUID


def test_no_answer_without_a_reason(source, tmp_path):
    with pytest.raises(UsageError, match="is not assessed and nothing says why; give its flags"):
        write(source, tmp_path / "out", empty=True, assessed=False)


def test_arguments_and_result_can_be_sent_to_another_process(source, tmp_path):
    sent = pickle.loads(pickle.dumps(answer(source)))  # noqa: S301 - our own bytes
    written = write_results(source, sent, tmp_path, "x", ["sr"], moment=MOMENT)
    assert pickle.loads(pickle.dumps(written)) == written  # noqa: S301


# What each of them says

COPIED = (
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "PatientAge",
    "StudyInstanceUID",
    "StudyDate",
    "StudyTime",
    "StudyID",
    "AccessionNumber",
    "ReferringPhysicianName",
    "StudyDescription",
)


def test_results_are_in_the_sources_study(source, tmp_path):
    original = pydicom.dcmread(source)
    numbers = set()
    for kind, dataset in write(source, tmp_path).items():
        for keyword in COPIED:
            assert dataset[keyword].value == original[keyword].value, (kind, keyword)
        assert dataset.SeriesInstanceUID != original.SeriesInstanceUID
        assert dataset.SeriesDescription.startswith("pleura: pneumothorax")
        assert (dataset.Manufacturer, dataset.SoftwareVersions) == ("pleura", "0.1.0")
        assert dataset.SeriesDate == "20260304"
        assert dataset.SeriesTime == "050607"
        numbers.add(dataset.SeriesNumber)
        text = str(dataset)
        assert str(MOMENT.year) in text
        clock = [e for e in everything(dataset) if e.VR in ("DA", "DT") and e.value]
        allowed = {"20260304", "20260101", "19700102", "20260304050607"}
        assert {str(element.value) for element in clock} <= allowed, kind
    assert len(numbers) == len(RESULT_KINDS)


def test_the_segmentation_comes_back_pixel_for_pixel(source, tmp_path):
    found = answer(source)
    written = write_results(source, found, tmp_path, "x", RESULT_KINDS, moment=MOMENT)
    seg = segread(written.files["seg"])
    assert np.array_equal(seg.get_pixels_by_source_instance(["1.2.3.4.5"])[0, :, :, 0], found.mask)
    assert np.array_equal(seg.pixel_array, found.mask)
    described = seg.get_segment_description(1)
    assert described.segment_label == "Pneumothorax"
    assert described.segmented_property_type.value == "36118008"
    (algorithm,) = described.SegmentationAlgorithmIdentificationSequence
    assert (algorithm.AlgorithmName, algorithm.AlgorithmVersion) == ("pleura", "0.1.0")
    assert DIGEST in algorithm.AlgorithmParameters
    assert seg.PatientOrientation == ["L", "F"]
    (series,) = seg.ReferencedSeriesSequence
    assert series.SeriesInstanceUID == "1.2.3.4.1"
    assert series.ReferencedInstanceSequence[0].ReferencedSOPClassUID == CR
    assert series.ReferencedInstanceSequence[0].ReferencedSOPInstanceUID == "1.2.3.4.5"


def test_the_map_comes_back_in_steps_of_a_255th(source, tmp_path):
    found = answer(source)
    written = write_results(source, found, tmp_path, "x", ["map"], moment=MOMENT)
    seg = segread(written.files["map"])
    back = seg.get_pixels_by_source_instance(["1.2.3.4.5"])[0, :, :, 0]
    assert np.abs(back - found.probability).max() <= 0.5 / 255 + 1e-6
    assert seg.SegmentationFractionalType == "PROBABILITY"


def test_a_map_of_zeros_is_a_frame_too(source, tmp_path):
    found = write(source, tmp_path, ["map"], empty=True, probability=np.zeros((40, 50), np.float32))
    assert found["map"].NumberOfFrames == 1
    assert not found["map"].pixel_array.any()


def test_the_report_says_what_was_found_by_whom_and_where(source, tmp_path):
    found = write(source, tmp_path)
    report = found["sr"]
    assert report.ConceptNameCodeSequence[0].CodeValue == "126000"
    assert report.ContentTemplateSequence[0].TemplateIdentifier == "1500"
    assert said(report, "Finding")[0].ConceptCodeSequence[0].CodeValue == "36118008"
    assert said(report, "Pneumothorax")[0].ConceptCodeSequence[0].CodeValue == "52101004"
    (probability,) = said(report, "Probability")
    assert probability.MeasuredValueSequence[0].NumericValue == pytest.approx(0.93)
    (area,) = said(report, "Area")
    assert area.MeasuredValueSequence[0].NumericValue == pytest.approx(
        answer(source).area_px * 6 * 7.5
    )
    assert area.MeasuredValueSequence[0].MeasurementUnitsCodeSequence[0].CodeValue == "mm2"
    parameters = [item.TextValue for item in said(report, "Algorithm Parameters")]
    assert f"model digest: {DIGEST}" in parameters
    assert said(report, "Algorithm Version")[0].TextValue == "0.1.0"
    (segment,) = said(report, "Referenced Segmentation Frame")
    (reference,) = segment.ReferencedSOPSequence
    assert reference.ReferencedSOPInstanceUID == found["seg"].SOPInstanceUID
    assert reference.ReferencedSegmentNumber == 1
    assert "ReferencedFrameNumber" not in reference
    (image,) = said(report, "Source Image for Segmentation")
    assert image.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == "1.2.3.4.5"
    comments = [item.TextValue for item in said(report, "Comment")]
    assert comments[0].startswith("NOT FOR DIAGNOSIS")
    assert "from (0018,1164) Imager Pixel Spacing; not corrected for magnification" in comments[1]
    referenced = {
        one.ReferencedSOPInstanceUID
        for study in report.CurrentRequestedProcedureEvidenceSequence
        for series in study.ReferencedSeriesSequence
        for one in series.ReferencedSOPSequence
    }
    assert referenced == {"1.2.3.4.5", found["seg"].SOPInstanceUID}


def test_highdicom_reads_the_report(source, tmp_path):
    for empty in (False, True):
        written = write_results(
            source, answer(source, empty=empty), tmp_path, "x", RESULT_KINDS, moment=MOMENT
        )
        content = srread(written.files["sr"]).content
        groups = (
            content.get_image_measurement_groups()
            if empty
            else content.get_planar_roi_measurement_groups()
        )
        assert len(groups) == 1
        (evaluation,) = groups[0].get_qualitative_evaluations()
        assert evaluation.name.value == "36118008"


def test_a_report_alone_refers_to_the_image_alone(source, tmp_path):
    (report,) = write(source, tmp_path, ["sr"]).values()
    assert said(report, "Referenced Segmentation Frame") == []
    assert len(said(report, "Source of Measurement")) == 1
    assert said(report, "Area")
    other = write(source, tmp_path / "b", ["seg", "sr"])
    assert report.SOPInstanceUID != other["sr"].SOPInstanceUID


def test_without_spacing_there_is_no_area(tmp_path):
    source = source_file(tmp_path / "x.dcm", ImagerPixelSpacing="0.000\\0.000")
    report = write(source, tmp_path)["sr"]
    assert said(report, "Area") == []
    comments = [item.TextValue for item in said(report, "Comment")]
    assert "No area in mm2 is given: the file states no pixel spacing." in comments


def test_pixel_spacing_comes_before_imager_pixel_spacing(tmp_path):
    source = source_file(tmp_path / "x.dcm", PixelSpacing="7.1500000000000004\\5")
    report = write(source, tmp_path)["sr"]
    comments = [item.TextValue for item in said(report, "Comment")]
    assert any("7.15 x 5 mm, from (0028,0030) Pixel Spacing;" in comment for comment in comments)


@pytest.mark.parametrize(
    ("attributes", "pixel_mm2", "words"),
    [
        (
            {"ImagerPixelSpacing": "8\\8"},
            64,
            "8 x 8 mm, from (0018,1164) Imager Pixel Spacing; not",
        ),
        (
            {"ImagerPixelSpacing": "8\\8", "EstimatedRadiographicMagnificationFactor": "1.25"},
            40.96,
            "6.4 x 6.4 mm, from (0018,1164) Imager Pixel Spacing divided by (0018,1114) Estimated"
            " Radiographic Magnification Factor 1.25.",
        ),
        (
            {"PixelSpacing": "6.4\\6.4", "PixelSpacingCalibrationType": "GEOMETRY"},
            40.96,
            "6.4 x 6.4 mm, from (0028,0030) Pixel Spacing, calibrated to the patient.",
        ),
        ({"NominalScannedPixelSpacing": "8\\8", "ImagerPixelSpacing": None}, 64, "Nominal Scanned"),
        (
            {"ImagerPixelSpacing": "3.4\\3.4"},
            None,
            "No area in mm2 is given: by its (0018,1164) Imager Pixel Spacing the picture is 17 cm"
            " long, and an adult's chest radiograph has 25 to 60",
        ),
    ],
)
def test_an_area_is_measured_by_the_spacing_that_is_believed(
    tmp_path, attributes, pixel_mm2, words
):
    source = source_file(tmp_path / "x.dcm", **attributes)
    found = write(source, tmp_path, ["sr", "sc"])
    comments = [item.TextValue for item in said(found["sr"], "Comment")]
    assert any(words in comment for comment in comments)
    areas = [item.MeasuredValueSequence[0].NumericValue for item in said(found["sr"], "Area")]
    if pixel_mm2 is None:
        assert areas == []
        assert "No area in mm2 is given" not in found["sc"].ImageComments
        assert found["sc"].ImageComments.startswith("no area in mm2 is given: by its (0018,1164)")
    else:
        assert areas == pytest.approx([answer(source).area_px * pixel_mm2])


def test_pixels_that_are_not_square_are_said_to_be_so(tmp_path):
    wide = np.tile(np.arange(300, dtype=np.uint16), (40, 1))
    ratio = {"ImagerPixelSpacing": None, "PixelAspectRatio": "3\\2"}
    source = source_file(tmp_path / "x.dcm", wide, **ratio)
    found = write(source, tmp_path)
    for kind in ("seg", "map"):
        assert found[kind].PixelAspectRatio == [3, 2]
        assert (found[kind].Rows, found[kind].Columns) == (40, 300)
    area = found["gsps"].DisplayedAreaSelectionSequence[0]
    assert area.PresentationPixelAspectRatio == [3, 2]
    assert found["sc"].Columns == 300
    assert found["sc"].Rows > 60
    assert dicom_tools.faults(tmp_path / "x.seg.dcm") == []
    square = write(source_file(tmp_path / "y.dcm", ImagerPixelSpacing="8\\8"), tmp_path / "square")
    assert "PixelAspectRatio" not in square["seg"]


def test_the_presentation_state_outlines_the_mask(source, tmp_path):
    state = write(source, tmp_path)["gsps"]
    (annotation,) = state.GraphicAnnotationSequence
    assert len(annotation.GraphicObjectSequence) == 3  # two parts, one hole
    points = np.concatenate(
        [np.reshape(item.GraphicData, (-1, 2)) for item in annotation.GraphicObjectSequence]
    )
    assert points.min(axis=0).tolist() == [6.25, 5.25]
    assert points.max(axis=0).tolist() == [49.75, 38.75]
    (words,) = annotation.TextObjectSequence
    assert words.UnformattedTextValue == "Pneumothorax, probability 0.93 - NOT FOR DIAGNOSIS"
    area = state.DisplayedAreaSelectionSequence[0]
    assert area.PresentationPixelAspectRatio == [4, 5]
    (series,) = state.ReferencedSeriesSequence
    assert series.ReferencedImageSequence[0].ReferencedSOPInstanceUID == "1.2.3.4.5"


LUT = [{"LUTDescriptor": [256, 0, 8], "LUTData": ("OW", bytes(range(256)))}]
LUT12 = [
    {
        "LUTDescriptor": [4096, 0, 12],
        "LUTData": ("OW", np.arange(4096)[::-1].astype("<u2").tobytes()),
    }
]


BELOW_ZERO = [
    {"LUTDescriptor": [4096, -1024, 12], "LUTData": ("OW", np.arange(4096).astype("<u2").tobytes())}
]


SIGNED_TABLE = {
    "BitsStored": 12,
    "VOILUTSequence": [
        {
            "LUTDescriptor": ("SS", np.array([2000, -1000, 12], "<i2").tobytes()),
            "LUTData": ("OW", (2 * np.arange(2000)).astype("<u2").tobytes()),
        }
    ],
}


@pytest.mark.parametrize(
    ("pixels", "attributes"),
    [
        (None, {}),
        (None, {"PhotometricInterpretation": "MONOCHROME1"}),
        (None, {"WindowCenter": "1000", "WindowWidth": "500"}),
        (None, {"WindowCenter": "0", "WindowWidth": "500", "RescaleIntercept": "-1024"}),
        (None, {"VOILUTSequence": BELOW_ZERO, "RescaleIntercept": "-1024"}),
        (None, {"VOILUTSequence": LUT12}),
        (None, {"ModalityLUTSequence": LUT12}),
        (np.arange(2000, dtype=np.uint8).reshape(40, 50), {"VOILUTSequence": LUT}),
        (
            (np.arange(2000, dtype=np.int16) - 1000).reshape(40, 50),
            {"BitsStored": 16, "WindowCenter": "-100", "WindowWidth": "700"},
        ),
        (np.arange(2000, dtype=np.uint16).reshape(40, 50), {"BitsStored": 16}),
        ((np.arange(2000, dtype=np.int16) - 1000).reshape(40, 50), SIGNED_TABLE),
    ],
)
def test_the_state_shows_the_radiograph_as_pleura_does(tmp_path, pixels, attributes):
    source = source_file(tmp_path / "x.dcm", pixels, **attributes)
    written = write_results(source, answer(source), tmp_path, "x", ["gsps"], moment=MOMENT)
    assert dicom_tools.faults(written.files["gsps"]) == []
    picture = tmp_path / "x.pgm"
    ran = dicom_tools.run("dcmp2pgm", "-p", written.files["gsps"], source, picture)
    assert ran.returncode == 0, ran.stderr
    shown = np.frombuffer(picture.read_bytes()[-2000:], np.uint8).reshape(40, 50)
    ours = read_radiograph(source).pixels
    ours = ours if ours.dtype == np.uint8 else ours / 257
    assert np.abs(shown - ours.astype(float)).max() <= 1.01


def test_the_state_keeps_how_a_window_is_applied(tmp_path):
    source = source_file(
        tmp_path / "x.dcm", WindowCenter="9", WindowWidth="5000", VOILUTFunction="SIGMOID"
    )
    (item,) = write(source, tmp_path)["gsps"].SoftcopyVOILUTSequence
    assert (item.WindowCenter, item.WindowWidth, item.VOILUTFunction) == (9, 5000, "SIGMOID")
    assert dicom_tools.faults(tmp_path / "x.gsps.dcm") == []


def test_the_picture_is_the_radiograph_with_a_band_below(source, tmp_path):
    plain = write(source, tmp_path, ["sc"], empty=True)["sc"]
    assert (plain.Columns, plain.SamplesPerPixel) == (256, 3), "wide enough for its letters"
    assert plain.Rows > 40
    pixels = plain.pixel_array[:, :62]  # square pixels: 50 x 5/4
    ours = squared(read_radiograph(source).pixels, 4 / 5) / 257
    assert np.abs(pixels[:40].mean(axis=2) - ours).mean() < 4
    assert pixels[40:].max() > 150  # letters
    drawn = write(source, tmp_path, ["sc"])["sc"]
    assert drawn.ImageType == ["DERIVED", "SECONDARY"]
    assert drawn.SourceImageSequence[0].ReferencedSOPInstanceUID == "1.2.3.4.5"
    changed = np.abs(drawn.pixel_array[:40, :62].astype(int) - pixels[:40]).sum(axis=2) > 60
    mask = squared(answer(source).mask, 4 / 5)
    assert changed[mask].mean() > 0.4
    assert changed[~mask].mean() < 0.1


@pytest.mark.parametrize(("says", "written"), [("YES", "YES"), ("NO", "NO"), (None, "YES")])
def test_burned_in_text_is_not_denied_where_the_source_does_not(tmp_path, says, written):
    source = source_file(tmp_path / "x.dcm", BurnedInAnnotation=says)
    found = write(source, tmp_path)
    assert found["sc"].BurnedInAnnotation == written
    assert found["seg"].BurnedInAnnotation == found["map"].BurnedInAnnotation == "NO"


# Sources that are not as they should be


def test_what_is_not_valid_is_mended_or_left_out_and_told(tmp_path):
    source = source_file(
        tmp_path / "x.dcm",
        SOPInstanceUID="ID_004d6fbb6",
        StudyInstanceUID="",
        SeriesInstanceUID="1.02",
        PatientID="x" * 70,
        PatientAge="38",
        PatientSex="f",
        StudyDate="2026.01.01",
        StudyTime="noon",
        PatientOrientation="up",
    )
    written = write_results(source, answer(source), tmp_path, "x", RESULT_KINDS, moment=MOMENT)
    found = {kind: pydicom.dcmread(path) for kind, path in written.files.items()}
    for kind, dataset in found.items():
        assert (dataset.PatientID, dataset.PatientAge, dataset.PatientSex) == ("", "038Y", "F")
        assert (dataset.StudyDate, dataset.StudyTime) == ("20260101", "")
        assert dataset.StudyInstanceUID == found["seg"].StudyInstanceUID
        assert dataset.StudyInstanceUID.startswith("2.25.")
        assert dicom_tools.faults(written.files[kind]) == []
    assert not found["seg"].PatientOrientation
    notes = " ".join(written.notes)
    for part in (
        "(0010,0020) Patient ID is not valid and was left out",
        "(0010,1010) Patient's Age is not valid and was mended",
        "(0008,0030) Study Time is not valid and was left out",
        "(0008,0018) SOP Instance UID is not valid: the results refer to 2.25.",
        "(0020,000D) Study Instance UID is empty: the results refer to 2.25.",
        "(0020,000E) Series Instance UID is not valid",
    ):
        assert part in notes
    assert "xxx" not in notes
    assert "noon" not in notes
    assert set(written.notes) <= {item.TextValue for item in said(found["sr"], "Comment")}
    assert "refer to 2.25." in found["sc"].ImageComments


def test_files_of_one_invalid_study_stay_together(tmp_path):
    first = source_file(tmp_path / "1.dcm", SOPInstanceUID="1.2.1", StudyInstanceUID="ID_S")
    other = source_file(tmp_path / "2.dcm", SOPInstanceUID="1.2.2", StudyInstanceUID="ID_S")
    one, two = write(first, tmp_path / "1", ["sr"]), write(other, tmp_path / "2", ["sr"])
    assert one["sr"].StudyInstanceUID == two["sr"].StudyInstanceUID


@pytest.mark.parametrize(
    ("name", "character_set"),
    [("Müller^Jürgen", "ISO_IR 100"), ("Yamada^Tarou=山田^太郎", "ISO_IR 192")],
)
def test_names_keep_their_letters(tmp_path, name, character_set):
    raw = name.encode("utf-8")
    source = source_file(
        tmp_path / "x.dcm", SpecificCharacterSet="ISO_IR 192", PatientName=("PN", raw)
    )
    for kind, dataset in write(source, tmp_path).items():
        assert str(dataset.PatientName) == name
        assert dataset.SpecificCharacterSet == character_set
        assert dicom_tools.faults(tmp_path / f"x.{kind}.dcm") == []


def test_a_name_that_cannot_be_read_is_left_out(tmp_path):
    source = source_file(
        tmp_path / "x.dcm", SpecificCharacterSet="ISO_IR 192", PatientName=("PN", b"M\xfcller")
    )
    written = write_results(source, answer(source), tmp_path, "x", ["sr"], moment=MOMENT)
    assert pydicom.dcmread(written.files["sr"]).PatientName == ""
    assert written.notes == ("(0010,0010) Patient's Name is not valid and was left out",)


@pytest.mark.parametrize("syntax", [IMPLICIT, DEFLATED, BIG_ENDIAN])
def test_every_native_encoding_gives_the_same_results(tmp_path, source, syntax):
    other = source_file(tmp_path / "y.dcm", transfer_syntax=syntax)
    write(source, tmp_path / "a")
    write(other, tmp_path / "b")
    for kind in RESULT_KINDS:
        ours = (tmp_path / "a" / f"x.{kind}.dcm").read_bytes()
        assert ours == (tmp_path / "b" / f"x.{kind}.dcm").read_bytes()


def test_no_warning_names_the_patient(tmp_path):
    source = source_file(tmp_path / "x.dcm", PatientName="SECRETNAME", PatientID="SECRETID")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        write(source, tmp_path)
    assert "SECRET" not in " ".join(str(warning.message) for warning in caught)


# Refusals


@pytest.mark.parametrize("uid", ["none", "1.2.840.10008.5.1.4.1.1.2", "1.2.3.4"])
def test_a_source_of_another_class_is_refused(tmp_path, uid):
    source = source_file(tmp_path / "x.dcm", SOPClassUID=uid)
    with pytest.raises(
        DicomError, match=rf"x\.dcm: .*SOP Class UID is '{uid}'; DICOM results refer"
    ):
        write_results(source, answer(source), tmp_path, "x", RESULT_KINDS, moment=MOMENT)


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"mask": np.zeros((4, 5), bool)}, r"picture \(4, 5\) but the radiograph is \(40, 50\)"),
        ({"frame": Frame(1, 2, 50)}, r"picture \(1, 2\) but the radiograph is \(40, 50\)"),
        ({"mask": np.zeros((40, 50), np.uint8)}, "the mask is uint8; it must be bool"),
        ({"probability": np.full((40, 50), 2, np.float32)}, "is not between 0 and 1"),
        ({"probability": np.full((40, 50), np.nan, np.float32)}, "is not between 0 and 1"),
        ({"score": -0.1}, "is not between 0 and 1"),
        ({"assessed": False, "flags": FLAGS}, "not assessed but its mask has [0-9]+ pixels"),
    ],
)
def test_an_answer_that_does_not_fit_is_refused(source, tmp_path, changes, match):
    with pytest.raises(UsageError, match=match):
        write(source, tmp_path / "out", **changes)
    assert not (tmp_path / "out").exists()


def test_unknown_kinds_and_unsafe_ids_are_refused(source, tmp_path):
    with pytest.raises(UsageError, match="there is no result 'pdf'; take any of seg, map, sr"):
        write_results(source, answer(source), tmp_path, "x", ["pdf"], moment=MOMENT)
    with pytest.raises(UsageError, match="is not an image id"):
        write_results(source, answer(source), tmp_path, "../x", RESULT_KINDS, moment=MOMENT)


def test_a_place_that_cannot_be_written_is_reported(source, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="could not be written"):
        write(source, tmp_path / "file")
    (tmp_path / "out" / "x.seg.dcm").mkdir(parents=True)
    with pytest.raises(OutputError, match="could not be written"):
        write(source, tmp_path / "out", empty=True)


# Judged by others


def judge(source: Path, folder: Path, empties: tuple[bool, ...] = (False, True)) -> None:
    """Every result of a file is valid and readable."""
    image_id = read_header(source).sop_instance_uid
    for empty in empties:
        found = answer(source, empty=empty)
        written = write_results(
            source, found, folder / str(empty), image_id, RESULT_KINDS, moment=MOMENT
        )
        for path in written.files.values():
            assert dicom_tools.faults(path) == [], path
            assert dicom_tools.run("dcmdump", path).returncode == 0
        assert dicom_tools.run("dsrdump", written.files["sr"]).returncode == 0
        picture = folder / "x.ppm"
        assert dicom_tools.run("dcmj2pnm", "+op", written.files["sc"], picture).returncode == 0
        if not empty:
            seg = segread(written.files["seg"])
            (series,) = seg.ReferencedSeriesSequence
            uid = series.ReferencedInstanceSequence[0].ReferencedSOPInstanceUID
            back = seg.get_pixels_by_source_instance([uid])[0, :, :, 0]
            assert np.array_equal(back, found.mask)


def test_a_hospitals_file_is_answered_validly(source, tmp_path):
    judge(source, tmp_path)


@pytest.mark.parametrize("uid", RADIOGRAPHS, ids=lambda uid: uid.keyword)
@pytest.mark.parametrize("orientation", ["L\\F", None])
@pytest.mark.parametrize("frame_of_reference", ["1.2.9", None])
@pytest.mark.slow
def test_every_class_of_radiograph_is_answered_validly(
    tmp_path, uid, orientation, frame_of_reference
):
    source = source_file(
        tmp_path / "x.dcm",
        SOPClassUID=str(uid),
        PatientOrientation=orientation,
        FrameOfReferenceUID=frame_of_reference,
        BodyPartExamined=None if orientation is None else "LUNG",
        PixelSpacing="0.1\\0.1",
    )
    judge(source, tmp_path)


@needs_data
@pytest.mark.slow
def test_all_real_radiographs_are_answered_validly(tmp_path):
    for number, path in enumerate(SOURCES):
        judge(path, tmp_path, (False, True) if number % 8 == 0 else (False,))


# Strangers


@pytest.mark.parametrize(
    "spacing", ["1e308\\1e308", "1e-308\\1e308", "0.2\\1e-300", "-1\\2", "a\\b", "0.2", "1e5\\1e5"]
)
def test_a_spacing_that_is_none_gives_no_area(tmp_path, spacing):
    source = source_file(tmp_path / "x.dcm", ImagerPixelSpacing=spacing)
    found = write(source, tmp_path)
    assert said(found["sr"], "Area") == []
    aspect = found["gsps"].DisplayedAreaSelectionSequence[0].PresentationPixelAspectRatio
    assert aspect == [1, 1]


def test_a_mask_of_noise_is_outlined_in_part_and_says_so(tmp_path):
    source = source_file(tmp_path / "x.dcm", np.zeros((128, 128), np.uint8))
    mask = np.zeros((128, 128), np.bool_)
    mask[::2, ::2] = True
    state = write(source, tmp_path, ["gsps"], mask=mask)["gsps"]
    (annotation,) = state.GraphicAnnotationSequence
    assert len(annotation.GraphicObjectSequence) == MOST_LINES
    (words,) = annotation.TextObjectSequence
    assert words.UnformattedTextValue.endswith("the 1000 longest outlines")


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_whatever_bytes_a_source_holds_it_is_answered_or_refused(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("fuzz")
    source = source_file(folder / "x.dcm")
    found = answer(source)
    content = bytearray(source.read_bytes())
    body = content.index(b"DICM") + 4
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(st.integers(body, len(content) - 4001))
        piece = data.draw(st.binary(min_size=1, max_size=12))
        content[at : at + len(piece)] = piece
    source.write_bytes(content)
    try:
        written = write_results(source, found, folder, "x", ["sr", "gsps"], moment=MOMENT)
    except (DicomError, UsageError):  # refused, or a picture of another size
        return
    for path in written.files.values():
        assert pydicom.dcmread(path).StudyInstanceUID


@pytest.mark.slow
def test_the_example_of_the_page(tiny_model, cohort, tmp_path, monkeypatch):
    page = Path(__file__).parents[2] / "docs/reference/dicom-results.md"
    (code,) = re.findall(r"^```python\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)
    shutil.copy(tiny_model, tmp_path / "model.h5")
    monkeypatch.chdir(tmp_path)
    seen = set()
    for radiograph in sorted(cohort.rglob("*.dcm"))[:8]:
        shutil.copy(radiograph, tmp_path / "radiograph.dcm")
        names: dict[str, Any] = {}
        exec(compile(code, str(page), "exec"), names)
        seen.add(tuple(names["written"].files))
        for path in names["written"].files.values():
            assert dicom_tools.faults(path) == []
    assert seen == {("seg", "sr", "gsps", "sc"), ("sr", "sc")}
