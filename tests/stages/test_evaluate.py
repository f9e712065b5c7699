from dataclasses import replace

import numpy as np
import pytest

from pleura.data.arrays import write_prepared
from pleura.data.records import image_keys
from pleura.errors import AnnotationError, DataError
from pleura.formats.rle import rle2mask
from pleura.inference.answer import Answer
from pleura.inference.predictor import Predictor
from pleura.inference.torch_engine import TorchEngine
from pleura.metrics import dice_coeff
from pleura.models.bundle import Calibration, OperatingPoint, read_bundle
from pleura.stages.evaluate import (
    CASES,
    FAILURES,
    compare_models,
    evaluate_model,
    judged,
    score_answers,
    write_test_report,
    write_validation_report,
)


@pytest.fixture(scope="module")
def bundle(tiny_model):
    return read_bundle(tiny_model)


@pytest.fixture(scope="module")
def engine(bundle):
    return TorchEngine(bundle, precision="fp32")


def trained_on(bundle, prepared, rows):
    return replace(bundle, trained_on=image_keys([prepared.train[row] for row in rows]))


def test_images_that_trained_the_model_are_left_out(bundle, engine, small_prepared):
    trained = range(0, 35, 3)
    partly = trained_on(bundle, small_prepared, trained)
    validation = evaluate_model(partly, small_prepared, engine=engine)
    assert set(validation.rows) == set(range(35)) - set(trained)
    ids = [small_prepared.train[row].image_id for row in validation.rows]
    assert [item.image_id for item in validation.outcomes] == ids
    assert validation.evaluation.images == 23


def test_an_outcome_is_what_predicting_the_file_gives(bundle, engine, small_prepared):
    validation = evaluate_model(bundle, small_prepared, engine=engine)
    predictor = Predictor(bundle, engine)
    assert any(item.called for item in validation.outcomes)
    for row in range(0, 35, 7):
        record, found = small_prepared.train[row], validation.outcomes[row]
        prediction = predictor.predict(record.path)
        truth = rle2mask(record.encoded_pixels, (record.rows, record.columns))
        assert found.score == pytest.approx(prediction.score, abs=1e-4)
        expected = dice_coeff(truth, prediction.mask, smooth=0)
        assert found.dice == pytest.approx(expected, abs=0.01)
        assert found.positive == truth.any()
        assert found.patient == record.patient
        traits = found.traits
        assert (traits.sex, traits.age_years, traits.view) == (
            record.sex,
            record.age_years,
            record.view,
        )


def test_the_maps_come_in_the_order_of_the_rows(engine, small_prepared):
    rows = np.array([20, 3, 3, 0, 34, 7, 8, 9, 10, 11])
    found = list(judged(engine, small_prepared, rows))
    for row, said in zip(rows, found, strict=True):
        alone = engine.probabilities(np.asarray(small_prepared.x_train[row][None]))
        assert said.probability == pytest.approx(alone.maps[0], abs=1e-5)
        assert said.score == pytest.approx(alone.scores[0], abs=1e-5)
        assert np.array_equal(said.truth, small_prepared.y_train[row])


def test_the_share_of_the_square_that_is_film(engine, small_prepared):
    wide = replace(
        small_prepared,
        train=tuple(replace(record, columns=2 * record.rows) for record in small_prepared.train),
    )
    (said,) = judged(engine, wide, np.array([0]))
    assert said.inside == 0.5
    (said,) = judged(engine, small_prepared, np.array([0]))
    assert said.inside == 1.0


def test_figures_at_each_point_and_of_the_calibrated_score(bundle, engine, small_prepared):
    plain = evaluate_model(bundle, small_prepared, engine=engine)
    scores = np.array([item.score for item in plain.outcomes])
    line = Calibration("platt", slope=0.5, intercept=1.0)
    point = bundle.operating_point
    moved = replace(
        bundle,
        calibration=line,
        operating_point=replace(point, score=float(line.apply(point.score))),
        presets={"sensitive": OperatingPoint(score=float(line.apply(scores.min())))},
    )
    found = evaluate_model(moved, small_prepared, engine=engine)
    calibrated = np.array([item.score for item in found.outcomes])
    assert calibrated == pytest.approx(line.apply(scores))
    assert [item.called for item in found.outcomes] == [item.called for item in plain.outcomes]
    assert found.evaluation.auroc == plain.evaluation.auroc
    assert found.evaluation.calibration_error != plain.evaluation.calibration_error
    assert [item.name for item in found.evaluation.points] == ["default", "sensitive"]
    assert found.evaluation.points[1].sensitivity.value == 1.0


def test_two_models_meet_on_the_images_that_trained_neither(bundle, small_prepared):
    one = trained_on(bundle, small_prepared, range(10))
    never = replace(bundle.operating_point, score=1.0)
    other = replace(trained_on(bundle, small_prepared, range(5, 20)), operating_point=never)
    told = []
    both = compare_models(one, other, small_prepared, on_progress=lambda *now: told.append(now))
    assert both.ours.rows == both.theirs.rows == tuple(range(20, 35))
    assert told == [(number, 30) for number in range(1, 31)]
    differences = {item.name: item for item in both.comparison.differences}
    assert differences["auroc"].difference.value == 0
    assert differences["sensitivity"].difference.value > 0
    assert differences["specificity"].difference.value <= 0
    everyone = trained_on(bundle, small_prepared, range(9, 35))
    message = "all of its 35 labelled images trained the model or the other one; evaluate on other"
    with pytest.raises(DataError, match=message):
        compare_models(one, everyone, small_prepared)


def test_progress_counts_to_the_end(bundle, engine, small_prepared):
    told = []
    evaluate_model(bundle, small_prepared, engine=engine, on_progress=lambda *now: told.append(now))
    assert told == [(number, 35) for number in range(1, 36)]


def test_a_folder_of_another_size_names_the_right_one(bundle, small_index, tmp_path):
    other = write_prepared(small_index.train[:2], [], tmp_path / "p", size=32, workers=1)
    message = "p: is prepared at 32 pixels, the model wants 64; prepare it again with --size 64"
    with pytest.raises(DataError, match=message):
        evaluate_model(bundle, other)


def test_nothing_is_left_where_every_image_trained_the_model(bundle, small_prepared):
    whole = trained_on(bundle, small_prepared, range(35))
    message = "all of its 35 labelled images trained the model; evaluate on others"
    with pytest.raises(DataError, match=message):
        evaluate_model(whole, small_prepared)


def test_the_notes_say_what_makes_figures_too_good(bundle, engine, small_prepared):
    assert evaluate_model(bundle, small_prepared, engine=engine).notes == ()
    same = replace(
        trained_on(bundle, small_prepared, [0]),
        training={"fingerprint": small_prepared.fingerprint},
    )
    (note,) = evaluate_model(same, small_prepared, engine=engine).notes
    assert "a little too good" in note
    unknown = replace(
        small_prepared,
        train=tuple(replace(record, patient=None) for record in small_prepared.train),
    )
    notes = evaluate_model(same, unknown, engine=engine).notes
    assert any("Some patients are unknown" in note for note in notes)


# ------------------------------------------------------------------ answers against a table


@pytest.fixture
def truth(tmp_path):
    path = tmp_path / "truth.csv"
    path.write_text("ImageId,EncodedPixels\na,0 4\na,2 4\nb,-1\nc,-1\nx,0 9\n")
    return path


def answer(image_id, rle, score=0.5):
    return Answer(f"{image_id}.dcm", image_id, score, 4, rows=4, columns=5, seconds=0.0, rle=rle)


def test_answers_are_scored_where_the_truth_is_known(truth):
    answers = [
        answer("a", "0 6", 0.9),
        answer("b", "0 2", 0.8),
        answer("c", "-1", 0.1),
        answer("unknown", "0 2"),
        Answer("x.dcm", error="cannot be read"),
    ]
    found = {item.image_id: item for item in score_answers(answers, truth)}
    assert found.keys() == {"a", "b", "c"}
    assert found["a"].dice == 1.0, "the truth is the union of the image's rows"
    assert (found["b"].positive, found["b"].called, found["b"].dice) == (False, True, 0.0)
    assert (found["c"].dice, found["c"].score) == (1.0, 0.1)


def test_a_truth_of_other_images(truth):
    with pytest.raises(DataError, match=r"truth.csv: describes none of the 1 answered images"):
        score_answers([answer("z", "-1")], truth)


def test_training_images_do_not_count(truth):
    answers = [answer("a", "-1"), answer("b", "-1")]
    assert [item.image_id for item in score_answers(answers, truth, leave_out={"a"})] == ["b"]
    with pytest.raises(DataError, match="those that are also training images left out"):
        score_answers(answers, truth, leave_out={"a", "b"})


def test_only_failed_answers(truth):
    with pytest.raises(DataError, match="describes none of the 1 answered images"):
        score_answers([Answer("a.dcm", error="torn")], truth)


def test_no_truth(tmp_path):
    with pytest.raises(AnnotationError, match=r"none.csv: could not be read"):
        score_answers([answer("a", "-1")], tmp_path / "none.csv")


def test_the_absolute_form(tmp_path):
    path = tmp_path / "truth.csv"
    path.write_text("ImageId,EncodedPixels\na,1 6\n")
    (found,) = score_answers([answer("a", "0 6")], path, "absolute")
    assert found.dice == 1.0


# ------------------------------------------------------------------ pages


def test_the_page_of_a_validation(bundle, engine, small_prepared, tmp_path):
    validation = evaluate_model(bundle, small_prepared, engine=engine)
    page = tmp_path / "new" / "report.html"
    write_validation_report(bundle, small_prepared, validation, page)
    text = page.read_text()
    assert "<title>pleura: validation" in text
    wrong = sum(item.positive != item.called for item in validation.outcomes)
    assert wrong > 0
    right = min(CASES, len(validation.outcomes) - wrong)
    assert text.count("data:image/jpeg") == right + min(FAILURES, wrong)
    assert "http://" not in text.replace("http://www.w3.org/", "")
    write_validation_report(bundle, small_prepared, validation, tmp_path / "again.html")
    assert (tmp_path / "again.html").read_text() == text


def test_the_page_of_the_test_images(bundle, engine, cohort, tmp_path):
    predictor = Predictor(bundle, engine)
    paths = sorted((cohort / "dicom-images-test").rglob("*.dcm"))
    answers = []
    for path in paths:
        found = predictor.predict(path)
        answers.append(
            Answer(str(path), found.image_id, found.score, found.area_px, 128, 128, 0.1, found.rle)
        )
    truth = cohort / "test-truth.csv"
    outcomes = score_answers(answers, truth)
    evaluation = write_test_report(bundle, answers, outcomes, truth, tmp_path / "report.html")
    assert evaluation.images == len(paths)
    text = (tmp_path / "report.html").read_text()
    assert "pleura: test images" in text
    assert text.count("data:image/jpeg") == len(paths)
