"""`pleura card`: what a model is, what it was trained on, and how good it was measured to be."""

from pathlib import Path
from typing import Annotated

import typer

from pleura.cli import console


def card(
    model: Annotated[Path, typer.Argument(help="A model.h5.", show_default=False)],
    licence: Annotated[
        str, typer.Option(help="The licence of the data it was trained on, stated by you.")
    ] = "",
) -> None:
    """Print a model's card, as Markdown.

    Intended use, data, training, decisions, the figures measured when it was trained, and limits. A
    field that was never recorded is an error, not a blank; a model without an evaluation gets a
    card that says "Not measured" and what to run.
    """
    from pleura.models.bundle import read_bundle
    from pleura.models.card import write_card

    console.print_page(write_card(read_bundle(model), licence).rstrip())
