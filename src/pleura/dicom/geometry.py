"""How large the pixels of a radiograph are, from all that its file says of it, and what to believe.

Four elements hold a distance between pixels, each in a plane of its own: in the patient, at the
detector, on a radiograph that was scanned. Where none does, a fifth may say what shape pixels have.

Source: DICOM PS3.3 10.7 (pixel spacing and its calibration), C.7.6.3.1.7 (pixel aspect ratio),
C.8.7.5 (estimated radiographic magnification factor).
"""

import functools
from dataclasses import dataclass
from fractions import Fraction

from pleura.dicom.elements import DataSet
from pleura.dicom.limits import GREATEST_ASPECT
from pleura.dicom.values import age_years, decimals_if_readable, name, text

PIXEL_SPACING, IMAGER_PIXEL_SPACING = 0x00280030, 0x00181164
SPACINGS = (PIXEL_SPACING, IMAGER_PIXEL_SPACING, 0x00182010)
"""With Nominal Scanned Pixel Spacing last: of a radiograph that was scanned."""

CALIBRATION_TYPE, MAGNIFICATION, ASPECT_RATIO = 0x00280A02, 0x00181114, 0x00280034
PATIENT_AGE = 0x00101010

LEAST_RADIOGRAPH_MM = 200.0
"""The longer side of the smallest chest radiograph, a child's."""

LEAST_ADULT_RADIOGRAPH_MM = 250.0
"""The same of somebody of `ADULT_YEARS` or more: the chest alone is that wide."""

MOST_RADIOGRAPH_MM = 600.0
ADULT_YEARS = 15
MOST_MAGNIFIED = 2.0
_ALIKE = 0.01
"""Spacings that differ by less are the same one, rounded."""


@dataclass(frozen=True, slots=True)
class Geometry:
    """How large a pixel is.

    Attributes:
        spacing_mm: Distance between (rows, columns) in mm, as the element `tag` says it; None where
            no element holds two positive numbers.
        tag: That element: the first of `SPACINGS` that is believed, else the first; 0 where there
            is none.
        calibrated: Whether that is a distance in the patient, and not one at the detector or
            radiograph.
        magnification: How much larger the patient is cast on the detector; 1.0 where the file does
            not say, or where the spacing is free of it.
        aspect: Height of a pixel divided by its width, 0.1 to 10; 1.0 where nothing says another.
        doubt: Why no length or area is to be taken from the spacing; "" where nothing speaks
            against it.
    """

    spacing_mm: tuple[float, float] | None = None
    tag: int = 0
    calibrated: bool = False
    magnification: float = 1.0
    aspect: float = 1.0
    doubt: str = ""

    @property
    def measure_mm(self) -> tuple[float, float] | None:
        """Distance between (rows, columns) in mm to measure with; None where there is none."""
        if self.spacing_mm is None or self.doubt:
            return None
        rows, columns = self.spacing_mm
        return rows / self.magnification, columns / self.magnification

    @property
    def aspect_ratio(self) -> tuple[int, int]:
        """Height and width of a pixel as whole numbers."""
        return Fraction(self.aspect).limit_denominator(1000).as_integer_ratio()

    @property
    def origin(self) -> str:
        """Where `measure_mm` is from and in which plane, in words."""
        if self.calibrated:
            return f"{name(self.tag)}, calibrated to the patient"
        if self.magnification != 1:
            return f"{name(self.tag)} divided by {name(MAGNIFICATION)} {self.magnification:g}"
        return f"{name(self.tag)}; not corrected for magnification"


def geometry_of(data: DataSet, rows: int, columns: int) -> Geometry:
    """Return how large the pixels of a picture are; what cannot be so is noted.

    Args:
        data: Its elements.
        rows: Height of the picture in pixels, and `columns` its width.
        columns: Width.
    """
    years = age_years(text(data, PATIENT_AGE))
    found = [
        (pair, tag, _doubt(pair, tag, rows, columns, years))
        for tag in SPACINGS
        if tag in data.elements and (pair := _pair(data, tag)) is not None
    ]
    if not found:
        return Geometry(aspect=_aspect(data, None, 0))
    spacing, tag, doubt = next((one for one in found if not one[2]), found[0])
    if tag != found[0][1]:
        data.note("geometry-contradicts", f"{found[0][2]}; {name(tag)} counts")
    calibrated = tag == PIXEL_SPACING and _is_calibrated(data, spacing)
    return Geometry(
        spacing_mm=spacing,
        tag=tag,
        calibrated=calibrated,
        magnification=1.0 if calibrated else _magnification(data, spacing, tag),
        aspect=_aspect(data, spacing, tag),
        doubt=doubt,
    )


def least_radiograph_mm(years: int | None) -> float:
    """Return the least length that the longer side of somebody's chest radiograph has.

    Args:
        years: Age; None where it is not known.
    """
    adult = years is not None and years >= ADULT_YEARS
    return LEAST_ADULT_RADIOGRAPH_MM if adult else LEAST_RADIOGRAPH_MM


def believed_mm(
    spacing: tuple[float, float], rows: int, columns: int
) -> tuple[float, float] | None:
    """Return the spacing of a mask's pixels, (rows, columns) in mm; None where it cannot be so.

    Args:
        spacing: As its file says it.
        rows: Height of the mask in pixels, and `columns` its width.
        columns: Width.
    """
    believed = min(spacing) > 0 and not _doubt(spacing, PIXEL_SPACING, rows, columns, None)
    return spacing if believed else None


def _pair(data: DataSet, tag: int) -> tuple[float, float] | None:
    """Return the two positive numbers of an element; anything else that it holds is noted."""
    if tag not in data.elements:
        return None
    found = decimals_if_readable(data, tag)
    if len(found) == 2 and min(found) > 0:
        return found[0], found[1]
    if found:
        held = "\\".join(f"{number:g}" for number in found[:4])
        data.note(
            "unreadable-value", f"{name(tag)} is {held}, not two positive numbers; it is left out"
        )
    return None


def _is_calibrated(data: DataSet, spacing: tuple[float, float]) -> bool:
    """Return whether Pixel Spacing is a distance in the patient.

    It is where it says how it was calibrated, or is less than at the detector: a patient is nearer
    to the source, and cast larger.
    """
    if text(data, CALIBRATION_TYPE).upper() in ("GEOMETRY", "FIDUCIAL"):
        return True
    at_detector = _pair(data, IMAGER_PIXEL_SPACING)
    if at_detector is None or _alike(spacing, at_detector):
        return False
    cast = [at / own for at, own in zip(at_detector, spacing, strict=True)]
    if 1 < min(cast) <= max(cast) <= MOST_MAGNIFIED:
        return True
    data.note(
        "geometry-contradicts",
        f"{name(PIXEL_SPACING)} {_shown(spacing)} contradicts {name(IMAGER_PIXEL_SPACING)}"
        f" {_shown(at_detector)}: a patient is cast 1 to {MOST_MAGNIFIED:g} times as large; the"
        " former counts",
    )
    return False


def _magnification(data: DataSet, spacing: tuple[float, float], tag: int) -> float:
    """Return the magnification of a spacing that is one at the detector, else 1."""
    if MAGNIFICATION not in data.elements:
        return 1.0
    found = decimals_if_readable(data, MAGNIFICATION)
    if not found:
        return 1.0
    if len(found) != 1 or not 1 <= found[0] <= MOST_MAGNIFIED:
        data.note(
            "unreadable-value",
            f"{name(MAGNIFICATION)} is {found[0]:g}, no number from 1 to {MOST_MAGNIFIED:g}; it is"
            " left out",
        )
        return 1.0
    at_detector = _pair(data, IMAGER_PIXEL_SPACING)
    known = at_detector is not None and _alike(spacing, at_detector)
    return found[0] if tag == IMAGER_PIXEL_SPACING or known else 1.0


def _aspect(data: DataSet, spacing: tuple[float, float] | None, tag: int) -> float:
    """Return the height of a pixel divided by its width, from a spacing, else from the ratio."""
    ratio = _pair(data, ASPECT_RATIO)
    shape = spacing or ratio or (1.0, 1.0)
    if spacing is not None and ratio is not None and not _same_shape(spacing, ratio):
        data.note(
            "geometry-contradicts",
            f"{name(ASPECT_RATIO)} {ratio[0]:g}:{ratio[1]:g} contradicts {name(tag)}"
            f" {_shown(spacing)}; the latter counts",
        )
    aspect = shape[0] / shape[1]
    if 1 / GREATEST_ASPECT <= aspect <= GREATEST_ASPECT:
        return aspect
    data.note(
        "geometry-contradicts",
        f"{name(tag or ASPECT_RATIO)} makes a pixel {shape[0]:g} high and {shape[1]:g} wide, as"
        " none of a radiograph is; it is taken for square",
    )
    return 1.0


@functools.lru_cache(maxsize=256)
def _doubt(
    spacing: tuple[float, float], tag: int, rows: int, columns: int, years: int | None
) -> str:
    if spacing == (1.0, 1.0):
        return (
            f"its {name(tag)} is 1 x 1 mm, which programs write if they know none: no detector and"
            " no scanner has such pixels"
        )
    longest = max(rows * spacing[0], columns * spacing[1])
    least = least_radiograph_mm(years)
    if least <= longest <= MOST_RADIOGRAPH_MM:
        return ""
    whose = (
        "an adult's chest radiograph"
        if least == LEAST_ADULT_RADIOGRAPH_MM
        else "a chest radiograph"
    )
    return (
        f"by its {name(tag)} the picture is {longest / 10:.3g} cm long, and {whose} has"
        f" {least / 10:g} to {MOST_RADIOGRAPH_MM / 10:g}: it was resized, perhaps, and kept its "
        "spacing"
    )


def _alike(one: tuple[float, float], other: tuple[float, float]) -> bool:
    return all(abs(a - b) <= _ALIKE * max(a, b) for a, b in zip(one, other, strict=True))


def _same_shape(one: tuple[float, float], other: tuple[float, float]) -> bool:
    a, b = one[0] / one[1], other[0] / other[1]
    return abs(a - b) <= _ALIKE * max(a, b)


def _shown(spacing: tuple[float, float]) -> str:
    return f"{spacing[0]:g} x {spacing[1]:g} mm"
