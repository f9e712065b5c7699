"""The mask's outline as a Grayscale Softcopy Presentation State, which a plain PACS shows.

Source: DICOM PS3.3 A.33.1, C.10.5 (graphic annotation), C.11.8 (softcopy VOI LUT).
"""

from fractions import Fraction

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

from pleura.formats.grayscale import Grayscale, LookupTable, Rescale, Window, as_one_table
from pleura.formats.results.detection import NOT_FOR_DIAGNOSIS, Detection
from pleura.formats.results.identity import Identity, say_where, settle
from pleura.formats.results.outline import outlines
from pleura.formats.results.segmentation import AMBER
from pleura.formats.results.source import Source

_LUT_DESCRIPTOR, _LUT_DATA = 0x00283002, 0x00283006
_GREATEST_ASPECT = 10
MOST_LINES = 1000
"""Of one presentation state: a mask of so many parts is noise, and viewers would stand still."""

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
    found = outlines(detection.mask)
    said = f"Pneumothorax, probability {detection.score:.2f} - {NOT_FOR_DIAGNOSIS}"
    if len(found) > MOST_LINES:
        found = sorted(found, key=len, reverse=True)[:MOST_LINES]
        said += f" - the {MOST_LINES} longest outlines"
    lines = [GraphicObject("POLYLINE", line, units="PIXEL") for line in found]
    words = TextObject(said, bounding_box=_TEXT_BOX, units="DISPLAY", text_justification="LEFT")
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
                text_objects=[words],
            )
        ],
        **identity.arguments(),
    )
    say_where(dataset, source)
    dataset.DisplayedAreaSelectionSequence[0].PresentationPixelAspectRatio = _aspect(source)
    _add_grayscale(dataset, source.rules)
    settle(dataset, source, identity)
    return dataset


def _aspect(source: Source) -> list[int]:
    """Return (height, width) of a pixel as whole numbers; square where the file says no other."""
    height, width = source.spacing_mm or (1.0, 1.0)
    ratio = height / width
    if not 1 / _GREATEST_ASPECT <= ratio <= _GREATEST_ASPECT:  # no radiograph's
        return [1, 1]
    return list(Fraction(ratio).limit_denominator(1000).as_integer_ratio())


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
