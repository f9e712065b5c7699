"""`pleura info`: what this pleura can do, and what a model.h5 holds."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pleura.cli import console, options

if TYPE_CHECKING:
    from pleura.config import Network, NetworkName


def info(
    model: Annotated[
        Path | None,
        typer.Argument(
            help="A model to describe: .h5, .onnx, .xml, or one that comes with pleura.",
            show_default=False,
        ),
    ] = None,
    models: Annotated[
        bool, typer.Option("--models", help="List the networks with their parameters.")
    ] = False,
    settings: options.Setting = None,
    as_json: options.AsJson = False,
) -> None:
    """Print versions and the models that come with pleura, the networks (--models), or a card.

    With --set network.width=32, network.depth=4 or network.backbone=FOLDER the list shows what
    these settings give; a network that they do not suit, or that needs one more package, says so.
    """
    if model is not None:
        _print_model(model, as_json)
    elif models:
        _print_networks(settings or [], as_json)
    else:
        from pleura.models import shipped
        from pleura.models.bundle import current_versions

        versions = current_versions()
        if as_json:
            console.print_json({**versions, "models": list(shipped.names())})
        else:
            console.print_table("Versions", versions)
            console.print_table(
                "Models that come with pleura", dict(map(_shipped, shipped.names()))
            )


def _shipped(name: str) -> tuple[str, str]:
    """Return a model's name and its most telling figures."""
    from pleura.cli.evaluate import figure
    from pleura.models.bundle import read_bundle

    bundle = read_bundle(name)
    size = bundle.preprocessing.size
    auroc, dice = (figure(bundle.evaluation, key, 2) for key in ("auroc", "positive_dice"))
    return name, (
        f"{bundle.network.name}, {size} x {size} pixels; AUROC {auroc}, positive Dice {dice}; "
        f"pleura info {name}"
    )


def _print_model(path: Path, as_json: bool) -> None:
    from dataclasses import asdict

    from pleura.inference.engine import read_model

    bundle = read_model(path)
    if not as_json:
        console.print_page(bundle.card or f"{path}: has no card")
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


def _print_networks(settings: list[str], as_json: bool) -> None:
    from pleura.config import make_run
    from pleura.models import zoo

    wanted = make_run(settings).network
    listed = [_listed(name, wanted) for name in zoo.NETWORKS]
    if as_json:
        console.print_json(listed)
        return
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for column in ("name", "width", "depth", "stride", "parameters", "GFLOP at 512", "about"):
        table.add_column(column, justify="left" if column in ("name", "about") else "right")
    for item in listed:
        *cells, about, _ = item.values()
        table.add_row(*map(_cell, cells), about)
    console.out.print(table)
    for item in listed:
        if item["note"]:
            console.out.print(f"{item['name']}: {item['note']}", markup=False)


def _listed(name: "NetworkName", wanted: "Network") -> dict[str, Any]:
    """Return what is known of a network with the settings that concern it; None is not known."""
    from pleura.errors import ConfigError
    from pleura.models import zoo

    entry = zoo.NETWORKS[name]
    network = replace(
        wanted,
        name=name,
        pretrained=wanted.pretrained and entry.pretrained,
        deep=wanted.deep if entry.coarser is not None else 0,
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
        row["stride"], row["parameters"] = zoo.stride(network), zoo.count_parameters(network)
        row["gflop_512"] = round(zoo.count_gflop(network, 512), 1)
    except ConfigError as error:
        row["note"] = str(error)
    return row


def _cell(value: object) -> str:
    return "" if value is None else f"{value:,}" if isinstance(value, int) else str(value)
