"""The model card: a page of Markdown that says what a model is, and how good it was measured to be.

Nothing on a card is filled in. What a training always records and this model does not hold is an
error that names it; figures that nobody measured are called "not measured", with what to run.

Source of the headings: Mitchell et al., Model cards for model reporting, FAT* 2019.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from pleura.config import Network
from pleura.errors import BundleError
from pleura.models.bundle import Bundle
from pleura.models.zoo import count_parameters, stride

_FIGURES: Mapping[str, str] = {
    "mean_dice": "mean Dice (over all images)",
    "positive_dice": "positive Dice (over images with a pneumothorax)",
    "auroc": "AUROC",
    "average_precision": "average precision",
    "sensitivity": "sensitivity, default operating point",
    "specificity": "specificity, default operating point",
    "accuracy": "accuracy, default operating point",
    "ppv": "positive predictive value at the share of positives of these images",
    "npv": "negative predictive value at the share of positives of these images",
    "lesion_sensitivity": "lesions found, at least in part",
    "false_lesions": "false lesions per image",
    "calibration_error": "expected calibration error of the score",
}
_LATER = {"accuracy", "ppv", "npv"}
"""Figures that models of an earlier pleura do not hold; their cards do without."""


def write_card(bundle: Bundle, licence: str = "") -> str:
    """Return the model card for `bundle` as Markdown, from what the bundle itself holds.

    Args:
        bundle: The model.
        licence: The licence of the data it was trained on, as whoever prints the card states it;
            a model cannot know it.

    Raises:
        BundleError: The model does not hold what the card must say; the message names the field.
    """
    try:
        return _card(bundle, licence)
    except (TypeError, ValueError, LookupError, AttributeError) as error:  # JSON of any shape
        raise BundleError(
            f"{bundle.path or 'the model'}: its records are not as pleura writes them "
            f"({type(error).__name__}: {str(error)[:100]!r}), so it gets no card; train it again"
        ) from error


def _card(bundle: Bundle, licence: str) -> str:
    parts = [
        f"# pleura {bundle.network.name}",
        "",
        "**Not a medical device.** For research and education, not for diagnosis.",
        "",
    ]
    for title, lines in card_sections(bundle, licence).items():
        parts += [f"## {title}", "", *lines, ""]
    return "\n".join(parts)


def card_sections(bundle: Bundle, licence: str = "") -> dict[str, list[str]]:
    """Return the lines of a card below each of its headings.

    Raises:
        BundleError: The model does not hold what the card must say.
    """
    return {
        "Intended use": _intended_use(),
        "Data": _data(bundle, licence),
        "Training": _training(bundle),
        "Decisions": _decisions(bundle),
        "Measured": _measured(bundle),
        "Limits": _limits(bundle),
    }


_HUB_METRICS: Mapping[str, str] = {
    "positive_dice": "dice",
    "mean_dice": "dice",
    "auroc": "roc_auc",
    "average_precision": "average_precision",
    "sensitivity": "recall",
    "specificity": "specificity",
    "accuracy": "accuracy",
}
"""The figures that stand in a model index, and how the hub calls their kinds."""

_HUB_LICENCES = frozenset(
    (
        *("apache-2.0", "mit", "bsd-2-clause", "bsd-3-clause", "mpl-2.0", "unlicense", "openrail"),
        *("gpl-3.0", "lgpl-3.0", "agpl-3.0", "odbl", "cc0-1.0", "cc-by-3.0", "cc-by-4.0"),
        *("cc-by-sa-3.0", "cc-by-sa-4.0", "cc-by-nc-3.0", "cc-by-nc-4.0", "cc-by-nd-4.0"),
        *("cc-by-nc-sa-3.0", "cc-by-nc-sa-4.0", "cc-by-nc-nd-4.0"),
    )
)
"""Names of licences that the hub knows; huggingface.co/docs/hub/repositories-licenses."""


def write_hub_card(bundle: Bundle, licence: str = "", card: str = "") -> str:
    """Return the card as the README.md of a model on the Hugging Face hub.

    In front of it stands what the hub reads: a block of YAML, each value written as JSON, which
    YAML takes as it is, with the figures measured as a model index.

    Args:
        bundle: The model.
        licence: As for :func:`write_card`.
        card: The card, where the model brings one.

    Raises:
        BundleError: The model does not hold what the card must say.

    Source: huggingface.co/docs/hub/model-cards.
    """
    text = card or write_card(bundle, licence)
    front: dict[str, Any] = {
        **_hub_licence(licence or str(bundle.training.get("licence") or "")),
        "library_name": "pleura",
        "pipeline_tag": "image-segmentation",
        "tags": ["pneumothorax", "chest-radiograph", "medical", "dicom", bundle.network.name],
        "metrics": sorted(set(_HUB_METRICS.values())),
    }
    if bundle.evaluation:
        front["model-index"] = [
            {"name": f"pleura {bundle.network.name}", "results": [_hub_results(bundle)]}
        ]
    lines = [f"{name}: {json.dumps(value)}" for name, value in front.items()]
    return "\n".join(["---", *lines, "---", "", text])


def _hub_licence(stated: str) -> dict[str, str]:
    """Return the keys of the hub about the licence: what no name of it fits is in the card."""
    if not stated:
        return {"license": "unknown"}
    name = "-".join(stated.lower().split())
    if name in _HUB_LICENCES:
        return {"license": name}
    return {"license": "other", "license_name": "stated-in-the-card", "license_link": "README.md"}


def _hub_results(bundle: Bundle) -> dict[str, Any]:
    found = bundle.evaluation
    return {
        "task": {"type": "image-segmentation", "name": "pneumothorax segmentation"},
        "dataset": {"type": "held-out", "name": str(_measurement(bundle, "measured_on"))},
        "metrics": [
            {
                "type": kind,
                "name": f"{_FIGURES[name]}, 95 % interval {_range(found, name)}",
                "value": found[name],
            }
            for name, kind in _HUB_METRICS.items()
            if found.get(name) is not None
        ],
    }


def _range(figures: Mapping[str, Any], name: str) -> str:
    low, high = figures[f"{name}_interval"]
    return "none" if low is None or high is None else f"{low:.3f} to {high:.3f}"


def _intended_use() -> list[str]:
    return [
        "Finds pneumothorax in frontal chest radiographs: a probability for each pixel, a mask and "
        "a score for the image.",
        "To study methods, to teach, and to compare models. It must not be used for patient care.",
    ]


def _data(bundle: Bundle, licence: str) -> list[str]:
    several = len(bundle.network.members)
    lines = [f"- An ensemble of {several} models, each with its own data:"] if several > 1 else []
    for member in _members(bundle):
        lines += _member_data(member)
    return [*lines, f"- Licence of the data: {_licence(bundle, licence)}"]


def _licence(bundle: Bundle, stated: str) -> str:
    if stated:
        return f"{stated}, as stated by who printed this card."
    return str(
        bundle.training.get("licence")
        or "not recorded. A model cannot know it; state it with `pleura info MODEL --licence TEXT` "
        "before you hand the model on."
    )


def _member_data(bundle: Bundle) -> list[str]:
    images, positives = _recorded(bundle, "images"), _recorded(bundle, "positives")
    unknown = _recorded(bundle, "images_without_patient")
    patients = _recorded(bundle, "patients")
    if unknown == images:
        known = "patients unknown: one patient may be on both sides of the split"
    elif unknown:
        known = f"{patients} known patients; of {unknown} images the patient is unknown"
    else:
        known = f"of {patients} patients, all known; none is on both sides of the split"
    extra = bundle.training.get("extra_images", 0)
    about = bundle.training.get("extra_about", "of the folders that train.extra names")
    return [
        f"- Trained on {images} radiographs, {positives} with a pneumothorax; {known}.",
        *([f"- Trained beside them on {extra} further radiographs: {about}."] if extra else []),
        _held_back(bundle),
        f"- Fingerprint of images, masks and settings: `{_recorded(bundle, 'fingerprint')}`.",
    ]


def _held_back(bundle: Bundle) -> str:
    if bundle.training.get("held_back_about"):
        return f"- {bundle.training['held_back_about']}"
    folds = _recorded(bundle, "train.folds")
    if bundle.training.get("whole"):
        return (
            f"- Nothing was held back. Thresholds and calibration were chosen on what {folds} "
            "networks made in the same way said of the radiographs that each had not seen."
        )
    chosen = "epoch, thresholds" if bundle.training.get("train.keep") != "last" else "thresholds"
    return (
        f"- Held back to choose {chosen} and calibration: "
        f"{_recorded(bundle, 'validation_images')} radiographs (fold "
        f"{_recorded(bundle, 'train.fold')} of {folds}, numbered from 0)."
    )


def _training(bundle: Bundle) -> list[str]:
    size = bundle.preprocessing.size
    versions = ", ".join(f"{name} {number}" for name, number in bundle.versions.items())
    if not versions:
        raise _missing(bundle, "versions")
    network = bundle.network
    return [
        f"- Network {_named(network)}: {count_parameters(network):,} parameters; input {size} x "
        f"{size} pixels.",
        *(line for member in _members(bundle) for line in _member_training(member)),
        f"- Made with {versions}.",
    ]


def _member_training(bundle: Bundle) -> list[str]:
    epochs = bundle.history.get("epoch", [])
    if not epochs:
        raise _missing(bundle, "history.epoch")
    return [
        f"- Loss {_recorded(bundle, 'train.loss')}, {len(epochs)} epochs, batch "
        f"{_recorded(bundle, 'train.batch')}, learning rate "
        f"{_recorded(bundle, 'train.learning_rate')}, seed {_recorded(bundle, 'train.seed')}; "
        f"{_recorded(bundle, 'precision')} on {_recorded(bundle, 'device')}.",
        *(
            [f"- Begun with the weights of the model `{bundle.training['train.init_from']}`."]
            if bundle.training.get("train.init_from")
            else []
        ),
    ]


def _members(bundle: Bundle) -> list[Bundle]:
    """Return the bundle itself or, of an ensemble, what is recorded of each member."""
    if not bundle.network.members:
        return [bundle]
    return [
        replace(
            bundle,
            network=network,
            training=_recorded(bundle, "members")[number]["training"],
            history={"epoch": _recorded(bundle, "members")[number]["epochs"]},
        )
        for number, network in enumerate(bundle.network.members)
    ]


def _named(network: Network) -> str:
    """Return what a network is, in words: of an ensemble, its members."""
    if network.members:
        names = ", ".join(_named(member) for member in network.members)
        mirrored = ", each on the picture and its mirror image" if network.tta else ""
        sizes = ", ".join(" and ".join(map(str, own)) for own in network.sizes)
        reduced = f", at {sizes} pixels in turn" if sizes else ""
        closer = (
            f", with a closer look at {network.closer} pixels in either upper corner"
            if network.closer
            else ""
        )
        return f"{network.name} of {names}{reduced}{mirrored}{closer}"
    begun = ", its encoder trained before on other pictures" if network.pretrained else ""
    return f"{network.name}, width {network.width}, stride {stride(network)}{begun}"


def _decisions(bundle: Bundle) -> list[str]:
    return [
        f"- The score is {bundle.calibration.in_words}.",
        *(f"- Operating point {name}: {at.in_words}." for name, at in bundle.points.items()),
    ]


def _measured(bundle: Bundle) -> list[str]:
    if not bundle.evaluation:
        return [
            "Not measured: the model holds no evaluation. To measure it:",
            "",
            "- `pleura train PREPARED --out RUN` measures on its validation part and keeps the "
            "figures in the model it writes;",
            "- `pleura evaluate MODEL PREPARED --report evaluation.html` measures this model on "
            "images that did not train it, and prints the figures without keeping them.",
        ]
    found = bundle.evaluation
    rows = [
        f"| {words} | {_figure(bundle, name)} |"
        for name, words in _FIGURES.items()
        if name in found or name not in _LATER
    ]
    for item in _measurement(bundle, "predictive_values"):
        share = f"{100 * item['prevalence']:.3g} % prevalence"
        rows += [
            f"| positive predictive value at {share} | {_interval(item, 'positive')} |",
            f"| negative predictive value at {share} | {_interval(item, 'negative')} |",
        ]
    parts = [
        f"| {item['by']} {item['name']} | {item['images']} | {item['positives']} | "
        f"{_interval(item, 'positive_dice')} | {_interval(item, 'auroc')} | "
        f"{_interval(item, 'sensitivity')} |"
        for item in _measurement(bundle, "strata")
    ]
    return [
        f"On {_measurement(bundle, 'measured_on')}: {_measurement(bundle, 'images')} images, "
        f"{_measurement(bundle, 'positives')} with a pneumothorax, "
        f"{_measurement(bundle, 'patients')} patients (an image of an unknown patient counts as "
        "one). Patients count the same; with 95 % bootstrap intervals over patients.",
        "",
        "| figure | value |",
        "| --- | --- |",
        *rows,
        "",
        "| part | images | positive | positive Dice | AUROC | sensitivity |",
        "| --- | --- | --- | --- | --- | --- |",
        *parts,
        *_expected(found.get("mixes", [])),
        *(line for note in found.get("notes", []) for line in ("", note)),
    ]


def _expected(mixes: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the figures re-weighted to other sets, as lines of a table."""
    if not mixes:
        return []
    return [
        "",
        "Expected of another set, by weighing these images to its sizes and its share of "
        "positives:",
        "",
        "| set | positives | answering none: mean Dice | mean Dice | positive Dice | AUROC |",
        "| --- | --- | --- | --- | --- | --- |",
        *(
            f"| {item['name']} | {100 * item['prevalence']:.3g} % | {item['all_empty_dice']:.3f} | "
            f"{_interval(item, 'mean_dice')} | {_interval(item, 'positive_dice')} | "
            f"{_interval(item, 'auroc')} |"
            for item in mixes
        ),
    ]


def _limits(bundle: Bundle) -> list[str]:
    return [
        *(f"- {limit}" for limit in bundle.training.get("limits", [])),
        "- It was trained on the data above only. With other machines, views, ages and encodings "
        "it may be worse; of parts that the table above does not list, or lists with few images, "
        "nothing is known.",
        "- It recognises no other disease, and treats every input as a frontal chest radiograph.",
        "- The score is a probability for the share of positives it was calibrated on; elsewhere "
        "the predictive values above say more.",
    ]


def _recorded(bundle: Bundle, name: str) -> Any:
    """Return what training recorded under `name`."""
    value = bundle.training.get(name)
    if value is None or value == "":
        raise _missing(bundle, f"training.{name}")
    return value


def _measurement(bundle: Bundle, name: str) -> Any:
    """Return what the stored evaluation holds under `name`."""
    if name not in bundle.evaluation:
        raise _missing(bundle, f"evaluation.{name}")
    return bundle.evaluation[name]


def _figure(bundle: Bundle, name: str) -> str:
    for wanted in (name, f"{name}_interval"):
        _measurement(bundle, wanted)
    return _interval(bundle.evaluation, name)


def _interval(figures: Mapping[str, Any], name: str) -> str:
    value, (low, high) = figures[name], figures[f"{name}_interval"]
    if value is None:
        return "undefined here"
    if low is None or high is None:
        return f"{value:.3f} (no interval)"
    return f"{value:.3f} ({low:.3f} to {high:.3f})"


def _missing(bundle: Bundle, name: str) -> BundleError:
    return BundleError(
        f"{bundle.path or 'the model'}: holds no {name}, and a card says nothing that was not "
        "recorded or measured; train the model again with this pleura"
    )
