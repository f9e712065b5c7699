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
    assert execute(["card", str(out / "model.h5")]) == 0
    said = capsys.readouterr()
    assert said.out == bundle.card.rstrip() + "\n"
    assert f"{found['auroc']:.3f} (" in said.out
    assert said.err == ""
    assert execute(["card", str(out / "model.h5"), "--licence", "CC BY 4.0"]) == 0
    assert "Licence of the data: CC BY 4.0, as stated" in capsys.readouterr().out
    sensitive = next(item for item in found["points"] if item["name"] == "sensitive")
    assert sensitive["sensitivity"] >= 0.95
    specific = next(item for item in found["points"] if item["name"] == "specific")
    assert specific["specificity"] >= 0.95


def test_a_model_without_a_record_gets_no_card(tiny_model, tmp_path, capsys):
    assert execute(["card", str(tiny_model)]) == 1
    said = capsys.readouterr()
    assert f"{tiny_model}: holds no training.images, and a card says nothing" in said.err
    assert said.out == ""
    assert execute(["card", str(tmp_path / "none.h5")]) == 1
    assert "there is no such file" in capsys.readouterr().err
