"""How `pleura predict` is asked to answer, as a group of options."""

from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer

from pleura.choices import EngineName, IdSource, PointName, Precision, ResultKind
from pleura.cli import options

if TYPE_CHECKING:
    from pleura.config import Predict


@dataclass(frozen=True, slots=True)
class Asked:
    """How radiographs are answered, and what is written of each."""

    id: Annotated[
        IdSource,
        typer.Option("--id", help="Name images by SOP Instance UID or by their file's name."),
    ] = "uid"
    worklist: Annotated[
        bool,
        typer.Option("--worklist", help="Also write worklist.html, a page to read the answers on."),
    ] = False
    overlays: Annotated[
        bool,
        typer.Option("--overlays", help="Also write a picture of each radiograph with its mask."),
    ] = False
    heatmaps: Annotated[
        bool,
        typer.Option(
            "--heatmaps", help="Also write a picture of each radiograph with its probabilities."
        ),
    ] = False
    dicom: Annotated[
        str,
        typer.Option(
            help="Also write DICOM results: all, or some of seg, map, sr, gsps and sc, with commas "
            "between."
        ),
    ] = ""
    deidentify: Annotated[
        bool, typer.Option("--deidentify", help="With --dicom: write them without the patient.")
    ] = False
    batch: Annotated[
        str,
        typer.Option(
            help="Images that go through the network together, or auto: what is fastest here."
        ),
    ] = "4"
    engine: Annotated[
        EngineName,
        typer.Option(help="What runs the network; auto: openvino on a CPU, torch on a GPU."),
    ] = "auto"
    device: options.Device = "cpu"
    precision: Annotated[
        Precision,
        typer.Option(help="What the network computes in; auto: bf16 where the processor has it."),
    ] = "auto"
    operating_point: Annotated[
        PointName, typer.Option(help="Which of the model's thresholds to apply.")
    ] = "default"
    tta: Annotated[
        bool, typer.Option("--tta", help="Average over the picture and its mirror image.")
    ] = False
    answer_flagged: Annotated[
        bool,
        typer.Option(
            "--answer-flagged", help="Also answer what is flagged as no frontal chest radiograph."
        ),
    ] = False
    ensemble: Annotated[
        options.SeveralAnywhereOrNone,
        typer.Option(help="Another model.h5 to average with; may be repeated."),
    ] = None
    watch: Annotated[
        Path | None, typer.Option(help="Predict what arrives in this folder, until Ctrl-C.")
    ] = None
    workers: Annotated[
        int, typer.Option(help="Processes that read; 0 means half the cores, 2 to 8.", min=0)
    ] = 0
    max_seconds: Annotated[
        float, typer.Option(help="Longest time to read one file, or to write its results.", min=0.1)
    ] = 60.0
    max_memory: Annotated[int, typer.Option(help="Most memory for one file, in MiB.", min=64)] = (
        2048
    )

    def settings(self) -> "Predict":
        """Return the same as settings.

        Raises:
            UsageError: There is no such DICOM result, or none to take the patient out of.
        """
        from pleura.config import Predict

        names = {one.name for one in fields(Predict)} - {"inputs"}
        kinds = {"dicom": _kinds(self.dicom, self.deidentify)}
        return Predict(**{name: getattr(self, name) for name in names} | kinds)


ASKED = Asked()


def _kinds(wanted: str, deidentify: bool) -> list[Any]:
    """Return the names of DICOM results in a text such as ``seg,sr``, or all."""
    from pleura.errors import UsageError

    if not wanted:
        if deidentify:
            raise UsageError("--deidentify: affects only DICOM results; name them with --dicom all")
        return []
    known = get_args(ResultKind)
    named = list(known) if wanted == "all" else [one.strip() for one in wanted.split(",")]
    if not set(named) <= set(known):
        raise UsageError(f"--dicom {wanted}: take any of {','.join(known)}, or all")
    return named
