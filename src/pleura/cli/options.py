"""Options that more than one command takes, and what the commands make of them."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from pleura.config import Data

DataFolder = Annotated[
    Path, typer.Argument(help="Folder with the radiographs and their table.", show_default=False)
]
Images = Annotated[
    Path | None,
    typer.Option(help="Folder of the training radiographs, where it cannot be found by name."),
]
TestImages = Annotated[
    Path | None, typer.Option(help="Folder of the test radiographs, where it cannot be found.")
]
AnnotationTable = Annotated[
    Path | None,
    typer.Option(help="The annotation table (.csv or .csv.gz), where it cannot be found."),
]
Patients = Annotated[
    Path | None,
    typer.Option(help="CSV with columns ImageId and patient, to keep a patient on one side."),
]
FoldTable = Annotated[
    Path | None,
    typer.Option("--folds", help="A fold table, as pleura folds writes it, to split by."),
]
Rle = Annotated[
    str, typer.Option(help="How the table writes run lengths: relative (SIIM-ACR) or absolute.")
]
Workers = Annotated[int, typer.Option(help="Processes; 0 means one per core.", min=0)]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
Setting = Annotated[
    list[str] | None,
    typer.Option("--set", help="section.key=value, over the run file; may be repeated."),
]
RunFile = Annotated[Path | None, typer.Option("--run", help="A run as a TOML file.")]
Device = Annotated[str, typer.Option(help="cpu, cuda or cuda:0.")]


def data_settings(
    folder: Path | None,
    images: Path | None = None,
    test_images: Path | None = None,
    annotations: Path | None = None,
    patients: Path | None = None,
    rle: str = "relative",
    folds: Path | None = None,
) -> "Data":
    """Return the options as settings.

    Raises:
        UsageError: The run-length form has no such name.
    """
    from pleura.config import Data
    from pleura.errors import UsageError

    if rle not in ("relative", "absolute"):
        raise UsageError(f"--rle {rle}: the forms are relative and absolute")
    return Data(
        path=str(folder or ""),
        images=str(images or ""),
        test_images=str(test_images or ""),
        annotations=str(annotations or ""),
        patients=str(patients or ""),
        folds=str(folds or ""),
        rle="absolute" if rle == "absolute" else "relative",
    )
