"""The answer as a Structured Report: an Imaging Measurement Report of one group.

Source: DICOM PS3.16 TID 1500, 1410, 1501, 4019; PS3.3 A.35.3 (Comprehensive SR).
"""

from typing import Any

from highdicom.sr import (
    AlgorithmIdentification,
    ComprehensiveSR,
    DeviceObserverIdentifyingAttributes,
    Measurement,
    MeasurementReport,
    MeasurementsAndQualitativeEvaluations,
    ObservationContext,
    ObserverContext,
    PlanarROIMeasurementsAndQualitativeEvaluations,
    QualitativeEvaluation,
    ReferencedSegmentationFrame,
    SourceImageForMeasurementGroup,
    SourceImageForSegmentation,
    TextContentItem,
    TrackingIdentifier,
)
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from pleura.dicom.geometry import Geometry
from pleura.dicom.own_result import MAKER
from pleura.inference.prediction import Called, Prediction
from pleura.results.identity import Identity, settle
from pleura.results.segmentation import PNEUMOTHORAX
from pleura.results.source import SourceImage
from pleura.results.wording import NOT_FOR_DIAGNOSIS, warning

PRESENT = Code("52101004", "SCT", "Present")
ABSENT = Code("2667000", "SCT", "Absent")
NOT_EVALUATED = Code("373121007", "SCT", "Not Evaluated")
PROBABILITY = Code("122157", "DCM", "Probability")
AREA = Code("42798000", "SCT", "Area")
COMMENT = Code("121106", "DCM", "Comment")

_ANSWERS: dict[Called, Code] = {
    "positive": PRESENT,
    "negative": ABSENT,
    "not assessed": NOT_EVALUATED,
}
_RADIOGRAPHY = Code("399208008", "SCT", "Plain chest X-ray")
_IMAGING = Code("363679005", "SCT", "Imaging")  # what was not assessed may be anything
_REPORT = Code("126000", "DCM", "Imaging Measurement Report")
_RATIO = Code("1", "UCUM", "no units")
_SQUARE_MM = Code("mm2", "UCUM", "square millimeter")


def measurement_report(
    source: SourceImage, prediction: Prediction, identity: Identity, segmentation: Dataset | None
) -> Dataset:
    """Return the report: pneumothorax present, absent or not evaluated, and by what.

    Where it was not assessed there is no measurement, and a comment says why.

    Args:
        source: The radiograph.
        prediction: The answer.
        identity: Of the result.
        segmentation: The mask as written beside the report, to refer to; None where there is none.
    """
    group = _group(source, prediction, identity, segmentation)
    for sentence in _sentences(source, prediction):
        group[0].ContentSequence.append(TextContentItem(COMMENT, sentence, "CONTAINS"))
    report = MeasurementReport(
        observation_context=_observer(identity),
        procedure_reported=_RADIOGRAPHY if prediction.assessed else _IMAGING,
        imaging_measurements=[group],
        title=_REPORT,
    )
    evidence = [source.nameless()] if segmentation is None else [source.nameless(), segmentation]
    dataset = ComprehensiveSR(
        evidence=evidence,
        content=report[0],
        is_complete=True,
        is_final=True,
        is_verified=False,
        **identity.arguments(),
    )
    settle(dataset, source, identity)
    return dataset


def area_mm2(source: SourceImage, prediction: Prediction) -> float | None:
    """Return the mask's area, None where no spacing is known or believed."""
    measure = source.geometry.measure_mm
    return None if measure is None else prediction.area_px * measure[0] * measure[1]


def _observer(identity: Identity) -> ObservationContext:
    return ObservationContext(
        observer_device_context=ObserverContext(
            observer_type=codes.DCM.Device,
            observer_identifying_attributes=DeviceObserverIdentifyingAttributes(
                uid=identity.device_uid,
                name=MAKER,
                manufacturer_name=MAKER,
                model_name=f"{MAKER} {identity.made_with.pleura}",
            ),
        )
    )


def _group(
    source: SourceImage, prediction: Prediction, identity: Identity, segmentation: Dataset | None
) -> MeasurementsAndQualitativeEvaluations | PlanarROIMeasurementsAndQualitativeEvaluations:
    shared: dict[str, Any] = {
        "tracking_identifier": TrackingIdentifier(
            identifier="Pneumothorax", uid=identity.other("tracking")
        ),
        # An absent finding is no finding: whoever lists findings must not list it.
        "finding_type": PNEUMOTHORAX if prediction.called == "positive" else None,
        "algorithm_id": AlgorithmIdentification(
            name=MAKER,
            version=identity.made_with.pleura,
            parameters=[f"{key}: {value}" for key, value in identity.parameters.items()],
        ),
        "measurements": _measurements(source, prediction),
        "qualitative_evaluations": [
            QualitativeEvaluation(PNEUMOTHORAX, _ANSWERS[prediction.called])
        ],
    }
    image = (source.dataset.SOPClassUID, source.uid)
    if segmentation is None:
        return MeasurementsAndQualitativeEvaluations(
            source_images=[SourceImageForMeasurementGroup(*image)], **shared
        )
    reference = ReferencedSegmentationFrame(
        segmentation.SOPClassUID,
        segmentation.SOPInstanceUID,
        frame_number=1,
        segment_number=1,
        source_image=SourceImageForSegmentation(*image),
    )
    # A segment says which frames are its own; a number of both is more than the standard allows.
    del reference[0].ReferencedSOPSequence[0].ReferencedFrameNumber
    return PlanarROIMeasurementsAndQualitativeEvaluations(referenced_segment=reference, **shared)


def _measurements(source: SourceImage, prediction: Prediction) -> list[Measurement] | None:
    if not prediction.assessed:
        return None
    measurements = [Measurement(PROBABILITY, round(prediction.score, 6), _RATIO)]
    area = area_mm2(source, prediction)
    if area is not None and prediction.area_px:
        measurements.append(Measurement(AREA, round(area, 3), _SQUARE_MM))
    return measurements


def _sentences(source: SourceImage, prediction: Prediction) -> list[str]:
    words = [f"{NOT_FOR_DIAGNOSIS}: {MAKER} is research software and not a medical device."]
    if warning(prediction):
        words.append(f"{warning(prediction)}.")
    if prediction.area_px:
        words.append(_about_area(source.geometry, prediction.area_px))
    return [*words, *source.notes]


def _about_area(geometry: Geometry, area_px: int) -> str:
    if geometry.measure_mm is None:
        return f"No area in mm2 is given: {geometry.doubt or 'the file states no pixel spacing'}."
    rows, columns = geometry.measure_mm
    return f"Area of {area_px} pixels of {rows:.6g} x {columns:.6g} mm, from {geometry.origin}."
