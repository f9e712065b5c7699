"""Every finding, planted into clean phantoms: it is found, and nothing else is."""

import re
import shutil
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import imagecodecs
import numpy as np
import pydicom
import pytest

from pleura import config
from pleura.audit.catalogue import catalogue
from pleura.audit.findings import Audit
from pleura.audit.report import audit_folder
from pleura.data.sources import find_sources
from pleura.dicom.radiograph import read_radiograph
from pleura.dicom.secondary import write_secondary_capture
from pleura.formats.rle import mask2rle, rle2mask
from pleura.synthesis.phantom import write_cohort

# pydicom warns of the very faults that are planted here.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:pydicom")

SIDE = 384


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """16 training and 4 test phantoms without a fault."""
    folder = tmp_path_factory.mktemp("clean") / "phantoms"
    write_cohort(folder, train=16, test=4, seed=5, size=SIDE, prevalence=0.5, clean=True, workers=1)
    return folder


class Plant:
    """A copy of the clean cohort that can be spoiled."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.table = folder / "train-rle.csv"
        self.train = sorted((folder / "dicom-images-train").rglob("*.dcm"))
        self.test = sorted((folder / "dicom-images-test").rglob("*.dcm"))

    def edit(self, path: Path, **values: object) -> None:
        """Change attributes of a file; None removes one."""
        data = pydicom.dcmread(path)
        for name, value in values.items():
            if value is None:
                delattr(data, name)
            else:
                with pydicom.config.disable_value_validation():
                    setattr(data, name, value)
        with pydicom.config.disable_value_validation():
            data.save_as(path)

    def copy(self, path: Path, pixels: np.ndarray | None = None, **values: object) -> Path:
        """Write a radiograph like that of `path` under a new id into its folder."""
        data, header = read_radiograph(path), pydicom.dcmread(path, stop_before_pixels=True)
        uid = values.pop("uid", f"2.25.{len(self.rows()) + 7}")
        options = {
            "sop_uid": uid,
            "study_uid": "2.25.1",
            "series_uid": "2.25.2",
            "patient_id": str(header.PatientID),
            "patient_name": "",
            "age": 40,
            "sex": str(header.PatientSex),
            "view": "PA",
            "spacing_mm": float(header.PixelSpacing[0]),
            "age_with_unit": True,
            **values,
        }
        target = path.parent / f"copy-{uid}.dcm"
        write_secondary_capture(target, data.pixels if pixels is None else pixels, **options)
        return target

    def redraw(self, path: Path, pixels: np.ndarray) -> None:
        """Put other pixels into a file."""
        header = pydicom.dcmread(path, stop_before_pixels=True)
        new = self.copy(path, pixels, uid=str(header.SOPInstanceUID))
        new.replace(path)

    def rows(self) -> list[tuple[str, str]]:
        lines = self.table.read_text().splitlines()[1:]
        return [(line.split(",")[0], line.split(",")[1]) for line in lines]

    def write(self, rows: list[tuple[str, str]], header: str = "ImageId,EncodedPixels") -> None:
        lines = [header] if header else []
        self.table.write_text("\n".join([*lines, *(",".join(row) for row in rows)]) + "\n")

    def add_row(self, image_id: str, text: str) -> None:
        self.write([*self.rows(), (image_id, text)])

    def map_patient(self, image_id: str, patient: str) -> None:
        table = self.folder / "patients.csv"
        table.write_text(table.read_text() + f"{image_id},{patient}\n")

    def patient(self, path: Path) -> str:
        return dict(
            line.split(",") for line in (self.folder / "patients.csv").read_text().splitlines()
        )[image_id(path)]

    def below(self, path: Path) -> str:
        return str(path.relative_to(self.folder))

    def ids(self) -> set[str]:
        return {image_id(path) for path in (*self.train, *self.test)}

    def of_patient(self, path: Path) -> list[str]:
        return [image_id(p) for p in self.train if self.patient(p) == self.patient(path)]

    def positive(self) -> tuple[int, str, np.ndarray]:
        """Return place, id and mask of the row with the largest mask."""
        rows = self.rows()
        masks = [rle2mask(text, (SIDE, SIDE)) for _, text in rows]
        place = int(np.argmax([mask.sum() for mask in masks]))
        return place, rows[place][0], masks[place]

    def remask(self, mask: np.ndarray) -> None:
        """Replace the largest mask."""
        rows = self.rows()
        place = self.positive()[0]
        rows[place] = (rows[place][0], mask2rle(mask))
        self.write(rows)

    def audit(self, **settings: str) -> Audit:
        sources = find_sources(config.Data(path=str(self.folder), **settings))
        return audit_folder(sources, workers=1)[0]


@pytest.fixture
def plant(clean: Path, tmp_path: Path) -> Plant:
    shutil.copytree(clean, tmp_path / "data")
    return Plant(tmp_path / "data")


Concerned = Iterable[str] | None
"""The ids that the finding must name, and no others; None: some of the cohort's."""


def image_id(path: Path) -> str:
    return path.stem


def codes(audit: Audit) -> dict[str, int]:
    return {finding.code: finding.count for finding in audit.findings}


def test_clean_phantoms_have_no_finding(plant: Plant) -> None:
    audit = plant.audit()
    assert codes(audit) == {}
    assert audit.counts.labelled == 16
    assert audit.counts.labelled_positive == 8
    assert audit.worst is None


# --------------------------------------------------------------------------------- files


def not_dicom(plant: Plant) -> Concerned:
    (plant.folder / "dicom-images-train" / "note.dcm").write_text("hello, this is no radiograph")
    return ["dicom-images-train/note.dcm"]


def truncated(plant: Plant) -> Concerned:
    whole = plant.train[0].read_bytes()
    (plant.train[0].parent / "half.dcm").write_bytes(whole[: len(whole) // 2])
    return [plant.below(plant.train[0].parent / "half.dcm")]


def own_result(plant: Plant) -> Concerned:
    path = plant.copy(plant.train[0], uid="2.25.98")
    plant.edit(path, Manufacturer="pleura", ManufacturerModelName="pleura")
    return [plant.below(path)]


def other_object(plant: Plant) -> Concerned:
    path = plant.copy(plant.train[0], uid="2.25.97")
    plant.edit(path, SOPClassUID="1.2.840.10008.5.1.4.1.1.66.4")
    return [plant.below(path)]


def damaged(plant: Plant) -> Concerned:
    path = plant.copy(plant.train[0], uid="2.25.99")
    content = path.read_bytes()
    at = content.rindex(b"\xfe\xff\x00\xe0")  # the one fragment
    path.write_bytes(content[: at + 4] + b"\xff\xff\xff\x0f" + content[at + 8 :])
    return [plant.below(path)]


def mislabelled(plant: Plant) -> Concerned:
    path = plant.copy(plant.train[0], uid="2.25.99")
    plant.edit(path, Rows=SIDE + 1)
    return [plant.below(path)]


def unreadable(plant: Plant) -> Concerned:
    path = plant.copy(plant.train[0], uid="2.25.99")
    plant.edit(path, NumberOfFrames="3")
    return [plant.below(path)]


def duplicate_uid(plant: Plant) -> Concerned:
    shutil.copy(plant.train[0], plant.train[0].parent / "again.dcm")
    return [plant.below(plant.train[0].parent / "again.dcm")]


def duplicate_pixels(plant: Plant) -> Concerned:
    path = plant.train[0].parent / "twin.dcm"
    shutil.copy(plant.train[0], path)
    plant.edit(path, SOPInstanceUID="2.25.77")
    return [plant.below(plant.train[0].parent / "twin.dcm")]


def contradicting_duplicates(plant: Plant) -> Concerned:
    path = plant.train[0].parent / "again.dcm"
    shutil.copy(plant.train[1], path)
    plant.edit(path, SOPInstanceUID=image_id(plant.train[0]))
    return [plant.below(max(path, plant.train[0]))]


def near_duplicates(plant: Plant) -> Concerned:
    pixels = read_radiograph(plant.train[0]).pixels
    small = cv2.resize(pixels, (SIDE - 40, SIDE - 40), interpolation=cv2.INTER_AREA)
    brighter = cv2.resize(cv2.convertScaleAbs(small, alpha=0.9, beta=12), (SIDE, SIDE))
    plant.copy(plant.train[0], brighter, uid="2.25.31", quality=60)
    label = dict(plant.rows())[image_id(plant.train[0])]
    plant.add_row("2.25.31", label)
    plant.map_patient("2.25.31", plant.patient(plant.train[0]))
    return [image_id(plant.train[0]), "2.25.31"]


def invalid_uid(plant: Plant) -> Concerned:
    old, new = image_id(plant.train[0]), "ID_0a1b2c3d4"
    plant.edit(plant.train[0], SOPInstanceUID=new)
    plant.write([(new if key == old else key, text) for key, text in plant.rows()])
    plant.map_patient(new, "00000001")
    return [new]


def shared_patient_id(plant: Plant) -> Concerned:
    for path in plant.train:
        plant.edit(path, PatientID="one")
    return map(image_id, plant.train)


def unique_patient_ids(plant: Plant) -> Concerned:
    for number, path in enumerate(plant.train):
        plant.edit(path, PatientID=f"patient {number}")
    return map(image_id, plant.train)


def patient_id_missing(plant: Plant) -> Concerned:
    plant.edit(plant.train[0], PatientID="")
    return [image_id(plant.train[0])]


def not_read(plant: Plant) -> Concerned:
    for name in ("a.png", "b.PNG", "notes.txt", "table.csv"):
        (plant.folder / name).write_bytes(b"nothing")
    (plant.folder / "DICOMDIR").write_bytes(plant.train[0].read_bytes())
    return [".png", "DICOMDIR"]


def foreign_table(plant: Plant) -> Concerned:
    (plant.folder / "tables").mkdir()
    (plant.folder / "patients.csv").rename(plant.folder / "tables" / "patients.csv")
    (plant.folder / "patients.csv").write_text("name,room\nDoe,7\n")
    return ["patients.csv"]


def unused_table(plant: Plant) -> Concerned:
    (plant.folder / "rooms.csv").write_text("name,room\nDoe,7\n")
    return ["rooms.csv"]


def some_patients(plant: Plant) -> Concerned:
    (plant.folder / "patients.csv").unlink()
    plant.edit(plant.train[0], PatientID="")
    return [image_id(plant.train[0])]


def mixed_encodings(plant: Plant) -> Concerned:
    decompress(plant.train[0])
    return [image_id(plant.train[0])]


def monochrome1(plant: Plant) -> Concerned:
    plant.redraw(plant.train[0], 255 - read_radiograph(plant.train[0]).pixels)
    plant.edit(plant.train[0], PhotometricInterpretation="MONOCHROME1")
    return [image_id(plant.train[0])]


def wrong_syntax(plant: Plant) -> Concerned:
    content = plant.train[0].read_bytes()
    (old,) = set(re.findall(rb"1\.2\.840\.10008\.1\.2\.4\.5[01]", content))
    plant.train[0].write_bytes(content.replace(old, old[:-2] + b"80"))
    return [image_id(plant.train[0])]


def loose_structure(plant: Plant) -> Concerned:
    content = plant.train[0].read_bytes()
    assert content.endswith(b"\xfe\xff\xdd\xe0\0\0\0\0")
    plant.train[0].write_bytes(content[:-8])
    return [image_id(plant.train[0])]


def bytes_ignored(plant: Plant) -> Concerned:
    for path in (*plant.train, *plant.test):
        decompress(path, bytes(512) if path == plant.train[0] else b"")
    return [image_id(plant.train[0])]


def id_elsewhere(plant: Plant) -> Concerned:
    content = plant.train[0].read_bytes()
    at = content.index(b"\x08\x00\x18\x00UI")
    end = at + 8 + int.from_bytes(content[at + 6 : at + 8], "little")
    plant.train[0].write_bytes(content[:at] + content[end:])
    return [image_id(plant.train[0])]


def odd_size(plant: Plant) -> Concerned:
    path = negative(plant)
    pixels = cv2.resize(read_radiograph(path).pixels, (SIDE, SIDE - 24))
    plant.redraw(path, pixels)
    return [image_id(path)]


def spacing_too_long(plant: Plant) -> Concerned:
    spacing = pydicom.dcmread(plant.train[0]).PixelSpacing[0]
    raw_spacing(plant.train[0], f"{float(spacing):.17f}")
    return [image_id(plant.train[0])]


def spacing_inconsistent(plant: Plant) -> Concerned:
    plant.edit(plant.train[0], PixelSpacing=["0.143", "0.143"])
    plant.edit(plant.train[1], PixelSpacing=["1", "1.2"])
    plant.edit(plant.train[2], PixelSpacing=["0", "0"])
    plant.edit(plant.train[3], PixelSpacing=["1", "1"])
    return map(image_id, plant.train[:4])


def number_form(plant: Plant) -> Concerned:
    spacing = str(pydicom.dcmread(plant.train[0]).PixelSpacing[0])
    raw_spacing(plant.train[0], spacing.replace(".", ","))
    return [image_id(plant.train[0])]


def unreadable_value(plant: Plant) -> Concerned:
    plant.edit(plant.train[0], WindowCenter="40", WindowWidth="0")
    return [image_id(plant.train[0])]


def table_label(plant: Plant) -> Concerned:
    table = pydicom.Dataset()
    table.LUTDescriptor = [256, 0, 16]
    table.LUTData = np.arange(256, dtype="<u2").tobytes()
    table["LUTData"].VR = "OW"
    plant.edit(plant.train[0], VOILUTSequence=[table])
    return [image_id(plant.train[0])]


def window_of_other_values(plant: Plant) -> Concerned:
    plant.edit(plant.train[0], WindowCenter="2048", WindowWidth="4096")
    return [image_id(plant.train[0])]


def geometry_contradicts(plant: Plant) -> Concerned:
    plant.edit(plant.train[0], PixelAspectRatio=["2", "1"])
    return [image_id(plant.train[0])]


def spacing_missing(plant: Plant) -> Concerned:
    plant.edit(plant.train[0], PixelSpacing=None)
    return [image_id(plant.train[0])]


def view_missing(plant: Plant) -> Concerned:
    plant.edit(plant.train[0], ViewPosition=None)
    return [image_id(plant.train[0])]


def lateral_view(plant: Plant) -> Concerned:
    plant.edit(plant.train[0], ViewPosition="LL")
    plant.edit(plant.train[1], ViewPosition="LLD")
    plant.edit(plant.train[2], PatientOrientation=["A", "F"])
    return map(image_id, plant.train[:3])


def not_chest(plant: Plant) -> Concerned:
    plant.edit(plant.train[0], BodyPartExamined="HAND")
    plant.edit(plant.train[1], Modality="CT")
    return map(image_id, plant.train[:2])


def for_processing(plant: Plant) -> Concerned:
    plant.edit(plant.train[0], PresentationIntentType="FOR PROCESSING")
    return [image_id(plant.train[0])]


def age_format(plant: Plant) -> Concerned:
    plant.edit(plant.train[0], PatientAge="38")
    return [image_id(plant.train[0])]


def age_implausible(plant: Plant) -> Concerned:
    plant.edit(plant.train[0], PatientAge="148Y")
    plant.edit(plant.train[1], PatientAge="oldY")
    plant.edit(plant.train[2], PatientAge="9" * 5000)
    return map(image_id, plant.train[:3])


# ------------------------------------------------------------------------------ pictures


def drawn(change: Callable[[np.ndarray], np.ndarray]) -> Callable[[Plant], Concerned]:
    """Return a plant that changes the picture of one image without a pneumothorax."""

    def spoil(plant: Plant) -> Concerned:
        path = negative(plant)
        plant.redraw(path, np.ascontiguousarray(change(read_radiograph(path).pixels)))
        return [image_id(path)]

    return spoil


def negative(plant: Plant) -> Path:
    labels = dict(plant.rows())
    return next(path for path in plant.train if labels[image_id(path)] == "-1")


def cropped(pixels: np.ndarray) -> np.ndarray:
    quarter = SIDE // 4
    inside = pixels[quarter : SIDE - quarter, quarter : SIDE - quarter]
    return cv2.resize(inside, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)


def framed(pixels: np.ndarray) -> np.ndarray:
    wide = SIDE // 8
    inside = cv2.resize(pixels, (SIDE - 2 * wide,) * 2, interpolation=cv2.INTER_AREA)
    return cv2.copyMakeBorder(inside, *([wide] * 4), cv2.BORDER_CONSTANT, value=255)


def burnt(pixels: np.ndarray) -> np.ndarray:
    return np.clip(pixels.astype(float) * 2.2, 0, 255).astype(np.uint8)


# --------------------------------------------------------------------------- annotations


def no_annotations(plant: Plant) -> Concerned:
    plant.table.unlink()
    return map(image_id, plant.train)


def absolute_form(plant: Plant) -> Concerned:
    masks = [(key, rle2mask(text, (SIDE, SIDE))) for key, text in plant.rows()]
    plant.write([(key, mask2rle(mask, form="absolute")) for key, mask in masks])
    return ["table"]


def malformed_rows(plant: Plant) -> Concerned:
    place, _, _ = plant.positive()
    rows = plant.rows()
    rows[place] = (rows[place][0], rows[place][1] + " 17")
    plant.write(rows)
    return [rows[place][0]]


def runs_outside(plant: Plant) -> Concerned:
    place, _, _ = plant.positive()
    rows = plant.rows()
    rows[place] = (rows[place][0], rows[place][1] + f" 1 {SIDE * SIDE}")
    plant.write(rows)
    return [rows[place][0]]


def another_size(plant: Plant) -> Concerned:
    _, key, mask = plant.positive()
    small = cv2.resize(mask.astype(np.uint8), (SIDE // 2, SIDE // 2))
    plant.remask(small.astype(bool))
    return [key]


def mixed_forms(plant: Plant) -> Concerned:
    _, key, mask = plant.positive()
    mask[:] = False
    mask[20:30, 1:7] = True  # so far to the left that it fits in either form
    text = mask2rle(mask, form="absolute")
    plant.write([(k, text if k == key else label) for k, label in plant.rows()])
    return [key]


def zero_runs(plant: Plant) -> Concerned:
    place, _, _ = plant.positive()
    rows = plant.rows()
    rows[place] = (rows[place][0], rows[place][1] + " 5 0")
    plant.write(rows)
    return [rows[place][0]]


def empty_beside_mask(plant: Plant) -> Concerned:
    plant.add_row(plant.positive()[1], "-1")
    return [plant.rows()[-1][0]]


def _masks_turned(plant: Plant, turned: Callable[[Any], Any]) -> Concerned:
    masks = [(key, rle2mask(text, (SIDE, SIDE))) for key, text in plant.rows()]
    plant.write([(key, mask2rle(np.ascontiguousarray(turned(mask)))) for key, mask in masks])
    return None


def missing_transpose(plant: Plant) -> Concerned:
    return _masks_turned(plant, np.transpose)


def upside_down_masks(plant: Plant) -> Concerned:
    return _masks_turned(plant, np.flipud)


def turned_masks(plant: Plant) -> Concerned:
    return _masks_turned(plant, lambda mask: np.rot90(mask, 3))


def unlabelled(plant: Plant) -> Concerned:
    first = plant.rows()[0][0]
    plant.write(plant.rows()[1:])
    return [first]


def rows_without_file(plant: Plant) -> Concerned:
    plant.add_row("2.25.4321", "-1")
    return ["2.25.4321"]


def annotated_test(plant: Plant) -> Concerned:
    plant.add_row(image_id(plant.test[0]), "-1")
    return [image_id(plant.test[0])]


def mask_outside_body(plant: Plant) -> Concerned:
    _, key, mask = plant.positive()
    corner = np.zeros_like(mask)
    corner[:20, :20] = True
    path = next(path for path in plant.train if image_id(path) == key)
    pixels = read_radiograph(path).pixels.copy()
    pixels[:40, :40] = 0
    plant.redraw(path, pixels)
    plant.remask(corner)
    return [key]


def huge_mask(plant: Plant) -> Concerned:
    key = plant.positive()[1]
    grown = cv2.dilate(np.ascontiguousarray(plant.positive()[2]).view(np.uint8), np.ones((9, 9)))
    while grown.mean() < 0.12:
        grown = cv2.dilate(grown, np.ones((9, 9)))
    plant.remask(grown.astype(bool))
    return [key]


def tiny_mask(plant: Plant) -> Concerned:
    _, key, mask = plant.positive()
    row, column = np.argwhere(mask)[int(mask.sum()) // 2]
    dot = np.zeros_like(mask)
    dot[row : row + 3, column : column + 3] = True
    plant.remask(dot)
    return [key]


def several_rows(plant: Plant) -> Concerned:
    place, key, mask = plant.positive()
    rows = plant.rows()
    half = np.flatnonzero(mask.any(axis=1))[mask.any(axis=1).sum() // 2]
    top, bottom = mask.copy(), mask.copy()
    top[half + 2 :] = False
    bottom[:half] = False
    rows[place] = (key, mask2rle(top))
    plant.write([*rows, (key, mask2rle(bottom))])
    return [key]


def repeated_rows(plant: Plant) -> Concerned:
    plant.write([*plant.rows(), plant.rows()[0]])
    return ["train-rle.csv"]


def touching_runs(plant: Plant) -> Concerned:
    place, key, _ = plant.positive()
    rows = plant.rows()
    start, length, *rest = rows[place][1].split()
    split = [start, "1", "0", str(int(length) - 1), *rest]
    rows[place] = (key, " ".join(split))
    plant.write(rows)
    return [key]


def header_variant(plant: Plant) -> Concerned:
    plant.write(plant.rows(), header="ImageId, EncodedPixels")
    return ["train-rle.csv"]


def no_header(plant: Plant) -> Concerned:
    plant.write(plant.rows(), header="")
    return ["train-rle.csv"]


def byte_order_mark(plant: Plant) -> Concerned:
    plant.table.write_bytes(b"\xef\xbb\xbf" + plant.table.read_bytes())
    return ["train-rle.csv"]


def empty_mark_variant(plant: Plant) -> Concerned:
    plant.write([(key, " -1" if text == "-1" else text) for key, text in plant.rows()])
    return ["train-rle.csv"]


# --------------------------------------------------------------------------------- leaks


def test_in_train(plant: Plant) -> Concerned:
    shutil.copy(plant.train[0], plant.test[0].parent / "leak.dcm")
    return [image_id(plant.train[0])]


test_in_train.__test__ = False  # type: ignore[attr-defined]


def near_duplicates_across_parts(plant: Plant) -> Concerned:
    pixels = cv2.convertScaleAbs(read_radiograph(plant.train[0]).pixels, alpha=0.92, beta=5)
    plant.copy(plant.train[0], pixels, uid="2.25.32", quality=70).replace(
        plant.test[0].parent / "leak.dcm"
    )
    return [image_id(plant.train[0]), "2.25.32"]


def patients_across_parts(plant: Plant) -> Concerned:
    plant.map_patient(image_id(plant.test[0]), plant.patient(plant.train[0]))
    return [image_id(plant.test[0]), *plant.of_patient(plant.train[0])]


def no_patients(plant: Plant) -> Concerned:
    (plant.folder / "patients.csv").unlink()
    for path in (*plant.train, *plant.test):
        plant.edit(path, PatientID="")
    return map(image_id, plant.train)


def unmapped_patients(plant: Plant) -> Concerned:
    table = plant.folder / "patients.csv"
    *lines, gone = table.read_text().splitlines()
    table.write_text("\n".join(lines) + "\n")
    return [gone.split(",")[0]]


def submission_repeats_ids(plant: Plant) -> Concerned:
    (plant.folder / "sample_submission.csv").write_text(
        "ImageId,EncodedPixels\na,-1\nb,-1\nb,-1\nc,-1\n"
    )
    return ["b"]


# ------------------------------------------------------------------------------- balance


def one_class(plant: Plant) -> Concerned:
    plant.write([(key, "-1") for key, _ in plant.rows()])
    return ["label"]


def shortcut(plant: Plant) -> Concerned:
    """Many more, so that the association is sure: those of men all have a pneumothorax."""
    rng = np.random.default_rng(0)
    rows = plant.rows()
    masks = [text for _, text in rows if text != "-1"]
    for number in range(24):
        uid, ill = f"2.25.{5000 + number}", number % 2 == 0
        source = read_radiograph(plant.train[number % 16]).pixels
        bend = rng.normal(0, 0.02 * SIDE, (2, 4, 4)).astype(np.float32)
        across, down = (cv2.resize(b, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC) for b in bend)
        grid = np.mgrid[0:SIDE, 0:SIDE].astype(np.float32)
        pixels = cv2.remap(source, grid[1] + across, grid[0] + down, cv2.INTER_LINEAR)
        plant.copy(plant.train[number % 16], pixels, uid=uid, sex="M" if ill else "F")
        rows.append((uid, masks[number % len(masks)] if ill else "-1"))
        plant.map_patient(uid, f"extra {number}")
    plant.write(rows)
    labels = dict(rows)
    for path in plant.train:
        plant.edit(path, PatientSex="F" if labels[image_id(path)] == "-1" else "M")
    return ["sex"]


def decompress(path: Path, more: bytes = b"") -> None:
    """Write a file's pixels uncompressed, with more bytes behind them."""
    data = pydicom.dcmread(path)
    data.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    data["PixelData"].is_undefined_length = False
    data.PixelData = read_radiograph(path).pixels.tobytes() + more
    data.save_as(path, enforce_file_format=True)


def raw_spacing(path: Path, text: str) -> None:
    """Write a spacing longer than pydicom would."""
    content = path.read_bytes()
    at = content.index(b"\x28\x00\x30\x00DS")
    length = int.from_bytes(content[at + 6 : at + 8], "little")
    value = f"{text}\\{text}".encode()
    value += b" " * (len(value) % 2)
    head = content[: at + 6] + len(value).to_bytes(2, "little") + value
    path.write_bytes(head + content[at + 8 + length :])


PLANTS: dict[str, Callable[[Plant], Concerned]] = {
    function.__name__.replace("_", "-"): function
    for function in (
        not_dicom,
        truncated,
        damaged,
        mislabelled,
        own_result,
        other_object,
        unreadable,
        contradicting_duplicates,
        duplicate_uid,
        duplicate_pixels,
        near_duplicates,
        invalid_uid,
        shared_patient_id,
        unique_patient_ids,
        patient_id_missing,
        not_read,
        foreign_table,
        unused_table,
        mixed_encodings,
        monochrome1,
        wrong_syntax,
        loose_structure,
        bytes_ignored,
        id_elsewhere,
        odd_size,
        number_form,
        unreadable_value,
        table_label,
        window_of_other_values,
        geometry_contradicts,
        spacing_too_long,
        spacing_inconsistent,
        spacing_missing,
        view_missing,
        lateral_view,
        not_chest,
        for_processing,
        age_format,
        age_implausible,
        no_annotations,
        absolute_form,
        malformed_rows,
        runs_outside,
        another_size,
        mixed_forms,
        zero_runs,
        empty_beside_mask,
        missing_transpose,
        upside_down_masks,
        turned_masks,
        unlabelled,
        rows_without_file,
        annotated_test,
        mask_outside_body,
        huge_mask,
        tiny_mask,
        several_rows,
        repeated_rows,
        touching_runs,
        header_variant,
        no_header,
        byte_order_mark,
        empty_mark_variant,
        test_in_train,
        near_duplicates_across_parts,
        patients_across_parts,
        no_patients,
        some_patients,
        unmapped_patients,
        submission_repeats_ids,
        one_class,
        shortcut,
    )
} | {
    "blank": drawn(lambda pixels: np.full_like(pixels, 90)),
    "inverted": drawn(lambda pixels: 255 - pixels),
    "upside-down": drawn(lambda pixels: pixels[::-1]),
    "rotated": drawn(np.rot90),
    "mirrored": drawn(lambda pixels: pixels[:, ::-1]),
    "hard-cropped": drawn(cropped),
    "saturated": drawn(burnt),
    "low-contrast": drawn(lambda pixels: (110 + pixels // 12).astype(np.uint8)),
    "burned-in-border": drawn(framed),
}

COUNTS = {
    "shared-patient-id": 16,
    "unique-patient-ids": 16,
    "spacing-inconsistent": 4,
    "not-chest": 2,
    "age-implausible": 3,
    "lateral-view": 3,
    "not-read": 3,
    "no-annotations": 16,
    "absolute-form": 8,
    "missing-transpose": None,
    "upside-down-masks": None,
    "turned-masks": None,
    "empty-mark-variant": 8,
    "no-patients": 16,
    "one-class": 16,
}
"""Where one plant makes more than one of its kind; None: at least one."""


ALSO = {
    "not-read": {"unused-table": 1},
    "no-patients": {"patient-id-missing": 20},
    "some-patients": {"patient-id-missing": 1},
    "spacing-inconsistent": {"unreadable-value": 1},
}
"""What a plant cannot be without."""


@pytest.mark.parametrize("code", PLANTS)
def test_what_is_planted_is_found_and_nothing_else(code: str, plant: Plant) -> None:
    concerned = PLANTS[code](plant)
    audit = plant.audit()
    found = codes(audit)
    assert set(found) == {code, *ALSO.get(code, {})}
    if COUNTS.get(code, 1) is not None:
        assert found.items() >= {code: COUNTS.get(code, 1), **ALSO.get(code, {})}.items()
    (finding,) = [finding for finding in audit.findings if finding.code == code]
    named = {item.id for item in finding.items}
    assert named == set(concerned) if concerned is not None else named <= plant.ids()
    assert all(set(item.others) <= plant.ids() | named for item in finding.items)


def test_the_size_that_masks_were_made_for_is_named(plant: Plant) -> None:
    small = [(key, mask2rle(rle2mask(text, (SIDE, SIDE))[::2, ::2])) for key, text in plant.rows()]
    plant.write(small)
    (finding, *_) = [f for f in plant.audit().findings if f.code == "another-size"]
    assert (finding.count, finding.figures) == (
        8,
        {"rows of the likely size": SIDE // 2, "columns of the likely size": SIDE // 2},
    )
    assert "was likely made for a picture of 192 x 192 (rows x columns)" in finding.items[0].note
    assert "but its image has 384 x 384; resize the mask" in finding.items[0].note


def fold_table(plant: Plant, folds: dict[str, int]) -> str:
    path = plant.folder / "folds.csv"
    lines = [f"{key},{folds.get(key, 0)}" for key, _ in plant.rows()]
    path.write_text("\n".join(["image_id,fold", *lines]) + "\n")
    return str(path)


def test_a_fold_table_that_splits_a_patient(plant: Plant) -> None:
    patients = {image_id(path): plant.patient(path) for path in plant.train}
    several = next(p for p in patients.values() if list(patients.values()).count(p) > 1)
    first = next(key for key, patient in patients.items() if patient == several)
    audit = plant.audit(fold_table=fold_table(plant, {first: 1}))
    assert codes(audit) == {"fold-splits-patients": 1}
    assert first in {item.id for item in audit.findings[0].items}


def test_a_fold_table_that_splits_a_cluster(plant: Plant) -> None:
    near_duplicates(plant)
    table = plant.folder / "patients.csv"
    *lines, last = table.read_text().splitlines()
    table.write_text("\n".join([*lines, f"{last.split(',')[0]},somebody else"]) + "\n")
    audit = plant.audit(fold_table=fold_table(plant, {"2.25.31": 1}))
    assert codes(audit) == {"fold-splits-clusters": 1, "near-duplicates": 1}


def test_near_duplicates_with_two_labels_disagree(plant: Plant) -> None:
    near_duplicates(plant)
    old = image_id(plant.train[0])
    text = mask2rle(plant.positive()[2]) if dict(plant.rows())[old] == "-1" else "-1"
    rows = [(key, text if key == "2.25.31" else label) for key, label in plant.rows()]
    plant.write(rows)
    assert codes(plant.audit()) == {"near-duplicates-disagree": 1, "near-duplicates": 1}


def test_every_code_is_planted() -> None:
    elsewhere = {"fold-splits-patients", "fold-splits-clusters", "near-duplicates-disagree"}
    elsewhere |= {
        "probability-maps",
        "not-a-mask",
        "boxes",
        "outlines",
        "same-mask",
    }  # tests/data/test_matching.py
    elsewhere |= {"common-pixels", "impossible-mask"}  # tests/formats/test_mask_doubts.py
    elsewhere |= {"other-structures", "contrary-column"}  # tests/formats/test_mask_columns.py
    elsewhere |= {"several-readers", "readers-disagree"}  # tests/audit/test_report.py
    elsewhere |= {"tables-disagree"}  # tests/data/test_table_use.py
    elsewhere |= {"masks-of-others", "mirrored-masks"}  # tests/audit/test_lung_fit.py
    elsewhere |= {"plain-picture"}  # below
    # Those of a table of image labels, in tests/data/test_image_labels.py.
    elsewhere |= {code for code in catalogue() if code.startswith(("label-", "labels-", "box-"))}
    assert set(PLANTS) | elsewhere == set(catalogue())


def test_pictures_are_audited_as_dicom_files_are(plant: Plant, tmp_path: Path) -> None:
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for number, path in enumerate(plant.train):
        pixels = read_radiograph(path).pixels
        content = imagecodecs.png_encode(255 - pixels if number == 0 else pixels)
        (pictures / f"{image_id(path)}.png").write_bytes(content)
    audit = audit_folder(find_sources(config.Data(path=str(pictures))), workers=1)[0]
    found = {finding.code: finding for finding in audit.findings}
    assert found["plain-picture"].count == len(plant.train)
    assert [item.id for item in found["inverted"].items] == [image_id(plant.train[0])]


def test_headers_alone_find_what_headers_say(plant: Plant) -> None:
    duplicate_pixels(plant)
    plant.edit(plant.train[0], ViewPosition="LL")
    sources = find_sources(config.Data(path=str(plant.folder)))
    audit, index = audit_folder(sources, pixels=False, workers=1)
    assert codes(audit) == {"lateral-view": 1, "unlabelled": 1}
    assert index.records[0].pixel_hash == ""


def test_the_paths_do_not_matter(plant: Plant) -> None:
    sources = find_sources(config.Data(path=str(plant.folder)))
    assert codes(audit_folder(replace(sources, root=Path("/nowhere")), workers=1)[0]) == {}
