"""`pleura info`: what this pleura can do, and what a model.h5 holds."""

from pathlib import Path
from typing import Annotated

import typer

from pleura.cli import console, options


def info(
    model: Annotated[
        Path | None, typer.Argument(help="A model.h5 to describe.", show_default=False)
    ] = None,
    models: Annotated[
        bool, typer.Option("--models", help="List the networks with their parameters.")
    ] = False,
    settings: options.Setting = None,
    as_json: options.AsJson = False,
) -> None:
    """Print versions, the list of networks (--models), or a model's card.

    With --set network.width=32 or --set network.depth=4 the list shows what these settings give.
    """
    if model is not None:
        _print_model(model, as_json)
    elif models:
        _print_networks(settings or [], as_json)
    else:
        from pleura.models.bundle import current_versions

        versions = current_versions()
        if as_json:
            console.print_json(versions)
        else:
            console.print_table("Versions", versions)


def _print_model(path: Path, as_json: bool) -> None:
    from dataclasses import asdict

    from pleura.models.bundle import read_bundle

    bundle = read_bundle(path)
    if not as_json:
        console.out.print(bundle.card or f"{path}: has no card", markup=False)
        return
    console.print_json(
        {
            "network": asdict(bundle.network),
            "preprocessing": asdict(bundle.preprocessing),
            "operating_point": asdict(bundle.operating_point),
            "training": dict(bundle.training),
            "versions": dict(bundle.versions),
            "digest": bundle.digest,
        }
    )


def _print_networks(settings: list[str], as_json: bool) -> None:
    from dataclasses import replace

    from pleura.config import make_run
    from pleura.models import zoo

    wanted = make_run(settings).network
    listed = []
    for name, entry in zoo.NETWORKS.items():
        network = zoo.complete(replace(wanted, name=name))
        listed.append(
            {
                "name": name,
                "width": network.width,
                "depth": network.depth,
                "parameters": zoo.count_parameters(network),
                "gflop_512": round(zoo.count_gflop(network, 512), 1),
                "about": entry.about,
            }
        )
    if as_json:
        console.print_json(listed)
        return
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for column in ("name", "width", "depth", "parameters", "GFLOP at 512", "about"):
        table.add_column(column, justify="left" if column in ("name", "about") else "right")
    for item in listed:
        table.add_row(*(f"{v:,}" if isinstance(v, int) else str(v) for v in item.values()))
    console.out.print(table)
