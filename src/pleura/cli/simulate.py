"""`pleura simulate`: simulated pneumothorax in real films that show none, to train with."""

from pathlib import Path
from typing import Annotated

import typer

from pleura.cli import console


def simulate(
    films: Annotated[
        Path, typer.Argument(help="A folder of DICOM, JPEG or PNG films.", show_default=False)
    ],
    out: Annotated[Path, typer.Option(help="A new or empty folder.", show_default=False)],
    count: Annotated[int, typer.Option(help="Films to write.", min=1)] = 200,
    seed: Annotated[int, typer.Option(help="The same seed gives the same files.", min=0)] = 0,
    size: Annotated[int, typer.Option(help="Side in pixels.", min=256, max=2048)] = 512,
    prevalence: Annotated[
        float, typer.Option(help="Share with a pneumothorax.", min=0.0, max=1.0)
    ] = 0.5,
    labels: Annotated[
        Path | None,
        typer.Option(
            help="A table that says which films show a pneumothorax: ImageId and EncodedPixels, or "
            "image and pneumothorax. Without it, none does.",
            show_default=False,
        ),
    ] = None,
    exclude: Annotated[
        Path | None,
        typer.Option(
            help="A folder of films to judge on later: no film of its patients is drawn on.",
            show_default=False,
        ),
    ] = None,
    originals: Annotated[
        bool,
        typer.Option("--originals", help="Write each film without a pneumothorax as it is, too."),
    ] = False,
    workers: Annotated[int, typer.Option(help="Processes; 0 means one per core.", min=0)] = 0,
) -> None:
    """Draw pneumothoraces with exact masks on real films that show none.

    The folder has the layout of the SIIM-ACR set: dicom-images-train and train-rle.csv, with
    patients.csv to keep films of one patient together, and simulate.csv with what was drawn. Films
    of which the lungs are not found with confidence are refused. For training and study alone.
    """
    from pleura.data.simulate import write_simulated

    with console.progress("simulating", "films") as on_progress:
        cohort = write_simulated(
            films,
            out,
            count=count,
            seed=seed,
            size=size,
            prevalence=prevalence,
            labels=labels,
            exclude=exclude,
            originals=originals,
            workers=workers,
            on_progress=on_progress,
        )
    sources = cohort.sources
    console.print_table(
        f"simulated films in {out}",
        {
            "with a pneumothorax": cohort.kinds.get("pneumothorax", 0),
            "edited without one": cohort.kinds.get("edited", 0),
            "not edited": cohort.kinds.get("untouched", 0),
            **({"as they are": cohort.kinds.get("original", 0)} if originals else {}),
            "films drawn on": (
                f"{len(sources.films)} usable, {len(sources.refused)} refused, "
                f"{sources.positive} with a pneumothorax, {sources.unlabelled} without a label"
                + (f", {sources.excluded} of excluded patients" if exclude is not None else "")
            ),
        },
    )
