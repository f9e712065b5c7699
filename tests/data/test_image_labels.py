from dataclasses import replace

import cv2
import numpy as np
import pytest

from pleura import config
from pleura.audit.report import audit_index
from pleura.data.arrays import open_prepared, write_prepared
from pleura.data.folds import assign_folds
from pleura.data.index import build_index
from pleura.data.patients import nih_patient, read_drawn_on
from pleura.data.prepare import prepare_pixels
from pleura.data.records import read_index, write_index
from pleura.data.sources import find_sources
from pleura.dicom.secondary import write_secondary_capture
from pleura.errors import DataError

TABLE = """image,pneumothorax,box,patient,age,sex,view
00000075_000.png,0.2,,75,61,F,PA
00000075_001.JPG,1,64 32 16 16,75,62,F,AP
radiograph.png,1,,MRN-7,,,
1.2.1,0,,,,,
renamed.dcm,1,,,30,M,PA
silent.png,,,,,,
gone.png,1,,,,,
"""


def picture(seed, rows=32, columns=48):
    return np.random.default_rng(seed).integers(0, 255, (rows, columns), dtype=np.uint8)


@pytest.fixture
def data(tmp_path):
    """Five pictures of which a table names four, and two DICOM radiographs, one with a mask."""
    folder = tmp_path / "radiographs"
    folder.mkdir()
    names = ("00000075_000.png", "00000075_001.JPG", "radiograph.png", "silent.png", "other.png")
    for seed, name in enumerate(names):
        cv2.imwrite(str(folder / name), picture(seed))
    for number, name in ((1, "1.2.1"), (2, "renamed")):
        write_secondary_capture(
            folder / f"{name}.dcm",
            picture(10 + number),
            sop_uid=f"1.2.{number}",
            study_uid="1.2.3",
            series_uid="1.2.3.4",
            age=55,
            sex="F",
            view="",
            spacing_mm=0.2,
            patient_id="",
            patient_name="",
        )
    (tmp_path / "train-rle.csv").write_text("ImageId,EncodedPixels\n1.2.1,10 5\n")
    (tmp_path / "labels.csv").write_text(TABLE)
    return tmp_path


def index_of(folder, **labels):
    settings = config.Labels(table=str(folder / "labels.csv"), boxes="box", boxes_side=96, **labels)
    sources = find_sources(config.Data(path=str(folder), labels=settings))
    return build_index(sources, workers=1), sources


def test_files_are_brought_to_their_labels(data):
    index, _ = index_of(data, columns=["pneumothorax:0.8"])
    found = {r.image_id: (r.label, r.label_weight, r.positive) for r in index.train}
    assert found == {
        "00000075_000": (0.2, 0.8, False),
        "00000075_001": (1.0, 1.0, True),  # by its box
        "radiograph": (1.0, 0.8, True),
        "1.2.1": (1.0, 1.0, True),  # by its mask
        "1.2.2": (1.0, 0.8, True),  # by the name of its file
    }
    by_id = {record.image_id: record for record in index.records}
    assert [r.image_id for r in index.unlabelled] == ["silent"]
    assert by_id["00000075_001"].boxes == "32 16 8 8"
    assert [r.image_id for r in index.train if r.mask_known] == ["1.2.1"]
    assert by_id["1.2.1"].area_px == 5
    assert by_id["radiograph"].area_px is None
    assert index.labels.without_file == ("gone",)
    assert index.not_read == {".png": 1}


def test_a_file_says_more_of_its_patient_than_a_table(data):
    index, _ = index_of(data)
    by_id = {r.image_id: (r.sex, r.age_years, r.view) for r in index.records}
    assert by_id["00000075_000"] == ("F", 61, "PA")
    assert by_id["1.2.2"] == ("F", 55, "PA")
    assert by_id["silent"] == ("", None, "")


def test_patients_are_known_by_the_name_of_a_public_radiograph_else_by_the_table(data):
    index, _ = index_of(data)
    patients = {record.image_id: record.patient for record in index.records}
    assert patients["00000075_000"] == patients["00000075_001"] is not None
    assert patients["radiograph"] not in (None, patients["00000075_000"])
    assert patients["1.2.2"] is None
    assert {r.image_id: r.nih_patient for r in index.records if r.nih_patient} == {
        "00000075_000": 75,
        "00000075_001": 75,
    }
    assert index.patients_from == "siim+labels"
    assert "MRN" not in repr(index)


def test_the_map_is_all_that_counts_where_there_is_one(data):
    (data / "patients.csv").write_text("ImageId,patient\nradiograph,1\n00000075_001,1\n")
    index, _ = index_of(data)
    by_id = {record.image_id: record for record in index.records}
    assert by_id["00000075_000"].patient is None
    assert index.patients_from == "map"
    # The name of the public radiograph holds it together with the other all the same.
    groups = {by_id[name].group for name in ("radiograph", "00000075_000", "00000075_001")}
    assert len(groups) == 1


def test_prepared_arrays_hold_the_pictures_and_no_mask_that_nobody_drew(data, tmp_path):
    index, _ = index_of(data)
    prepared = write_prepared(index.train, (), tmp_path / "p", size=32, workers=1)
    ids = [record.image_id for record in prepared.train]
    assert np.array_equal(prepared.x_train[ids.index("radiograph")], prepare_pixels(picture(2), 32))
    assert prepared.annotated.tolist() == [name == "1.2.1" for name in ids]
    assert prepared.train == index.train
    assert not prepared.y_train[~prepared.annotated].any()
    assert not prepared.soft
    (data / "labels.csv").write_text(TABLE.replace("radiograph.png,1", "radiograph.png,0"))
    other, _ = index_of(data)
    write_prepared(other.train, (), tmp_path / "p", size=32, workers=1)
    assert open_prepared(tmp_path / "p").fingerprint != prepared.fingerprint


def test_records_survive_the_disk(data, tmp_path):
    index, _ = index_of(data)
    write_index(index.records, tmp_path / "i.parquet")
    assert read_index(tmp_path / "i.parquet") == index.records


def test_pictures_alone_are_radiographs_but_not_where_a_table_names_others(data):
    (data / "radiographs" / "1.2.1.dcm").unlink()
    (data / "radiographs" / "renamed.dcm").unlink()
    found = find_sources(config.Data(path=str(data)))
    assert {path.suffix for path in found.train} == {".JPG", ".png"}
    (data / "other.csv").write_text("ImageId,EncodedPixels\nnobody,-1\n")
    with pytest.raises(DataError, match=r"of pictures those are taken that .* none of these is"):
        find_sources(config.Data(path=str(data), annotations=str(data / "other.csv")))
    with pytest.raises(DataError, match=r"none.csv: there is no such file or folder"):
        find_sources(config.Data(path=str(data), labels=config.Labels(table="none.csv")))


def test_a_table_of_other_files_is_refused(data):
    (data / "labels.csv").write_text("image,pneumothorax,box\nelse,1,\n")
    with pytest.raises(DataError, match=r"none of its 1 ids belongs to a file found; the first"):
        index_of(data)


def test_a_box_that_leaves_its_picture_is_a_problem_that_is_listed(data):
    (data / "labels.csv").write_text("image,pneumothorax,box\nradiograph,1,90 0 16 8\n1.2.1,1,\n")
    index, _ = index_of(data)
    ((name, reason),) = index.failures
    assert name == "radiograph"
    assert "the box 90 0 16 8 (in a picture of 96) leaves the picture of 48 x 32 pixels" in reason
    assert "radiograph" in {record.image_id for record in index.unlabelled}
    assert "1 refused labels" in index.set_aside


def test_a_corrupt_picture_is_left_out_with_its_reason(data):
    (data / "radiographs" / "radiograph.png").write_bytes(b"\x89PNG\r\n\x1a\nno more")
    index, _ = index_of(data)
    assert [(item.path.rsplit("/")[-1], item.code) for item in index.unreadable] == [
        ("radiograph.png", "unreadable")
    ]


def test_an_audit_finds_no_fault_in_headers_that_are_not_there(data):
    index, sources = index_of(data)
    found = {
        finding.code: {item.id for item in finding.items}
        for finding in audit_index(index, sources).findings
    }
    assert found["view-missing"] == {"1.2.1", "1.2.2"}
    assert not {"invalid-uid", "spacing-missing"} & found.keys()


def test_folds_share_out_radiographs_without_masks_too(small_index):
    weak = [
        replace(r, image_id=f"w{n}", patient=None, group=None, cluster=None, encoded_pixels=None)
        for n, r in enumerate(small_index.train)
    ]
    records = [*small_index.train, *weak]
    folds = assign_folds(records, 3)
    for positive in (False, True):
        own = [record.positive == positive for record in weak]
        counts = np.bincount(folds[len(small_index.train) :][own], minlength=3)
        assert counts.max() - counts.min() <= 1


@pytest.mark.parametrize(
    ("name", "patient"),
    [
        ("00002563_000", 2563),
        ("1.2.276.0.7230010.3.1.4.8323329.1000.1517875165.878027", 2563),
        ("00030805_123", 30805),
        ("00030806_000", None),
        ("00000000_000", None),
        ("0002563_000", None),
        ("x00002563_000", None),
        ("1.2.3", None),
    ],
)
def test_public_radiographs_are_known_by_name(name, patient):
    assert nih_patient(name) == patient


def test_what_simulated_radiographs_were_drawn_on(tmp_path):
    path = tmp_path / "simulate.csv"
    path.write_text(
        "ImageId,source,nih_patient\n1.1,images/00000075_000.jpg,\n1.2,a.dcm,9\n1.3,b.png,\n"
    )
    assert read_drawn_on(path) == {"1.1": 75, "1.2": 9}
    path.write_text("ImageId,x\n")
    with pytest.raises(DataError, match="needs the columns ImageId and source; found ImageId, x"):
        read_drawn_on(path)


def test_what_an_audit_says_of_a_table_of_labels(data):
    (data / "labels.csv").write_text(
        "image,pneumothorax,report,box\n1.2.1,0,,\n"
        "radiograph,1,0,9 9 9 9\nrenamed,,0,\nsilent,7,,\n"
        "other,0,,\nother,1,,\n00000075_000,0,,1 1 2 2\n00000075_001,1,,900 0 9 9\ngone,1,,\n"
    )
    index, sources = index_of(data, columns=["pneumothorax", "report:0.5"])
    found = {finding.code: finding for finding in audit_index(index, sources).findings}
    items = {code: [item.id for item in finding.items] for code, finding in found.items()}
    assert items["label-rows"] == ["silent"]
    assert items["label-conflict"] == ["other"]
    assert items["box-beside-negative"] == ["00000075_000"]
    assert items["box-outside"] == ["00000075_001"]
    assert items["label-against-mask"] == ["1.2.1"]
    assert items["labels-differ"] == ["radiograph"]
    assert items["labels-without-file"] == ["gone"]
    assert sorted(items["label-alone"]) == ["1.2.2", "radiograph"]
    assert found["label-alone"].figures == {"images with boxes": 1}
    assert "no-annotations" not in found
