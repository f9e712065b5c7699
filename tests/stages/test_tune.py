import csv
import sys
from dataclasses import replace

import pytest

from pleura.config import Network, Range, Run, Train, Tune, load_run
from pleura.errors import ConfigError, UsageError
from pleura.stages.tune import METRIC, tune

SPACE = {
    "train.learning_rate": Range(1e-3, 1e-2, log=True),
    "train.loss": ["bce", "bce_dice"],
    "network.width": Range(2, 4, step=2),
}
RUN = Run(
    network=Network(name="cnn", width=2, depth=2),
    train=Train(epochs=2, batch=8, folds=3, precision="fp32"),
    tune=Tune(trials=3, space=SPACE),
)


def rows(out):
    with (out / "trials.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_search_keeps_every_trial_and_writes_the_best_as_a_run(small_prepared, tmp_path):
    seen = []
    trials = tune(small_prepared, tmp_path, RUN, on_trial=lambda n, s: seen.append((n, dict(s))))
    assert [trial.number for trial in trials] == [0, 1, 2]
    assert seen == [(trial.number, dict(trial.settings)) for trial in trials]
    best = max(trials, key=lambda trial: trial.value)
    run = load_run(tmp_path / "best.toml")
    assert run.train.learning_rate == best.settings["train.learning_rate"]
    assert (run.train.loss, run.network.width) == (
        best.settings["train.loss"],
        best.settings["network.width"],
    )
    table = rows(tmp_path)
    assert [float(row[METRIC]) for row in table] == pytest.approx(
        [t.value for t in trials], abs=1e-6
    )
    assert all((tmp_path / f"trial-{n:04d}" / "model.h5").exists() for n in range(3))


def test_a_study_that_was_cut_off_goes_on_with_the_trial_that_was_running(small_prepared, tmp_path):
    def stop(number, settings):
        def told(step):
            if number == 1 and step.epoch == 2:
                raise KeyboardInterrupt

        return told

    with pytest.raises(KeyboardInterrupt):
        tune(small_prepared, tmp_path, RUN, on_trial=stop)
    epochs, seen = [], []

    def watch(number, settings):
        seen.append(number)
        return lambda step: epochs.append((number, step.epoch)) if step.finished else None

    trials = tune(small_prepared, tmp_path, RUN, on_trial=watch)
    assert seen == [1, 2]
    assert epochs == [(1, 2), (2, 1), (2, 2)]
    assert [trial.state for trial in trials] == ["complete"] * 3
    more = replace(RUN, tune=replace(RUN.tune, trials=4))
    assert len(tune(small_prepared, tmp_path, more)) == 4


def test_a_hopeless_trial_is_pruned(small_prepared, tmp_path):
    space = {"train.learning_rate": [3e-3]}
    good = replace(RUN, tune=Tune(trials=4, warmup=0, space=space))
    tune(small_prepared, tmp_path, good)
    import optuna

    study = optuna.load_study(study_name="pleura", storage=f"sqlite:///{tmp_path / 'study.db'}")
    for trial in study.trials:  # as if they had been perfect
        assert trial.state == optuna.trial.TrialState.COMPLETE
    for _ in range(6):
        perfect = study.ask(
            {"train.learning_rate": optuna.distributions.CategoricalDistribution([3e-3])}
        )
        perfect.report(1.0, 1)
        study.tell(perfect, 1.0)
    wanted = replace(good, tune=replace(good.tune, trials=11))
    trials = tune(small_prepared, tmp_path, wanted)
    assert trials[-1].state == "pruned"
    assert trials[-1].value is not None


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ({}, r"the run has no \[tune.space\]; name there what to try"),
        (
            {"train.lerning_rate": [1e-3]},
            r"unknown key train.lerning_rate; did you mean train.lear",
        ),
        (
            {"prepare.size": [64]},
            r"tune.space has 'prepare.size'; what can be tried are the settin",
        ),
        ({"train": [1]}, r"tune.space has 'train'; what can be tried are the settings of network"),
        ({"train.loss": ["mse"]}, "train.loss is 'mse'"),
    ],
)
def test_a_space_that_cannot_be(small_prepared, tmp_path, space, message):
    with pytest.raises(ConfigError, match=message):
        tune(small_prepared, tmp_path, replace(RUN, tune=Tune(space=space)))


def test_a_study_of_another_space_is_left_alone(small_prepared, tmp_path):
    one = replace(RUN, tune=Tune(trials=1, space={"train.loss": ["bce"]}))
    tune(small_prepared, tmp_path, one)
    other = replace(RUN, tune=Tune(trials=2, space={"train.loss": ["bce", "bce_dice"]}))
    with pytest.raises(
        UsageError, match=r"holds a study of another \[tune.space\]; choose another"
    ):
        tune(small_prepared, tmp_path, other)


def test_without_optuna_the_way_out_is_said(small_prepared, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(
        UsageError, match=r"needs the package optuna .*pip install 'pleura\[tune\]'"
    ):
        tune(small_prepared, tmp_path, RUN)


def test_a_range_upside_down(tmp_path):
    path = tmp_path / "run.toml"
    path.write_text('[tune.space]\n"train.epochs" = {low = 5, high = 2}\n')
    with pytest.raises(ConfigError, match="low is 5, high is 2; high must be above low"):
        load_run(path)
