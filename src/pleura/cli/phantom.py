"""`pleura phantom`: made-up radiographs with known masks, to try everything out on."""

from pathlib import Path
from typing import Annotated

import typer

from pleura.cli import console, options


def phantom(
    out: Annotated[options.Out, typer.Argument(help="A new or empty folder.")],
    train: Annotated[int, typer.Option(help="Training radiographs.", min=1)] = 200,
    test: Annotated[int, typer.Option(help="Test radiographs, of other patients.", min=0)] = 40,
    seed: Annotated[int, typer.Option(help="The same seed gives the same files.", min=0)] = 0,
    size: Annotated[int, typer.Option(help="Side in pixels.", min=64, max=4096)] = 1024,
    prevalence: Annotated[
        float, typer.Option(help="Share with a pneumothorax.", min=0.0, max=1.0)
    ] = 0.35,
    clean: Annotated[
        bool, typer.Option("--clean", help="Leave out every fault and oddity of the real set.")
    ] = False,
    workers: Annotated[
        int, typer.Option(help="Processes to draw with; 0 means one per core.", min=0)
    ] = 0,
    as_json: options.AsJson = False,
) -> None:
    """Make up chest radiographs with known masks, as DICOM files and CSV.

    The folder has the layout of the SIIM-ACR set: dicom-images-train, dicom-images-test and
    train-rle.csv, with patients.csv to group the images and test-truth.csv to score with. A few
    files are faulty on purpose, as they are there, unless --clean is given.
    """
    from dataclasses import asdict

    from pleura.synthesis.phantom import write_cohort

    with console.progress("drawing", "radiographs") as on_progress:
        cohort = write_cohort(
            out,
            train=train,
            test=test,
            seed=seed,
            size=size,
            prevalence=prevalence,
            clean=clean,
            workers=workers or None,
            on_progress=on_progress,
        )
    if as_json:
        console.print_json(
            {
                name: str(value) if isinstance(value, Path) else value
                for name, value in asdict(cohort).items()
            }
        )
        return
    console.print_table(
        f"made-up radiographs in {out}",
        {
            "training": f"{cohort.train}, {cohort.train_positives} with a pneumothorax",
            "test": f"{cohort.test}, {cohort.test_positives} with a pneumothorax",
            "several rows": f"{cohort.several_rows} training radiographs",
            "faulty on purpose": (
                f"{cohort.unlabelled} without a row, {cohort.repeated} repeated, "
                f"{cohort.twins} copied, {cohort.unreadable} unreadable"
            ),
        },
    )
