"""`pleura ensemble`: several models as one."""

from typing import Annotated

import typer

from pleura.cli import console, options


def ensemble(
    models: Annotated[
        options.SeveralAnywhere, typer.Argument(help="Two or more model.h5, or their addresses.")
    ],
    out: Annotated[options.Out, typer.Option(help="The model.h5 to write.")],
    tta: Annotated[
        bool,
        typer.Option("--tta", help="Let each see the mirror image too; one model is enough then."),
    ] = False,
    size: Annotated[
        list[int] | None,
        typer.Option(
            help="Let each see the picture at this side in pixels; repeat it for several sizes."
        ),
    ] = None,
    closer: Annotated[
        int,
        typer.Option(
            help="Let each also look closer: at a square of this side in pixels in either upper "
            "corner of a picture 1.6 times as large."
        ),
    ] = 0,
    on: Annotated[
        options.ArraysOrNone,
        typer.Option(
            help="A prepared folder of images that trained none: choose thresholds there."
        ),
    ] = None,
    as_json: options.AsJson = False,
) -> None:
    """Write one model that answers with the mean of several models' probabilities.

    Without --on the members' own thresholds are taken, which must be the same, as they are after
    pleura train --folds.
    """
    from dataclasses import asdict

    from pleura.cli.stores import open_arrays, open_model
    from pleura.data.arrays import open_prepared
    from pleura.models.bundle import read_bundle, write_bundle
    from pleura.stages.ensemble import combine
    from pleura.storage.lock import locked_file

    console.hold(locked_file(out, "ensemble"))
    bundles = [read_bundle(open_model(path)) for path in models]
    prepared = None if on is None else open_prepared(open_arrays(on))
    whole = combine(bundles, tta=tta, sizes=size or (), closer=closer, prepared=prepared)
    write_bundle(whole, out)
    mirrored = " and their mirror images" if tta else ""
    at = f", at {' and '.join(map(str, sorted(set(size))))} pixels" if size else ""
    look = f", with a closer look at {closer} pixels" if closer else ""
    console.say(f"{len(bundles)} models{mirrored}{at}{look} as one; wrote {out}")
    if as_json:
        console.print_json(
            {
                "model": str(out),
                "members": len(bundles),
                "tta": tta,
                "sizes": sorted(set(size or ())),
                "closer": closer,
                "digest": whole.digest,
                "points": {name: asdict(point) for name, point in whole.points.items()},
            }
        )
    else:
        console.show(str(out))
