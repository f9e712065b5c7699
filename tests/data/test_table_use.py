"""What of a table was not used is told: how many, which kinds, and where to read more."""

import gzip
import json
from dataclasses import replace

import cv2
import numpy as np
import pytest

from pleura import config
from pleura.audit.report import audit_index
from pleura.cli.app import execute
from pleura.data.index import build_index, read_tables
from pleura.data.sources import find_sources
from pleura.data.table_use import TableUse, table_use
from pleura.errors import DataError, OtherFormError
from tests.dicom_files import make_dicom


@pytest.fixture
def data(tmp_path):
    """Three radiographs, and tables of which not all can be used."""
    folder = tmp_path / "data"
    folder.mkdir()
    rng = np.random.default_rng(1)
    for number in range(3):
        coarse = rng.integers(0, 255, (8, 8), np.uint8)
        pixels = cv2.resize(coarse, (64, 64), interpolation=cv2.INTER_CUBIC)
        content = make_dicom(pixels, SOPInstanceUID=f"1.2.{number}")
        (folder / f"{number}.dcm").write_bytes(content)
    (folder / "train-rle.csv").write_text(
        "ImageId,who,EncodedPixels\n"
        "1.2.0,A,-1\n"
        "1.2.1,A,5 x\n"
        "1.2.2,A,4090 9\n"
        "1.2.7,A,-1\n"
        "1.2.8,A,10 3\n"
    )
    return folder


def test_rows_ids_and_columns(data):
    index = build_index(find_sources(config.Data(str(data))), workers=1)
    (use,) = index.tables
    assert use.refused == {"malformed-rows": 1, "runs-outside": 1}
    assert (use.unknown, use.example, use.columns) == (2, "1.2.7", ("who",))
    assert str(use) == (
        f"{data / 'train-rle.csv'}: 2 rows are refused (1 malformed-rows, 1 runs-outside); 2 ids "
        "are none of the images, such as 1.2.7; this column is not used: who"
    )


def test_other_tables(data):
    (data / "patients.csv").write_text("ImageId,patient,ward\n1.2.0,a,x\n1.2.1,A,x\n")
    (data / "train.csv").write_text("a,b\n1,2\n")
    (data / "stage_2_train.csv").write_text("ImageId,EncodedPixels\n1.2.0,-1\n")
    (data / "folds.csv").write_text("image_id,fold,group\n1.2.0,0,1\n1.2.1,0,1\n1.2.2,0,1\n9,0,1\n")
    (data / "labels.csv").write_text("id,positive,who\n1.2.1,0,x\n1.2.2,maybe,x\n1.9,1,x\n")
    labels = config.Labels(table=str(data / "labels.csv"), id="id", columns=["positive"])
    settings = config.Data(str(data), fold_table=str(data / "folds.csv"), labels=labels)
    index = build_index(find_sources(settings), workers=1)
    said = {use.table.rpartition("/")[2]: use for use in index.tables}
    assert "train-rle.csv comes first" in said["stage_2_train.csv"].unread
    assert said["train.csv"].unread == "its columns are others"
    assert said["patients.csv"].columns == ("ward",)
    assert "images 1.2.0 and 1.2.1 differ by leading zeros" in str(said["patients.csv"])
    assert (said["folds.csv"].unknown, said["folds.csv"].columns) == (1, ())
    assert said["labels.csv"].refused == {"label-rows": 1}
    assert (said["labels.csv"].unknown, said["labels.csv"].example) == (1, "1.9")
    assert said["labels.csv"].columns == ("who",)


def test_a_table_that_is_another_folders(data):
    (data / "patients.csv").write_text("ImageId,patient\n7.7,a\n")
    index = build_index(find_sources(config.Data(str(data))), workers=1)
    assert str(index.tables[-1]) == (
        f"{data / 'patients.csv'}: this table is not used: it names none of the images"
    )


def test_preparing_says_it(data, tmp_path, capsys):
    command = ["prepare", str(data), "--out", str(tmp_path / "p"), "--size", "32", "--workers", "1"]
    assert execute(command) == 3
    said = capsys.readouterr()
    assert "table " in said.err
    assert "train-rle.csv: 2 rows are refused (1 malformed-rows, 1 runs-outside)" in said.err
    assert f"each case: pleura audit {data} --out FOLDER" in said.err
    assert execute([*command, "--json"]) == 3
    found = json.loads(capsys.readouterr().out)
    assert found["train"] == 1
    assert found["tables"][0]["refused"] == {"malformed-rows": 1, "runs-outside": 1}
    assert found["tables"][0]["columns"] == ["who"]


def test_a_table_that_is_used_whole_says_nothing():
    assert table_use("t.csv", ids=["a"], known={"a", "b"}) == ()
    assert TableUse("t.csv").as_json()["unread"] == ""


ZEROS = "7 may be 0007, for tables of numbers lose leading zeros: write ids as text"


def radiographs_0007_and_19(folder, suffix):
    for number, name in enumerate(("0007", "19")):
        pixels = np.random.default_rng(number).integers(0, 255, (64, 64), np.uint8)
        content = cv2.imencode(".png", pixels)[1].tobytes()
        if suffix == ".dcm":
            content = make_dicom(pixels, SOPInstanceUID=f"1.3.{number}")
        (folder / f"{name}{suffix}").write_bytes(content)


def settings_of(folder, kind):
    """Return settings for a folder and its one table, of masks or of labels."""
    if kind == "labels":
        return config.Data(str(folder), labels=config.Labels(table=str(folder / "t.csv")))
    return config.Data(str(folder), annotations=str(folder / "t.csv"))


TABLES = {"masks": "ImageId,EncodedPixels\n7,-1\n", "labels": "image,pneumothorax\n7,0\n"}


@pytest.mark.parametrize("suffix", [".png", ".dcm"])
@pytest.mark.parametrize("kind", list(TABLES))
def test_ids_that_lost_their_zeros_are_named(kind, suffix, tmp_path):
    radiographs_0007_and_19(tmp_path, suffix)
    (tmp_path / "t.csv").write_text(TABLES[kind])
    settings = settings_of(tmp_path, kind)
    with pytest.raises(DataError, match=f"; {ZEROS}"):
        build_index(find_sources(settings), workers=1)
    (tmp_path / "t.csv").write_text(TABLES[kind] + TABLES[kind].splitlines()[1].replace("7", "19"))
    sources = find_sources(settings)
    index = build_index(sources, workers=1)
    (use,) = index.tables
    assert ZEROS in str(use)
    found = {one.code: one for one in audit_index(index, sources).findings}
    code = {"masks": "rows-without-file", "labels": "labels-without-file"}[kind]
    assert [item.note for item in found[code].items] == [ZEROS]


def test_folds_and_patients_that_lost_their_zeros_are_named(tmp_path):
    radiographs_0007_and_19(tmp_path, ".png")
    (tmp_path / "t.csv").write_text("image,pneumothorax\n0007,0\n")
    (tmp_path / "folds.csv").write_text("image_id,fold\n7,0\n")
    (tmp_path / "p.csv").write_text("ImageId,patient\n7,a\n")
    settings = settings_of(tmp_path, "labels")
    for table in ({"fold_table": "folds.csv"}, {"patients": "p.csv"}):
        named = {name: str(tmp_path / path) for name, path in table.items()}
        with pytest.raises(DataError, match=f"; {ZEROS}"):
            build_index(find_sources(replace(settings, **named)), workers=1)


@pytest.mark.parametrize(
    ("marks", "said"),
    [
        (("-1", "-1"), "; each one is negative, so no network learns to tell a positive"),
        (("1 5", "2 5"), "-1 in a table of masks, or 0 in one of labels"),
        (("-1", "2 5"), "0 refused annotations"),
    ],
)
def test_that_all_have_one_label_is_told(marks, said, tmp_path):
    radiographs_0007_and_19(tmp_path, ".dcm")
    rows = "".join(f"1.3.{number},{mark}\n" for number, mark in enumerate(marks))
    (tmp_path / "train-rle.csv").write_text(f"ImageId,EncodedPixels\n{rows}")
    index = build_index(find_sources(config.Data(str(tmp_path))), workers=1)
    assert index.set_aside.endswith(said)


def hospital(folder, number, rows):
    """Write two radiographs whose files have the names of any other hospital's, and a table."""
    folder.mkdir()
    for name in (0, 1):
        pixels = np.random.default_rng(9 * number + name).integers(0, 255, (64, 64), np.uint8)
        content = make_dicom(pixels, SOPInstanceUID=f"1.{number}.{name}")
        (folder / f"case_{name}.dcm").write_bytes(content)
    (folder / "train.csv").write_text(f"ImageId,EncodedPixels\n{rows}")
    return folder


@pytest.mark.parametrize("named", ["each", "the one above"])
def test_the_tables_of_several_folders_are_joined_each_for_its_own_radiographs(named, tmp_path):
    first = hospital(tmp_path / "first", 1, "case_0,0 9\ncase_1,-1\n1.2.1,1 1\n")
    second = hospital(tmp_path / "second", 2, "case_0,-1\ncase_1,0 5\n9,-1\n")
    settings = config.Data(f"{first}", also=[f"{second}"])
    sources = find_sources(settings if named == "each" else config.Data(f"{tmp_path}"))
    index = build_index(sources, workers=1)
    # 1.2.1 is second's, which says another mask of it
    assert {r.image_id: r.encoded_pixels for r in index.train} == {
        "1.1.0": "0 9",
        "1.1.1": "-1",
        "1.2.0": "-1",
    }
    (problem,) = index.bad_annotations
    assert str(problem) == (
        f"{second / 'train.csv'}: line 3, image 1.2.1: its mask is another one than on line 4 of "
        f"{first / 'train.csv'}; keep the right one of the two"
    )
    found = {one.code: one for one in audit_index(index, sources).findings}
    assert [item.id for item in found["tables-disagree"].items] == ["1.2.1"]
    assert "unused-table" not in found
    (use,) = index.tables
    assert str(use) == (
        f"{second / 'train.csv'}: 1 rows are refused (1 tables-disagree); 1 id is none of the "
        "images, such as 9"
    )


def test_of_tables_in_two_forms_one_has_to_be_named(tmp_path):
    first = hospital(tmp_path / "first", 1, "case_0,0 9\ncase_1,-1\n")
    places = " ".join(f"{10 * run} 9" for run in range(1, 7))
    rows = "".join(f"{n},{places}\n" for n in range(3))
    second = hospital(tmp_path / "second", 2, rows)
    sources = find_sources(config.Data(f"{first}", also=[f"{second}"]))
    with pytest.raises(OtherFormError, match="there are 2 tables of masks, all read in one form"):
        read_tables(sources)


def test_of_several_tables_one_of_other_images_is_passed_over_and_named(tmp_path):
    first = hospital(tmp_path / "first", 1, "case_0,0 9\ncase_1,-1\n")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "train-rle.csv").write_text("ImageId,EncodedPixels\n7.7,-1\n")
    index = build_index(find_sources(config.Data(f"{first}", also=[f"{tmp_path / 'other'}"])))
    assert len(index.train) == 2
    (use,) = index.tables
    assert (use.unread, use.finding) == ("it names none of the images", "foreign-table")


def test_the_patient_maps_of_several_folders_are_joined(tmp_path):
    first = hospital(tmp_path / "first", 1, "case_0,0 9\ncase_1,-1\n")
    second = hospital(tmp_path / "second", 2, "case_0,0 9\ncase_1,-1\n")
    third = hospital(tmp_path / "third", 3, "case_0,0 9\ncase_1,-1\n")
    for number, folder in ((1, first), (2, second)):
        rows = f"1.{number}.0,a\n1.{number}.1,b{number}\n"
        (folder / "patients.csv").write_text(f"ImageId,patient\n{rows}")
    (second / "patients.csv.gz").write_bytes(gzip.compress(b"ImageId,patient\n1.2.0,a\n"))
    settings = config.Data(f"{first}", also=[f"{second}", f"{third}"])
    index = build_index(find_sources(settings), workers=1)
    known = {record.image_id: record.patient for record in index.train}
    assert known["1.1.0"] == known["1.2.0"] != known["1.1.1"] != known["1.2.1"]
    assert known["1.3.0"] is None
    assert index.patients_from == "map"
    (use,) = index.tables
    assert f"{second / 'patients.csv'} comes first" in use.unread
    (third / "patients.csv").write_text("ImageId,patient\n1.2.0,c\n1.3.0,a\n")
    with pytest.raises(
        DataError, match=r"third/patients.csv: gives image 1.2.0 another patient th"
    ):
        build_index(find_sources(settings), workers=1)


def test_what_simulate_tells_of_several_folders_is_joined_and_a_map_beside_it_leaves_others_known(
    tmp_path,
):
    folders = [hospital(tmp_path / f"{n}", n, "case_0,0 9\ncase_1,-1\n") for n in (1, 2, 3)]
    for number, folder in enumerate(folders[:2], 1):
        row = f"1.{number}.0,00002563_000.png,2563\n"
        (folder / "simulate.csv").write_text(f"ImageId,source,nih_patient\n{row}")
    (folders[0] / "patients.csv").write_text("ImageId,patient\n1.1.0,x\n")
    settings = config.Data(f"{folders[0]}", also=[str(folder) for folder in folders[1:]])
    index = build_index(find_sources(settings), workers=1)
    found = {record.image_id: record for record in index.train}
    assert found["1.1.0"].nih_patient == found["1.2.0"].nih_patient == 2563
    assert found["1.1.0"].patient == found["1.2.0"].patient != found["1.2.1"].patient
    assert found["1.1.0"].group == found["1.2.0"].group
