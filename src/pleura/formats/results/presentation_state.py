"""The mask's outline as a Grayscale Softcopy Presentation State, which a plain PACS shows.

Source: DICOM PS3.3 A.33.1, C.10.5 (graphic annotation), C.11.8 (softcopy VOI LUT).
"""

import numpy as np
from highdicom import VOILUT, ModalityLUT, ModalityLUTTransformation
from highdicom.pr import (
    GraphicAnnotation,
    GraphicLayer,
    GraphicObject,
    GrayscaleSoftcopyPresentationState,
    SoftcopyVOILUTTransformation,
    TextObject,
)
from pydicom.dataset import Dataset
from pydicom.valuerep import format_number_as_ds

from pleura.formats.grayscale import Grayscale, LookupTable, Rescale
from pleura.formats.results.detection import NOT_FOR_DIAGNOSIS, Detection
from pleura.formats.results.identity import Identity, say_where, settle
from pleura.formats.results.outline import outlines
from pleura.formats.results.segmentation import AMBER
from pleura.formats.results.source import Source

_LAYER = "PLEURA"
_TEXT_BOX = (0.01, 0.955, 0.75, 0.995)
"""(left, top, right, bottom) as shares of the display: along its lower edge, below the lungs."""


def contour_state(source: Source, detection: Detection, identity: Identity) -> Dataset:
    """Return a presentation state that shows the radiograph as its file asks, with the outline.

    Args:
        source: The radiograph.
        detection: An answer whose mask is not empty.
        identity: Of the result.
    """
    layer = GraphicLayer(
        layer_name=_LAYER, order=1, description="Outline by pleura", display_color=AMBER
    )
    lines = [GraphicObject("POLYLINE", line, units="PIXEL") for line in outlines(detection.mask)]
    words = f"Pneumothorax, probability {detection.score:.2f} - {NOT_FOR_DIAGNOSIS}"
    dataset = GrayscaleSoftcopyPresentationState(
        referenced_images=[source.nameless()],
        content_label="PNEUMOTHORAX",
        content_description=f"Pneumothorax, outline ({NOT_FOR_DIAGNOSIS.lower()})",
        graphic_layers=[layer],
        graphic_annotations=[
            GraphicAnnotation(
                referenced_images=[source.nameless()],
                graphic_layer=layer,
                graphic_objects=lines,
                text_objects=[TextObject(words, bounding_box=_TEXT_BOX, units="DISPLAY")],
            )
        ],
        modality_lut_transformation=_modality(source.rules),
        voi_lut_transformations=_voi(source.rules),
        **identity.arguments(),
    )
    say_where(dataset, source)
    dataset.PresentationLUTShape = "INVERSE" if source.rules.inverted else "IDENTITY"
    settle(dataset, source, identity)
    return dataset


def _modality(rules: Grayscale) -> ModalityLUTTransformation | None:
    if rules.modality == Rescale():
        return None
    if isinstance(rules.modality, LookupTable):
        return ModalityLUTTransformation(
            modality_lut=ModalityLUT(
                lut_type="US",
                first_mapped_value=rules.modality.first,
                lut_data=_entries(rules.modality),
            )
        )
    return ModalityLUTTransformation(
        rescale_intercept=float(format_number_as_ds(rules.modality.intercept)),
        rescale_slope=float(format_number_as_ds(rules.modality.slope)),
        rescale_type="US",
    )


def _voi(rules: Grayscale) -> list[SoftcopyVOILUTTransformation] | None:
    if rules.voi is None:
        return None
    if isinstance(rules.voi, LookupTable):
        table = VOILUT(first_mapped_value=rules.voi.first, lut_data=_entries(rules.voi))
        return [SoftcopyVOILUTTransformation(voi_luts=[table])]
    return [
        SoftcopyVOILUTTransformation(
            window_center=float(format_number_as_ds(rules.voi.center)),
            window_width=float(format_number_as_ds(rules.voi.width)),
            voi_lut_function=rules.voi_function,
        )
    ]


def _entries(table: LookupTable) -> np.ndarray:
    return table.entries.astype(np.uint8) if table.bits == 8 else table.entries
