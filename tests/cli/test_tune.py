import json

from pleura.cli.app import execute

RUN = """
[network]
name = "cnn"
width = 2
depth = 2
[train]
epochs = 1
batch = 8
folds = 3
[tune]
trials = 2
[tune.space]
"train.loss" = ["bce", "bce_dice"]
"""


def test_a_search_from_a_run_file(small_prepared, tmp_path, capsys):
    (tmp_path / "run.toml").write_text(RUN)
    out = tmp_path / "study"
    command = [
        "tune",
        str(small_prepared.path),
        "--run",
        str(tmp_path / "run.toml"),
        "--out",
        str(out),
    ]
    assert execute(command) == 0
    said = capsys.readouterr()
    assert "trial 1: train.loss " in said.err
    assert "(complete): val_dice_coeff 0." in said.out
    assert f"wrote {out / 'best.toml'}" in said.err
    assert execute([*command, "--json"]) == 0
    trials = json.loads(capsys.readouterr().out)
    assert [trial["state"] for trial in trials] == ["complete", "complete"]
    best = str(out / "best.toml")
    train = ["train", str(small_prepared.path), "--out", str(tmp_path / "m"), "--run", best]
    assert execute(train) == 0


def test_a_run_without_a_space(small_prepared, tmp_path, capsys):
    (tmp_path / "run.toml").write_text("")
    command = ["tune", str(small_prepared.path), "--run", str(tmp_path / "run.toml")]
    assert execute([*command, "--out", str(tmp_path / "s")]) == 1
    assert "the run has no [tune.space]" in capsys.readouterr().err
