import json

import numpy as np
import pytest

from pleura.cli.app import execute
from pleura.formats.annotation_table import read_annotations
from pleura.formats.coco import read_coco
from pleura.formats.masks import read_masks
from pleura.formats.rle import mask2rle, united
from tests.data.test_matching import SHAPE, mask_of, radiographs, write_radiograph

__all__ = ["radiographs"]


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text(f"ImageId,EncodedPixels\ncase_0,{mask2rle(mask_of(0))}\ncase_1,-1\n")
    return path


def test_sizes_and_ids_are_those_of_the_radiographs(radiographs, table, tmp_path, capsys):
    images = ["--images", str(radiographs), "--workers", "1"]
    out = tmp_path / "c.json"
    assert execute(["convert", str(table), "--to", "coco", "--out", str(out), *images]) == 0
    said = capsys.readouterr()
    assert said.out.strip() == str(out)
    assert f"2 images, 1 with a mask; wrote {out}" in said.err
    found = {image.name: image for image in read_coco(out)}
    assert set(found) == {"radiographs/case_0.dcm", "radiographs/case_1.dcm"}
    assert found["radiographs/case_1.dcm"].shape == SHAPE
    masks = tmp_path / "masks"
    assert execute(["convert", str(out), "--to", "nifti", "--out", str(masks), *images]) == 0
    assert (masks / "radiographs" / "case_0.nii.gz").is_file()
    back = tmp_path / "back.csv"
    assert execute(["convert", str(masks), "--to", "siim", "--out", str(back), *images]) == 0
    assert {n: united(t) for n, t in read_annotations(back).masks.items()} == {
        "1.2.0": mask2rle(mask_of(0)),
        "1.2.1": "-1",
    }


def test_what_no_radiograph_is_known_of_is_left_out(radiographs, table, tmp_path, capsys):
    with table.open("a") as file:
        file.write("nobody,-1\n")
    write_radiograph(radiographs / "again" / "case_1.dcm", 8, "1.2.8")
    out = tmp_path / "masks"
    words = ["convert", str(table), "--to", "png", "--images", str(radiographs), "--workers", "1"]
    assert execute([*words, "--out", str(out), "--json"]) == 3
    said = capsys.readouterr()
    told = json.loads(said.out)
    assert (told["images"], told["positive"], told["lost"]) == (1, 1, [])
    reasons = dict(told["failures"])
    assert "2 files have this name" in reasons["case_1"]
    assert "holds no radiograph of this name that can be read" in reasons["nobody"]
    assert execute([*words, "--out", str(tmp_path / "x"), "--strict"]) == 1
    assert "nothing is written, as --strict asks" in capsys.readouterr().err
    assert not (tmp_path / "x").exists()


def test_a_mask_of_another_size_than_its_radiograph_is_left_out(radiographs, tmp_path, capsys):
    from pleura.formats.mask_picture import write_mask_picture

    write_mask_picture(tmp_path / "m" / "case_0.png", np.zeros((3, 4), np.bool_))
    write_mask_picture(tmp_path / "m" / "case_1.png", mask_of(0))
    out = str(tmp_path / "t.csv")
    words = ["--to", "siim", "--images", str(radiographs), "--out", out, "--workers", "1"]
    assert execute(["convert", str(tmp_path / "m"), *words]) == 3
    assert "the mask has 3 x 4 pixels (rows x columns)" in capsys.readouterr().err
    assert list(read_masks(out).masks) == ["1.2.1"]


def test_paths_as_ids_are_told(tmp_path, capsys):
    table, out = tmp_path / "t.csv", tmp_path / "a.csv"
    table.write_text('file,runs\n"images/a, b.png",0 2\n')
    columns = ["--image-column", "file", "--mask-column", "runs"]
    assert execute(["convert", str(table), "--to", "absolute", "--out", str(out), *columns]) == 0
    assert "read it with --image-column ImageId" in capsys.readouterr().err
    found = read_annotations(out, form="absolute", columns=("ImageId", ""))
    assert found.masks == {"images/a, b.png": ("1 2",)}


def test_what_is_lost_is_told(tmp_path, capsys):
    table = tmp_path / "t.csv"
    table.write_text("ImageId,EncodedPixels\na,0 3\na,1 3\n")
    words = ["convert", str(table), "--to", "tiff", "--image-size", "8x8"]
    assert execute([*words, "--out", str(tmp_path / "x"), "--strict"]) == 1
    assert execute([*words, "--out", str(tmp_path / "o")]) == 0
    assert "lost: 1 image has several lesions, which become one mask" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        (["t.csv", "--to", "dcm"], 2, "'dcm' is not one of"),
        (["t.csv", "--to", "seg"], 2, "name the folder of these with --images"),
        (["t.csv", "--to", "png"], 2, "their size with --size ROWSxCOLUMNS"),
        (["t.csv", "--to", "png", "--image-size", "8"], 2, "write ROWSxCOLUMNS, such as 1024x1024"),
        (
            ["t.csv", "--to", "png", "--image-size", "8x8", "--images", "."],
            2,
            "leave --image-size out",
        ),
        (["t.csv", "--to", "png", "--polygons"], 2, "--polygons is of COCO, but --to is png"),
        (["nowhere.csv", "--to", "png"], 1, "nowhere.csv"),
    ],
)
def test_what_cannot_be_converted(words, status, message, table, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert execute(["convert", *words, "--out", "out"]) == status
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
