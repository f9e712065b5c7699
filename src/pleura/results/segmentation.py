"""The mask and the probability map as DICOM Segmentations.

SourceImage: DICOM PS3.3 A.51 and C.8.20.
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
    return _segmentation(source, identity, prediction.mask[None], "BINARY")


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
    return _segmentation(source, identity, probability[None], "FRACTIONAL")


def _segmentation(
    source: SourceImage, identity: Identity, frames: NDArray[Any], how: str
) -> Dataset:
    label = "Pneumothorax" if how == "BINARY" else "Pneumothorax probability"
    description = SegmentDescription(
        segment_number=1,
        segment_label=label,
        segmented_property_category=_ABNORMAL,
        segmented_property_type=PNEUMOTHORAX,
        algorithm_type="AUTOMATIC",
        algorithm_identification=AlgorithmIdentificationSequence(
            name=MAKER,
            family=codes.DCM.ArtificialIntelligence,
            version=identity.made_with.pleura,
            parameters=identity.parameters,
        ),
        display_color=AMBER,
    )
    dataset = Segmentation(
        source_images=[source.nameless()],
        pixel_array=frames,
        segmentation_type=how,
        segment_descriptions=[description],
        max_fractional_value=_LEVELS,
        omit_empty_frames=False,
        content_label="PNEUMOTHORAX",
        content_description=f"{label} ({NOT_FOR_DIAGNOSIS.lower()})",
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
