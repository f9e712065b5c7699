from dataclasses import replace

import numpy as np
import pytest

from pleura.data.arrays import write_prepared
from pleura.data.records import image_keys
from pleura.engines.torch_engine import TorchEngine
from pleura.errors import DataError
from pleura.evaluation.decision import deal, fit_nested
from pleura.evaluation.mix import SIIM
from pleura.formats.rle import rle2mask
from pleura.inference.predictor import Predictor
from pleura.metrics import dice_coeff
from pleura.models.bundle import Calibration, OperatingPoint, read_bundle
from pleura.stages.evaluate import (
    CASES,
    FAILURES,
    compare_models,
    counted_on,
    evaluate_model,
    said_of,
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
    found = list(said_of(engine, small_prepared, rows))
    for row, said in zip(rows, found, strict=True):
        alone = engine.probabilities(np.asarray(small_prepared.x_train[row][None]))
        assert said.maps == pytest.approx(alone.maps, abs=1e-5)
        assert said.scores == pytest.approx(alone.scores, abs=1e-5)
    counted = counted_on(engine, small_prepared, rows)
    assert counted.positive.tolist() == [small_prepared.y_train[row].any() for row in rows]
    assert counted.scores == pytest.approx([said.scores[0] for said in found])


def test_the_share_of_the_square_that_is_radiograph(engine, small_prepared):
    wide = replace(
        small_prepared,
        train=tuple(replace(record, columns=2 * record.rows) for record in small_prepared.train),
    )
    half = counted_on(engine, wide, np.array([0]))
    whole = counted_on(engine, small_prepared, np.array([0]))
    assert whole.areas.any()
    assert np.array_equal(half.areas, 2 * whole.areas), "a share of the half that is radiograph"


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
    other = trained_on(bundle, small_prepared, range(5, 20))
    told = []
    both = compare_models(one, other, small_prepared, on_progress=lambda *now: told.append(now))
    assert both.ours.rows == both.theirs.rows == tuple(range(20, 35))
    assert told == [(number, 30) for number in range(1, 31)]
    never = replace(bundle, operating_point=replace(bundle.operating_point, score=1.0))
    compared = compare_models(bundle, never, small_prepared)
    differences = {item.name: item for item in compared.comparison.differences}
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
    message = "p: is prepared at 32 pixels, the model wants 64; prepare it again with `size` 64"
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
    nested, epoch = evaluate_model(same, small_prepared, engine=engine).notes
    assert "judged by what the other parts choose" in nested
    assert "The best epoch was chosen on these images" in epoch
    last = replace(same, training={"train.keep": "last"})
    (nested,) = evaluate_model(last, small_prepared, engine=engine).notes
    unknown = replace(
        small_prepared,
        train=tuple(replace(record, patient=None) for record in small_prepared.train),
    )
    notes = evaluate_model(same, unknown, engine=engine).notes
    assert any("Some patients are unknown" in note for note in notes)


def test_no_image_is_judged_by_thresholds_that_it_chose(bundle, engine, small_prepared):
    """The model's own thresholds, here absurd, count for the figures as usually computed alone."""
    never = replace(bundle.operating_point, score=1.0)
    own = replace(trained_on(bundle, small_prepared, [0]), operating_point=never)
    found = evaluate_model(own, small_prepared, engine=engine)
    assert any(item.called for item in found.outcomes)
    assert found.evaluation.naive.sensitivity == 0
    counted = counted_on(engine, small_prepared, np.array(found.rows))
    records = [small_prepared.train[row] for row in found.rows]
    parts = deal([record.patient for record in records], counted.positive)
    decisions = fit_nested(counted, parts)
    for record, part, item in zip(records, parts, found.outcomes, strict=True):
        chosen = decisions[part].applied(own)
        line = chosen.calibration.apply(item.raw_score)
        assert item.score == pytest.approx(float(line), abs=1e-6), record.image_id
    again = evaluate_model(own, small_prepared, engine=engine, counted=counted)
    assert again.outcomes == found.outcomes


def test_a_single_patient_cannot_choose_for_himself(bundle, engine, small_prepared):
    train = tuple(replace(record, patient="p00001") for record in small_prepared.train)
    same = replace(small_prepared, train=train)
    own = trained_on(bundle, same, [0])
    found = evaluate_model(own, same, engine=engine)
    assert "are of one patient" in found.notes[0]
    assert [item.score for item in found.outcomes] == [
        item.score for item in evaluate_model(bundle, same, engine=engine).outcomes[1:]
    ]


def test_kinds_of_negatives_and_mixes(bundle, engine, small_prepared):
    negative = next(record for record in small_prepared.train if not record.positive)
    found = evaluate_model(
        bundle,
        small_prepared,
        engine=engine,
        mixes=[SIIM],
        negatives={negative.image_id: "report says pneumothorax"},
    ).evaluation
    (kind,) = (item for item in found.strata if item.by == "negatives")
    assert (kind.name, kind.images) == ("report says pneumothorax", 1)
    assert [item.name for item in found.mixes] == ["siim"]


# ------------------------------------------------------------------ answers against a table


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


def without_masks(prepared, rows):
    """Return the folder with a label alone for some of its images."""
    gone = {"encoded_pixels": None, "area_px": None, "label_weight": 0.5}
    train = [replace(r, **gone) if row in rows else r for row, r in enumerate(prepared.train)]
    return replace(prepared, train=tuple(train))


def test_images_without_a_mask_have_a_part_in_what_asks_for_none(bundle, engine, small_prepared):
    rows = range(0, 35, 2)
    weak = without_masks(small_prepared, rows)
    found = evaluate_model(bundle, weak, engine=engine)
    known = evaluate_model(bundle, small_prepared, engine=engine)
    result, full = found.evaluation, known.evaluation
    assert (result.images, result.annotated, result.positives) == (35, 17, full.positives)
    for name in ("auroc", "average_precision", "sensitivity", "specificity", "brier"):
        assert getattr(result, name) == getattr(full, name)
    assert result.calibration_error == full.calibration_error
    others = [item for row, item in enumerate(known.outcomes) if row not in rows]
    patients = [item.patient for item in known.outcomes]
    weights = np.array([1 / patients.count(item.patient) for item in others])
    dice = np.average([item.dice for item in others], weights=weights)
    assert result.mean_dice.value == pytest.approx(dice)
    parts = {item.name: item for item in result.strata if item.by == "truth"}
    assert (parts["mask"].images, parts["label alone"].images) == (17, 18)
    assert np.isnan(parts["label alone"].mean_dice.value)
    assert parts["label alone"].auroc.value == parts["label alone"].auroc.value
    assert result.lesions == sum(item.lesions for item in others)
    assert sum(item.images for item in result.strata if item.by == "size") == sum(
        item.positive for item in others
    )


def test_a_folder_of_labels_alone_is_judged_and_has_a_page(
    bundle, engine, small_prepared, tmp_path
):
    weak = without_masks(small_prepared, range(35))
    found = evaluate_model(bundle, weak, engine=engine)
    assert found.evaluation.annotated == 0
    assert np.isnan(found.evaluation.mean_dice.value)
    assert found.evaluation.auroc.value > 0
    assert found.evaluation.as_json()["positive_dice"] is None
    write_validation_report(bundle, weak, found, tmp_path / "page.html")
    assert "undefined" in (tmp_path / "page.html").read_text()


def test_what_a_teacher_said_judges_nobody(bundle, small_prepared):
    soft = replace(small_prepared, y_train=np.zeros((35, 64, 64), np.uint8))
    with pytest.raises(DataError, match="its masks are what a model said, so nothing can be"):
        evaluate_model(bundle, soft)
