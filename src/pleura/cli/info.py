"""`pleura info`: what this pleura can do, and what a model.h5 holds."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pleura.cli import console, options

if TYPE_CHECKING:
    from pleura.choices import NetworkName
    from pleura.config import Network
    from pleura.models.bundle import Bundle


def info(
    model: Annotated[
        options.AnywhereOrNone,
        typer.Argument(
            help="A model to describe: .h5, .onnx, .xml, its address, or one such as pleura:fast."
        ),
    ] = None,
    models: Annotated[
        bool,
        typer.Option("--models", help="List the models that come with pleura, and the networks."),
    ] = False,
    licence: Annotated[
        str,
        typer.Option(help="With a model: the licence of the data that trained it, for its card."),
    ] = "",
    hub: Annotated[
        bool,
        typer.Option("--hub", help="With a model: its card as README.md for the Hugging Face hub."),
    ] = False,
    settings: options.Setting = None,
    as_json: options.AsJson = False,
) -> None:
    """Print versions, the models that come with pleura and the networks (--models), or a card.

    A card tells intended use, data, training, decisions, the figures measured when the model was
    trained, and limits. What was never recorded is an error, not a blank. A model that was not
    evaluated has a card that says "Not measured" and what to run.

    With --set network.width=32, network.depth=4 or network.backbone=FOLDER the networks are listed
    as these settings make them; one that they do not suit, or that needs one more package, says so.
    """
    if model is not None:
        _print_model(model, licence, hub, as_json)
    elif models:
        _print_lists(settings or [], as_json)
    else:
        from pleura.models import shipped
        from pleura.models.bundle import current_versions

        versions = current_versions()
        if as_json:
            console.print_json({**versions, "models": list(shipped.names())})
        else:
            console.print_table("Versions", versions)
            _print_shipped()


def _print_shipped() -> None:
    from pleura.models import shipped

    console.print_table("Models that come with pleura", dict(map(_shipped, shipped.names())))


def _shipped(name: str) -> tuple[str, str]:
    """Return a model's name and its most telling figures."""
    from pleura.cli.evaluate import figure
    from pleura.models.bundle import read_bundle

    bundle = read_bundle(name)
    size = bundle.preprocessing.size
    auroc, dice = (figure(bundle.evaluation, key, 2) for key in ("auroc", "positive_dice"))
    return name, (
        f"{_made_of(bundle.network)}, input {size} x {size} pixels; AUROC {auroc}, "
        f"positive Dice {dice}; pleura info {name}"
    )


def _made_of(network: "Network") -> str:
    """Return the names of a network's members, and what else of a picture they see."""
    members = [member.name for member in network.members] or [network.name]
    names = [
        name if members.count(name) == 1 else f"{members.count(name)} x {name}"
        for name in sorted(set(members))
    ]
    sides = sorted({side for own in network.sizes for side in own})
    if network.tta:
        names.append("mirror image too")
    if sides:
        names.append(f"at {' and '.join(map(str, sides))} pixels")
    if network.closer:
        names.append("with a closer look at the upper corners")
    return ", ".join(names)


def _print_model(path: Path, licence: str, hub: bool, as_json: bool) -> None:
    from dataclasses import asdict

    from pleura.models.model_file import read_model

    bundle = read_model(path)
    if not as_json:
        known = bundle.card if not licence else ""
        text = _hub_card(bundle, licence, known) if hub else known or _card(bundle, licence)
        console.print_page(text.rstrip())
        return
    exported = bundle.exported
    console.print_json(
        {
            "network": asdict(bundle.network),
            "preprocessing": asdict(bundle.preprocessing),
            "operating_points": {name: asdict(point) for name, point in bundle.points.items()},
            "calibration": asdict(bundle.calibration),
            "training": dict(bundle.training),
            "versions": dict(bundle.versions),
            "digest": bundle.digest,
            "exported": exported
            and {
                "engine": exported.kind,
                "precision": exported.precision,
                "model_digest": exported.model_digest,
            },
        }
    )


def _card(bundle: "Bundle", licence: str) -> str:
    from pleura.models.card import write_card

    return write_card(bundle, licence)


def _hub_card(bundle: "Bundle", licence: str, known: str) -> str:
    from pleura.models.card import write_hub_card

    return write_hub_card(bundle, licence, known)


def _print_lists(settings: list[str], as_json: bool) -> None:
    from pleura.config import make_run
    from pleura.models import shipped, zoo

    wanted = make_run(settings).network
    listed = [_listed(name, wanted) for name in zoo.NETWORKS]
    if as_json:
        console.print_json({"models": list(shipped.names()), "networks": listed})
        return
    _print_shipped()
    names = ("name", "width", "depth", "stride", "parameters", "GFLOP at 512", "about")
    rows = [map(_cell, [*item.values()][: len(names)]) for item in listed]
    console.print_grid(names, rows, "Networks to train", left=("name", "about"))
    for item in listed:
        if item["note"]:
            console.show(f"{item['name']}: {item['note']}")


def _listed(name: "NetworkName", wanted: "Network") -> dict[str, Any]:
    """Return what is known of a network with the settings that concern it; None is not known."""
    from pleura.errors import ConfigError
    from pleura.models import zoo

    entry = zoo.NETWORKS[name]
    network = replace(
        wanted,
        name=name,
        pretrained=wanted.pretrained and entry.pretrained,
        deep_supervision=wanted.deep_supervision if entry.coarser is not None else 0,
        backbone=wanted.backbone if name == "backbone" else "",
    )
    row: dict[str, Any] = {
        "name": name,
        "width": network.width or entry.width,
        "depth": network.depth or entry.depth or None,
        "stride": None,
        "parameters": None,
        "gflop_512": None,
        "about": entry.about,
        "note": zoo.missing(name),
    }
    if row["note"]:
        return row
    try:
        network = zoo.complete(network)
        row["stride"] = zoo.stride(network)
        if known := zoo.known_counts(network):
            row["parameters"], row["gflop_512"] = known
        else:
            row["parameters"] = zoo.count_parameters(network)
            row["gflop_512"] = round(zoo.count_gflop(network, 512), 1)
    except ConfigError as error:
        row["note"] = str(error)
    return row


def _cell(value: object) -> str:
    return "" if value is None else f"{value:,}" if isinstance(value, int) else str(value)
