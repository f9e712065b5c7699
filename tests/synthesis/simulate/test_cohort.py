"""A folder of simulated radiographs: what pleura reads of it, who is on it, what it repeats."""

import csv
import itertools

import imagecodecs
import numpy as np
import pytest

from pleura import config
from pleura.data.index import build_index
from pleura.data.prepare import prepare_pixels
from pleura.data.radiographs import read_any_radiograph
from pleura.data.sources import find_sources
from pleura.dicom.radiograph import read_radiograph
from pleura.dicom.secondary import write_secondary_capture
from pleura.errors import DataError, UsageError
from pleura.synthesis.simulate import find_radiographs, simulated, write_simulated
from pleura.synthesis.simulate.cohort import PARAMETERS


@pytest.fixture(scope="module")
def radiographs(canvases, tmp_path_factory):
    """Four negative radiographs, one labelled positive, one unlabelled, one of nothing."""
    folder = tmp_path_factory.mktemp("radiographs")
    for number, canvas in enumerate([*canvases, canvases[0]]):
        (folder / f"radiograph{number}.png").write_bytes(imagecodecs.png_encode(canvas.pixels))
    blank = np.zeros((256, 256), np.uint8)
    (folder / "radiograph6.png").write_bytes(imagecodecs.png_encode(blank))
    rows = ["image,pneumothorax,patient", *(f"radiograph{n}.png,0,p{n // 2}" for n in range(4))]
    (folder / "labels.csv").write_text(
        "\n".join([*rows, "radiograph4.png,1,p9", "radiograph6.png,0,p8"])
    )
    return folder


def write(radiographs, out, **settings):
    asked = {"count": 6, "seed": 1, "size": 256, "labels": radiographs / "labels.csv", "workers": 1}
    return write_simulated(radiographs, out, **{**asked, **settings})


@pytest.fixture(scope="module")
def made(radiographs, tmp_path_factory):
    out = tmp_path_factory.mktemp("simulated") / "out"
    return write(radiographs, out)


def test_the_folder_reads_like_any_other(made):
    index = build_index(find_sources(config.Data(path=str(made.out))), workers=1)
    assert len(index.train) == 6
    assert sum(bool(record.positive) for record in index.train) == made.kinds["pneumothorax"]
    assert {record.rows for record in index.train} == {256}
    with (made.out / "patients.csv").open() as file:
        patients = {row["ImageId"]: row["patient"] for row in csv.DictReader(file)}
    numbered = {(record.patient, patients[record.image_id]) for record in index.train}
    assert len(numbered) == len(set(patients.values())) == 2


def test_what_was_drawn_is_told_and_the_patient_is_that_of_the_source(made, radiographs):
    with (made.out / PARAMETERS).open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 6
    with (made.out / "train-rle.csv").open() as file:
        masks = {row["ImageId"]: row["EncodedPixels"] for row in csv.DictReader(file)}
    for row in rows:
        assert (radiographs / row["source"]).exists()
        assert row["patient"] == f"p{int(row['source'].removesuffix('.png')[-1]) // 2}"
        assert (
            (masks[row["ImageId"]] != "-1") == (row["kind"] == "pneumothorax") == bool(row["area"])
        )
    assert {row["source"] for row in rows} == {f"radiograph{n}.png" for n in range(4)}


def test_radiographs_that_cannot_be_drawn_on_are_left_out_and_counted(made):
    sources = made.sources
    assert [radiograph.path.name for radiograph in sources.radiographs] == [
        f"radiograph{n}.png" for n in range(4)
    ]
    assert (sources.positive, sources.unlabelled) == (1, 1)
    (path, reason), *others = sources.refused
    assert path.endswith("radiograph6.png")
    assert reason
    assert not others


def test_the_same_seed_gives_the_same_bytes(made, radiographs, tmp_path):
    again = write(radiographs, tmp_path / "again")
    files = sorted(path.relative_to(made.out) for path in made.out.rglob("*") if path.is_file())
    assert files == sorted(p.relative_to(again.out) for p in again.out.rglob("*") if p.is_file())
    for path in files:
        assert (made.out / path).read_bytes() == (again.out / path).read_bytes()


def test_radiographs_of_the_patients_that_judge_are_left_out(radiographs, canvases, tmp_path):
    judges = tmp_path / "judges"
    judges.mkdir()
    write_secondary_capture(
        judges / "a.dcm",
        canvases[0].pixels,
        sop_uid="1.2.3",
        study_uid="1.2.4",
        series_uid="1.2.5",
        patient_id="known",
        patient_name="",
        age=None,
        sex="",
        view="",
        spacing_mm=None,
    )
    (judges / "broken.dcm").write_bytes(b"no radiograph")
    own = tmp_path / "own"
    own.mkdir()
    (own / "same.dcm").write_bytes((judges / "a.dcm").read_bytes())
    (own / "other.png").write_bytes((radiographs / "radiograph1.png").read_bytes())
    found = find_radiographs(own, exclude=judges, size=256, workers=1)
    assert ([radiograph.path.name for radiograph in found.radiographs], found.excluded) == (
        ["other.png"],
        1,
    )
    assert [
        radiograph.path.name
        for radiograph in find_radiographs(own, size=256, workers=1).radiographs
    ] == ["other.png", "same.dcm"]


def test_radiographs_are_written_as_they_are_where_that_is_asked_for(radiographs, tmp_path):
    made = write(radiographs, tmp_path / "out", originals=True)
    with (made.out / PARAMETERS).open() as file:
        rows = list(csv.DictReader(file))
    as_they_are = {row["ImageId"]: row for row in rows if row["kind"] == "original"}
    # radiograph6 shows nothing, so nothing can be drawn on it; but neither does it show a
    # pneumothorax.
    assert [row["source"] for row in as_they_are.values()] == [
        *(f"radiograph{n}.png" for n in range(4)),
        "radiograph6.png",
    ]
    assert len(rows) == 6 + len(as_they_are)
    index = build_index(find_sources(config.Data(path=str(made.out))), workers=1)
    records = {record.image_id: record for record in index.records}
    for image_id, row in as_they_are.items():
        if image_id not in records:  # two radiographs of one picture are one image
            continue
        assert not records[image_id].positive
        radiograph = read_any_radiograph(radiographs / row["source"]).pixels.astype(int)
        kept = read_radiograph(records[image_id].path).pixels.astype(int)
        assert np.abs(kept - prepare_pixels(radiograph.astype(np.uint8), 256)).mean() < 2


def test_radiographs_come_without_end_for_a_training(radiographs):
    sources = find_radiographs(
        radiographs, radiographs / "labels.csv", size=256, workers=1
    ).radiographs
    first = list(itertools.islice(simulated(sources, size=256, seed=3), 3))
    again = list(itertools.islice(simulated(sources, size=256, seed=3), 3))
    assert all((a.pixels == b.pixels).all() for a, b in zip(first, again, strict=True))
    assert {radiograph.pixels.shape for radiograph in first} == {(256, 256)}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"count": 0}, "count is 0; it must be 1 or more"),
        ({"seed": -1}, "seed is -1; it must be 0 or more"),
        ({"size": 128}, "size is 128; it must be 256 to 2048"),
        ({"prevalence": -0.1}, r"prevalence is -0\.1; it must lie between 0 and 1"),
    ],
)
def test_numbers_out_of_range_are_refused(radiographs, tmp_path, settings, message):
    with pytest.raises(UsageError, match=message):
        write(radiographs, tmp_path / "out", **settings)


def test_a_folder_with_files_is_refused(radiographs, tmp_path):
    (tmp_path / "kept").write_text("kept")
    with pytest.raises(UsageError, match="already holds files"):
        write(radiographs, tmp_path)


def test_radiographs_of_which_none_can_be_used_are_refused(radiographs, tmp_path):
    (tmp_path / "labels.csv").write_text(
        "image,pneumothorax\nradiograph6.png,0\nradiograph1.png,1\n"
    )
    with pytest.raises(
        DataError, match=r"no radiograph can be drawn on \(1 refused, 1 with a pneumo"
    ):
        write(radiographs, tmp_path / "out", labels=tmp_path / "labels.csv")
