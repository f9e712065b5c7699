import csv
import hashlib
import os
from collections import Counter
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.encaps import generate_frames

from pleura.errors import UsageError
from pleura.formats.rle import overlap_px, union
from pleura.storage.alive import place
from pleura.synthesis.phantom import Cohort, anatomy, draw_phantom, write_cohort
from pleura.synthesis.phantom.cohort import _pieces

SIZE = 80


def _digest(folder: Path) -> dict[str, str]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
    }


def _rows(path: Path) -> dict[str, list[str]]:
    rows: dict[str, list[str]] = {}
    for line in path.read_text(encoding="utf-8").splitlines()[1:]:
        image, text = line.split(",")
        rows.setdefault(image, []).append(text.strip())
    return rows


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Cohort:
    out = tmp_path_factory.mktemp("phantom") / "cohort"
    return write_cohort(out, train=50, test=6, seed=3, size=SIZE, workers=1)


# ---------------------------------------------------------------------------- one radiograph


@pytest.mark.parametrize("size", [64, 129])
@pytest.mark.parametrize("pneumothorax", [False, True])
def test_a_mask_is_there_exactly_with_a_pneumothorax(size, pneumothorax):
    for seed in range(3):
        phantom = draw_phantom(np.random.default_rng(seed), size=size, pneumothorax=pneumothorax)
        assert phantom.pixels.shape == phantom.mask.shape == (size, size)
        assert (phantom.pixels.dtype, phantom.mask.dtype) == (np.uint8, np.bool_)
        assert phantom.mask.any() == pneumothorax
        assert phantom.side in (("L", "R") if pneumothorax else (None,))


def test_the_same_state_gives_the_same_pixels():
    first, again = (
        draw_phantom(np.random.default_rng(5), size=96, pneumothorax=True) for _ in range(2)
    )
    assert (first.pixels == again.pixels).all()
    assert (first.mask == again.mask).all()


def test_the_mask_lies_on_the_side_that_is_told():
    for seed in range(4):
        phantom = draw_phantom(np.random.default_rng(seed), size=64, pneumothorax=True)
        middle = np.nonzero(phantom.mask)[1].mean() / 64
        assert (middle < 0.5) == (phantom.side == "R")


def test_lungs_are_dark_and_the_middle_and_the_belly_are_bright():
    radiographs = [
        draw_phantom(np.random.default_rng(seed), size=128, pneumothorax=False).pixels
        for seed in range(5)
    ]
    mean = np.mean(radiographs, axis=0) / 255
    lungs = (mean[45:65, 30:42].mean() + mean[45:65, 88:98].mean()) / 2
    assert lungs + 0.15 < mean[60:80, 60:68].mean()
    assert lungs + 0.15 < mean[110:125, 50:78].mean()
    assert mean[2:8, 1:6].mean() < lungs


def test_areas_follow_the_real_table():
    rng = np.random.default_rng(0)
    areas = []
    for _ in range(60):
        share = anatomy.draw_area_px(rng) / 1024**2
        chest = anatomy.Chest(anatomy.draw_person(rng), anatomy.draw_pose(rng))
        lung = anatomy.whole_lung(chest, -1)
        areas.append(anatomy.draw_collapse(rng, lung, share).air_area * 1024**2)
    tenth, median, ninetieth = np.quantile(areas, [0.1, 0.5, 0.9])
    assert 1000 < tenth < 4000
    assert 5500 < median < 13500
    assert 20000 < ninetieth < 50000


@pytest.mark.parametrize("area_px", [200, 2000, 8630, 33432])
def test_a_collapse_reaches_the_area_that_is_asked_for(area_px):
    rng = np.random.default_rng(1)
    chest = anatomy.Chest(anatomy.draw_person(rng), anatomy.draw_pose(rng))
    lung = anatomy.whole_lung(chest, 1)
    collapsed = anatomy.draw_collapse(rng, lung, area_px / 1024**2)
    assert collapsed.air_area * 1024**2 == pytest.approx(area_px, rel=0.05)


def test_a_collapse_is_clipped_to_what_the_lung_allows():
    rng = np.random.default_rng(2)
    lung = anatomy.whole_lung(anatomy.Chest(anatomy.draw_person(rng), anatomy.draw_pose(rng)), 1)
    collapsed = anatomy.draw_collapse(rng, lung, 2.0)
    assert 0.3 < collapsed.collapse < 1
    assert (collapsed.pleura > 0).all()
    assert (collapsed.pleura <= collapsed.field).all()


def test_a_collapsed_lung_draws_its_vessels_in():
    rng = np.random.default_rng(3)
    lung = anatomy.whole_lung(anatomy.Chest(anatomy.draw_person(rng), anatomy.draw_pose(rng)), -1)
    collapsed = anatomy.draw_collapse(rng, lung, 0.05)
    pieces, widths = anatomy.vessel_tree(rng, collapsed)
    x = collapsed.side * (pieces[..., 0] - collapsed.hilum[0])
    y = pieces[..., 1] - collapsed.hilum[1]
    border = np.interp(np.arctan2(y, x), anatomy.ANGLES, collapsed.pleura, period=2 * np.pi)
    outside = np.hypot(x, y) > border + 0.02
    assert len(pieces) == len(widths)
    assert outside[np.hypot(x, y) > 0.06].mean() < 0.01


# ---------------------------------------------------------------------------- a cohort


def test_the_layout_is_kaggles(cohort):
    files = list(cohort.out.rglob("*.dcm"))
    assert len(files) == cohort.files
    for path in files:
        folder, study, series, name = path.relative_to(cohort.out).parts
        assert folder in ("dicom-images-train", "dicom-images-test")
        assert all(pydicom.uid.UID(uid).is_valid for uid in (study, series, name[:-4]))
    assert cohort.annotations.read_text().startswith("ImageId, EncodedPixels\n")
    assert cohort.truth.read_text().startswith("ImageId, EncodedPixels\n")
    assert cohort.patients.read_text().startswith("ImageId,patient\n")
    assert ", -1\n" in cohort.annotations.read_text()


def test_the_counts_are_what_is_on_disk(cohort):
    rows, truth = _rows(cohort.annotations), _rows(cohort.truth)
    assert (cohort.train, cohort.test) == (50, 6)
    assert (cohort.unlabelled, cohort.repeated, cohort.twins, cohort.unreadable) == (1, 1, 1, 1)
    assert len(rows) == cohort.train - cohort.unlabelled + cohort.twins + cohort.unreadable
    assert len(truth) == cohort.test
    assert cohort.train_positives == round(0.35 * 50)
    assert cohort.test_positives == round(0.35 * 6)
    assert sum(texts != ["-1"] for texts in truth.values()) == cohort.test_positives
    names = Counter(path.stem for path in cohort.train_images.rglob("*.dcm"))
    assert sum(count > 1 for count in names.values()) == cohort.repeated
    assert len(set(names) - set(rows)) == cohort.unlabelled


def test_a_copy_under_another_uid_is_annotated_the_same(cohort):
    pixels: dict[bytes, set[str]] = {}
    for path in cohort.train_images.rglob("*.dcm"):
        content = path.read_bytes()
        pixels.setdefault(content[content.index(b"\xff\xd8\xff") :], set()).add(path.stem)
    (twins,) = (names for names in pixels.values() if len(names) > 1)
    rows, patients = _rows(cohort.annotations), _rows(cohort.patients)
    first, second = twins
    assert rows[first] == rows[second]
    assert patients[first] == patients[second]


def test_one_file_breaks_off(cohort):
    broken = []
    for path in cohort.train_images.rglob("*.dcm"):
        content = path.read_bytes()
        if not content.endswith(b"\xfe\xff\xdd\xe0\x00\x00\x00\x00"):
            broken.append(path.stem)
    assert len(broken) == cohort.unreadable
    assert _rows(cohort.annotations)[broken[0]] == ["-1"]


def test_headers_are_like_the_real_ones(cohort):
    patients = set()
    for path in sorted(cohort.test_images.rglob("*.dcm")):
        dataset = pydicom.dcmread(path)
        assert dataset.SOPInstanceUID == path.stem == dataset.file_meta.MediaStorageSOPInstanceUID
        assert dataset.StudyInstanceUID == path.parts[-3]
        assert dataset.SOPClassUID == "1.2.840.10008.5.1.4.1.1.7"
        assert dataset.file_meta.TransferSyntaxUID == "1.2.840.10008.1.2.4.50"
        assert (dataset.Modality, dataset.BodyPartExamined) == ("CR", "CHEST")
        assert dataset.ViewPosition in ("PA", "AP")
        assert dataset.PatientSex in ("M", "F")
        assert (dataset.Rows, dataset.Columns, dataset.BitsStored) == (SIZE, SIZE, 8)
        assert dataset.PhotometricInterpretation == "MONOCHROME2"
        assert dataset.ConversionType == "WSD"
        assert dataset.LossyImageCompression == "01"
        assert dataset.PatientID == dataset.PatientName
        patients.add(dataset.PatientID)
        age = dataset.get_item("PatientAge").value
        assert (age if isinstance(age, str) else age.decode()).strip().isdigit()
        (frame,) = generate_frames(dataset.PixelData, number_of_frames=1)
        assert frame.startswith(b"\xff\xd8\xff")
    assert len(patients) == cohort.test


def test_patients_have_one_to_four_radiographs_and_cover_the_training_images(cohort):
    with cohort.patients.open() as file:
        table = list(csv.DictReader(file))
    images = {path.stem for path in cohort.train_images.rglob("*.dcm")}
    assert {row["ImageId"] for row in table} == images
    radiographs = Counter(row["patient"] for row in table)
    assert 1 < max(radiographs.values()) <= 4 + cohort.twins + cohort.unreadable
    assert len(radiographs) > cohort.train / 4


def test_radiographs_of_one_patient_agree_on_sex_and_age(cohort):
    patients = {image: texts[0] for image, texts in _rows(cohort.patients).items()}
    seen: dict[str, set[tuple[str, object]]] = {}
    for path in cohort.train_images.rglob("*.dcm"):
        dataset = pydicom.dcmread(path, specific_tags=["PatientSex"], stop_before_pixels=True)
        seen.setdefault(patients[path.stem], set()).add(dataset.PatientSex)
    assert all(len(sexes) == 1 for sexes in seen.values())


def test_pieces_of_a_mask_unite_to_it():
    mask = draw_phantom(np.random.default_rng(4), size=256, pneumothorax=True).mask
    rng = np.random.default_rng(0)
    counts, overlaps = Counter(), 0
    for _ in range(200):
        pieces = _pieces(rng, mask)
        assert (np.logical_or.reduce(pieces) == mask).all()
        assert all(piece.any() for piece in pieces)
        overlaps += np.sum(pieces, axis=0).max() > 1
        counts[len(pieces)] += 1
    assert set(counts) == {1, 2, 3, 4}
    assert 0.15 < 1 - counts[1] / 200 < 0.35
    assert 0 < overlaps < 50


def test_rows_of_one_image_unite_to_a_mask_within_the_radiograph(cohort):
    rows = _rows(cohort.annotations)
    several = [texts for texts in rows.values() if len(texts) > 1]
    assert cohort.several_rows > 0
    assert cohort.several_rows <= len(several) <= cohort.several_rows + cohort.twins
    for texts in rows.values():
        assert union(texts, (SIZE, SIZE)).any() == (texts != ["-1"])
        assert overlap_px(texts, (SIZE, SIZE)) >= 0


@pytest.mark.parametrize("workers", [1, 2])
def test_the_same_seed_gives_the_same_bytes_whatever_the_workers(tmp_path, workers):
    reference = tmp_path / "reference"
    write_cohort(reference, train=3, test=1, seed=9, size=64, workers=1)
    write_cohort(tmp_path / "again", train=3, test=1, seed=9, size=64, workers=workers)
    assert _digest(tmp_path / "again") == _digest(reference)


def test_another_seed_gives_another_cohort(tmp_path):
    for seed in (1, 2):
        write_cohort(tmp_path / str(seed), train=2, test=0, seed=seed, size=64, workers=1)
    assert not set(_rows(tmp_path / "1/train-rle.csv")) & set(_rows(tmp_path / "2/train-rle.csv"))


def test_a_small_cohort_has_no_faults(tmp_path):
    cohort = write_cohort(tmp_path, train=9, test=0, seed=0, size=64, workers=1)
    assert (cohort.unlabelled, cohort.repeated, cohort.twins, cohort.unreadable) == (0, 0, 0, 0)
    assert cohort.files == 9
    assert cohort.test_images.is_dir()


def test_progress_counts_every_image(tmp_path):
    told: list[tuple[int, int]] = []
    write_cohort(
        tmp_path,
        train=2,
        test=1,
        seed=0,
        size=64,
        workers=1,
        on_progress=lambda done, total: told.append((done, total)),
    )
    assert told == [(1, 3), (2, 3), (3, 3)]


def test_an_interrupted_cohort_has_no_tables(tmp_path):
    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_cohort(tmp_path, train=3, test=1, seed=0, size=64, workers=1, on_progress=stop)
    assert list(tmp_path.rglob("*.dcm"))
    assert not list(tmp_path.glob("*.csv"))


@pytest.mark.parametrize("prevalence", [0.0, 1.0])
def test_prevalence_is_kept(tmp_path, prevalence):
    cohort = write_cohort(
        tmp_path, train=3, test=2, seed=0, size=64, prevalence=prevalence, workers=1
    )
    assert cohort.train_positives == 3 * prevalence
    assert cohort.test_positives == 2 * prevalence


def test_what_was_interrupted_is_finished_by_the_same_arguments_alone(tmp_path):
    how = {"train": 3, "test": 1, "seed": 0, "size": 64, "workers": 1}
    write_cohort(tmp_path / "whole", **how)

    def stop(done, total):
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_cohort(tmp_path / "out", **how, on_progress=stop)
    half = next((tmp_path / "out").rglob("*.dcm"))
    torn = half.with_name(f".{half.name}.{place()}-4194304-1.partial")
    torn.write_bytes(b"torn")
    os.utime(torn, (1, 1))
    with pytest.raises(UsageError, match="holds what was interrupted while it was made of somethi"):
        write_cohort(tmp_path / "out", **how | {"seed": 1})
    write_cohort(tmp_path / "out", **how)
    assert _digest(tmp_path / "out") == _digest(tmp_path / "whole")
    with pytest.raises(UsageError, match="already holds files"):
        write_cohort(tmp_path / "out", **how)


def test_a_folder_with_files_is_refused(tmp_path):
    (tmp_path / "mine.txt").write_text("x")
    with pytest.raises(UsageError, match=r"already holds files; .* name a new or empty folder"):
        write_cohort(tmp_path, train=1, test=0, seed=0, size=64)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_a_file_is_refused(tmp_path):
    path = tmp_path / "mine.txt"
    path.write_text("x")
    with pytest.raises(UsageError, match="is a file; name a new or empty folder"):
        write_cohort(path, train=1, test=0, seed=0, size=64)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"train": 0}, "train is 0; it must be 1 or more"),
        ({"test": -1}, "test is -1; it must be 0 or more"),
        ({"seed": -1}, "seed is -1; it must be 0 or more"),
        ({"size": 63}, "size is 63; it must be 64 or more"),
        ({"workers": 0}, "workers is 0; it must be 1 or more"),
        ({"prevalence": 1.5}, "prevalence is 1.5; it must lie between 0 and 1"),
        ({"prevalence": float("nan")}, "prevalence is nan; it must lie between 0 and 1"),
    ],
)
def test_numbers_out_of_range_are_refused(tmp_path, change, message):
    asked = {"train": 1, "test": 0, "seed": 0, "size": 64} | change
    with pytest.raises(UsageError, match=message):
        write_cohort(tmp_path / "new", **asked)
    assert not (tmp_path / "new").exists()
