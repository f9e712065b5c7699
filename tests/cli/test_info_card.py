from pleura.cli.app import execute
from pleura.models.bundle import read_bundle
from tests.cli.test_train import settings


def test_the_card_of_a_trained_model_holds_what_was_measured(small_prepared, tmp_path, capsys):
    out = tmp_path / "m"
    command = ["train", str(small_prepared.path), "--out", str(out), *settings("train.epochs=1")]
    assert execute(command) == 0
    capsys.readouterr()
    bundle = read_bundle(out / "model.h5")
    found = bundle.evaluation
    assert found["images"] == bundle.training["validation_images"]
    assert found["measured_on"].startswith("the validation part: ")
    assert [item["name"] for item in found["points"]] == list(bundle.points)
    assert bundle.training["patients"] > 1
    assert bundle.training["images_without_patient"] == 0
    assert bundle.calibration.method == "platt"
    assert set(bundle.presets) == {"sensitive", "specific", "rule"}
    assert execute(["info", str(out / "model.h5")]) == 0
    said = capsys.readouterr()
    assert said.out == bundle.card.rstrip() + "\n"
    assert f"{found['auroc']:.3f} (" in said.out
    assert said.err == ""
    assert execute(["info", str(out / "model.h5"), "--licence", "CC BY 4.0"]) == 0
    assert "Licence of the data: CC BY 4.0, as stated" in capsys.readouterr().out
    # Judged by parts of the patients that chose none of them, so neither need reach its 0.95.
    at = {item["name"]: item for item in found["points"]}
    assert at["sensitive"]["sensitivity"] >= at["specific"]["sensitivity"]
    assert at["specific"]["specificity"] >= at["sensitive"]["specificity"]


def test_a_model_without_a_record_gets_no_new_card(tiny_model, tmp_path, capsys):
    assert execute(["info", str(tiny_model), "--licence", "CC0"]) == 1
    said = capsys.readouterr()
    assert f"{tiny_model}: holds no training.images, and a card says nothing" in said.err
    assert said.out == ""
    assert execute(["info", str(tmp_path / "none.h5")]) == 1
    assert "there is no such file" in capsys.readouterr().err


def test_the_card_for_the_hub_is_read_by_its_own_library(capsys):
    from huggingface_hub import ModelCard

    assert execute(["info", "pleura:fast", "--hub"]) == 0
    text = capsys.readouterr().out
    card = ModelCard(text)
    found = read_bundle("pleura:fast").evaluation
    assert card.data.library_name == "pleura"
    assert card.data.license == "other"
    assert "Licence of the data: masks of the SIIM-ACR" in card.text
    assert "pneumothorax" in card.data.tags
    figures = {result.metric_name.split(",")[0]: result for result in card.data.eval_results}
    assert figures["AUROC"].metric_type == "roc_auc"
    assert figures["AUROC"].metric_value == found["auroc"]
    assert figures["AUROC"].dataset_name == found["measured_on"]
    assert "95 % interval" in figures["AUROC"].metric_name
    assert {result.metric_type for result in card.data.eval_results} <= set(card.data.metrics)
    assert "# pleura" in card.text
    assert "**Not a medical device.**" in card.text


def test_a_model_that_nobody_measured_has_no_figures_for_the_hub():
    from dataclasses import replace

    from huggingface_hub import ModelCard

    from pleura.models.card import write_hub_card

    bundle = replace(read_bundle("pleura:fast"), evaluation={})
    card = ModelCard(write_hub_card(bundle))
    assert card.data.eval_results is None
    assert "Not measured" in card.text
