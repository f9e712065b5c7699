import gzip
import os
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pleura import config
from pleura.audit.findings import Item
from pleura.audit.report import audit_index, write_findings
from pleura.data import image_patients
from pleura.data.folds import assign_folds, group_numbers, report_folds
from pleura.data.index import build_index
from pleura.data.records import image_keys, read_index, write_index, write_masks
from pleura.data.sources import Sources, find_sources
from pleura.dicom.secondary import write_secondary_capture
from pleura.errors import AnnotationError, DataError, OutputError
from pleura.formats.rle import mask2rle, rle2mask
from tests.dicom_files import make_dicom
from tests.full_disks import limited_file_size
from tests.records import make_record

SHAPE = (64, 64)


def picture(seed):
    return np.random.default_rng(seed).integers(0, 255, SHAPE, dtype=np.uint8)


def write_radiograph(folder, uid, seed, **names):
    path = folder / f"{names.pop('stem', uid)}.dcm"
    options = {
        "study_uid": "1.2.3",
        "series_uid": "1.2.3.4",
        "age": 38,
        "sex": "M",
        "view": "PA",
        "spacing_mm": 0.2,
        "patient_id": "secret-id",
        "patient_name": "Secret^Name",
        **names,
    }
    write_secondary_capture(path, picture(seed), sop_uid=uid, **options)
    return path


@pytest.fixture
def data(tmp_path):
    """Six training radiographs (one unlabelled) and two test radiographs, in stage 1's layout."""
    train, test = tmp_path / "dicom-images-train", tmp_path / "dicom-images-test"
    train.mkdir()
    test.mkdir()
    for number in range(6):
        write_radiograph(train, f"1.2.{number}", number)
    for number in (8, 9):
        write_radiograph(test, f"1.2.{number}", number)
    (tmp_path / "train-rle.csv").write_text(
        "ImageId, EncodedPixels\n1.2.0, -1\n1.2.1, 10 5\n1.2.1, 12 6\n1.2.2, 0 4\n1.2.3, -1\n"
        "1.2.4, -1\n"
    )
    return tmp_path


def index_of(folder, **settings):
    return build_index(find_sources(config.Data(path=str(folder), **settings)), workers=1)


def findings(index):
    return {finding.code: finding for finding in audit_of(index).findings}


def audit_of(index):
    return audit_index(index, Sources(Path("/"), (), (), None, ()))


def test_one_row_per_image_with_the_union_of_its_rows(data):
    index = index_of(data)
    assert [record.image_id for record in index.train] == [f"1.2.{n}" for n in range(5)]
    united = next(record for record in index.train if record.image_id == "1.2.1")
    assert (united.mask_rows, united.overlap_px, united.area_px) == (2, 3, 8)
    assert united.encoded_pixels == "10 8"


def test_a_file_without_a_row_is_unlabelled_and_no_negative(data):
    index = index_of(data)
    assert [record.image_id for record in index.unlabelled] == ["1.2.5"]
    assert index.unlabelled[0].positive is None
    assert findings(index)["unlabelled"].items == (Item("1.2.5"),)


def test_header_facts_and_no_patient_of_the_file(data):
    record = index_of(data).train[0]
    assert (record.age_years, record.sex, record.view, record.modality) == (38, "M", "PA", "CR")
    assert record.patient is None
    assert "secret" not in repr(index_of(data)).lower()


def test_the_same_uid_twice_is_one_image(data):
    copy = data / "dicom-images-train" / "again"
    copy.mkdir()
    shutil.copy(data / "dicom-images-train" / "1.2.0.dcm", copy / "x.dcm")
    index = index_of(data)
    assert len(index.train) == 5
    (duplicate,) = index.duplicates
    assert (duplicate.reason, duplicate.agrees) == ("same-uid", True)
    assert "contradicting-duplicates" not in findings(index)


def test_the_same_uid_with_other_pixels_is_a_contradiction(data):
    copy = data / "dicom-images-train" / "zz"
    copy.mkdir()
    write_radiograph(copy, "1.2.0", seed=77)
    index = index_of(data)
    assert not index.duplicates[0].agrees
    assert findings(index)["contradicting-duplicates"].severity == "error"


def test_of_the_same_pixels_the_labelled_file_stays(data):
    write_radiograph(data / "dicom-images-train", "1.1.7", seed=2)  # as 1.2.2, sorted before it
    index = index_of(data)
    (duplicate,) = index.duplicates
    assert (duplicate.image_id, duplicate.reason) == ("1.1.7", "same-pixels")
    assert "1.2.2" in {record.image_id for record in index.train}


def test_a_test_image_that_is_also_a_training_image_is_found_and_kept(data):
    write_radiograph(data / "dicom-images-test", "1.2.99", seed=0)
    index = index_of(data)
    assert index.test_in_train == ("1.2.99",)
    assert len(index.test) == 3


def test_an_unreadable_file_is_kept_apart_with_its_reason(data):
    (data / "dicom-images-train" / "broken.dcm").write_bytes(b"nothing")
    index = index_of(data)
    assert index.unreadable[0].path.endswith("broken.dcm")
    assert index.files_train == 7
    assert len(index.train) == 5


def test_a_row_without_a_file_is_counted(data):
    with (data / "train-rle.csv").open("a") as table:
        table.write("9.9.9, 1 2\n")
    index = index_of(data)
    assert index.rows_without_file == ("9.9.9",)
    assert findings(index)["rows-without-file"].count == 1


def test_a_row_of_a_file_that_cannot_be_read_is_not_said_to_have_none(data):
    (data / "dicom-images-train" / "1.2.0.dcm").rename(data / "dicom-images-train" / "1.2.0")
    (data / "dicom-images-train" / "1.2.0").write_bytes(bytes(1000))
    (data / "dicom-images-train" / "1.2.1.dcm").write_bytes(b"")
    index = index_of(data)
    assert index.rows_without_file == ()
    assert sorted(Path(item.path).name for item in index.unreadable) == ["1.2.0", "1.2.1.dcm"]
    found = findings(index)
    assert found["not-dicom"].items[0].id.endswith("dicom-images-train/1.2.0")
    assert found["unreadable"].items[0].id.endswith("dicom-images-train/1.2.1.dcm")


def test_archives_are_named_and_results_of_pleura_are_no_failures(data):
    (data / "more.7z").write_bytes(b"7z\xbc\xaf\x27\x1c")
    result = make_dicom(Manufacturer="pleura", ManufacturerModelName="pleura")
    (data / "dicom-images-test" / "result.dcm").write_bytes(result)
    index = index_of(data)
    assert index.failures == []
    assert findings(index)["not-read"].items == (
        Item("more.7z", "an archive, which is not opened"),
    )
    assert findings(index)["own-result"].count == 1


def test_a_mask_of_another_image_size_makes_its_image_unlabelled(data):
    with (data / "train-rle.csv").open("a") as table:
        table.write(f"1.2.5, {64 * 64} 10\n")
    index = index_of(data)
    assert "1.2.5" in {record.image_id for record in index.unlabelled}
    assert findings(index)["runs-outside"].items[0].id == "1.2.5"
    assert "unlabelled" not in findings(index)


def test_a_table_in_the_absolute_form_is_refused_with_the_way_out(data):
    rows = "1.2.0,-1\n1.2.1,100 5 3000 9 4000 3\n1.2.2,70 40 4001 5\n"
    (data / "train-rle.csv").write_text("ImageId,EncodedPixels\n" + rows)
    with pytest.raises(AnnotationError, match="`rle` absolute"):
        index_of(data)
    read = index_of(data, rle="absolute")
    assert [record.area_px for record in read.train] == [0, 17, 45]


def test_the_patient_map_groups(data):
    (data / "patients.csv").write_text("ImageId,patient\n1.2.0,7\n1.2.1,7\n1.2.2,8\n")
    index = index_of(data)
    assert [r.patient for r in index.train] == ["p00001", "p00001", "p00002", None, None]
    assert findings(index)["unmapped-patients"].count == 2
    assert audit_of(index).counts.patients == 2
    assert index.patients_from == "map"


def test_the_files_own_patient_ids_group_where_they_can(data):
    for number in range(6):
        path = data / "dicom-images-train" / f"1.2.{number}.dcm"
        write_radiograph(path.parent, f"1.2.{number}", number, patient_id=f"secret-{number // 2}")
    index = index_of(data)
    assert index.patients_from == "header"
    assert [r.patient for r in index.train] == ["p00001", "p00001", "p00002", "p00002", "p00003"]
    assert {r.patient for r in index.test} == {"p00004"}
    assert "secret" not in repr(index)


def test_the_patients_of_the_siim_set_are_known(data):
    known = "1.2.276.0.7230010.3.1.4.8323329.1000.1517875165.878027"
    write_radiograph(data / "dicom-images-train", known, 3)
    (data / "dicom-images-train" / "1.2.3.dcm").unlink()
    with (data / "train-rle.csv").open("a") as table:
        table.write(f"{known}, -1\n")
    index = index_of(data)
    assert index.patients_from == "siim"
    assert [r.patient is not None for r in index.train] == [
        r.image_id == known for r in index.train
    ]


def radiographs(folder, patients, **names):
    """Write a training radiograph for each patient id, and its row of the table."""
    rows = ["ImageId,EncodedPixels"]
    for number, patient in enumerate(patients):
        write_radiograph(
            folder / "dicom-images-train", f"1.7.{number}", 100 + number, patient_id=patient
        )
        rows.append(f"1.7.{number},{'-1' if number % 2 else '5 9'}")
    (folder / "train-rle.csv").write_text("\n".join(rows) + "\n")


@pytest.fixture
def bare(tmp_path):
    (tmp_path / "dicom-images-train").mkdir()
    (tmp_path / "dicom-images-test").mkdir()
    return tmp_path


def test_a_copied_file_does_not_make_random_ids_stand_for_patients(bare):
    radiographs(bare, [f"random {n}" for n in range(12)])
    shutil.copy(bare / "dicom-images-train" / "1.7.0.dcm", bare / "dicom-images-train" / "z.dcm")
    index = index_of(bare)
    assert index.patients_from == ""
    found = findings(index)
    assert found["no-patients"].count == found["unique-patient-ids"].count == 12


def test_one_radiograph_of_the_siim_set_leaves_the_others_their_own_ids(bare):
    radiographs(bare, [f"mine {n // 3}" for n in range(12)])
    known = "1.2.276.0.7230010.3.1.4.8323329.1000.1517875165.878027"
    write_radiograph(bare / "dicom-images-train", known, 3, patient_id="random")
    with (bare / "train-rle.csv").open("a") as table:
        table.write(f"{known},-1\n")
    index = index_of(bare)
    assert index.patients_from == "siim+header"
    assert len({record.patient for record in index.train}) == 5
    assert "some-patients" not in findings(index)
    assigned = assign_folds(index.train, 2)
    assert report_folds(index.train, assigned).split_patients == ()


@pytest.mark.parametrize(
    ("study_of", "groups"),
    [
        (lambda n: f"1.3.{n // 2}", 12),
        (lambda n: f"1.3.{n}", 24),
        (lambda _: "1.3", 24),  # most share it: it stands for no study
        (lambda n: f"1.3.{n}" if n < 12 else "1.3", 24),  # as do half
    ],
)
@pytest.mark.parametrize("mapped", [0, 24])
def test_a_study_is_of_one_patient(bare, monkeypatch, study_of, groups, mapped):
    monkeypatch.setattr(image_patients, "MOST_OF_A_STUDY", 11)
    for number in range(24):
        own = {"study_uid": study_of(number), "patient_id": f"random {number}"}
        write_radiograph(bare / "dicom-images-train", f"1.7.{number}", number, **own)
    rows = [f"1.7.{number},-1" for number in range(24)]
    (bare / "train-rle.csv").write_text("\n".join(["ImageId,EncodedPixels", *rows]) + "\n")
    named = {}
    if mapped:
        rows = [f"1.7.{number},{number}" for number in range(mapped)]
        (bare / "of.csv").write_text("\n".join(["ImageId,patient", *rows]) + "\n")
        named = {"patients": str(bare / "of.csv")}
    index = index_of(bare, **named)
    assert len(set(group_numbers(index.train).tolist())) == (24 if mapped else groups)


def test_a_map_of_other_images_is_refused(bare):
    radiographs(bare, ["a", "b"])
    (bare / "patients.csv").write_text("ImageId,patient\n9.9,1\n")
    with pytest.raises(DataError, match=r"patients.csv: none of the 1 images of this patient map"):
        index_of(bare, patients=str(bare / "patients.csv"))
    index = index_of(bare)  # found and not named: it may be that of other images beside these
    assert index.patients_from == ""
    assert findings(index)["foreign-table"].items[0].id.endswith("/patients.csv")


def test_no_id_of_a_map_is_written(bare):
    radiographs(bare, ["a", "b"])
    (bare / "patients.csv").write_text("ImageId,patient\n1.7.0,MRN-DOE\n1.7.1,MRN-DOE\n")
    index = index_of(bare)
    assert {record.patient for record in index.train} == {"p00001"}
    assert "MRN" not in repr(index)


def test_a_picture_that_two_patients_share_links_their_other_radiographs(bare):
    radiographs(bare, ["x"] * 4)
    (bare / "patients.csv").write_text(
        "ImageId,patient\n1.7.0,one\n1.7.1,two\n1.7.2,two\n1.7.3,three\n"
    )
    write_radiograph(bare / "dicom-images-train", "1.7.1", 100)  # the picture of 1.7.0
    index = index_of(bare)
    assert [record.image_id for record in index.train] == ["1.7.0", "1.7.2", "1.7.3"]
    groups = group_numbers(index.train).tolist()
    assert groups[0] == groups[1] != groups[2]


def test_an_unlabelled_radiograph_links_too(bare):
    radiographs(bare, ["x"] * 4)
    (bare / "patients.csv").write_text(
        "ImageId,patient\n1.7.0,one\n1.7.1,two\n1.7.2,three\n1.7.3,four\n1.8,two\n"
    )
    write_radiograph(bare / "dicom-images-test", "1.7.0", 999)  # the same id, another picture
    write_radiograph(bare / "dicom-images-train", "1.8", 999)
    index = index_of(bare)
    groups = group_numbers(index.train).tolist()
    assert groups[0] == groups[1] != groups[2]


def test_a_refused_row_shows_that_the_table_belongs_to_the_files(bare):
    radiographs(bare, ["x"])
    (bare / "train-rle.csv").write_text("ImageId,EncodedPixels\n1.7.0,5\n9.9,-1\n")
    found = findings(index_of(bare))
    assert found["malformed-rows"].items[0].id == "1.7.0"
    assert found["rows-without-file"].items == (Item("9.9"),)


def test_a_leak_names_the_training_image_and_hides_no_near_duplicate(bare):
    radiographs(bare, ["x"] * 3)
    write_radiograph(bare / "dicom-images-test", "1.9", 100)
    assert findings(index_of(bare))["test-in-train"].items == (Item("1.9", others=("1.7.0",)),)


def test_a_test_image_with_the_id_of_a_copy_that_was_set_aside_is_a_leak(bare):
    radiographs(bare, ["x"] * 3)
    write_radiograph(bare / "dicom-images-train", "1.7.9", 100)  # a copy of 1.7.0
    write_radiograph(bare / "dicom-images-test", "1.7.9", 555)
    index = index_of(bare)
    assert index.test_in_train == ("1.7.9",)


def test_the_same_picture_twice_in_the_test_part_is_told(bare):
    radiographs(bare, ["x"] * 2)
    for uid in ("1.9.1", "1.9.2"):
        write_radiograph(bare / "dicom-images-test", uid, 77)
    found = findings(index_of(bare))["near-duplicates"]
    assert {item.id for item in found.items} == {"1.9.1", "1.9.2"}


def test_a_name_that_is_no_text_is_told(bare):
    radiographs(bare, ["x"] * 2)
    odd = os.fsencode(bare / "dicom-images-train") + b"/\xff.dcm"
    shutil.copy(bare / "dicom-images-train" / "1.7.0.dcm", odd)
    index = index_of(bare)
    assert index.unreadable[0].reason.endswith(
        r"\udcff.dcm: its name is not UTF-8; rename the file"
    )
    write_index(index.records, bare / "out.parquet")
    write_findings(audit_of(index), bare / "out.json")


def test_a_table_of_other_images_is_refused(data):
    (data / "train-rle.csv").write_text("ImageId,EncodedPixels\n5.5.5,-1\n")
    with pytest.raises(DataError, match=r"none of its 1 ids belongs to a file found; the first id"):
        index_of(data)


def test_without_a_table_everything_is_unlabelled(data):
    (data / "train-rle.csv").unlink()
    index = index_of(data)
    assert len(index.unlabelled) == 6
    assert findings(index)["no-annotations"].severity == "error"


def test_the_order_of_the_rows_does_not_matter(data):
    before = index_of(data).train
    table = data / "train-rle.csv"
    header, *rows = table.read_text().splitlines()
    table.write_text("\n".join([header, *rows[::-1]]) + "\n")
    assert index_of(data).train == before


def test_tables_are_looked_for_once_in_a_folder_and_not_in_a_closed_one(data, monkeypatch):
    settings = config.Data(path=str(data))
    (data / "other.csv").write_text("a,b\n1,2\n")
    before = find_sources(settings)
    (data / "self").symlink_to(".")
    (data / "closed").mkdir()
    (data / "closed" / "more.csv").write_text("a,b\n1,2\n")
    access = os.access
    monkeypatch.setattr(
        os, "access", lambda path, mode: "closed" not in str(path) and access(path, mode)
    )
    found = find_sources(settings)
    assert found.not_used == before.not_used
    assert found.submissions == before.submissions


def test_the_two_tables(data):
    index = index_of(data)
    indices, masks = data / "out" / "indices.parquet", data / "out" / "masks.parquet"
    write_index(index.records, indices)
    write_masks(index.records, masks)
    assert pq.read_table(indices).num_rows == len(index.records) == 8
    table = pq.read_table(masks)
    assert table.column_names == ["image_id", "rows", "columns", "area_px", "encoded_pixels"]
    assert table.num_rows == len(index.train)
    for row in table.to_pylist():
        mask = rle2mask(row["encoded_pixels"], (row["rows"], row["columns"]))
        assert mask.sum() == row["area_px"]
        assert mask2rle(mask) == row["encoded_pixels"]


def test_an_index_comes_back(data):
    records = index_of(data).records
    write_index(records, data / "index.parquet")
    assert read_index(data / "index.parquet") == records


def test_something_else_is_no_index(tmp_path):
    path = tmp_path / "index.parquet"
    path.write_bytes(b"nothing")
    with pytest.raises(DataError, match=r"index.parquet: cannot be read as an index"):
        read_index(path)
    pq.write_table(pa.table({"a": [1]}), path)
    with pytest.raises(DataError, match="its columns are not those of an index of this version"):
        read_index(path)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("image_id", None, "1 rows have no image_id; make the index again"),
        ("labelled", None, "1 rows have no labelled"),
        ("part", "other", "part is 'other' in 1 of its rows"),
        ("rows", 0, "rows is '0' in 1 of its rows"),
        ("pixel_hash", "x" * 90, "pixel_hash is 'xxx"),
        ("label", float("nan"), "label is 'nan' in 1 of its rows"),
        ("label_weight", 1.5, r"label_weight is '1\.5' in 1 of its rows"),
    ],
)
def test_values_that_no_index_has(tmp_path, name, value, message):
    path = tmp_path / "index.parquet"
    write_index([make_record("1"), make_record("2")], path)
    table = pq.read_table(path)
    column = pa.array([table[name][0].as_py(), value], table.schema.field(name).type)
    place = table.column_names.index(name)
    pq.write_table(table.set_column(place, name, column), path)
    with pytest.raises(DataError, match=rf"index.parquet: {message}"):
        read_index(path)


def test_an_index_that_changed_or_is_damaged(tmp_path):
    path = tmp_path / "index.parquet"
    write_index([make_record("1")], path)
    with pytest.raises(DataError, match=r"index.parquet: was changed since it was written; the di"):
        read_index(path, expected="0" * 64)

    path.write_bytes(path.read_bytes().replace(b"image_id", b"image\xff\xffd"))
    with pytest.raises(DataError, match=r"index.parquet: cannot be read as an index \(.+\)"):
        read_index(path)


def test_keys_are_the_first_64_bits(data):
    records = index_of(data).train
    assert [f"{key:016x}" for key in image_keys(records)] == [r.pixel_hash[:16] for r in records]


class TestSources:
    def test_stage_2_trains_on_both_folders_of_stage_1(self, data):
        (data / "stage_2_images").mkdir()
        write_radiograph(data / "stage_2_images", "1.3.1", seed=31, stem="ID_1")
        (data / "stage_2_train.csv").write_text("ImageId,EncodedPixels\n1.2.0,-1\n1.2.8,3 3\n")
        sources = find_sources(config.Data(path=str(data)))
        assert (len(sources.train), len(sources.test)) == (8, 1)
        assert sources.annotations == data / "stage_2_train.csv"

    def test_sample_submissions_are_found_and_a_fold_table_is_named(self, data):
        for name in ("sample_submission.csv", "folds.csv", "other.csv"):
            (data / name).write_text("ImageId,EncodedPixels\n")
        sources = find_sources(config.Data(path=str(data)))
        assert sources.submissions == (data / "sample_submission.csv",)
        assert sources.folds is None
        named = config.Data(path=str(data), fold_table=str(data / "folds.csv"))
        assert find_sources(named).folds == data / "folds.csv"
        gone = config.Data(path=str(data), fold_table=str(data / "gone.csv"))
        with pytest.raises(DataError, match=r"gone.csv: there is no such file or folder"):
            find_sources(gone)

    def test_without_stage_2_images_the_stage_1_table_is_taken(self, data):
        (data / "stage_2_train.csv").write_text("ImageId,EncodedPixels\n")
        sources = find_sources(config.Data(path=str(data)))
        assert sources.annotations == data / "train-rle.csv"

    def test_named_places(self, data):
        sources = find_sources(
            config.Data(
                images=str(data / "dicom-images-train"), annotations=str(data / "train-rle.csv")
            )
        )
        assert (len(sources.train), len(sources.test)) == (6, 0)

    def test_one_named_folder_leaves_the_other_to_be_found(self, data):
        path, test = str(data), str(data / "dicom-images-test")
        sources = find_sources(config.Data(path=path, test_images=test))
        assert (len(sources.train), len(sources.test)) == (6, 2)
        train = str(data / "dicom-images-train")
        sources = find_sources(config.Data(path=path, images=train))
        assert (len(sources.train), len(sources.test)) == (6, 2)

    def test_only_the_word_test_makes_a_test_folder(self, data):
        (data / "dicom-images-test").rename(data / "latest")
        sources = find_sources(config.Data(path=str(data)))
        assert (len(sources.train), len(sources.test)) == (8, 0)

    def test_files_without_a_suffix_count_by_their_content(self, data):
        source = data / "dicom-images-train" / "1.2.0.dcm"
        source.rename(source.with_suffix("").with_name("IM0001"))
        (data / "README").write_text("words")
        sources = find_sources(config.Data(path=str(data)))
        assert len(sources.train) == 6
        assert sources.not_read == {"no suffix": 1}  # README; the table is one

    def test_links_are_followed_and_never_round_in_circles(self, data):
        (data / "dicom-images-train").rename(data.parent / "elsewhere")
        (data / "dicom-images-train").symlink_to(data.parent / "elsewhere")
        (data.parent / "elsewhere" / "back").symlink_to(data)
        sources = find_sources(config.Data(path=str(data)))
        assert (len(sources.train), len(sources.test)) == (6, 2)

    @pytest.mark.parametrize("name", ["test", "Testing", "my tests"])
    def test_words_of_a_test_folder(self, data, name):
        (data / "dicom-images-test").rename(data / name)
        assert len(find_sources(config.Data(path=str(data))).test) == 2

    def test_a_table_of_a_common_name_is_taken_only_with_its_columns(self, data):
        (data / "train-rle.csv").unlink()
        (data / "train.csv").write_text("id,target\n1,0\n")
        (data / "patients.csv").write_text("ImageId,patient\n1.2.0,7\n")
        sources = find_sources(config.Data(path=str(data)))
        assert sources.annotations is None
        assert [use.table for use in sources.not_used] == [f"{data}/train.csv"]
        assert sources.patients == (data / "patients.csv",)

    def test_a_packed_sample_submission_is_found(self, data):
        (data / "Sample_Submission.csv.gz").write_bytes(gzip.compress(b"ImageId\na\na\n"))
        sources = find_sources(config.Data(path=str(data)))
        audit = audit_index(index_of(data), sources)
        (found,) = [f for f in audit.findings if f.code == "submission-repeats-ids"]
        assert found.items == (Item("a", "2 rows in Sample_Submission.csv.gz"),)

    def test_no_dicom(self, tmp_path):
        (tmp_path / "x.csv").write_text("")
        with pytest.raises(
            DataError, match=r"holds no DICOM file \(1 other file: 1 .csv\); name the fold"
        ):
            find_sources(config.Data(path=str(tmp_path)))

    def test_an_archive_that_is_not_looked_into(self, data, tmp_path):
        packed = tmp_path / "set.tar.gz"
        packed.write_bytes(b"")
        for named in ({"path": str(packed)}, {"path": str(data), "annotations": str(packed)}):
            with pytest.raises(DataError, match=r"unpack it \(tar xf set.tar.gz\) and"):
                find_sources(config.Data(**named))

    def test_a_place_that_is_not_there(self, data):
        with pytest.raises(DataError, match="gone: there is no such file or folder"):
            find_sources(config.Data(path=str(data), annotations="gone"))

    def test_a_file_in_place_of_a_folder(self, data):
        path = Path(data / "train-rle.csv")
        with pytest.raises(
            DataError, match=r"holds no DICOM file \(1 other file: 1 .csv\); name the folder"
        ):
            find_sources(config.Data(path=str(path)))


@pytest.mark.parametrize("write", [write_index, write_masks])
def test_a_full_disk_is_no_fault_of_the_table(tmp_path, write):
    path = tmp_path / "a.parquet"
    records = [make_record(f"{number}", positive=True) for number in range(9)]
    write(records, path)
    whole = path.read_bytes()
    for size in range(0, len(whole), 500):
        with limited_file_size(size), pytest.raises(OutputError) as caught:
            write(records, path)
        assert str(caught.value) == (
            f"{path}: could not be written (File too large); choose another place"
        )
        assert [*tmp_path.iterdir()] == [path]
        assert path.read_bytes() == whole
