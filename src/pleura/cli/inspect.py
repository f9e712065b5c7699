"""`pleura inspect`: what DICOM files say of themselves."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pleura.cli import console

if TYPE_CHECKING:
    from pleura.formats.dicom import Header

HIDDEN = "hidden"


def inspect(
    files: Annotated[list[Path], typer.Argument(help="DICOM files.", show_default=False)],
    show_patient: Annotated[
        bool, typer.Option("--show-patient", help="Show the patient's name and id.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print a JSON list instead of tables.")
    ] = False,
) -> int:
    """Show what DICOM files say of themselves: storage type, patient, view, size, encoding.

    Pixels are not decoded. A file that cannot be read is listed on stderr, the others go on; the
    exit status is then 3.
    """
    from pleura.errors import DicomError
    from pleura.formats.dicom import read_header

    failures: list[tuple[str, str]] = []
    objects: list[dict[str, Any]] = []
    for path in files:
        try:
            header = read_header(path)
        except DicomError as error:
            failures.append((str(path), str(error)))
            objects.append({"path": str(path), "error": str(error)})
            continue
        objects.append(_as_object(header, show_patient))
        if not as_json:
            console.print_table(str(path), _as_rows(header, show_patient))
            console.out.print()
    if as_json:
        console.print_json(objects)
    console.print_failures(failures)
    return console.SOME_INPUTS_FAILED if failures else console.DONE


def _as_object(header: "Header", show_patient: bool) -> dict[str, Any]:
    """Return the header's raw values, fit for JSON."""
    from dataclasses import asdict

    values = asdict(header) | {"path": str(header.path)}
    return values if show_patient else values | {"patient_name": HIDDEN, "patient_id": HIDDEN}


def _as_rows(header: "Header", show_patient: bool) -> dict[str, object]:
    """Return the header as a person reads it; a dash for what the file does not say."""
    size = f"{header.rows} x {header.columns}"
    if header.frames > 1:
        size += f", {header.frames} frames"
    rows = {
        "Storage type": f"{header.sop_class_name} ({header.sop_class_uid})",
        "SOP instance UID": header.sop_instance_uid,
        "Patient name": header.patient_name if show_patient else HIDDEN,
        "Patient id": header.patient_id if show_patient else HIDDEN,
        "Age": header.age,
        "Sex": header.sex,
        "Modality": header.modality,
        "Body part": header.body_part,
        "View position": header.view_position,
        "Image size": f"{size}, {header.pixel_bytes:,} bytes of pixel data",
        "Pixel spacing": _spacing(header),
        "Photometric": header.photometric_interpretation,
        "Bits": _bits(header),
        "Transfer syntax": f"{header.transfer_syntax_name} ({header.transfer_syntax_uid})",
        "Windows": "; ".join(
            f"center {window.center:g}, width {window.width:g} {window.explanation}".strip()
            for window in header.windows
        ),
    }
    return {name: value or "-" for name, value in rows.items()}


def _spacing(header: "Header") -> str:
    if header.spacing_mm is None:
        return ""
    rows, columns = header.spacing_mm
    return f"{rows:g} x {columns:g} mm"


def _bits(header: "Header") -> str:
    sign = "signed" if header.signed else "unsigned"
    return f"{header.bits_stored} stored of {header.bits_allocated} allocated, {sign}"
