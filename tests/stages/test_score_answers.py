from dataclasses import replace

import numpy as np
import pytest

from pleura.engines.torch_engine import TorchEngine
from pleura.errors import AnnotationError, DataError
from pleura.formats.masks import MaskReading
from pleura.formats.rle import mask2rle
from pleura.inference.predictor import Predictor
from pleura.inference.row import Row
from pleura.models.bundle import read_bundle
from pleura.stages.score_answers import read_truth, score_answers, write_test_report


@pytest.fixture(scope="module")
def bundle(tiny_model):
    return read_bundle(tiny_model)


@pytest.fixture(scope="module")
def engine(bundle):
    return TorchEngine(bundle)


@pytest.fixture
def truth(tmp_path):
    path = tmp_path / "truth.csv"
    path.write_text("ImageId,EncodedPixels\na,0 4\na,2 4\nb,-1\nc,-1\nx,0 9\n")
    return path


def answer(image_id, rle, score=0.5):
    return Row(f"{image_id}.dcm", image_id, score, 4, rows=4, columns=5, seconds=0.0, rle=rle)


def test_answers_are_scored_where_the_truth_is_known(truth):
    answers = [
        answer("a", "0 6", 0.9),
        answer("b", "0 2", 0.8),
        answer("c", "-1", 0.1),
        answer("unknown", "0 2"),
        Row("x.dcm", error="cannot be read"),
    ]
    scored = score_answers(answers, read_truth(answers, truth))
    found = {item.image_id: item for item in scored.outcomes}
    assert found.keys() == {"a", "b", "c"}
    assert found["a"].dice == 1.0, "the truth is the union of the image's rows"
    assert (found["b"].positive, found["b"].called, found["b"].dice) == (False, True, 0.0)
    assert (found["c"].dice, found["c"].score) == (1.0, 0.1)


def test_a_truth_of_other_images(truth):
    with pytest.raises(DataError, match=r"truth.csv: describes none of the 1 answered images"):
        score_answers(answers := [answer("z", "-1")], read_truth(answers, truth))


def test_training_images_do_not_count(truth):
    answers = [answer("a", "-1"), answer("b", "-1")]
    table = read_truth(answers, truth)
    scored = score_answers(answers, table, leave_out={"a"})
    assert [item.image_id for item in scored.outcomes] == ["b"]
    assert scored.notes == []
    with pytest.raises(DataError, match="those that are also training images left out"):
        score_answers(answers, table, leave_out={"a", "b"})


def test_a_truth_made_for_another_size_does_not_count(truth):
    drawn = mask2rle(np.add.outer((np.arange(48) - 20) ** 2, (np.arange(48) - 30) ** 2) < 100)
    truth.write_text(f"ImageId,EncodedPixels\na,{drawn}\nb,-1\n")
    shape = {"rows": 96, "columns": 96}
    answers = [replace(answer("a", "0 6"), **shape), replace(answer("b", "-1"), **shape)]
    table = read_truth(answers, truth)
    assert [item.image_id for item in score_answers(answers, table).outcomes] == ["b"]
    assert "line 2, image a: the mask was likely made for a picture of 48 x 48" in str(
        table.problems[0]
    )
    with pytest.raises(DataError, match=r"answered images, .* \(line 2, image a: the mask was"):
        score_answers(answers[:1], table)


def test_only_failed_answers(truth):
    with pytest.raises(DataError, match="describes none of the 1 answered images"):
        score_answers(answers := [Row("a.dcm", error="torn")], read_truth(answers, truth))


def test_what_was_not_assessed_counts_in_no_figure_and_is_told(truth):
    flagged = [replace(answer(one, None), assessed=False) for one in ("b", "c", "unknown")]
    answers = [answer("a", "-1"), *flagged]
    table = read_truth(answers, truth)
    scored = score_answers(answers, table)
    assert [item.image_id for item in scored.outcomes] == ["a"]
    assert scored.notes == ["2 images were not assessed, being flagged; left out of all figures."]
    (note,) = score_answers(answers[:2], table).notes
    assert note.startswith("1 image was not assessed, being flagged;")
    with pytest.raises(DataError, match="images left out; 2 others were not assessed"):
        score_answers(flagged, table)


def test_no_truth(tmp_path):
    with pytest.raises(AnnotationError, match=r"none.csv: could not be read"):
        read_truth([answer("a", "-1")], tmp_path / "none.csv")


def test_the_absolute_form(tmp_path):
    path = tmp_path / "truth.csv"
    path.write_text("ImageId,EncodedPixels\na,1 6\n")
    answers = [answer("a", "0 6")]
    reading = MaskReading("absolute")
    (found,) = score_answers(answers, read_truth(answers, path, reading)).outcomes
    assert found.dice == 1.0


def test_the_columns_and_the_names_that_the_truth_has(tmp_path):
    path = tmp_path / "truth.csv"
    path.write_text("file,runs,class\nin/a.png,0 6,ptx\nin/a.png,9 2,lung\n")
    answers = [replace(answer("1.2.3", "0 6"), path="/data/in/a.dcm")]
    reading = MaskReading(image_column="file", mask_column="runs", label="ptx")
    (found,) = score_answers(answers, read_truth(answers, path, reading)).outcomes
    assert (found.image_id, found.dice) == ("1.2.3", 1.0)


def test_the_page_of_the_test_images(bundle, engine, cohort, tmp_path):
    predictor = Predictor(bundle, engine)
    paths = sorted((cohort / "dicom-images-test").rglob("*.dcm"))
    answers = []
    for path in paths:
        found = predictor.predict(path)
        answers.append(
            Row(str(path), found.image_id, found.score, found.area_px, 128, 128, 0.1, found.rle)
        )
    answers.append(Row("x.dcm", "y", assessed=False))
    truth = read_truth(answers, cohort / "test-truth.csv")
    scored = score_answers(answers, truth)._replace(not_assessed=1)
    evaluation = write_test_report(bundle, answers, scored, truth, tmp_path / "report.html")
    assert evaluation.images == len(paths)
    text = (tmp_path / "report.html").read_text()
    assert "pleura: test images" in text
    assert "1 image was not assessed, being flagged; left out of all figures." in text
    assert text.count("data:image/jpeg") == len(paths)
