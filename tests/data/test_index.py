import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from pleura import config
from pleura.data.audit.findings import Item
from pleura.data.audit.report import audit_index
from pleura.data.index import build_index, patient_ids_group
from pleura.data.records import image_keys, read_index, write_index, write_masks
from pleura.data.sources import Sources, find_sources
from pleura.errors import AnnotationError, DataError
from pleura.formats.rle import mask2rle, rle2mask
from pleura.formats.secondary import write_secondary_capture

SHAPE = (64, 64)


def picture(seed):
    return np.random.default_rng(seed).integers(0, 255, SHAPE, dtype=np.uint8)


def write_film(folder, uid, seed, **names):
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
    """Six training films (one unlabelled) and two test films, in stage 1's layout."""
    train, test = tmp_path / "dicom-images-train", tmp_path / "dicom-images-test"
    train.mkdir()
    test.mkdir()
    for number in range(6):
        write_film(train, f"1.2.{number}", number)
    for number in (8, 9):
        write_film(test, f"1.2.{number}", number)
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
    return audit_index(index, Sources(Path("/"), (), (), None, None))


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
    write_film(copy, "1.2.0", seed=77)
    index = index_of(data)
    assert not index.duplicates[0].agrees
    assert findings(index)["contradicting-duplicates"].severity == "error"


def test_of_the_same_pixels_the_labelled_file_stays(data):
    write_film(data / "dicom-images-train", "1.1.7", seed=2)  # as 1.2.2, sorted before it
    index = index_of(data)
    (duplicate,) = index.duplicates
    assert (duplicate.image_id, duplicate.reason) == ("1.1.7", "same-pixels")
    assert "1.2.2" in {record.image_id for record in index.train}


def test_a_test_image_that_is_also_a_training_image_is_found_and_kept(data):
    write_film(data / "dicom-images-test", "1.2.99", seed=0)
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
    with pytest.raises(AnnotationError, match="--rle absolute"):
        index_of(data)
    sources = find_sources(config.Data(path=str(data)))
    read = build_index(sources, form="absolute", workers=1)
    assert [record.area_px for record in read.train] == [0, 17, 45]


def test_the_patient_map_groups(data):
    (data / "patients.csv").write_text("ImageId,patient\n1.2.0,7\n1.2.1,7\n1.2.2,8\n")
    index = index_of(data)
    assert [record.patient for record in index.train] == ["7", "7", "8", None, None]
    assert findings(index)["unmapped-patients"].count == 2
    assert audit_of(index).counts.patients == 2
    assert index.patients_from == "map"


def test_the_files_own_patient_ids_group_where_they_can(data):
    for number in range(6):
        path = data / "dicom-images-train" / f"1.2.{number}.dcm"
        write_film(path.parent, f"1.2.{number}", number, patient_id=f"secret-{number // 2}")
    index = index_of(data)
    assert index.patients_from == "header"
    assert [r.patient for r in index.train] == ["p00001", "p00001", "p00002", "p00002", "p00003"]
    assert {r.patient for r in index.test} == {None}  # all of them carry one id
    assert "secret" not in repr(index)


def test_the_patients_of_the_siim_set_are_known(data):
    known = "1.2.276.0.7230010.3.1.4.8323329.1000.1517875165.878027"
    write_film(data / "dicom-images-train", known, 3)
    (data / "dicom-images-train" / "1.2.3.dcm").unlink()
    with (data / "train-rle.csv").open("a") as table:
        table.write(f"{known}, -1\n")
    index = index_of(data)
    assert index.patients_from == "siim"
    assert [r.patient is not None for r in index.train] == [
        r.image_id == known for r in index.train
    ]


@pytest.mark.parametrize(
    ("keys", "group"),
    [
        ([], False),
        (["a"], False),
        (["a", "a"], False),
        (["a", "b"], False),
        (["a", "b", "a"], True),
    ],
)
def test_patient_ids_group_when_some_but_not_all_are_shared(keys, group):
    assert patient_ids_group(keys) is group
    assert patient_ids_group([*keys, "", ""]) is group


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


def test_the_two_tables(data):
    index = index_of(data)
    indices, masks = data / "out" / "indices.parquet", data / "out" / "masks.parquet"
    write_index(index.records, indices)
    write_masks(index.records, masks)
    assert pl.read_parquet(indices).height == len(index.records) == 8
    frame = pl.read_parquet(masks)
    assert frame.columns == ["image_id", "rows", "columns", "area_px", "encoded_pixels"]
    assert frame.height == len(index.train)
    for row in frame.iter_rows(named=True):
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
    pl.DataFrame({"a": [1]}).write_parquet(path)
    with pytest.raises(DataError, match="its columns are not those of an index of this version"):
        read_index(path)


def test_keys_are_the_first_64_bits(data):
    records = index_of(data).train
    assert [f"{key:016x}" for key in image_keys(records)] == [r.pixel_hash[:16] for r in records]


class TestSources:
    def test_stage_2_trains_on_both_folders_of_stage_1(self, data):
        (data / "stage_2_images").mkdir()
        write_film(data / "stage_2_images", "1.3.1", seed=31, stem="ID_1")
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
        named = config.Data(path=str(data), folds=str(data / "folds.csv"))
        assert find_sources(named).folds == data / "folds.csv"
        gone = config.Data(path=str(data), folds=str(data / "gone.csv"))
        with pytest.raises(DataError, match=r"gone.csv: there is no such file or folder"):
            find_sources(gone)

    def test_without_stage_2_images_the_stage_1_table_is_taken(self, data):
        (data / "stage_2_train.csv").write_text("ImageId,EncodedPixels\n")
        sources = find_sources(config.Data(path=str(data)))
        assert sources.annotations == data / "train-rle.csv"

    def test_named_places(self, data):
        sources = find_sources(
            config.Data(
                images=str(data / "dicom-images-train"),
                annotations=str(data / "train-rle.csv"),
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
        assert sources.other_files == 2  # README and the table

    def test_no_dicom(self, tmp_path):
        (tmp_path / "x.csv").write_text("")
        with pytest.raises(
            DataError, match=r"holds no DICOM file \(1 other files\); name the fold"
        ):
            find_sources(config.Data(path=str(tmp_path)))

    def test_a_place_that_is_not_there(self, data):
        with pytest.raises(DataError, match="gone: there is no such file or folder"):
            find_sources(config.Data(path=str(data), annotations="gone"))

    def test_a_file_in_place_of_a_folder(self, data):
        path = Path(data / "train-rle.csv")
        with pytest.raises(DataError, match="is a file; name the folder that holds the radiograph"):
            find_sources(config.Data(path=str(path)))
