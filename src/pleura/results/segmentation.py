"""The mask and the probability map as DICOM Segmentations.

Source: DICOM PS3.3 A.51 and C.8.20.
"""

from typing import Any

import numpy as np
from highdicom import AlgorithmIdentificationSequence
from highdicom.color import CIELabColor
from highdicom.seg import Segmentation, SegmentDescription
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from pleura.dicom.own_result import MAKER
from pleura.inference.prediction import Prediction
from pleura.results.identity import Identity, say, settle
from pleura.results.source import SourceImage
from pleura.results.wording import NOT_FOR_DIAGNOSIS

PNEUMOTHORAX = Code("36118008", "SCT", "Pneumothorax")
AMBER = CIELabColor(72.0, 25.0, 72.0)
"""The colour of pleura's outlines, for viewers that follow a recommendation."""

_ABNORMAL = Code("49755003", "SCT", "Morphologically Abnormal Structure")
_LEVELS = 255


def mask_segmentation(source: SourceImage, prediction: Prediction, identity: Identity) -> Dataset:
    """Return the mask as a BINARY segmentation of one frame.

    Args:
        source: The radiograph.
        prediction: An answer whose mask is not empty.
        identity: Of the result.
    """
    segment = _segment("Pneumothorax", _made_by(identity))
    return _segmentation(source, prediction.mask[None], segment, identity)


def map_segmentation(
    source: SourceImage, probability: NDArray[np.float32], identity: Identity
) -> Dataset:
    """Return the probability map as a FRACTIONAL segmentation, in steps of 1/255.

    A Parametric Map would hold floats, but it is defined for sources with a place in space only.

    Args:
        source: The radiograph.
        probability: ``(rows, columns)`` float32, 0..1.
        identity: Of the result.
    """
    segment = _segment("Pneumothorax probability", _made_by(identity))
    return _segmentation(source, probability[None], segment, identity)


def drawn_segmentation(
    source: SourceImage,
    mask: NDArray[np.bool_],
    identity: Identity,
    *,
    automatic: bool,
    algorithm: tuple[str, str] = ("", ""),
) -> Dataset:
    """Return a mask that came in another form as a BINARY segmentation of one frame.

    A mask that pleura predicted is AUTOMATIC, and one of another segmentation is what that said.
    Who drew any other one is not known here. It is written as MANUAL, because every other word
    needs the name of an algorithm beside it.

    Args:
        source: The radiograph.
        mask: ``(rows, columns)`` of its pixels; an empty one says that there is none.
        identity: Of the file.
        automatic: Whether pleura answered it.
        algorithm: How another segmentation says that it was made, and by what.
    """
    segment = _segment("Pneumothorax", _made_by(identity) if automatic else None)
    dataset = _segmentation(source, mask[None], segment, identity)
    if algorithm[0] and not automatic:
        (item,) = dataset.SegmentSequence
        item.SegmentAlgorithmType = algorithm[0]
        item.SegmentAlgorithmName = algorithm[1] or "not named"
    return dataset


def _made_by(identity: Identity) -> AlgorithmIdentificationSequence:
    return AlgorithmIdentificationSequence(
        name=MAKER,
        family=codes.DCM.ArtificialIntelligence,
        version=identity.made_with.pleura,
        parameters=identity.parameters,
    )


def _segment(
    label: str, algorithm: AlgorithmIdentificationSequence | None = None
) -> SegmentDescription:
    return SegmentDescription(
        segment_number=1,
        segment_label=label,
        segmented_property_category=_ABNORMAL,
        segmented_property_type=PNEUMOTHORAX,
        algorithm_type="MANUAL" if algorithm is None else "AUTOMATIC",
        algorithm_identification=algorithm,
        display_color=AMBER,
    )


def _segmentation(
    source: SourceImage, frames: NDArray[Any], segment: SegmentDescription, identity: Identity
) -> Dataset:
    dataset = Segmentation(
        source_images=[source.nameless()],
        pixel_array=frames,
        segmentation_type="BINARY" if frames.dtype == np.bool_ else "FRACTIONAL",
        segment_descriptions=[segment],
        max_fractional_value=_LEVELS,
        omit_empty_frames=False,
        content_label="PNEUMOTHORAX",
        content_description=f"{segment.segment_label} ({NOT_FOR_DIAGNOSIS.lower()})",
        **identity.arguments(),
    )
    # An image without a place in space needs to say how it lies (General Image, type 2C).
    dataset.PatientOrientation = source.dataset.PatientOrientation
    organization = identity.other("dimension")
    dataset.DimensionOrganizationSequence[0].DimensionOrganizationUID = organization
    for item in dataset.DimensionIndexSequence:
        item.DimensionOrganizationUID = organization
    if source.geometry.aspect != 1:  # measures would say it too: docs/reference/dicom-results.md
        dataset.PixelAspectRatio = [*source.geometry.aspect_ratio]
    dataset.BurnedInAnnotation = "NO"  # a mask shows nothing that the picture says
    say(dataset, source.notes)
    settle(dataset, source, identity)
    return dataset
