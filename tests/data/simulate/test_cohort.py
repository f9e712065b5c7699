"""A folder of simulated films: what pleura reads of it, who is on it, what it repeats."""

import csv
import itertools

import imagecodecs
import numpy as np
import pytest

from pleura import config
from pleura.data.films import read_film
from pleura.data.index import build_index
from pleura.data.prepare import prepare_pixels
from pleura.data.simulate import find_films, simulated, write_simulated
from pleura.data.simulate.cohort import PARAMETERS
from pleura.data.sources import find_sources
from pleura.errors import DataError, UsageError
from pleura.formats.dicom import read_radiograph
from pleura.formats.secondary import write_secondary_capture


@pytest.fixture(scope="module")
def films(canvases, tmp_path_factory):
    """Four films without a pneumothorax, one labelled with it, one unlabelled, one of nothing."""
    folder = tmp_path_factory.mktemp("films")
    for number, canvas in enumerate([*canvases, canvases[0]]):
        (folder / f"film{number}.png").write_bytes(imagecodecs.png_encode(canvas.pixels))
    blank = np.zeros((256, 256), np.uint8)
    (folder / "film6.png").write_bytes(imagecodecs.png_encode(blank))
    rows = ["image,pneumothorax,patient", *(f"film{n}.png,0,p{n // 2}" for n in range(4))]
    (folder / "labels.csv").write_text("\n".join([*rows, "film4.png,1,p9", "film6.png,0,p8"]))
    return folder


def write(films, out, **settings):
    asked = {"count": 6, "seed": 1, "size": 256, "labels": films / "labels.csv", "workers": 1}
    return write_simulated(films, out, **{**asked, **settings})


@pytest.fixture(scope="module")
def made(films, tmp_path_factory):
    out = tmp_path_factory.mktemp("simulated") / "out"
    return write(films, out)


def test_the_folder_reads_like_any_other(made):
    index = build_index(find_sources(config.Data(path=str(made.out))), workers=1)
    assert len(index.train) == 6
    assert sum(bool(record.positive) for record in index.train) == made.kinds["pneumothorax"]
    assert {record.rows for record in index.train} == {256}
    with (made.out / "patients.csv").open() as file:
        patients = {row["ImageId"]: row["patient"] for row in csv.DictReader(file)}
    numbered = {(record.patient, patients[record.image_id]) for record in index.train}
    assert len(numbered) == len(set(patients.values())) == 2


def test_what_was_drawn_is_told_and_the_patient_is_that_of_the_source(made, films):
    with (made.out / PARAMETERS).open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 6
    with (made.out / "train-rle.csv").open() as file:
        masks = {row["ImageId"]: row["EncodedPixels"] for row in csv.DictReader(file)}
    for row in rows:
        assert (films / row["source"]).exists()
        assert row["patient"] == f"p{int(row['source'][4]) // 2}"
        assert (
            (masks[row["ImageId"]] != "-1") == (row["kind"] == "pneumothorax") == bool(row["area"])
        )
    assert {row["source"] for row in rows} == {f"film{n}.png" for n in range(4)}


def test_films_that_cannot_be_drawn_on_are_left_out_and_counted(made):
    sources = made.sources
    assert [film.path.name for film in sources.films] == [f"film{n}.png" for n in range(4)]
    assert (sources.positive, sources.unlabelled) == (1, 1)
    (path, reason), *others = sources.refused
    assert path.endswith("film6.png")
    assert reason
    assert not others


def test_the_same_seed_gives_the_same_bytes(made, films, tmp_path):
    again = write(films, tmp_path / "again")
    files = sorted(path.relative_to(made.out) for path in made.out.rglob("*") if path.is_file())
    assert files == sorted(p.relative_to(again.out) for p in again.out.rglob("*") if p.is_file())
    for path in files:
        assert (made.out / path).read_bytes() == (again.out / path).read_bytes()


def test_films_of_the_patients_that_judge_are_left_out(films, canvases, tmp_path):
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
    (judges / "broken.dcm").write_bytes(b"no film")
    own = tmp_path / "own"
    own.mkdir()
    (own / "same.dcm").write_bytes((judges / "a.dcm").read_bytes())
    (own / "other.png").write_bytes((films / "film1.png").read_bytes())
    found = find_films(own, exclude=judges, size=256, workers=1)
    assert ([film.path.name for film in found.films], found.excluded) == (["other.png"], 1)
    assert [film.path.name for film in find_films(own, size=256, workers=1).films] == [
        "other.png",
        "same.dcm",
    ]


def test_films_are_written_as_they_are_where_that_is_asked_for(films, tmp_path):
    made = write(films, tmp_path / "out", originals=True)
    with (made.out / PARAMETERS).open() as file:
        rows = list(csv.DictReader(file))
    as_they_are = {row["ImageId"]: row for row in rows if row["kind"] == "original"}
    # film6 shows nothing, so nothing can be drawn on it; but neither does it show a pneumothorax.
    assert [row["source"] for row in as_they_are.values()] == [
        *(f"film{n}.png" for n in range(4)),
        "film6.png",
    ]
    assert len(rows) == 6 + len(as_they_are)
    index = build_index(find_sources(config.Data(path=str(made.out))), workers=1)
    records = {record.image_id: record for record in index.records}
    for image_id, row in as_they_are.items():
        if image_id not in records:  # two films of one picture are one image
            continue
        assert not records[image_id].positive
        film = read_film(films / row["source"]).pixels.astype(int)
        kept = read_radiograph(records[image_id].path).pixels.astype(int)
        assert np.abs(kept - prepare_pixels(film.astype(np.uint8), 256)).mean() < 2


def test_films_come_without_end_for_a_training(films):
    sources = find_films(films, films / "labels.csv", size=256, workers=1).films
    first = list(itertools.islice(simulated(sources, size=256, seed=3), 3))
    again = list(itertools.islice(simulated(sources, size=256, seed=3), 3))
    assert all((a.pixels == b.pixels).all() for a, b in zip(first, again, strict=True))
    assert {film.pixels.shape for film in first} == {(256, 256)}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"count": 0}, "count is 0; it must be 1 or more"),
        ({"seed": -1}, "seed is -1; it must be 0 or more"),
        ({"size": 128}, "size is 128; it must be 256 to 2048"),
        ({"prevalence": -0.1}, r"prevalence is -0\.1; it must lie between 0 and 1"),
    ],
)
def test_numbers_out_of_range_are_refused(films, tmp_path, settings, message):
    with pytest.raises(UsageError, match=message):
        write(films, tmp_path / "out", **settings)


def test_a_folder_with_files_is_refused(films, tmp_path):
    (tmp_path / "kept").write_text("kept")
    with pytest.raises(UsageError, match="already holds files"):
        write(films, tmp_path)


def test_films_of_which_none_can_be_used_are_refused(films, tmp_path):
    (tmp_path / "labels.csv").write_text("image,pneumothorax\nfilm6.png,0\nfilm1.png,1\n")
    with pytest.raises(DataError, match=r"no film can be drawn on \(1 refused, 1 with a pneumo"):
        write(films, tmp_path / "out", labels=tmp_path / "labels.csv")
