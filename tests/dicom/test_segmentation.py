"""DICOM Segmentations as other programs write them."""

import time
from functools import partial

import imagecodecs
import numpy as np
import pydicom
import pytest
from highdicom.seg import Segmentation, SegmentDescription
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.sr.codedict import codes
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    RLELossless,
    generate_uid,
)

from pleura.dicom.segmentation import is_segmentation, read_segmentation
from pleura.errors import AnnotationError
from tests.results.made import source_file

SHAPE = (40, 50)


def square(top):
    mask = np.zeros(SHAPE, np.bool_)
    mask[top : top + 6, 4:30] = True
    return mask


def write(path, planes, names, kind="BINARY", of=codes.SCT.Tissue, **more):
    source = pydicom.dcmread(source_file(path.with_name("source.dcm")))
    source.Rows, source.Columns = planes[0].shape
    descriptions = [
        SegmentDescription(
            segment_number=number,
            segment_label=name,
            segmented_property_category=codes.SCT.MorphologicallyAbnormalStructure,
            segmented_property_type=of,
            algorithm_type="MANUAL",
        )
        for number, name in enumerate(names, 1)
    ]
    dataset = Segmentation(
        source_images=[source],
        pixel_array=np.stack(planes, -1)[None],
        segmentation_type=kind,
        segment_descriptions=descriptions,
        series_instance_uid=generate_uid(),
        series_number=1,
        sop_instance_uid=generate_uid(),
        instance_number=1,
        manufacturer="somebody",
        manufacturer_model_name="x",
        software_versions="1",
        device_serial_number="1",
        **more,
    )
    dataset.save_as(path)
    return path


@pytest.mark.parametrize("kind", ["BINARY", "LABELMAP"])
def test_the_segment_that_is_called_so_is_read(kind, tmp_path):
    path = write(tmp_path / "s.dcm", [square(2), square(20)], ["Lung", "Left pneumothorax"], kind)
    assert is_segmentation(path)
    (found,) = read_segmentation(path)
    assert found.image_id == "1.2.3.4.5"
    np.testing.assert_array_equal(found.mask, square(20))
    (found,) = read_segmentation(path, "1")
    np.testing.assert_array_equal(found.mask, square(2))


def test_segments_that_are_not_called_so_have_to_be_named(tmp_path):
    path = write(tmp_path / "s.dcm", [square(2), square(20)], ["Lung", "Air"])
    with pytest.raises(AnnotationError, match=r"segments are 1 Lung, 2 Air; name .* `mask_label`"):
        read_segmentation(path)
    np.testing.assert_array_equal(read_segmentation(path, "Air")[0].mask, square(20))


@pytest.mark.parametrize(
    ("called", "of"), [("Lung", codes.SCT.Tissue), ("Segment_1", codes.SCT.Lung)]
)
def test_a_segment_alone_that_is_of_something_else_has_to_be_named(called, of, tmp_path):
    path = write(tmp_path / "s.dcm", [square(2)], [called], of=of)
    with pytest.raises(AnnotationError, match=rf"segments are 1 {called}; name .* `mask_label`"):
        read_segmentation(path)
    np.testing.assert_array_equal(read_segmentation(path, called)[0].mask, square(2))
    path = write(tmp_path / "t.dcm", [square(2)], ["Right pneumothorax"], of=of)
    np.testing.assert_array_equal(read_segmentation(path)[0].mask, square(2))


@pytest.mark.parametrize(
    ("spacing", "believed"), [([7.0, 6.5], (7.0, 6.5)), ([1, 1], None), ([0.2, 0.2], None)]
)
def test_a_spacing_and_how_it_was_made_are_read_where_they_are_said(spacing, believed, tmp_path):
    path = tmp_path / "s.dcm"
    write(path, [square(3)], ["Pneumothorax"])
    dataset = pydicom.dcmread(path)
    measures = Dataset()
    measures.PixelSpacing = spacing
    dataset.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence = [measures]
    dataset.SegmentSequence[0].SegmentAlgorithmType = "AUTOMATIC"
    dataset.SegmentSequence[0].SegmentAlgorithmName = "nnU-Net"
    dataset.save_as(path)
    (found,) = read_segmentation(path)
    assert found.spacing_mm == believed
    assert found.algorithm == ("AUTOMATIC", "nnU-Net")


def test_a_share_of_a_pixel_is_inside_from_more_than_half(tmp_path):
    planes = [square(2) * 0.6 + square(20) * 0.4]
    options = {"fractional_type": "OCCUPANCY"}
    path = write(tmp_path / "s.dcm", planes, ["Air"], "FRACTIONAL", **options)
    np.testing.assert_array_equal(read_segmentation(path)[0].mask, square(2))
    options = {"fractional_type": "PROBABILITY"}
    path = write(tmp_path / "s.dcm", planes, ["Air"], "FRACTIONAL", **options)
    assert read_segmentation(path) == []


def test_what_is_no_segmentation_is_refused(tmp_path):
    path = source_file(tmp_path / "x.dcm")
    assert not is_segmentation(path)
    with pytest.raises(AnnotationError, match="is DICOM, but no segmentation"):
        read_segmentation(path)
    path.write_bytes(b"nothing")
    with pytest.raises(AnnotationError, match="is not DICOM"):
        read_segmentation(path)


def test_what_refers_to_no_radiograph_is_refused(tmp_path):
    path = write(tmp_path / "s.dcm", [square(2)], ["Air"])
    dataset = pydicom.dcmread(path)
    for name in ("ReferencedSeriesSequence", "SourceImageSequence"):
        if name in dataset:
            delattr(dataset, name)
    for group in dataset.PerFrameFunctionalGroupsSequence:
        if "DerivationImageSequence" in group:
            del group.DerivationImageSequence
    if "DerivationImageSequence" in dataset.SharedFunctionalGroupsSequence[0]:
        del dataset.SharedFunctionalGroupsSequence[0].DerivationImageSequence
    dataset.save_as(path)
    with pytest.raises(AnnotationError, match="which radiograph"):
        read_segmentation(path)


ODD = np.arange(35).reshape(5, 7) % 3 == 0
"""A mask whose frames do not end with a byte."""


def odd_file(path, kind="BINARY"):
    """Write a file of three frames: another segment, and two of the one that is wanted."""
    planes = [~ODD, ODD & (np.arange(7) < 4), np.zeros_like(ODD)]
    names = ["Lung", "Left pneumothorax", "Heart"]
    return write(path, planes, names, kind, omit_empty_frames=False), planes[1]


@pytest.mark.parametrize(
    "syntax", [ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian]
)
@pytest.mark.parametrize("kind", ["BINARY", "LABELMAP"])
def test_frames_that_are_not_compressed_are_read_in_every_encoding(tmp_path, syntax, kind):
    path, mask = odd_file(tmp_path / "s.dcm", kind)
    original = pydicom.dcmread(path)
    dataset = Dataset()  # one that does not hold to how it was read
    for element in original:
        dataset.add(element)
    dataset["PixelData"].VR = "OB"
    dataset.file_meta = original.file_meta
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.save_as(path)
    assert is_segmentation(path)
    np.testing.assert_array_equal(read_segmentation(path)[0].mask, mask)


@pytest.mark.parametrize("how", ["RLE", "JPEG 2000", "JPEG 2000 in fragments"])
def test_frames_that_are_compressed_are_read_each_for_itself(tmp_path, how):
    planes = [np.where(square(2), 0.8, 0.2), np.where(square(20), 0.9, 0.4)]
    names = ["Lung", "Pneumothorax"]
    options = {"fractional_type": "OCCUPANCY"}
    path = write(tmp_path / "s.dcm", planes, names, "FRACTIONAL", **options)
    dataset = pydicom.dcmread(path)
    if how == "RLE":
        dataset.compress(RLELossless, generate_instance_uid=False)
    else:
        encode = partial(imagecodecs.jpeg2k_encode, codecformat="j2k", reversible=True)
        frames = [bytes(encode(frame)) for frame in dataset.pixel_array]
        count = 3 if "fragments" in how else 1
        dataset.PixelData = encapsulate(frames, fragments_per_frame=count, has_bot=False)
        dataset["PixelData"].is_undefined_length = True
        dataset.file_meta.TransferSyntaxUID = JPEG2000Lossless
    dataset.save_as(path)
    np.testing.assert_array_equal(read_segmentation(path)[0].mask, square(20))


def changed(path, change):
    dataset = pydicom.dcmread(path)
    change(dataset)
    dataset.save_as(path)
    return path


def lossy(dataset):
    frame = imagecodecs.jpeg8_encode(np.zeros(SHAPE, np.uint8))
    dataset.BitsAllocated = dataset.BitsStored = 8
    dataset.HighBit = 7
    dataset.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    dataset.PixelData = encapsulate([frame])
    dataset["PixelData"].is_undefined_length = True


def fragments_of_nothing(dataset):
    lossy(dataset)
    dataset.PixelData = encapsulate([b"\1\2", b"\3\4", b"\5\6"])
    dataset["PixelData"].is_undefined_length = True


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: setattr(d, "NumberOfFrames", 5000), "states 5,000 frames of 40 x 50"),
        (
            lambda d: setattr(d, "Rows", 41),
            "has 250 bytes, but 1 frames of 41 x 50 pixels of 1 bit",
        ),
        (lambda d: setattr(d, "BitsAllocated", 4), "Bits Allocated is 4; frames of 1, 8 and 16"),
        (lambda d: delattr(d, "Rows"), r"\(0028,0010\) Rows is missing or empty"),
        (lossy, "compressed with loss, which moves the edges"),
        (fragments_of_nothing, "has 3 fragments for 1 frames, and where each begins cannot be"),
        (lambda d: setattr(d, "SegmentSequence", []), "its segments are none; name the one"),
    ],
)
def test_what_its_frames_cannot_be_is_refused_in_a_sentence(tmp_path, change, message):
    path = changed(write(tmp_path / "s.dcm", [square(2)], ["Air"]), change)
    with pytest.raises(AnnotationError, match=rf"^{path}: .*{message}"):
        read_segmentation(path)


def test_a_segments_name_is_read_in_the_characters_of_the_file(tmp_path):
    path = write(tmp_path / "s.dcm", [square(2), square(20)], ["Lunge", "Luft außen"])
    dataset = pydicom.dcmread(path)
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.SegmentSequence[1].SegmentLabel = "Luft außen"
    dataset.save_as(path)
    np.testing.assert_array_equal(read_segmentation(path, "Luft außen")[0].mask, square(20))


def test_items_without_end_are_walked_in_no_time(tmp_path):
    """A thousand sequences within each other keep a reader that recurses busy for half a minute."""
    content = write(tmp_path / "s.dcm", [square(2)], ["Air"]).read_bytes()
    deep = b"\x09\x00\x01\x10SQ\0\0\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff" * 5000
    at = content.index(b"\x10\x00\x10\x00PN")
    path = tmp_path / "deep.dcm"
    path.write_bytes(content[:at] + deep + content[at:])
    begun = time.monotonic()
    with pytest.raises(AnnotationError, match="sequences are nested deeper than 64"):
        read_segmentation(path)
    assert time.monotonic() - begun < 2
