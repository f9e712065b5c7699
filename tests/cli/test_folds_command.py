import json

import pytest

from pleura.cli.app import execute
from pleura.data.fold_table import read_folds
from pleura.data.records import read_index


def test_folds_of_a_folder(cohort, tmp_path, capsys):
    out = tmp_path / "folds.csv"
    assert execute(["folds", str(cohort), "--k", "3", "--out", str(out), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    folds = read_folds(out)
    assert len(folds) == 35 == sum(fold["images"] for fold in report["folds"])
    assert report["split_patients"] == report["split_clusters"] == []
    assert report["without_patient"] == 0
    assert execute(["folds", str(cohort), "--k", "3", "--out", str(tmp_path / "again.csv")]) == 0
    assert (tmp_path / "again.csv").read_bytes() == out.read_bytes()
    said = capsys.readouterr()
    assert "patients in more than one fold: 0" in said.out
    assert "wrote" in said.err


def test_prepare_and_train_obey_the_table(cohort, tmp_path, capsys):
    out, prepared = tmp_path / "folds.csv", tmp_path / "prepared"
    assert execute(["folds", str(cohort), "--k", "3", "--seed", "4", "--out", str(out)]) == 0
    folds = ["--fold-table", str(out)]
    assert execute(["prepare", str(cohort), "--size", "64", "--out", str(prepared), *folds]) == 0
    table = read_folds(out)
    records = [r for r in read_index(prepared / "index.parquet") if r.part == "train"]
    assert {r.image_id: r.fold for r in records} == table
    settings = [
        *("--set", "network.name=cnn", "--set", "network.width=4", "--set", "network.depth=2"),
        *("--set", "train.epochs=1", "--set", "train.fold=2"),
    ]
    train = ["train", str(prepared), *settings]
    assert execute([*train, "--out", str(tmp_path / "a")]) == 1
    assert "the fold table has 3 folds, train.folds is 5" in capsys.readouterr().err
    assert execute([*train, "--out", str(tmp_path / "a"), "--set", "train.folds=3"]) == 0
    # A table given to train goes before the one that was prepared with.
    other = tmp_path / "other.csv"
    assert execute(["folds", str(cohort), "--k", "4", "--out", str(other)]) == 0
    four = ["--set", "train.folds=4", "--fold-table", str(other)]
    assert execute([*train, "--out", str(tmp_path / "b"), *four]) == 0


def test_a_table_that_splits_a_patient_is_refused(cohort, tmp_path, capsys):
    out = tmp_path / "folds.csv"
    assert execute(["folds", str(cohort), "--k", "2", "--out", str(out)]) == 0
    lines = out.read_text().splitlines()
    header, *rows = lines
    bad = [header, *(",".join([row.split(",")[0], str(n % 2)]) for n, row in enumerate(rows))]
    out.write_text("\n".join(["image_id,fold", *bad[1:]]) + "\n")
    prepared = ["--out", str(tmp_path / "p"), "--size", "64", "--fold-table", str(out)]
    assert execute(["prepare", str(cohort), *prepared]) == 1
    assert "patients into more than one fold; make it with pleura folds" in capsys.readouterr().err


def test_a_table_alone(tmp_path, capsys):
    table, out = tmp_path / "t.csv", tmp_path / "folds.csv"
    rows = [f"i{n},{'5 20' if n % 3 == 0 else '-1'}" for n in range(30)]
    table.write_text("\n".join(["ImageId,EncodedPixels", *rows]) + "\n")
    assert execute(["folds", "--annotations", str(table), "--k", "3", "--out", str(out)]) == 0
    assert "30 images have no known patient" in capsys.readouterr().out
    assert sorted(set(read_folds(out).values())) == [0, 1, 2]


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        ([], 2, "name a data folder, or a table with --annotations"),
        (["nowhere"], 1, "nowhere: there is no such file or folder"),
        (["--annotations", "t.csv", "--k", "9"], 1, "2 patients cannot make 9 folds"),
        (["x", "--k", "1"], 2, "--k"),
    ],
)
def test_what_cannot_be_split(arguments, status, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "t.csv").write_text("ImageId,EncodedPixels\na,-1\nb,5 20\n")
    assert execute(["folds", *arguments]) == status
    assert message in capsys.readouterr().err
    assert not (tmp_path / "folds.csv").exists()
