"""Predictions against labels, as a person reads them: the printed tables, the page and JSON."""

import json

import pytest

from pleura.cli.app import execute
from tests.html_page import Page


@pytest.fixture
def all_right(tmp_path):
    """36 positives and 29 negatives of a patient each, called rightly."""
    labels = ["Image Index,Finding Labels,Patient ID,Patient Age,Patient Gender,View Position"]
    said = ["image,score"]
    for number in range(65):
        positive = number < 36
        finding = "Pneumothorax|Mass" if positive else "No Finding"
        labels.append(f"{number:08}_000.png,{finding},{number},4{number % 10},F,PA")
        said.append(f"{number:08}_000.png,{0.9 - number / 1000 if positive else number / 1000}")
    (tmp_path / "labels.csv").write_text("\n".join(labels) + "\n")
    (tmp_path / "said.csv").write_text("\n".join(said) + "\n")
    files = str(tmp_path / "said.csv"), str(tmp_path / "labels.csv")
    return ["evaluate", "--predictions", files[0], "--truth", files[1]]


def test_36_of_36_is_no_certainty_wherever_it_is_told(all_right, tmp_path, capsys):
    page = tmp_path / "page.html"
    assert execute([*all_right, "--report", str(page)]) == 0
    text = " ".join(capsys.readouterr().out.split())
    for told in (
        "AUROC 1.000 (0.938 to 1.000)",
        "average precision 1.000 (0.904 to 1.000)",
        "sensitivity 1.000 (0.904 to 1.000)",
        "specificity 1.000 (0.883 to 1.000)",
        "accuracy 1.000 (0.944 to 1.000)",
        "predictive values positive 1.000 (0.904 to 1.000), negative 1.000 (0.883 to 1.000)",
        "at 5 % prevalence positive predictive value 1.000 (0.310 to 1.000), negative 1.000 (0.995",
        "sex F 36 of 65 1.00 (0.94-1.00) 1.00 (0.90-1.00) 1.00 (0.88-1.00)",
    ):
        assert told in text
    assert "1.000 to 1.000" not in text
    shown = Page(page.read_text()).text
    for told in (
        "Sensitivity 1.000 95 %: 0.904 to 1.000",
        "Specificity 1.000 95 %: 0.883 to 1.000",
        "Accuracy 1.000 0.944 to 1.000",
        "Negative predictive value 1.000 0.883 to 1.000",
        "An image is called positive from the score 0.5 on.",
    ):
        assert told in shown
    assert "1.000 to 1.000" not in shown
    assert execute([*all_right, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["sensitivity_interval"] == [pytest.approx(0.9036, abs=1e-4), 1.0]
    assert found["predictive_values"][1]["positive_interval"][0] == pytest.approx(0.31, abs=0.001)
    ends = [v for k, v in found.items() if k.endswith("_interval")]
    assert [1.0, 1.0] not in ends


def test_labels_alone_print_no_figures_of_masks(all_right, capsys):
    """Nobody drew a mask, so Dice and lesions are said once to be unknown, not line by line."""
    assert execute(all_right) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "65 (36 with a pneumothorax, 65 patients), all with a label and no mask" in text
    for words in ("Dice", "IoU", "lesions", "undefined", "size below", "nan"):
        assert words not in text
    assert "age 40-64" in text


def test_numbers_in_json_are_rounded(all_right, capsys):
    assert execute([*all_right, "--json"]) == 0
    text = capsys.readouterr().out
    numbers = []
    json.loads(text, parse_float=lambda number: numbers.append(number) or float(number))
    assert max(len(number.lstrip("-0.").replace(".", "")) for number in numbers) <= 6


@pytest.fixture
def two_tables(all_right, tmp_path):
    """The table that is all right, and another that misses 9 of 36."""
    lines = (tmp_path / "said.csv").read_text().splitlines()
    other = [
        line if n > 9 or not n else line.split(",")[0] + ",0.3" for n, line in enumerate(lines)
    ]
    (tmp_path / "other.csv").write_text("\n".join(other) + "\n")
    return [*all_right, "--against", str(tmp_path / "other.csv")]


def test_two_tables_of_predictions_are_compared(two_tables, tmp_path, capsys):
    page = tmp_path / "page.html"
    assert execute([*two_tables, "--margin", "0.05", "--report", str(page)]) == 0
    text = " ".join(capsys.readouterr().out.split())
    for told in (
        "Against the other images 65 (36 with a pneumothorax, 65 patients)",
        "sensitivity 1.000 against 0.750, difference 0.250 (0.1",
        "superior at 0.05",
        "Tests of the difference AUROC DeLong: difference",
        "sensitivity McNemar, exact: of 36 images 9 are called correctly by this one alone, 0 by "
        "the other alone, p 0.004",
        "specificity McNemar, exact: of 29 images 0 are called correctly by this one alone, 0 by "
        "the other alone, p 1.000",
    ):
        assert told in text
    shown = Page(page.read_text()).text
    for told in ("Against the other", "at a margin of 0.05", "9 of 36 0 of 36 0.004", "superior"):
        assert told in shown
    assert execute([*two_tables, "--json"]) == 0
    against = json.loads(capsys.readouterr().out)["against"]
    assert against["predictions"].endswith("other.csv")
    assert against["margin"] is None
    assert against["calls"][0]["p"] == pytest.approx(2 / 2**9, rel=1e-4)
    assert against["auroc"]["clustered"] is False


def test_the_second_system_may_be_masks_with_scores_of_their_own(all_right, tmp_path, capsys):
    runs = ["ImageId,EncodedPixels"]
    runs += [f"{n:08}_000,{'0 4' if n < 30 else '-1'}" for n in range(65)]
    (tmp_path / "masks.csv").write_text("\n".join(runs) + "\n")
    command = [
        *all_right,
        "--against",
        str(tmp_path / "masks.csv"),
        "--image-size",
        "8x8",
        "--json",
    ]
    assert execute(command) == 0
    against = json.loads(capsys.readouterr().out)["against"]
    assert against["auroc"] is None
    assert against["calls"][0]["ours"] == 6
    assert execute([*command, "--against-scores", str(tmp_path / "said.csv")]) == 0
    against = json.loads(capsys.readouterr().out)["against"]
    assert against["auroc"]["difference"] == 0


@pytest.mark.parametrize("margin", ["0", "1.5", "-0.05"])
def test_a_margin_is_a_share(two_tables, margin, capsys):
    assert execute([*two_tables, f"--margin={margin}"]) == 2
    assert "is by how much the figures may be below those of --against" in capsys.readouterr().err


def test_a_margin_wants_another_system(all_right, capsys):
    assert execute([*all_right, "--margin", "0.05"]) == 2
    assert "--margin 0.05:" in capsys.readouterr().err


def test_predictions_of_other_images_cannot_be_compared(all_right, tmp_path, capsys):
    lines = (tmp_path / "said.csv").read_text().splitlines()
    for name, part in (("said.csv", lines[1:30]), ("other.csv", lines[30:])):
        (tmp_path / name).write_text("\n".join([lines[0], *part]) + "\n")
    assert execute([*all_right, "--against", str(tmp_path / "other.csv")]) == 1
    assert "of the 29 images that the one judged and the 36 of the other none" in (
        capsys.readouterr().err
    )


def test_a_checklist_is_written_beside(all_right, tmp_path, capsys):
    path = tmp_path / "new" / "list.md"
    assert execute([*all_right, "--checklist", str(path)]) == 0
    assert f"wrote {path}" in capsys.readouterr().err
    text = path.read_text()
    assert "# CLAIM 2024" in text
    assert "65 images of 65 patients were evaluated, 36 of them with a pneumothorax." in text
    assert "sensitivity 1.000 (0.904 to 1.000)" in text
    assert execute([*all_right, "--checklist", str(tmp_path / "list.pdf")]) == 2
    assert "a checklist is written as .md, .csv, .html" in capsys.readouterr().err
