"""The reporting checklists CLAIM 2024 and TRIPOD+AI, filled from what pleura knows.

What pleura can say stands beside an item; what only the author knows stays open and is named. The
items are in words of our own: the guidelines themselves say what is meant.
"""

import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

from pleura.errors import UsageError
from pleura.evaluation.comparison import Comparison, p_value
from pleura.evaluation.figures import FIGURES, OF_MASKS, Evaluation
from pleura.formats.csv_cells import csv_text
from pleura.models.bundle import Bundle, current_versions
from pleura.models.card import card_sections
from pleura.rendering.page import render
from pleura.storage.atomic import write_text

SUFFIXES = (".md", ".csv", ".html")
"""The forms of a checklist."""

COLUMNS = ("guide", "item", "section", "asks for", "state", "what pleura knows", "for the author")

_UNSEEN = {
    True: "On the model's own validation part, of patients that did not train it; no threshold is "
    "judged by the images that chose it.",
    False: "On images that are not of the model's own set, none of which trained it.",
}

State = Literal["filled", "partly", "open"]


@dataclass(frozen=True, slots=True)
class ChecklistItem:
    """An item of a guideline.

    Attributes:
        guide: Name of the guideline.
        number: As there.
        section: As there, in short.
        asks: What it asks for.
        told: What pleura can say; empty for nothing.
        rest: What only the author can say; empty for nothing.
    """

    guide: str
    number: str
    section: str
    asks: str
    told: tuple[str, ...]
    rest: str

    @property
    def state(self) -> State:
        """Whether something is left for the author, and whether anything is told."""
        if not self.told:
            return "open"
        return "partly" if self.rest else "filled"

    @property
    def left(self) -> str:
        """What the author has to add; of an item of which nothing is known, the item itself."""
        return self.rest or ("" if self.told else self.asks)

    def cells(self) -> tuple[str, ...]:
        """Return its texts in the order of :data:`COLUMNS`."""
        told = " ".join(self.told)
        return self.guide, self.number, self.section, self.asks, self.state, told, self.left


def checklist(
    evaluation: Evaluation,
    notes: Sequence[str] = (),
    bundle: Bundle | None = None,
    comparison: Comparison | None = None,
    *,
    own: bool = False,
) -> tuple[ChecklistItem, ...]:
    """Return every item of both guidelines, filled as far as pleura knows.

    Args:
        evaluation: The figures.
        notes: What a reader must know to believe them.
        bundle: The model, where one of pleura was evaluated.
        comparison: With another system, where there is one.
        own: Whether the images are the model's own validation part.

    Raises:
        BundleError: The model does not hold what its card must say.
    """
    facts = {**_of_evaluation(evaluation, notes, bundle), **_of_comparison(comparison)}
    if bundle is not None:
        facts |= _of_model(bundle)
        facts["internal" if own else "external"] = [_UNSEEN[own]]
    return tuple(
        ChecklistItem(
            guide["name"],
            number,
            section,
            asks,
            tuple(fact for key in keys for fact in facts.get(key, ())),
            rest,
        )
        for guide in _table()["guide"]
        for section, number, asks, keys, rest in guide["items"]
    )


def write_checklist(items: Sequence[ChecklistItem], path: Path) -> None:
    """Write a checklist as Markdown, CSV or HTML, by the suffix of its name.

    Raises:
        UsageError: The suffix is none of these.
        OutputError: It could not be written.
    """
    write_text(path, _written(items, checked_suffix(path)))


def checked_suffix(path: Path) -> str:
    """Return which form the name of a checklist asks for.

    Raises:
        UsageError: None that there is.
    """
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise UsageError(f"{path}: a checklist is written as {', '.join(SUFFIXES)}; name it so")
    return suffix


def _written(items: Sequence[ChecklistItem], suffix: str) -> str:
    if suffix == ".csv":
        return csv_text(COLUMNS, [item.cells() for item in items])
    if suffix == ".html":
        return render(
            "pleura.evaluation", "checklist", guides=_by_guide(items), counts=_counts(items)
        )
    return "\n".join(_markdown(items)) + "\n"


def _markdown(items: Sequence[ChecklistItem]) -> Iterator[str]:
    for guide, own in _by_guide(items).items():
        counts = _counts(own)
        yield f"# {guide}"
        yield ""
        yield f"{counts['filled']} filled, {counts['partly']} partly, {counts['open']} open."
        yield ""
        yield "| item | asks for | state | what pleura knows | for the author |"
        yield "| --- | --- | --- | --- | --- |"
        for item in own:
            _, number, section, asks, state, told, left = (
                text.replace("|", "\\|") for text in item.cells()
            )
            yield f"| {number} | {section}: {asks} | {state} | {told} | {left} |"
        yield ""


def _by_guide(items: Sequence[ChecklistItem]) -> dict[str, list[ChecklistItem]]:
    return {
        guide: [item for item in items if item.guide == guide]
        for guide in dict.fromkeys(item.guide for item in items)
    }


def _counts(items: Sequence[ChecklistItem]) -> dict[State, int]:
    states: tuple[State, ...] = ("filled", "partly", "open")
    return {state: sum(item.state == state for item in items) for state in states}


@cache
def _table() -> dict[str, Any]:
    text = files("pleura.evaluation").joinpath("checklist.toml").read_text(encoding="utf-8")
    return tomllib.loads(text)


def _always(fact: str) -> list[str]:
    """Return a fact that is the same for every evaluation."""
    return [_table()["always"][fact]]


Facts = Mapping[str, Sequence[str]]


def _of_evaluation(evaluation: Evaluation, notes: Sequence[str], bundle: Bundle | None) -> Facts:
    version, model = current_versions()["pleura"], bundle.digest if bundle is not None else ""
    digest = f" Model digest {model}." if model else ""
    return {
        "left_out": list(notes),
        "available": [f"pleura {version}, Apache-2.0.{digest}"],
        "missing": _always("missing"),
        "statistics": _always("statistics"),
        "use": _always("use") if bundle is not None else [],
        **_of_figures(evaluation),
        **_of_images(evaluation),
    }


def _of_figures(evaluation: Evaluation) -> Facts:
    names = [name for name in FIGURES if evaluation.annotated or name not in OF_MASKS]
    told = {name: f"{FIGURES[name]} {getattr(evaluation, name)}" for name in names}
    headline = ("positive_dice", "auroc", "sensitivity", "specificity")
    outlines = (
        "; Hausdorff (95 %) and mean distance of the outlines, images with an empty mask counted "
        "apart"
    )
    missed = evaluation.sensitivity.value < 1 or evaluation.specificity.value < 1
    return {
        "headline": ["; ".join(told[name] for name in headline if name in told) + "."],
        "metrics": [
            ", ".join(FIGURES[name] for name in names) + outlines * bool(evaluation.distances) + "."
        ],
        "performance": ["; ".join(told.values()) + "."],
        "failures": _always("failures") if missed else ["No answer was wrong."],
        "mixes": [
            f"At the mix {item.name}: AUROC {item.auroc}, sensitivity {item.sensitivity}, "
            f"specificity {item.specificity}."
            for item in evaluation.mixes
        ],
    }


def _of_images(evaluation: Evaluation) -> Facts:
    masks, images = evaluation.annotated, evaluation.images
    parts = [part for part in evaluation.strata if part.images]
    known = [part for part in parts if part.by in ("sex", "age", "view")]
    people = [f"{part.by} {part.name}: {part.images} ({part.positives} positive)" for part in known]
    views = [f"{part.name} {part.images}" for part in known if part.by == "view"]
    groups = ", ".join(dict.fromkeys(part.by for part in parts))
    labels = f", and a label alone for {images - masks:,}" if images - masks else ""
    return {
        "counts": [
            f"{images:,} images of {evaluation.patients:,} patients were evaluated, "
            f"{evaluation.positives:,} of them with a pneumothorax."
        ],
        "reference": [f"The truth is a mask for {masks:,} images{labels}."],
        "people": ["; ".join(people) + "."] if people else [],
        "views": [f"Views: {', '.join(views)}."] if views else [],
        "subgroups": [f"Figures by {groups}, with intervals."] if groups else [],
    }


def _of_comparison(comparison: Comparison | None) -> Facts:
    if comparison is None:
        return {}
    auroc = "undefined" if comparison.auroc is None else p_value(comparison.auroc.p)
    calls = {item.among: p_value(item.p) for item in comparison.calls}
    told = (
        f"Against another system on {comparison.images:,} images: AUROC by DeLong, p {auroc}; "
        f"calls by McNemar, sensitivity p {calls['positives']}, specificity p {calls['negatives']}"
        "; differences with intervals over the same draws of patients."
    )
    facts = {"compared": [told]}
    if comparison.margin is not None:
        facts["margin"] = [f"Non-inferiority at a margin of {comparison.margin:g}."]
    return facts


def _of_model(bundle: Bundle) -> Facts:
    card = card_sections(bundle)
    said = {
        name: [line.removeprefix("- ").replace("`", "") for line in lines]
        for name, lines in card.items()
    }
    network, training, versions = said["Training"][0], said["Training"][1:-1], said["Training"][-1]
    record = (
        members[0]["training"] if (members := bundle.training.get("members")) else bundle.training
    )
    begun = [line for line in training if line.startswith("Begun with")]
    data = said["Data"]
    keep = str(record.get("train.keep", "best"))
    kept = "last" if keep == "last" else "best on the validation part"
    patients = record.get("images_without_patient")
    size, networks = bundle.preprocessing.size, len(bundle.network.members)
    drawn = record.get("train.positive_fraction")
    return {
        "network": [network],
        "versions": [versions],
        "training": [line for line in training if line not in begun],
        "begun": begun
        or [
            "The encoder was trained before on other pictures."
            if bundle.network.pretrained
            else f"Weights were drawn at random (seed {record.get('train.seed', 'not recorded')})."
        ],
        "chosen": [f"Of the epochs the {kept} was kept."],
        "ensemble": [f"{networks} networks." if networks > 1 else "None."],
        "trained_on": [line for line in data if line.startswith("Trained ")],
        "partitions": [line for line in data if not line.startswith(("Fingerprint", "Licence"))],
        "apart": [
            "By patient; near-duplicate pictures stay together, and no picture that trained the "
            "model is evaluated."
            if patients == 0
            else f"By patient where known; of {patients} training images nobody knows whose they "
            "are."
        ],
        "preparation": [
            "Stored values as a viewer shows them (modality and VOI), pixels made square, scaled "
            f"to {size} x {size} with a black border, 8 bit: rule "
            f"{bundle.preprocessing.preparation}."
        ],
        "input": _always("input"),
        "decisions": said["Decisions"],
        "explained": _always("explained"),
        "limits": said["Limits"],
        "imbalance": [f"Share of positives in the first epoch: {drawn:g}."]
        if isinstance(drawn, int | float)
        else [],
    }
