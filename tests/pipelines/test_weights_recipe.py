"""The recipe of the models that come with pleura, shortened: it runs, and repeats itself."""

import pytest

from pleura.cli.app import execute
from pleura.models.bundle import read_bundle
from pleura.synthesis.phantom import write_cohort
from tests.contracts.test_docs import ROOT

SHORT = [
    "train.epochs=2",
    "train.batch=4",
    "train.progressive_sizes=[]",
    "network.width=4",
    "train.folds=2",
]


def settings(*texts):
    return [word for text in (*SHORT, *texts) for word in ("--set", text)]


@pytest.mark.slow
def test_the_same_seed_gives_the_same_weights_and_decisions(tmp_path, capsys):
    judges, others = tmp_path / "judges", tmp_path / "others"
    write_cohort(judges, train=12, test=0, seed=1, size=256, prevalence=0.5)
    write_cohort(others, train=12, test=0, seed=2, size=256, prevalence=0.0)
    run = ["--run", str(ROOT / "runs/real.toml")]

    def made(name):
        out = tmp_path / name
        radiographs = ["simulate", str(others), "--exclude", str(judges), "--originals"]
        train = ["train", str(out / "x64"), *run, "--out", str(out / "first")]
        start = f"train.init_from={out / 'first/model.h5'}"
        extra = f'train.extra=["{out / "x64"}"]'
        again = ["train", str(out / "y64"), *run, "--all-folds", "--refit", "--out", str(out / "r")]
        for command in (
            [*radiographs, "--count", "6", "--size", "256", "--out", str(out / "radiographs")],
            ["prepare", str(out / "radiographs"), "--size", "64", "--out", str(out / "x64")],
            ["prepare", str(judges), "--size", "64", "--out", str(out / "y64")],
            [*train, *settings()],
            [*again, *settings(start, extra)],
        ):
            assert execute(command) == 0, capsys.readouterr().err
        return read_bundle(out / "r" / "whole" / "model.h5")

    first, second = made("once"), made("again")
    assert first.digest == second.digest
    assert first.training["train.init_from"] == second.training["train.init_from"] != ""
    assert len(first.trained_on) == first.training["images"] + first.training["extra_images"]
