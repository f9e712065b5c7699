from dataclasses import replace

import numpy as np
import pytest

from pleura.config import Network
from pleura.errors import BundleError
from pleura.evaluation.outcomes import Outcome
from pleura.evaluation.scores import summarise
from pleura.models.bundle import Bundle, Calibration, OperatingPoint, Preprocessing
from pleura.models.card import write_card, write_hub_card

TRAINING = {
    "images": 47,
    "positives": 20,
    "patients": 33,
    "images_without_patient": 0,
    "validation_images": 24,
    "fingerprint": "abc123",
    "precision": "fp32",
    "device": "cpu",
    "train.fold": 0,
    "train.folds": 3,
    "train.loss": "bce",
    "train.batch": 8,
    "train.learning_rate": 0.001,
    "train.seed": 5,
}
FIGURES = {
    "mean_dice": (0.612, 0.512, 0.712),
    "positive_dice": (0.413, 0.313, 0.513),
    "auroc": (None, None, None),
    "average_precision": (0.714, 0.614, 0.814),
    "sensitivity": (0.815, None, None),
    "specificity": (0.916, 0.816, 0.986),
    "lesion_sensitivity": (0.717, 0.617, 0.817),
    "false_lesions": (0.218, 0.118, 0.318),
    "calibration_error": (0.019, 0.009, 0.029),
}
EVALUATION = {
    "measured_on": "the validation part",
    "images": 24,
    "positives": 13,
    "patients": 21,
    **{name: values[0] for name, values in FIGURES.items()},
    **{f"{name}_interval": list(values[1:]) for name, values in FIGURES.items()},
    "predictive_values": [
        {
            "prevalence": 0.05,
            "positive": 0.321,
            "positive_interval": [0.221, 0.421],
            "negative": 0.987,
            "negative_interval": [0.977, 0.997],
        }
    ],
    "strata": [
        {
            "by": "sex",
            "name": "F",
            "images": 9,
            "positives": 0,
            **{f"{n}_interval": [None, None] for n in ("positive_dice", "auroc", "sensitivity")},
            **dict.fromkeys(("positive_dice", "auroc", "sensitivity")),
        }
    ],
    "notes": ["These images chose the thresholds."],
}


@pytest.fixture
def bundle():
    return Bundle(
        network=Network(name="cnn", width=4, depth=2),
        weights={"a": np.zeros(1, np.float32)},
        preprocessing=Preprocessing(64, "rule-1"),
        operating_point=OperatingPoint(0.25, 0.4, 0.001),
        presets={"sensitive": OperatingPoint(0.125, 0.4)},
        calibration=Calibration("platt", 0.5, -0.25),
        evaluation=EVALUATION,
        training=TRAINING,
        history={"epoch": [1.0, 2.0]},
        versions={"pleura": "0.1.0"},
    )


def test_a_card_says_what_was_recorded_and_measured(bundle):
    card = write_card(bundle)
    for words in (
        "# pleura cnn",
        "**Not a medical device.**",
        "## Intended use",
        "Trained on 47 radiographs, 20 with a pneumothorax; of 33 patients, all known",
        "24 radiographs (fold 0 of 3, numbered from 0)",
        "`abc123`",
        "Licence of the data: not recorded",
        "Loss bce, 2 epochs, batch 8, learning rate 0.001, seed 5; fp32 on cpu.",
        "Made with pleura 0.1.0.",
        "slope 0.500, intercept -0.250",
        "Operating point default: score at least 0.250, mask where the probability exceeds 0.40, "
        "smallest area 0.1 % of",
        "Operating point sensitive: score at least 0.125",
        "On the validation part: 24 images, 13 with a pneumothorax, 21 patients",
        "| positive Dice (over images with a pneumothorax) | 0.413 (0.313 to 0.513) |",
        "| AUROC | undefined here |",
        "| sensitivity, default operating point | 0.815 (no interval) |",
        "| positive predictive value at 5 % prevalence | 0.321 (0.221 to 0.421) |",
        "| sex F | 9 | 0 | undefined here | undefined here | undefined here |",
        "These images chose the thresholds.",
        "## Limits",
    ):
        assert words in card
    assert "None" not in card
    assert "Not measured" not in card


def test_without_an_evaluation_it_says_so_and_what_to_run(bundle):
    card = write_card(replace(bundle, evaluation={}))
    assert "Not measured: the model holds no evaluation." in card
    assert "`pleura evaluate MODEL PREPARED --report evaluation.html`" in card
    assert "Dice (" not in card


@pytest.mark.parametrize("name", TRAINING)
def test_what_was_not_recorded_is_an_error_that_names_it(bundle, name):
    lacking = {key: value for key, value in TRAINING.items() if key != name}
    message = f"the model: holds no training.{name}, and a card says nothing that was not recorded"
    with pytest.raises(BundleError, match=message):
        write_card(replace(bundle, training=lacking))


@pytest.mark.parametrize("name", [name for name in EVALUATION if name != "notes"])
def test_a_figure_that_nobody_measured_is_an_error_that_names_it(bundle, name):
    lacking = {key: value for key, value in EVALUATION.items() if key != name}
    with pytest.raises(BundleError, match=rf"holds no evaluation\.{name}, and a card says nothing"):
        write_card(replace(bundle, evaluation=lacking))


@pytest.mark.parametrize(
    ("part", "name", "value"),
    [
        ("training", "limits", 7),
        ("evaluation", "strata", {"by": "sex"}),
        ("evaluation", "predictive_values", 5),
        ("evaluation", "auroc", "high"),
        ("evaluation", "auroc_interval", [0.1]),
        ("evaluation", "notes", 1),
    ],
)
def test_records_of_another_shape_are_an_error_of_the_model(bundle, part, name, value):
    changed = replace(bundle, **{part: {**getattr(bundle, part), name: value}})
    with pytest.raises(BundleError, match=r"^the model: its records are not as pleura writes them"):
        write_card(changed)


def test_no_epoch_and_no_versions(bundle):
    with pytest.raises(BundleError, match=r"holds no history\.epoch"):
        write_card(replace(bundle, history={}))
    with pytest.raises(BundleError, match="holds no versions"):
        write_card(replace(bundle, versions={}))


@pytest.mark.parametrize(
    ("unknown", "words"),
    [
        (47, "patients unknown: one patient may be on both sides of the split"),
        (3, "33 known patients; of 3 images the patient is unknown"),
    ],
)
def test_patients_that_are_not_known(bundle, unknown, words):
    training = {**TRAINING, "images_without_patient": unknown}
    assert words in write_card(replace(bundle, training=training))


def test_the_licence_is_what_somebody_states(bundle):
    card = write_card(bundle, "CC0")
    assert "Licence of the data: CC0, as stated by who printed this card." in card


@pytest.mark.parametrize(
    ("stated", "front"),
    [
        ("", 'license: "unknown"\nlibrary_name'),
        ("CC BY 4.0", 'license: "cc-by-4.0"\nlibrary_name'),
        ("Apache-2.0", 'license: "apache-2.0"\nlibrary_name'),
        (
            "for research and education",
            'license: "other"\nlicense_name: "stated-in-the-card"\nlicense_link: "README.md"\n',
        ),
    ],
)
def test_the_hub_is_told_the_licence_that_somebody_stated(bundle, stated, front):
    card = write_hub_card(bundle, stated)
    assert card.startswith(f"---\n{front}")
    assert f"Licence of the data: {stated or 'not recorded'}" in card


def test_the_hub_is_told_the_licence_that_a_model_brings(bundle):
    brought = replace(bundle, training={**TRAINING, "licence": "for research and education"})
    assert 'license: "other"' in write_hub_card(brought)
    assert 'license: "mit"' in write_hub_card(brought, "MIT")


def test_all_of_36_have_an_interval_with_a_width(bundle):
    """Where no resample differs the card shows Wilson's interval, and Newcombe's of the AUROC."""
    outcomes = [
        Outcome(str(n), str(n), n < 36, n < 36, 0.9 if n < 36 else 0.1, 1, 1, 5, 5, 100, 1, 1, 0)
        for n in range(72)
    ]
    card = write_card(replace(bundle, evaluation={**EVALUATION, **summarise(outcomes).as_json()}))
    for figure in ("sensitivity, default operating point", "specificity, default operating point"):
        assert f"| {figure} | 1.000 (0.904 to 1.000) |" in card
    assert (
        "| positive predictive value at the share of positives of these images | 1.000 (0.904"
        in card
    )
    assert "| AUROC | 1.000 (0.9" in card
    assert "(1.000 to 1.000)" not in card


def test_other_calibrations(bundle):
    assert "the network's own, not calibrated" in write_card(
        replace(bundle, calibration=Calibration())
    )
    steps = Calibration("isotonic", scores=(0.1, 0.9), values=(0.0, 1.0))
    assert "isotonic regression (2 knots)" in write_card(replace(bundle, calibration=steps))
