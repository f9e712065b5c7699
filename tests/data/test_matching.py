"""Masks and labels of other people, brought to the files that they are of."""

import json

import cv2
import numpy as np
import pytest

from pleura import config
from pleura.audit.report import audit_index
from pleura.data.index import build_index
from pleura.data.matching import ids_alike, match_keys, match_names
from pleura.data.sources import find_sources
from pleura.dicom.secondary import write_secondary_capture
from pleura.errors import AnnotationError, DataError
from pleura.formats.coco_writer import CocoMask, coco_text
from pleura.formats.mask_picture import write_mask_picture
from pleura.formats.nifti import write_nifti_mask
from pleura.formats.rle import mask2rle
from tests.dicom_files import make_dicom
from tests.records import make_record
from tests.results.made import MOMENT, answer, source_file, write_results

SHAPE = (64, 48)


def mask_of(seed):
    mask = np.zeros(SHAPE, np.bool_)
    mask[10 + seed : 20 + seed, 5:15] = True
    return mask


def picture(seed):
    rng = np.random.default_rng(seed)
    return cv2.resize(rng.integers(0, 255, (8, 6), dtype=np.uint8), SHAPE[::-1])


def write_radiograph(path, seed, uid, pixels=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    write_secondary_capture(
        path,
        picture(seed) if pixels is None else pixels,
        sop_uid=uid,
        study_uid="1.2.3",
        series_uid="1.2.3.4",
        patient_id=f"{seed}",
        patient_name="",
        age=38,
        sex="M",
        view="PA",
        spacing_mm=0.2,
    )


@pytest.fixture
def radiographs(tmp_path):
    """Three radiographs, named otherwise than their UIDs."""
    folder = tmp_path / "data"
    for number in range(3):
        write_radiograph(folder / "radiographs" / f"case_{number}.dcm", number, f"1.2.{number}")
    return folder


def index_of(folder, **settings):
    sources = find_sources(config.Data(path=str(folder), **settings))
    return build_index(sources, workers=1)


def codes(index, folder, **settings):
    audit = audit_index(index, find_sources(config.Data(path=str(folder), **settings)))
    return {finding.code: finding for finding in audit.findings}


def said(index):
    return {record.image_id: record.encoded_pixels for record in index.train}


WANTED = {"1.2.0": mask2rle(mask_of(0)), "1.2.1": "-1"}


def as_pictures(folder):
    write_mask_picture(folder / "masks" / "case_0.png", mask_of(0))
    write_mask_picture(folder / "masks" / "case_1_mask.tif", np.zeros(SHAPE, np.bool_))
    return {"annotations": str(folder / "masks")}


def as_nifti(folder):
    write_nifti_mask(folder / "masks" / "case_0.nii.gz", mask_of(0))
    write_nifti_mask(folder / "masks" / "case_1.nii", np.zeros(SHAPE, np.bool_))
    return {"annotations": str(folder / "masks")}


def as_coco(folder, *, polygons=True):
    items = [
        CocoMask("radiographs/case_0.png", mask_of(0)),
        CocoMask("radiographs/case_1.png", np.zeros(SHAPE, np.bool_)),
    ]
    text, lost = coco_text(items, polygons=polygons)
    assert lost == []
    (folder / "masks.json").write_text(text)
    return {"annotations": str(folder / "masks.json")}


def as_packed_coco(folder):
    return as_coco(folder, polygons=False)


def as_absolute_runs(folder):
    text = mask2rle(mask_of(0), form="absolute")
    (folder / "t.csv").write_text(f"img,rle\ncase_0.dcm,{text}\ncase_1.dcm,-1\n")
    columns = {"image_column": "img", "mask_column": "rle", "rle": "absolute"}
    return {"annotations": str(folder / "t.csv"), **columns}


@pytest.mark.parametrize("form", [as_pictures, as_nifti, as_coco, as_packed_coco, as_absolute_runs])
class TestForms:
    def test_each_form_gives_the_same_masks(self, form, radiographs):
        settings = form(radiographs)
        index = index_of(radiographs, **settings)
        assert said(index) == WANTED
        assert [record.image_id for record in index.unlabelled] == ["1.2.2"]
        assert index.bad_annotations == ()
        assert len(index.records) == 3

    def test_a_mask_of_another_size_is_a_finding_and_no_mask(self, form, radiographs):
        settings = form(radiographs)
        if form is as_absolute_runs:
            return  # a table of run lengths states no size: tests/formats/test_mask_size.py
        large = cv2.resize(picture(0), (96, 128))
        write_radiograph(radiographs / "radiographs" / "case_0.dcm", 0, "1.2.0", large)
        index = index_of(radiographs, **settings)
        assert said(index) == {"1.2.1": "-1"}
        finding = codes(index, radiographs, **settings)["another-size"]
        assert "the mask has 64 x 48 pixels (rows x columns), but its image has 128 x 96" in (
            finding.items[0].note
        )
        assert finding.figures["rows of the likely size"] == 64


def test_segmentations_are_of_the_radiograph_they_refer_to(tmp_path):
    folder = tmp_path / "data"
    (folder / "radiographs").mkdir(parents=True)
    path = source_file(folder / "radiographs" / "x.dcm")
    found = answer(path)
    write_results(path, found, folder / "seg", "x", {"seg", "map"}, moment=MOMENT)
    index = index_of(folder, annotations=str(folder / "seg"))
    (record,) = index.train
    assert record.encoded_pixels == mask2rle(found.mask)
    assert codes(index, folder)["probability-maps"].count == 1


def test_what_lies_among_masks_and_is_not_read_is_counted(radiographs, tmp_path):
    folder, masks = radiographs, tmp_path / "masks"
    write_mask_picture(masks / "case_0.png", mask_of(1))
    cv2.imwrite(str(masks / "case_1.jpg"), np.zeros(SHAPE, np.uint8))
    np.save(masks / "case_2.npy", mask_of(1))
    (masks / "read.md").write_text("of no account")
    index = index_of(folder, annotations=str(masks))
    finding = codes(index, folder, annotations=str(masks))["not-a-mask"]
    assert (finding.count, finding.items[0].note) == (2, "1 .jpg, 1 .npy")
    assert any("2 not-a-mask" in str(use) for use in index.tables)
    (masks / "case_0.png").unlink()
    with pytest.raises(AnnotationError, match=r"holds no mask .*, but 1 .jpg, 1 .npy, which are"):
        index_of(folder, annotations=str(masks))


def test_pictures_that_masks_name_are_radiographs_and_the_masks_are_none(tmp_path):
    folder = tmp_path / "data"
    for name in ("images/a_0000.png", "images/b.jpg", "images/other.png"):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), picture(len(name)))
    write_mask_picture(folder / "masks" / "a.png", mask_of(1))
    write_mask_picture(folder / "masks" / "b.png", mask_of(2))
    index = index_of(folder, annotations=str(folder / "masks"))
    assert said(index) == {"a_0000": mask2rle(mask_of(1)), "b": mask2rle(mask_of(2))}
    assert index.not_read == {".png": 1}


class TestNames:
    def test_a_name_that_several_files_have_means_none_of_them(self, radiographs):
        write_radiograph(radiographs / "more" / "case_0.dcm", 9, "1.2.9")
        table = radiographs / "t.csv"
        table.write_text("f,m\ncase_0.png,-1\ncase_1.png,-1\n")
        settings = {"annotations": str(table), "image_column": "f", "mask_column": "m"}
        index = index_of(radiographs, **settings)
        assert set(said(index)) == {"1.2.1"}
        assert "2 files have this name; say with `match` path" in index.bad_annotations[0].reason
        table.write_text("f,m\nmore/case_0.png,-1\ncase_1.png,-1\n")
        assert set(said(index_of(radiographs, **settings))) == {"1.2.9", "1.2.1"}

    def test_two_names_of_one_file_are_a_problem(self, radiographs):
        table = radiographs / "t.csv"
        table.write_text("f,m\ncase_0.png,1 2\n1.2.0,-1\ncase_1,-1\n")
        settings = {"annotations": str(table), "image_column": "f", "mask_column": "m"}
        index = index_of(radiographs, **settings)
        assert set(said(index)) == {"1.2.1"}
        assert "means the same file as" in index.bad_annotations[0].reason

    def test_what_is_named_is_what_is_tried(self):
        records = [make_record(image_id="1.2", path="/data/a/x.dcm")]
        for name, match in (("1.2", "uid"), ("x.png", "stem"), ("a/x.png", "path")):
            assert match_names([name], records, match).names == {name: "1.2"}
            assert match_names([name], records).names == {name: "1.2"}
        assert not match_names(["1.2"], records, "stem").names
        assert not match_names(["x"], records, "uid").names
        assert not match_names(["x", "b/x"], records, "path").names
        assert match_names(["root/data/a/x", "C:\\a\\x.png"], records, "path").names
        assert match_keys(["a/x"], ["C:\\a\\x.png"]).names == {"a/x": "C:\\a\\x.png"}

    def test_pictures_of_one_name_are_told_apart_by_their_path(self, tmp_path):
        folder = tmp_path / "data"
        for number in range(2):
            path = folder / f"p{number}" / "view1_frontal.jpg"
            path.parent.mkdir(parents=True)
            cv2.imwrite(str(path), picture(number))
        table = tmp_path / "labels.csv"
        table.write_text(
            "Path,Pneumothorax\nset/p0/view1_frontal.jpg,1\nset/p1/view1_frontal.jpg,0\n"
        )
        labels = config.Labels(table=str(table), id="Path", columns=["Pneumothorax"])
        index = index_of(folder, labels=labels, match="path")
        assert [(r.image_id, r.positive) for r in index.train] == [
            ("p0_view1_frontal", True),
            ("p1_view1_frontal", False),
        ]
        with pytest.raises(
            DataError, match=r"mean one file and say two things of it; .*`match` path"
        ):
            index_of(folder, labels=labels, match="stem")


def test_a_table_that_is_not_read_is_named(radiographs):
    (radiographs / "rooms.csv").write_text("a,b\n1,2\n")
    settings = as_coco(radiographs)
    index = index_of(radiographs, **settings)
    told = [f"{use}" for use in index.tables if use.unread]
    assert told == [
        f"{radiographs}/rooms.csv: this table is not used: nothing says what it is for; name it "
        "(`annotations`, `labels`, `patients`) if it counts"
    ]
    assert codes(index, radiographs, **settings)["unused-table"].items[0].id == "rooms.csv"


def test_a_category_has_to_be_named(radiographs):
    settings = as_coco(radiographs)
    content = json.loads((radiographs / "masks.json").read_text())
    content["categories"] = [{"id": 1, "name": "air"}, {"id": 2, "name": "lung"}]
    (radiographs / "masks.json").write_text(json.dumps(content))
    assert said(index_of(radiographs, **settings, mask_label="air")) == WANTED


def test_boxes_that_are_drawn_as_masks_are_named(tmp_path):
    folder, masks = tmp_path / "data", tmp_path / "masks"
    for number in range(12):
        write_radiograph(folder / f"case_{number}.dcm", number, f"1.2.{number}")
        mask = mask_of(number)
        mask[50:55, 30:40] = number % 2
        write_mask_picture(masks / f"case_{number}.png", mask)
    rows = "".join(f"1.2.{n},{mask2rle(mask_of(n))}\n" for n in range(12))
    (tmp_path / "t.csv").write_text(f"ImageId,EncodedPixels\n{rows}")
    for source in (masks, tmp_path / "t.csv"):
        index = index_of(folder, annotations=str(source))
        assert codes(index, folder)["boxes"].count == 12
        (use,) = index.tables
        assert str(use).startswith(f"{source}: 12 of 12 masks are upright rectangles, so they are")
    (masks / "case_11.png").unlink()
    (masks / "case_9.png").unlink()
    for number in (8, 10):
        write_mask_picture(masks / f"case_{number}.png", np.tri(*SHAPE, dtype=np.bool_))
    assert "rectangles" not in str(index_of(folder, annotations=str(masks)).tables)


def test_outlines_and_one_mask_for_all_are_named(tmp_path):
    folder, masks = tmp_path / "data", tmp_path / "masks"
    rows, columns = np.ogrid[: SHAPE[0], : SHAPE[1]]
    for number in range(12):
        write_radiograph(folder / f"case_{number}.dcm", number, f"1.2.{number}")
        far = np.hypot(rows - 26 - number, columns - 24)
        write_mask_picture(masks / f"case_{number}.png", (far < 20) & (far > 18.5))
    found = codes(index_of(folder, annotations=str(masks)), folder)
    assert found["outlines"].count == 12
    assert "same-mask" not in found
    for number in range(12):
        write_mask_picture(masks / f"case_{number}.png", np.hypot(rows - 26, columns - 24) < 20)
    index = index_of(folder, annotations=str(masks))
    assert codes(index, folder)["same-mask"].count == 12
    (use,) = index.tables
    assert str(use).startswith(f"{masks}: 12 of 12 masks are one and the same: each radiograph ha")


@pytest.mark.parametrize(
    ("name", "other", "said"),
    [
        ("7", "0007.png", "7 may be 0007.png, for tables of numbers lose leading zeros: write ids"),
        ("7.0", "x/7.png", "7.0 may be x/7.png, for tables of numbers write numbers as decimals"),
        (
            "IMG_1.png",
            "img_1",
            "IMG_1.png may be img_1, but for capital letters, which tell ids ap",
        ),
        ("1.2E+05", "120034", "1.2E+05 is a number that a spreadsheet rounded: write ids as text"),
        ("7.png", "7", ""),
        ("7", "7", ""),
        ("7.1", "7", ""),
        ("1.2.840.0", "1.2.840", ""),
    ],
)
def test_ids_that_programs_spoilt_are_likely_others(name, other, said):
    found = ids_alike([name], ["another", other])
    assert list(found) == [name] * bool(said)
    assert found.get(name, "").startswith(said)


@pytest.mark.parametrize("suffix", [".dcm", ".png"])
def test_an_accent_of_its_own_is_the_same_as_one_that_is_part_of_its_letter(suffix, tmp_path):
    pixels = picture(0)
    content = cv2.imencode(".png", pixels)[1].tobytes()
    if suffix == ".dcm":
        content = make_dicom(pixels, SOPInstanceUID="1.2.0")
    (tmp_path / f"ro\u0308ntgen{suffix}").write_bytes(content)
    table = tmp_path / "t.csv"
    table.write_text("name,EncodedPixels\nr\u00f6ntgen,0 9\n", "utf-8")
    index = index_of(tmp_path, annotations=str(table), image_column="name")
    assert list(said(index).values()) == ["0 9"]
    labels = config.Labels(table=str(tmp_path / "l.csv"), id="image")
    (tmp_path / "l.csv").write_text("image,pneumothorax\nr\u00f6ntgen.png,1\n", "utf-8")
    (record,) = index_of(tmp_path, labels=labels).train
    assert record.positive
