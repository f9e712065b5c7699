"""The recipe of the weights that ship, shortened: whom it sets aside, and that it repeats."""

from dataclasses import replace

import numpy as np
import pytest
from recipes.weights import balanced
from recipes.weights_closer import before_fast
from recipes.weights_curve import among, learning
from recipes.weights_data import Radiographs, set_aside
from recipes.weights_further import answers, carried_over, equated, members_of
from recipes.weights_sizes import at_sizes
from recipes.weights_training import NETWORK, Plan, Said, taught, train

from pleura.evaluation.mix import SIIM
from pleura.evaluation.predictions import MASK_THRESHOLDS, Predictions
from pleura.models import zoo
from pleura.models.bundle import Calibration, read_bundle, score_logit
from pleura.stages.ensemble import combine
from pleura.training import checkpoint
from recipes import weights_training


@pytest.fixture
def radiographs():
    rng = np.random.default_rng(0)
    known = np.array(["mask"] * 8 + ["empty"] * 16 + ["positive"] * 2 + ["doubtful"] * 2)
    y = np.zeros((28, 64, 64), np.uint8)
    y[:8, 10:30, 10:30] = 255
    return Radiographs(
        x=rng.integers(0, 255, (28, 64, 64), dtype=np.uint8),
        y=y,
        known=known,
        challenge=np.arange(28) < 16,
        patients=np.arange(28),
        fold=np.where(np.arange(28) < 16, np.arange(28) % 3, -1),
        area=(y > 0).mean((1, 2)),
    )


@pytest.fixture(scope="module")
def tiny_bundle(tiny_model):
    """A model with the records that a card is written from."""
    numbers = ("images", "positives", "patients", "images_without_patient", "validation_images")
    settings = ("folds", "fold", "batch", "learning_rate", "seed")
    training = {
        **dict.fromkeys(numbers, 5),
        **{f"train.{name}": 2 for name in settings},
        "train.keep": "last",
        "train.loss": "bce",
        "fingerprint": "0",
        "precision": "fp32",
        "device": "cpu",
    }
    return replace(read_bundle(tiny_model), training=training, history={"epoch": [1.0]})


def said_of(radiographs):
    rows = np.flatnonzero(
        radiographs.challenge | np.isin(radiographs.known, ["positive", "doubtful"])
    )
    maps = np.full((len(rows), 64, 64), 100, np.uint8)
    return Said(rows, maps, np.full(len(rows), 0.4))


def test_who_was_seen_before_is_never_set_aside():
    everybody = range(6000)
    aside = {who for who in everybody if set_aside(who, frozenset())}
    assert 0.22 < len(aside) / 6000 < 0.28
    assert not any(set_aside(who, frozenset(aside)) for who in everybody)


def test_a_label_without_a_mask_is_believed_of_the_radiograph_alone(radiographs):
    _, label, drawn = taught(radiographs, None)
    assert label.tolist() == [1.0] * 8 + [0.0] * 16 + [1.0] * 2 + [0.0] * 2
    assert drawn.tolist() == [True] * 24 + [False] * 4


def test_what_a_teacher_said_is_mixed_in(radiographs):
    mixed, label, drawn = taught(radiographs, said_of(radiographs))
    assert drawn.all()
    assert mixed.y[0, 20, 20] == round(0.75 * 255 + 0.25 * 100)
    assert (mixed.y[26] == 100).all()
    assert label[[0, 8, 24, 26]] == pytest.approx([0.91, 0.06, 0.82, 0.4])
    assert radiographs.y[0, 20, 20] == 255, "the radiographs themselves stay"


def test_a_larger_share_holds_the_smaller_one_and_nobody_who_judges(radiographs):
    judges = among(radiographs, radiographs.fold == 0)
    seen = np.array([1, 2])
    parts = [learning(radiographs, seen, share, judges) for share in (0, 0.4, 1)]
    own = [set(part.patients[part.fold >= 0].tolist()) for part in parts]
    assert own[0] == {1, 2}
    assert own[0] < own[1] < own[2]
    assert own[2] == set(range(16)) - set(range(0, 16, 3))
    assert all(set(part.patients[part.fold < 0].tolist()) == set(range(16, 28)) for part in parts)


def test_the_default_point_finds(radiographs):
    positive = np.arange(200) % 5 == 0
    masks = len(MASK_THRESHOLDS)
    predictions = Predictions(
        scores=np.random.default_rng(1).normal(0.4 + 0.2 * positive, 0.15).clip(0, 1),
        positive=positive,
        dice=np.tile(0.3 * positive[:, None], (1, masks)),
        areas=np.full((200, masks), 0.01),
    )
    chosen = balanced(predictions)
    called = predictions.calibrated(chosen.calibration).scores >= chosen.choice.default.score
    assert called[positive].mean() > 0.6
    assert called[~positive].mean() < 0.4


def test_equated_scores_have_the_same_mean_and_deviation():
    ours, theirs = np.array([-3.0, 0.0, 1.0, 6.0]), np.array([-1.0, -0.5, 0.0, 0.1])
    slope, intercept = equated(ours, theirs)
    moved = slope * ours + intercept
    assert (moved.mean(), moved.std()) == pytest.approx((theirs.mean(), theirs.std()))
    assert equated(theirs, theirs) == pytest.approx((1, 0))


def test_an_ensemble_is_taken_apart_again(tiny_bundle):
    other = replace(tiny_bundle, preprocessing=replace(tiny_bundle.preprocessing, size=128))
    found = members_of(combine([tiny_bundle, other]))
    assert [one.preprocessing.size for one in found] == [tiny_bundle.preprocessing.size, 128]
    for one, own in zip(found, (tiny_bundle, other), strict=True):
        assert (one.network, dict(one.training)) == (own.network, dict(own.training))
        assert all(np.array_equal(one.weights[name], own.weights[name]) for name in own.weights)
    assert combine(found).digest == combine([tiny_bundle, other]).digest


def test_the_mean_of_two_stands_in_for_what_began_with_it(tiny_bundle):
    name = next(name for name, array in tiny_bundle.weights.items() if array.dtype.kind == "f")
    three = [
        replace(tiny_bundle, weights={**tiny_bundle.weights, name: 0 * own + value})
        for own, value in zip([tiny_bundle.weights[name]] * 3, (5.0, 1.0, 2.0), strict=True)
    ]
    assert (before_fast(combine(three)).weights[name] == 1.5).all()


@pytest.mark.slow
def test_probabilities_are_brought_to_another_share_and_no_call_changes(tiny_bundle, radiographs):
    before = combine([replace(tiny_bundle, calibration=Calibration("platt", 0.5, 0.3))], tta=True)
    rows = np.arange(16)
    after = carried_over(before, before, radiographs, rows)
    scores = np.linspace(0.01, 0.99, 50)
    old, new = before.calibration.apply(scores), after.calibration.apply(scores)
    for name, point in before.points.items():
        assert ((old >= point.score) == (new >= after.points[name].score)).all()
    odds = (new / (1 - new)) / (old / (1 - old))
    assert odds == pytest.approx(
        np.full(50, (SIIM.prevalence / (1 - SIIM.prevalence)) / (0.4 / 0.6))
    )


@pytest.mark.slow
def test_seen_at_two_sizes_the_unlabelled_score_alike(tiny_bundle, radiographs):
    before = combine([replace(tiny_bundle, calibration=Calibration("platt", 0.5, 0.3))], tta=True)
    after = at_sizes(before, radiographs, SIIM.prevalence, (32, 64))
    assert after.network.sizes == [[32, 64]]
    assert all(np.array_equal(after.weights[name], own) for name, own in before.weights.items())
    assert after.points == pytest.approx(before.points)
    rows = np.flatnonzero(radiographs.known == "doubtful")
    logits = [
        score_logit(one.calibration.apply(answers(one, radiographs, rows)[1]))
        for one in (before, after)
    ]
    assert logits[1].mean() == pytest.approx(logits[0].mean(), abs=1e-3)
    assert logits[1].std() == pytest.approx(logits[0].std(), abs=1e-3)


@pytest.mark.slow
def test_a_training_that_was_cut_off_goes_on_as_if_it_had_not_been(
    radiographs, tmp_path, monkeypatch
):
    begin = checkpoint.network_arrays(zoo.build(zoo.complete(NETWORK)))
    plan = Plan((32, 64), 1e-3, seed=3)
    whole = train(radiographs, said_of(radiographs), plan, begin, tmp_path / "whole")
    keep = weights_training._keep

    def cut(*state):
        keep(*state)
        raise KeyboardInterrupt

    monkeypatch.setattr(weights_training, "_keep", cut)
    with pytest.raises(KeyboardInterrupt):
        train(radiographs, said_of(radiographs), plan, begin, tmp_path / "cut")
    monkeypatch.undo()
    found = train(radiographs, said_of(radiographs), plan, begin, tmp_path / "cut")
    assert all(np.array_equal(found[name], whole[name]) for name in whole)


@pytest.mark.slow
def test_the_same_seed_gives_the_same_weights(radiographs, tmp_path):
    begin = checkpoint.network_arrays(zoo.build(zoo.complete(NETWORK)))
    plan = Plan((32, 64), 1e-3, seed=3, held=1)
    runs = [
        train(radiographs, said, plan, begin, tmp_path / name)
        for name, said in (
            ("a", None),
            ("b", None),
            ("c", said_of(radiographs)),
            ("d", said_of(radiographs)),
        )
    ]
    for one, other in ((runs[0], runs[1]), (runs[2], runs[3])):
        assert all(np.array_equal(one[name], other[name]) for name in one)
    assert any(not np.array_equal(runs[0][name], runs[2][name]) for name in runs[0])
    other = train(radiographs, None, replace(plan, seed=4), begin, tmp_path / "e")
    assert any(not np.array_equal(runs[0][name], other[name]) for name in other)
