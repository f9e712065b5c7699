"""The radiograph with the outline drawn in, as a Secondary Capture that every viewer shows.

Source: DICOM PS3.3 A.8.1 (Secondary Capture Image), PS3.5 8.2.1 (JPEG).
"""

from typing import TYPE_CHECKING

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import JPEGBaseline8Bit, SecondaryCaptureImageStorage

from pleura.dicom.own_result import MAKER, PICTURES
from pleura.dicom.square import squared
from pleura.inference.prediction import Prediction
from pleura.inference.tables import Provenance
from pleura.rendering.fonts import open_font
from pleura.rendering.overlay import overlay
from pleura.results.identity import Identity, say, say_where, settle
from pleura.results.source import SourceImage
from pleura.results.structured_report import area_mm2
from pleura.results.wording import NOT_FOR_DIAGNOSIS, short_warning, warning

if TYPE_CHECKING:
    from PIL.ImageFont import FreeTypeFont

_BAND = (17, 19, 22)
_TEXT = (218, 222, 226)
_WARNING = (255, 153, 28)
_QUALITY = 92
_SMALLEST_TEXT_PX = 9
_LEAST_COLUMNS = 256
_LETTERS = 64
"""What should fit into a line: the size of the letters follows from the width of the picture."""


def picture_capture(source: SourceImage, prediction: Prediction, identity: Identity) -> Dataset:
    """Return the picture with its outline and, in a band below it, what was found.

    Args:
        source: The radiograph.
        prediction: The answer; an empty mask leaves the picture as it is.
        identity: Of the result.
    """
    aspect = source.geometry.aspect
    drawn = overlay(squared(source.pixels, aspect), squared(prediction.mask, aspect))
    warnings = 1 if prediction.assessed else 2
    picture = with_band(drawn[:, :, ::-1], _lines(source, prediction, identity.made_with), warnings)
    dataset = _dataset(source, identity)
    dataset.DerivationDescription = PICTURES[0 if prediction.assessed else 1]
    dataset.Rows, dataset.Columns = picture.shape[:2]
    frame = bytes(
        imagecodecs.jpeg8_encode(picture, level=_QUALITY, colorspace="RGB", subsampling="422")
    )
    dataset.PixelData = encapsulate([frame])
    dataset["PixelData"].VR = "OB"
    dataset["PixelData"].is_undefined_length = True
    dataset.LossyImageCompression = "01"
    dataset.LossyImageCompressionRatio = f"{picture.size / len(frame):.2f}"
    dataset.LossyImageCompressionMethod = "ISO_10918_1"
    say(dataset, (*filter(None, [warning(prediction)]), *source.notes))
    settle(dataset, source, identity)
    return dataset


def with_band(picture: NDArray[np.uint8], lines: list[str], warnings: int = 1) -> NDArray[np.uint8]:
    """Return a picture with a dark band below it, and text there, so that it covers no anatomy.

    Args:
        picture: ``(rows, columns, 3)`` uint8, red, green, blue.
        lines: Each is broken where it is too long.
        warnings: So many of the first lines are written in amber.

    Returns:
        As wide as `picture`, or as can be read, and as much higher as the text needs.
    """
    from PIL import Image, ImageDraw

    columns = max(picture.shape[1], _LEAST_COLUMNS)
    beside = np.full((len(picture), columns - picture.shape[1], 3), _BAND, np.uint8)
    size = max(_SMALLEST_TEXT_PX, round(columns / _LETTERS * 1.6))
    font = open_font(size)
    margin = round(size * 0.6)
    written = [
        (piece, _WARNING if number < warnings else _TEXT)
        for number, line in enumerate(lines)
        for piece in _broken(line, font, columns - 2 * margin)
    ]
    step = round(size * 1.35)
    height = 2 * margin + step * len(written)
    image = Image.new("RGB", (columns, height), _BAND)
    draw = ImageDraw.Draw(image)
    for number, (piece, colour) in enumerate(written):
        draw.text((margin, margin + number * step), piece, colour, font)
    above = np.concatenate([picture, beside], axis=1)
    return np.concatenate([above, np.asarray(image, np.uint8)])


def _lines(source: SourceImage, prediction: Prediction, made_with: Provenance) -> list[str]:
    maker = f"{MAKER} {made_with.pleura}, model {made_with.model[:12]}"
    found = " · ".join(_found(source, prediction))
    first = f"{NOT_FOR_DIAGNOSIS} · research software"
    return [line for line in (first, found, short_warning(prediction), maker) if line]


def _found(source: SourceImage, prediction: Prediction) -> list[str]:
    if not prediction.assessed:
        return ["Pneumothorax: not assessed"]
    found = [f"Pneumothorax: {'found' if prediction.called == 'positive' else 'not found'}"]
    found.append(f"probability {prediction.score:.2f}")
    area = area_mm2(source, prediction)
    if prediction.area_px and area is not None:
        found.append(f"outlined {area / 100:.1f}\N{NO-BREAK SPACE}cm²")
    return found


def _dataset(source: SourceImage, identity: Identity) -> Dataset:
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    dataset.SOPClassUID = SecondaryCaptureImageStorage
    dataset.SOPInstanceUID = identity.uid
    dataset.SeriesInstanceUID = identity.series_uid
    dataset.SeriesNumber = identity.series_number
    dataset.SeriesDescription = identity.description
    dataset.Modality = "OT"
    say_where(dataset, source)
    dataset.ConversionType = "WSD"
    dataset.Manufacturer = dataset.ManufacturerModelName = MAKER
    dataset.SoftwareVersions = identity.made_with.pleura
    dataset.DeviceSerialNumber = identity.serial
    dataset.InstanceNumber = 1
    dataset.PatientOrientation = source.dataset.PatientOrientation
    dataset.ImageType = ["DERIVED", "SECONDARY"]
    reference = Dataset()
    reference.ReferencedSOPClassUID = source.dataset.SOPClassUID
    reference.ReferencedSOPInstanceUID = source.uid
    dataset.SourceImageSequence = [reference]
    # The band says nothing of the patient, but what the radiograph itself shows is not known.
    dataset.BurnedInAnnotation = source.burned_in or "YES"
    dataset.SamplesPerPixel = 3
    dataset.PhotometricInterpretation = "YBR_FULL_422"
    dataset.PlanarConfiguration = 0
    dataset.BitsAllocated = dataset.BitsStored = 8
    dataset.HighBit = 7
    dataset.PixelRepresentation = 0
    return dataset


def _broken(line: str, font: "FreeTypeFont", width: int) -> list[str]:
    pieces = [""]
    for word in line.split(" "):
        longer = f"{pieces[-1]} {word}".strip()
        if pieces[-1] and font.getlength(longer) > width:
            pieces.append(word)
        else:
            pieces[-1] = longer
    return pieces
