import json

import pytest

from pleura.cli.app import execute


def test_patients_for_a_width(capsys):
    assert execute(["plan", "--auroc", "0.9", "--sensitivity", "0.85", "--width", "0.1"]) == 0
    said = capsys.readouterr()
    assert "Patients for a 95 % interval no wider than 0.1" in said.out
    rows = {line.split()[0]: line.split()[1:] for line in said.out.splitlines() if line}
    assert rows["sensitivity"] == ["0.85", "196", "0", "196"]
    assert rows["AUROC"][0] == "0.9"
    assert rows["AUROC"][1] == rows["AUROC"][2]
    assert "without --prevalence, equally many of both labels" in said.err


def test_patients_as_they_come_with_several_images(capsys):
    command = ["plan", "--sensitivity", "0.85", "--width", "0.1", "--prevalence", "0.05"]
    assert execute([*command, "--images", "2", "--resemblance", "0.5", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    (need,) = found["needs"]
    assert need["positives"] == pytest.approx(196 * 0.75, abs=2)
    assert need["positives"] + need["negatives"] == pytest.approx(need["positives"] * 20, abs=20)
    assert (found["width"], found["images"]) == (0.1, 2)
    assert execute([*command, "--images", "2", "--resemblance", "0.5"]) == 0
    assert "images" in capsys.readouterr().out.splitlines()[1]


def test_no_worse_and_better(capsys):
    assert execute(["plan", "--auroc", "0.9", "--margin", "0.05"]) == 0
    said = capsys.readouterr()
    assert "showing that it is no worse by more than 0.05" in said.out
    assert "the two are taken to correlate by 0.5" in said.err
    assert execute(["plan", "--specificity", "0.9", "--difference", "0.04"]) == 0
    assert "showing a difference of 0.04" in capsys.readouterr().out
    command = ["plan", "--specificity", "0.9", "--difference", "0.02", "--margin", "0.03"]
    assert execute(command) == 0
    assert "0.03 of a system that differs by 0.02" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "name what is expected: --auroc, --sensitivity or --specificity"),
        (["--auroc", "0.9"], "name --width, or what is to be shown"),
        (["--auroc", "0.9", "--width", "0.1", "--margin", "0.1"], "name --width, or what is to"),
        (["--auroc", "0.9", "--width", "0.1", "--images", "3"], "say with --resemblance"),
        (["--auroc", "1.9", "--width", "0.1"], "Invalid value for '--auroc'"),
        (["--auroc", "0.9", "--width", "0.001", "--prevalence", "0.0001"], "allow a wider"),
    ],
)  # fmt: skip
def test_what_cannot_be_planned(arguments, message, capsys):
    assert execute(["plan", *arguments]) == 2
    assert message in " ".join(capsys.readouterr().err.split())
