"""The outline of a mask, or that there is no answer, as a Grayscale Softcopy Presentation State.

Source: DICOM PS3.3 A.33.1, C.10.5 (graphic annotation), C.11.8 (softcopy VOI LUT).
"""

from highdicom.pr import (
    GraphicAnnotation,
    GraphicLayer,
    GraphicObject,
    GrayscaleSoftcopyPresentationState,
    TextObject,
)
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.valuerep import format_number_as_ds

from pleura.dicom.grayscale import Grayscale, LookupTable, Rescale, Window, as_one_table
from pleura.inference.prediction import Prediction
from pleura.results.identity import Identity, say_where, settle
from pleura.results.outline import outlines
from pleura.results.segmentation import AMBER
from pleura.results.source import SourceImage
from pleura.results.wording import NOT_FOR_DIAGNOSIS, short_warning

_LUT_DESCRIPTOR, _LUT_DATA = 0x00283002, 0x00283006
MOST_LINES = 1000
"""Of one presentation state: a mask of so many parts is noise, and viewers would stand still."""

_LAYER = "PLEURA"
_LINE_HEIGHT = 0.04
"""Of a line of text, as a share of the display, along whose lower edge, below the lungs, it is."""


def contour_state(source: SourceImage, prediction: Prediction, identity: Identity) -> Dataset:
    """Return a presentation state that shows the radiograph as its file asks, with the outline.

    Args:
        source: The radiograph.
        prediction: An answer whose mask is not empty, or an image that was not assessed: then the
            text alone says so, and why.
        identity: Of the result.
    """
    about = "Pneumothorax, outline" if prediction.assessed else "Pneumothorax: not assessed"
    layer = GraphicLayer(
        layer_name=_LAYER, order=1, description="Outline by pleura", display_color=AMBER
    )
    found = outlines(prediction.mask)
    said = f"Pneumothorax, probability {prediction.score:.2f}" if prediction.assessed else about
    said += f" - {NOT_FOR_DIAGNOSIS}"
    if len(found) > MOST_LINES:
        found = sorted(found, key=len, reverse=True)[:MOST_LINES]
        said += f" - the {MOST_LINES} longest outlines"
    lines = [GraphicObject("POLYLINE", line, units="PIXEL") for line in found]
    dataset = GrayscaleSoftcopyPresentationState(
        referenced_images=[source.nameless()],
        content_label="PNEUMOTHORAX" if prediction.assessed else "NOT_ASSESSED",
        content_description=f"{about} ({NOT_FOR_DIAGNOSIS.lower()})",
        graphic_layers=[layer],
        graphic_annotations=[
            GraphicAnnotation(
                referenced_images=[source.nameless()],
                graphic_layer=layer,
                graphic_objects=lines or None,
                text_objects=[_words(said, short_warning(prediction))],
            )
        ],
        **identity.arguments(),
    )
    say_where(dataset, source)
    dataset.DisplayedAreaSelectionSequence[0].PresentationPixelAspectRatio = [
        *source.geometry.aspect_ratio
    ]
    _add_grayscale(dataset, source.rules)
    settle(dataset, source, identity)
    return dataset


def _words(*lines: str) -> TextObject:
    said = [line for line in lines if line]
    top, right = 0.995 - _LINE_HEIGHT * len(said), 0.75 if len(said) == 1 else 0.99
    return TextObject(
        "\r\n".join(said),
        bounding_box=(0.01, top, right, 0.995),  # left, top, right, bottom
        units="DISPLAY",
        text_justification="LEFT",
    )


def _add_grayscale(dataset: Dataset, rules: Grayscale) -> None:
    """Say how stored values become grey: as the file does, and with pleura's window if it has none.

    A state takes tables of 8 or 16 bits that use all of their range. So tables of a file, which may
    have 9 to 15, become one of 16 bits, from stored values to grey.
    """
    if isinstance(rules.modality, LookupTable) or isinstance(rules.voi, LookupTable):
        item = Dataset()
        item.VOILUTSequence = [_table(as_one_table(rules))]
        dataset.SoftcopyVOILUTSequence = [item]
    else:
        _add_numbers(dataset, rules.modality, rules.voi, rules.voi_function)
    dataset.PresentationLUTShape = "INVERSE" if rules.inverted else "IDENTITY"


def _add_numbers(dataset: Dataset, modality: Rescale, voi: Window | None, function: str) -> None:
    if modality != Rescale():
        dataset.RescaleIntercept = format_number_as_ds(modality.intercept)
        dataset.RescaleSlope = format_number_as_ds(modality.slope)
        dataset.RescaleType = "US"
    if voi is not None:
        item = Dataset()
        item.WindowCenter = format_number_as_ds(voi.center)
        item.WindowWidth = format_number_as_ds(voi.width)
        item.VOILUTFunction = function
        dataset.SoftcopyVOILUTSequence = [item]


def _table(table: LookupTable) -> Dataset:
    """Return a table of 16 bits as the item of its sequence (PS3.3 C.11.2.1.1)."""
    item = Dataset()
    length = len(table.entries) % 65536  # 0 stands for 65,536
    vr = "SS" if table.first < 0 else "US"
    if vr == "SS":  # all three are signed then, so that a great length wraps
        length -= 65536 * (length > 32767)
    item.add(DataElement(_LUT_DESCRIPTOR, vr, [length, table.first, table.bits]))
    item.add(DataElement(_LUT_DATA, "OW", table.entries.astype("<u2").tobytes()))
    return item
