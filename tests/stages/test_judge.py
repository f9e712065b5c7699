"""Anybody's predictions against a truth."""

import json
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from PIL import Image

from pleura.cli.app import execute
from pleura.errors import DataError, UsageError
from pleura.evaluation.paper import drawn, paper_figures, write_figures
from pleura.evaluation.per_image import COLUMNS, write_per_image
from pleura.evaluation.scores import PointScore
from pleura.formats.coco_writer import CocoMask, coco_text
from pleura.formats.mask_picture import write_mask_picture
from pleura.formats.masks import MaskReading
from pleura.formats.nifti import write_nifti_mask
from pleura.formats.rle import mask2rle
from pleura.inference.parquet import write_parquet
from pleura.metrics import auroc
from pleura.models.bundle import OperatingPoint
from pleura.stages.judge import judge
from pleura.stages.judge_sides import Judging
from tests.dicom_files import make_dicom

SHAPE = (32, 40)
NAMES = [f"case_{number}" for number in range(8)]


def square(top, left=4, side=8):
    mask = np.zeros(SHAPE, np.bool_)
    mask[top : top + side, left : left + side] = True
    return mask


TRUTH = {name: square(n) if n % 2 else np.zeros(SHAPE, np.bool_) for n, name in enumerate(NAMES)}
SAID = {name: square(n + 2) if n % 2 else np.zeros(SHAPE, np.bool_) for n, name in enumerate(NAMES)}


def folder(path, masks):
    for name, mask in masks.items():
        write_mask_picture(path / f"{name}.png", mask)
    return path


@pytest.fixture
def truth(tmp_path):
    return folder(tmp_path / "truth", TRUTH)


def as_folder(path):
    return folder(path / "said", SAID)


def as_nifti(path):
    for name, mask in SAID.items():
        write_nifti_mask(path / "said" / f"{name}.nii.gz", mask)
    return path / "said"


def as_coco(path):
    items = [CocoMask(f"images/{name}.png", mask) for name, mask in SAID.items()]
    text, lost = coco_text(items, polygons=True)
    assert lost == []
    (path / "said.json").write_text(text)
    return path / "said.json"


def as_runs(path):
    rows = [f"{name},{mask2rle(mask)}" for name, mask in SAID.items()]
    (path / "said.csv").write_text("\n".join(["ImageId,EncodedPixels", *rows]) + "\n")
    return path / "said.csv"


@pytest.mark.parametrize("form", [as_folder, as_nifti, as_coco, as_runs])
def test_masks_in_every_form_have_the_same_figures(form, truth, tmp_path):
    found = judge(form(tmp_path), truth)
    assert found.failures == ()
    assert [item.image_id for item in found.outcomes] == NAMES
    assert found.evaluation.positive_dice.value == pytest.approx(0.75)
    assert found.evaluation.mean_dice.value == pytest.approx(0.875)
    assert found.evaluation.sensitivity.value == found.evaluation.specificity.value == 1
    assert np.isnan(found.evaluation.auroc.value)
    assert any("masks without scores, so AUROC" in note for note in found.notes)
    assert any("No patient is known" in note for note in found.notes)


def test_scores_beside_masks_rank_the_images(truth, tmp_path):
    values = {name: (n * 7 % 8) / 8 for n, name in enumerate(NAMES)}
    table = tmp_path / "scores.csv"
    table.write_text("image,score\n" + "".join(f"{k}.dcm,{v}\n" for k, v in values.items()))
    masks = {f"{name}": mask for name, mask in SAID.items()}
    said = folder(tmp_path / "said", masks)
    found = judge(said, truth, scores=table)
    labels = [bool(mask.any()) for mask in TRUTH.values()]
    assert found.evaluation.auroc.value == pytest.approx(auroc(labels, [*values.values()]))
    with pytest.raises(
        UsageError,
        match="is a table of scores, and `scores` names another one; name one table of scores",
    ):
        judge(table, truth, scores=table)


def test_what_nnunet_writes_is_scored_as_it_lies(truth, tmp_path):
    out = as_nifti(tmp_path)
    for name in ("dataset.json", "plans.json", "predict_from_raw_data_args.json"):
        (out / name).write_text('{"file_ending": ".nii.gz"}')
    for name in NAMES:  # --save_probabilities
        np.savez(out / f"{name}.npz", probabilities=np.zeros((2, 3)))
        (out / f"{name}.pkl").write_bytes(b"never opened")
    found = judge(out, truth)
    assert (found.evaluation.images, found.failures) == (8, ())
    assert found.evaluation.positive_dice.value == pytest.approx(0.75)


def test_what_torchxrayvision_says_is_scored_by_its_column(tmp_path):
    names = ("Atelectasis", "Consolidation", "Pneumothorax", "Lung Opacity", "Enlarged Heart")
    rows = [f"dir/{name}.png,0.5,0.5,{0.4 + 0.3 * (n % 2)},0.5,0.5" for n, name in enumerate(NAMES)]
    table = tmp_path / "xrv.csv"
    table.write_text("\n".join([f"filename,{','.join(names)}", *rows]) + "\n")
    labels = tmp_path / "labels.csv"
    labels.write_text(
        "image,Pneumothorax\n" + "".join(f"{n},{i % 2}\n" for i, n in enumerate(NAMES))
    )
    found = judge(table, labels, Judging(threshold=0.6))
    assert found.evaluation.auroc.value == 1
    assert found.evaluation.sensitivity.value == 1


def test_radiographs_bring_sizes_spacing_and_what_their_headers_say(tmp_path, capsys):
    films = tmp_path / "films"
    films.mkdir()
    known = {"PixelSpacing": "8\\8", "PixelSpacingCalibrationType": "FIDUCIAL"}
    for number, name in enumerate(NAMES):
        about = {"SOPInstanceUID": f"1.2.{number}", "PatientSex": "F", "ViewPosition": "PA"}
        spacing = known if number else {}
        content = make_dicom(np.zeros(SHAPE, np.uint8), **about, **spacing)
        (films / f"{name}.dcm").write_bytes(content)
    runs = {"truth": TRUTH, "said": SAID}
    for key, masks in runs.items():
        rows = [f"{name},{mask2rle(mask)}" for name, mask in masks.items()]
        (tmp_path / f"{key}.csv").write_text("\n".join(["ImageId,EncodedPixels", *rows]) + "\n")
    found = judge(tmp_path / "said.csv", tmp_path / "truth.csv", Judging(images=films))
    in_px, in_mm = found.evaluation.distances
    assert (in_px.unit, in_mm.unit, in_px.images, in_mm.images) == ("px", "mm", 4, 4)
    assert in_mm.hausdorff95.value == pytest.approx(in_px.hausdorff95.value * 8)
    assert {part.name for part in found.evaluation.strata if part.by == "view"} == {"PA"}
    command = ["evaluate", "--predictions", str(tmp_path / "said.csv"), "--json"]
    command += ["--truth", str(tmp_path / "truth.csv"), "--images", str(films)]
    assert execute(command) == 0
    assert [one["unit"] for one in json.loads(capsys.readouterr().out)["distances"]] == ["px", "mm"]
    write_mask_picture(tmp_path / "small" / f"{NAMES[1]}.png", square(1)[:30])
    with pytest.raises(DataError, match=r"mask has 30 x 40 pixels, but its radiograph .* 32 x 40"):
        judge(tmp_path / "small", tmp_path / "truth.csv", Judging(images=films))


@pytest.mark.parametrize(
    ("spacing", "measured"), [((8.0, 6.0), 4), ((1.0, 1.0), 0), ((0.1,) * 2, 0)]
)
def test_masks_say_their_spacing_themselves_where_it_can_be_so(spacing, measured, tmp_path):
    for name in NAMES:
        write_nifti_mask(tmp_path / "truth" / f"{name}.nii.gz", TRUTH[name], spacing)
        write_nifti_mask(tmp_path / "said" / f"{name}.nii.gz", SAID[name])
    found = judge(tmp_path / "said", tmp_path / "truth").evaluation
    in_mm = [one for one in found.distances if one.unit == "mm"]
    assert [one.images for one in in_mm] == ([measured] if measured else [])
    if measured:
        (in_px,) = (one for one in found.distances if one.unit == "px")
        assert in_mm[0].hausdorff95.value == pytest.approx(in_px.hausdorff95.value * 8)


def test_scores_alone_against_labels(tmp_path):
    labels = tmp_path / "labels.csv"
    labels.write_text(
        "Image Index,Finding Labels,Patient ID,Patient Age,Patient Gender,View Position\n"
        "a_0.png,Pneumothorax|Mass,1,40,M,PA\na_1.png,No Finding,1,41,M,PA\n"
        "b_0.png,Mass,2,60,F,AP\nc_0.png,Pneumothorax,3,60,F,AP\nd_0.png,Mass,4,5,F,AP\n"
    )
    table = tmp_path / "xrv.csv"
    table.write_text(
        "Path,Pneumothorax,Mass\nx/a_0.jpg,0.9,1\nx/a_1.jpg,0.2,1\nx/b_0.jpg,0.6,1\n"
        "x/c_0.jpg,0.8,1\nx/z.jpg,0.1,0\nx/y.jpg,much,0\n"
    )
    found = judge(table, labels)
    assert found.evaluation.auroc.value == 1
    assert (found.evaluation.images, found.evaluation.patients) == (4, 3)
    assert found.evaluation.specificity.value == pytest.approx(1 / 3)  # a_1 weighs one half
    assert dict(found.failures) == {
        "x/y.jpg": "line 7: Pneumothorax is 'much'; it must be a number",
        "d_0": "has a truth and no prediction",
        "x/z.jpg": "has a prediction and no truth",
    }
    assert "1 image has a truth and no prediction; left out of all figures: d_0." in found.notes
    assert {part.name for part in found.evaluation.strata if part.by == "view"} == {"AP", "PA"}


def test_scores_that_are_no_probabilities(truth, tmp_path):
    table = tmp_path / "logits.csv"
    table.write_text("image,score\n" + "".join(f"{k},{n - 3}\n" for n, k in enumerate(NAMES)))
    found = judge(table, truth, Judging(threshold=0.0))
    assert np.isnan(found.evaluation.brier.value)
    assert found.evaluation.auroc.value > 0.5
    assert [item.called for item in found.outcomes] == [n >= 3 for n in range(8)]
    sizes = [part for part in found.evaluation.strata if part.by == "size"]
    assert sum(part.images for part in sizes) == 4
    names = {figure.name for figure in paper_figures(found.outcomes, found.evaluation)}
    assert names == {"roc", "precision-recall", "confusion-default"}


@pytest.mark.parametrize("scores", [(-2.2, 0.7), (9.7, 67.6)])
def test_half_of_what_is_no_probability_is_no_threshold(scores, truth, tmp_path):
    table = tmp_path / "t.csv"
    table.write_text(
        "image,score\n" + "".join(f"{k},{scores[n % 2]}\n" for n, k in enumerate(NAMES))
    )
    said = f"between {scores[0]} and {scores[1]}, so they are no probabilities.*with `threshold`"
    with pytest.raises(UsageError, match=said):
        judge(table, truth)
    table.write_text(
        table.read_text().replace("\n", ",positive\n").replace("re,positive", "re,called")
    )
    assert judge(table, truth).evaluation.images == 8  # the column says who is called


def test_decimal_commas_are_read_and_a_bad_threshold_is_said(truth, tmp_path):
    table = tmp_path / "t.csv"
    rows = "".join(f"{name};0,7;0,3\n" for name in NAMES[1:])
    table.write_text(f"image;score;score_threshold\n{NAMES[0]};0,7;half\n{rows}")
    found = judge(table, truth)
    said = "line 2: score_threshold is 'half'; it must be a number"
    assert (NAMES[0], said) in found.failures
    assert found.evaluation.images == 7
    assert {item.score for item in found.outcomes} == {0.7}


@pytest.mark.parametrize(
    ("score", "said"),
    [
        (lambda place: 0.9 - 0.4 * (place % 2) - 0.001 * place, "clearly below one half: the sco"),
        (lambda place: 0.3, "All scores are 0.3, so they rank no image before another"),
        (lambda place: place % 2, "All scores are 0 or 1, so they are calls and no scores"),
    ],
)
def test_scores_that_rank_backwards_or_not_at_all_are_told(tmp_path, score, said):
    rows = range(30)
    table, labels = tmp_path / "scores.csv", tmp_path / "labels.csv"
    table.write_text("image,score\n" + "".join(f"i{n},{score(n)}\n" for n in rows))
    labels.write_text("image,pneumothorax\n" + "".join(f"i{n},{n % 2}\n" for n in rows))
    assert any(said in note for note in judge(table, labels).notes)


def test_columns_that_contradict_the_scores_are_told(tmp_path):
    table, labels = tmp_path / "scores.csv", tmp_path / "labels.csv"
    labels.write_text("image,pneumothorax\na,1\nb,0\n")
    table.write_text("image,Pneumothorax,score,called\na,0.1,0.9,negative\nb,0.9,0.2,positive\n")
    notes = judge(table, labels).notes
    assert (
        "Scores are those of the column score; Pneumothorax may hold scores too, and is not read."
        in notes
    )
    assert any("called positive have lower scores (median 0.2) than" in note for note in notes)
    notes = judge(table, labels, Judging(score_column="Pneumothorax")).notes
    assert not any("hold scores too" in note or "lower scores" in note for note in notes)
    table.write_text("image,No Pneumothorax\na,0.1\nb,0.9\n")
    with pytest.raises(
        DataError, match="the column of scores 'No Pneumothorax' says that there is"
    ):
        judge(table, labels, Judging(score_column="No Pneumothorax"))


@pytest.mark.parametrize("others", ["999", "0.5"])
def test_a_comma_that_may_part_thousands_is_refused(tmp_path, others):
    table, labels = tmp_path / "scores.csv", tmp_path / "labels.csv"
    table.write_text(f"image;score\na;1,200\nb;{others}\n")
    labels.write_text("image,pneumothorax\na,1\nb,0\n")
    with pytest.raises(DataError, match=r"the comma in 1,200 \(column score\) may be a decimal"):
        judge(table, labels, Judging(threshold=1))
    table.write_text("image;score\na;1,200\nb;0,5\n")
    assert judge(table, labels, Judging(threshold=1)).evaluation.auroc.value == 1


def test_of_an_image_with_several_rows_none_counts(truth, tmp_path):
    table = tmp_path / "t.csv"
    table.write_text("image,score\n" + "".join(f"{n},0.5\n" for n in [*NAMES, *NAMES[:1] * 2]))
    found = judge(table, truth)
    assert NAMES[0] not in {item.image_id for item in found.outcomes}
    assert [reason for name, reason in found.failures[:2]] == [
        "line 10: comes twice; keep one row",
        "line 11: comes twice; keep one row",
    ]


def test_what_was_not_assessed_counts_in_no_figure(truth, tmp_path):
    rows = [
        f"{name},{'not assessed,' if n == 0 else 'positive,0.7'}" for n, name in enumerate(NAMES)
    ]
    (tmp_path / "predictions.csv").write_text("\n".join(["image_id,called,score", *rows]) + "\n")
    found = judge(tmp_path / "predictions.csv", truth)
    assert found.evaluation.images == 7
    assert "1 image was not assessed; left out of all figures." in found.notes


def test_a_table_of_pleura_brings_its_thresholds(truth, tmp_path):
    rows = [f"{name},{'positive' if n % 2 else 'negative'},0.7,0.3" for n, name in enumerate(NAMES)]
    table = tmp_path / "predictions.csv"
    table.write_text("\n".join(["image_id,called,score,score_threshold", *rows]) + "\n")
    found = judge(table, truth)
    assert {item.threshold for item in found.outcomes} == {0.3}
    table.write_text("image_id,score\n" + "".join(f"{name},0.7\n" for name in NAMES))
    found = judge(table, truth, Judging(threshold=0.6))
    assert {item.threshold for item in found.outcomes} == {0.6}


def test_a_mask_of_another_size_is_a_failure(truth, tmp_path):
    said = folder(tmp_path / "said", {**SAID, NAMES[1]: np.zeros((5, 5), np.bool_)})
    assert judge(said, truth).failures == (
        (NAMES[1], "its predicted mask has 5 x 5 pixels, but the true one has 32 x 40"),
    )


def ellipse(rows, columns):
    down, across = np.mgrid[0:rows, 0:columns]
    return ((down / rows - 0.5) / 0.3) ** 2 + ((across / columns - 0.3) / 0.1) ** 2 < 1


def runs_of(path, masks):
    rows = "".join(f"{name},{mask2rle(mask)}\n" for name, mask in masks.items())
    path.write_text(f"ImageId,EncodedPixels\n{rows}")
    return path


@pytest.mark.parametrize("side", ["predictions", "truth"])
@pytest.mark.parametrize("known", ["given", "from the other side"])
def test_run_lengths_of_another_size_are_no_mask(side, known, tmp_path):
    right, wrong = ellipse(256, 192), ellipse(128, 96)
    if known == "given":
        fitting, how = runs_of(tmp_path / "a.csv", {"x": right, "y": right}), (256, 192)
    else:
        fitting, how = folder(tmp_path / "a", {"x": right, "y": right}), None
    other = runs_of(tmp_path / "b.csv", {"x": right, "y": wrong})
    pair = (other, fitting) if side == "predictions" else (fitting, other)
    found = judge(*pair, Judging(size=how))
    assert found.evaluation.mean_dice.value == 1
    assert [item.image_id for item in found.outcomes] == ["x"]
    assert "likely made for a picture of 128 x 96 (rows x columns)" in found.failures[0][1]


@pytest.mark.parametrize("word", ["yes", "pos", "not_assessed"])
def test_a_word_that_calls_nothing_is_not_passed_over(word, truth, tmp_path):
    table = tmp_path / "t.csv"
    rows = "".join(f"{name},0.7,positive\n" for name in NAMES[1:])
    table.write_text(f"image_id,score,called\n{NAMES[0]},0.1,{word}\n{rows}")
    said = f"line 2: called is '{word}'; it must be positive, negative or not assessed"
    assert (NAMES[0], said) in judge(table, truth).failures


def test_run_lengths_alone_need_a_size(tmp_path):
    said = as_runs(tmp_path)
    with pytest.raises(UsageError, match="give `image_size` ROWSxCOLUMNS"):
        judge(said, said)
    assert judge(said, said, Judging(size=SHAPE)).evaluation.mean_dice.value == 1


@pytest.mark.parametrize("threshold", [np.nan, np.inf])
def test_a_threshold_is_a_finite_number(threshold, truth):
    with pytest.raises(UsageError, match=r"`threshold` .*: a score is compared with a finite"):
        judge(truth, truth, Judging(threshold=threshold))


def test_why_no_row_can_be_used_is_said(truth, tmp_path):
    table = tmp_path / "t.csv"
    table.write_text("image_id,score\n" + "".join(f"{name},7%\n" for name in NAMES))
    with pytest.raises(DataError, match=r"t.csv: none of its 8 rows .*case_0: line 2: score is '7"):
        judge(table, truth)
    labels = tmp_path / "labels.csv"
    labels.write_text("image,pneumothorax\n" + "".join(f"{name},maybe\n" for name in NAMES))
    with pytest.raises(DataError, match=r"labels.csv: none of its 8 rows can be used; case_0: "):
        judge(truth, labels)


def test_labels_that_are_all_uncertain_are_not_blamed_on_ids(truth, tmp_path):
    labels = tmp_path / "labels.csv"
    said = ("right pneumothorax", "no pneumothorax")
    rows = [f"{name},{said[n % 2]}" for n, name in enumerate(NAMES)]
    labels.write_text("\n".join(["image,Labels", *rows]) + "\n")
    with pytest.raises(
        DataError, match=r"8 of its ids are of .*labels.csv too, but none can be ju"
    ):
        judge(truth, labels)


def test_nothing_in_common_is_an_error(truth, tmp_path):
    said = folder(tmp_path / "said", {"x": square(1)})
    with pytest.raises(DataError, match="none of its 1 ids belongs to the 8 of"):
        judge(said, truth)


def test_ids_that_lost_their_zeros_are_named(tmp_path):
    for name, ids in (("t", ("0001.png", "0002.png")), ("p", ("1", "2"))):
        rows = "".join(f"{own},{n}\n" for n, own in enumerate(ids))
        (tmp_path / f"{name}.csv").write_text(f"image,pneumothorax\n{rows}")
    with pytest.raises(DataError, match=r"; 1 may be 0001, for tables of numbers lose leading ze"):
        judge(tmp_path / "p.csv", tmp_path / "t.csv")


def test_a_column_that_is_not_there_is_named(truth, tmp_path):
    (tmp_path / "t.csv").write_text("image,p\na,1\n")
    with pytest.raises(DataError, match=r"found image, p; name them .* `score_column`"):
        judge(tmp_path / "t.csv", truth)
    how = Judging(masks=MaskReading(image_column="file"))
    with pytest.raises(DataError, match="column of ids \\(file\\)"):
        judge(tmp_path / "t.csv", truth, how)


def test_the_command_writes_page_rows_and_figures(truth, tmp_path, capsys):
    table = tmp_path / "scores.csv"
    table.write_text("image,score\n" + "".join(f"{k},{n / 8}\n" for n, k in enumerate(NAMES)))
    out = tmp_path / "out"
    command = ["evaluate", "--predictions", str(as_folder(tmp_path)), "--truth", str(truth)]
    command += ["--scores", str(table), "--report", str(out / "page.html"), "--json"]
    command += ["--per-image", str(out / "images.csv"), "--figures", str(out / "figures")]
    assert execute(command) == 0
    assert json.loads(capsys.readouterr().out)["images"] == 8
    assert "pleura: predictions" in (out / "page.html").read_text()
    rows = pl.read_parquet(out / "images.parquet")
    assert rows.columns == list(COLUMNS)
    assert rows["dice"].to_list() == pytest.approx([1, 0.75] * 4)
    assert rows["group"].to_list() == list(range(1, 9))
    assert rows["outlines"].to_list() == ["none", "both"] * 4
    assert rows["hausdorff95_px"].to_list() == [None, 2.0] * 4
    assert rows["hausdorff95_mm"].to_list() == [None] * 8
    for name in ("truth", "score", "called", "iou", "truth_px", "predicted_px", "size", "sex"):
        assert rows[name].null_count() == 0, name
    assert (out / "images.csv").read_text().splitlines()[0] == ",".join(COLUMNS)
    names = "roc precision-recall reliability decision-curve dice-area froc confusion-default"
    for name in names.split():
        for form in ("png", "svg", "pdf", "csv"):
            assert (out / "figures" / f"{name}.{form}").stat().st_size > 50
        with Image.open(out / "figures" / f"{name}.png") as picture:
            assert len(np.unique(np.asarray(picture.convert("L")))) > 10
    roc = pl.read_csv(out / "figures" / "roc.csv")
    assert roc.filter(part="default")["sensitivity"].to_list() == [1.0]
    points = pl.read_csv(out / "figures" / "confusion-default.csv")
    assert points["images"].to_list() == [4, 0, 0, 4]
    assert execute([*command[:3], "--json"]) == 2
    assert "needs --truth, and takes no model" in capsys.readouterr().err
    assert execute(["evaluate"]) == 2


def test_no_legend_lies_on_a_chart(truth, tmp_path):
    scores = tmp_path / "scores.csv"
    scores.write_text("image,score\n" + "".join(f"{k},{n / 8}\n" for n, k in enumerate(NAMES)))
    found = judge(as_folder(tmp_path), truth, scores=scores)
    told = found.evaluation
    points = [
        PointScore(name, OperatingPoint(), told.sensitivity, told.specificity)
        for name in ("default", "sensitive", "specific", "rule")
    ]
    evaluation = replace(told, points=tuple(points))
    legends = 0
    for one in paper_figures(found.outcomes, evaluation):
        figure = drawn(one)
        figure.draw_without_rendering()
        for legend in figure.legends:
            legends += 1
            box, whole = legend.get_window_extent(), figure.bbox
            assert not box.overlaps(figure.axes[0].get_window_extent()), one.name
            assert whole.x0 <= box.x0, one.name
            assert box.x1 <= whole.x1, one.name
    assert legends == 6


def test_the_folder_of_pleura_predict_is_judged_as_it_lies(truth, tmp_path):
    out = tmp_path / "answers"
    out.mkdir()
    rows = [f"{name},{mask2rle(mask)}" for name, mask in SAID.items()]
    (out / "submission.csv").write_text("\n".join(["ImageId,EncodedPixels", *rows]) + "\n")
    told = [
        f"{name},{'not assessed' if n == 0 else 'positive' if n % 2 else 'negative'},{n / 8},0.3"
        for n, name in enumerate(NAMES)
    ]
    head = "image_id,called,score,score_threshold"
    (out / "predictions.csv").write_text("\n".join([head, *told]) + "\n")
    (out / "worklist").mkdir()
    (out / "worklist" / "1.js").write_text("")
    found = judge(out, truth)
    assert found.evaluation.images == 7
    assert found.evaluation.positive_dice.value == pytest.approx(0.75)
    assert found.evaluation.auroc.value < 1
    assert {item.threshold for item in found.outcomes} == {0.3}
    with pytest.raises(UsageError, match="run lengths do not say how large the images are"):
        judge(out, _labels(tmp_path))
    sizes = [(name, *SHAPE) for name in NAMES]
    columns = {"image_id": "text", "rows": "count", "columns": "count"}
    write_parquet(sizes, columns, {}, out / "predictions.parquet")
    assert judge(out, _labels(tmp_path)).evaluation.images == 7


def test_masks_by_file_and_predictions_by_uid_are_paired_by_what_knows_both(truth, tmp_path):
    out, films = tmp_path / "answers", tmp_path / "films"
    out.mkdir()
    films.mkdir()
    uids = {name: f"1.2.{number}" for number, name in enumerate(NAMES)}
    for number, (name, uid) in enumerate(uids.items()):
        about = {"SOPInstanceUID": uid, "PatientID": f"P{number // 2}"}
        content = make_dicom(np.full(SHAPE, number, np.uint8), **about)
        (films / f"{name}.dcm").write_bytes(content)
    masks = [f"{uids[name]},{mask2rle(mask)}" for name, mask in SAID.items()]
    (out / "submission.csv").write_text("\n".join(["ImageId,EncodedPixels", *masks]) + "\n")
    told = [f"{uids[name]},films/{name}.dcm,{n / 8},0.3" for n, name in enumerate(NAMES)]
    head = "image_id,path,score,score_threshold"
    (out / "predictions.csv").write_text("\n".join([head, *told]) + "\n")
    (tmp_path / "patients.csv").write_text(
        "\n".join(["ImageId,patient", *(f"{uid},x" for uid in uids.values())]) + "\n"
    )
    found = judge(out, truth)  # by the column of paths
    assert found.evaluation.images == len(NAMES)
    assert {item.threshold for item in found.outcomes} == {0.3}
    by_table = judge(out, truth, Judging(patients=tmp_path / "patients.csv"))
    assert {item.patient for item in by_table.outcomes} == {"x"}
    scores = tmp_path / "scores.csv"  # which know no paths: the radiographs do
    scores.write_text("\n".join(["image_id,score", *(f"{u},0.5" for u in uids.values())]) + "\n")
    with pytest.raises(DataError, match=r"none of its 8 ids belongs to the 8 of"):
        judge(scores, truth)
    by_images = judge(scores, truth, Judging(images=films))
    assert by_images.evaluation.images == len(NAMES)
    assert len({item.patient for item in by_images.outcomes}) == len(NAMES) // 2


def _labels(folder):
    path = folder / "labels.csv"
    rows = [f"{name},{n % 2}" for n, name in enumerate(NAMES)]
    path.write_text("\n".join(["image,pneumothorax", *rows]) + "\n")
    return path


def test_the_same_outcomes_give_the_same_bytes(truth, tmp_path):
    found = judge(as_folder(tmp_path), truth)
    one, other = (
        write_figures(found.outcomes, found.evaluation, tmp_path / name) for name in ("a", "b")
    )
    assert [path.read_bytes() for path in one] == [path.read_bytes() for path in other]


def test_no_patient_is_written(truth, tmp_path):
    (tmp_path / "p.csv").write_text(
        "ImageId,patient\n" + "".join(f"{n},Doe {i // 4}\n" for i, n in enumerate(NAMES))
    )
    found = judge(as_folder(tmp_path), truth, Judging(patients=tmp_path / "p.csv"))
    table, typed = write_per_image(found.outcomes, tmp_path / "rows.csv", {NAMES[0]: 3})
    both = pl.read_csv(table), pl.read_parquet(typed)
    for name in ("truth", "called", "score", "dice", "iou", "truth_px", "group", "fold", "size"):
        one, other = (frame[name].to_list() for frame in both)
        assert [x or None for x in one] == [x or None for x in other], name
    assert "Doe" not in table.read_text()
    rows = pl.read_csv(table)
    assert rows["group"].to_list() == [1, 1, 1, 1, 2, 2, 2, 2]
    assert rows["fold"].to_list() == [3, *[None] * 7]


def test_patients_are_matched_as_predictions_are_and_nobody_is_none(truth, tmp_path):
    names = ["nan", "Unknown", "ANONYMOUS", "", *"aabb"]

    def judged(rows):
        (tmp_path / "p.csv").write_text("\n".join(["ImageId,patient", *rows]) + "\n")
        return judge(as_folder(tmp_path), truth, Judging(patients=tmp_path / "p.csv"))

    found = judged(f"x/{key}.dcm,{name}" for key, name in zip(NAMES, names, strict=True))
    assert [one.patient for one in found.outcomes] == [*NAMES[:4], *"aabb"]
    assert not any("accents" in note for note in found.notes)
    alike = judged(f"{key},{name}" for key, name in zip(NAMES, [*"aabb", *"Acdd"], strict=True))
    assert f"The patients of images {NAMES[0]} and {NAMES[4]} differ by" in "".join(alike.notes)
    assert "Of 4 of 8 images the patient is not known: each of them counts as one." in found.notes
    with pytest.raises(
        DataError, match=r"p.csv: none of the 1 images of this patient map is among"
    ):
        judged(["other,a"])


def test_masks_that_are_boxes_are_named(tmp_path):
    mask = np.zeros((640, 48), np.bool_)
    mask[10:20, 5:15] = True
    for name in ("p", "t"):
        for number in range(10):
            write_mask_picture(
                tmp_path / name / f"{number}.png", np.roll(mask, 60 * number, axis=0)
            )
    notes = judge(tmp_path / "p", tmp_path / "t").notes
    assert [note for note in notes if "10 of 10 masks are upright rectangles" in note] == [
        note for note in notes if str(tmp_path) in note
    ]
    assert sum("are boxes" in note for note in notes) == 2
