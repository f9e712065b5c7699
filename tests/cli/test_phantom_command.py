import json

from pleura.cli.app import execute


def test_a_cohort_is_written_and_summed_up(tmp_path, capsys):
    out = tmp_path / "cohort"
    command = ["phantom", str(out), "--train", "4", "--test", "2", "--seed", "1"]
    assert execute([*command, "--size", "64", "--workers", "1"]) == 0
    printed = capsys.readouterr()
    assert "training" in printed.out
    assert "4, 1 with a pneumothorax" in printed.out
    assert "6 of 6" in printed.err
    assert len(list(out.rglob("*.dcm"))) == 6
    assert (out / "train-rle.csv").is_file()


def test_a_cohort_is_summed_up_in_json(tmp_path, capsys):
    out = tmp_path / "cohort"
    command = ["phantom", str(out), "--train", "4", "--test", "2", "--seed", "1", "--json"]
    assert execute([*command, "--size", "64", "--workers", "1"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["out"] == str(out)
    assert (told["train"], told["train_positives"], told["test"]) == (4, 1, 2)


def test_a_folder_with_files_is_wrong_usage(tmp_path, capsys):
    (tmp_path / "mine.txt").write_text("x")
    assert execute(["phantom", str(tmp_path), "--train", "1"]) == 2
    assert "already holds files" in capsys.readouterr().err


def test_a_number_out_of_range_is_wrong_usage(tmp_path, capsys):
    assert execute(["phantom", str(tmp_path / "new"), "--train", "0"]) == 2
    assert "--train" in capsys.readouterr().err
