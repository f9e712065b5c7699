"""`pleura ensemble`: several models as one."""

from pathlib import Path
from typing import Annotated

import typer

from pleura.cli import console


def ensemble(
    models: Annotated[list[Path], typer.Argument(help="Two or more model.h5.", show_default=False)],
    out: Annotated[Path, typer.Option(help="The model.h5 to write.", show_default=False)],
    flip: Annotated[
        bool,
        typer.Option("--flip", help="Let each see the mirror image too; one model is enough then."),
    ] = False,
    on: Annotated[
        Path | None,
        typer.Option(
            help="A prepared folder of images that trained none: choose thresholds there."
        ),
    ] = None,
) -> None:
    """Write one model that answers with the mean of several models' probabilities.

    Without --on the members' own thresholds are taken, which must be the same, as they are after
    pleura train --folds.
    """
    from pleura.data.arrays import open_prepared
    from pleura.models.bundle import read_bundle, write_bundle
    from pleura.stages.ensemble import combine

    bundles = [read_bundle(path) for path in models]
    whole = combine(bundles, flip=flip, prepared=None if on is None else open_prepared(on))
    write_bundle(whole, out)
    mirrored = " and their mirror images" if flip else ""
    console.say(f"{len(bundles)} models{mirrored} as one; wrote {out}")
    console.out.print(str(out), markup=False)
