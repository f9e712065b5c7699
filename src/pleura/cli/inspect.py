"""`pleura inspect`: what DICOM files say of themselves."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pleura.cli import console

if TYPE_CHECKING:
    from pleura.data.guard import Guard
    from pleura.formats.dicom import Header

HIDDEN = "hidden"


def inspect(
    files: Annotated[list[Path], typer.Argument(help="DICOM files.", show_default=False)],
    show_patient: Annotated[
        bool, typer.Option("--show-patient", help="Show the patient's name and id.")
    ] = False,
    with_guard: Annotated[
        bool,
        typer.Option("--guard", help="Judge the pixels too: a frontal chest film or not."),
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print a JSON list instead of tables.")
    ] = False,
) -> int:
    """Show what DICOM files say of themselves: storage type, patient, view, size, encoding.

    Pixels are not decoded, unless --guard asks how unlike a frontal chest radiograph they are: a
    score from 0 (like) to 1, flagged from 0.5 on. A file that cannot be read is listed on stderr,
    the others go on; the exit status is then 3.
    """
    from pleura.data.guard import assess
    from pleura.errors import DicomError
    from pleura.formats.dicom import read_header, read_radiograph

    failures: list[tuple[str, str]] = []
    objects: list[dict[str, Any]] = []
    for path in files:
        guard: Guard | None = None
        try:
            if with_guard:
                film = read_radiograph(path)
                header, guard = film.header, assess(film.pixels)
            else:
                header = read_header(path)
        except DicomError as error:
            failures.append((str(path), str(error)))
            objects.append({"path": str(path), "error": str(error)})
            continue
        objects.append(_as_object(header, show_patient) | _guard_object(guard))
        if not as_json:
            rows = _as_rows(header, show_patient) | _guard_rows(guard)
            console.print_table(str(path), rows)
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


def _guard_object(guard: "Guard | None") -> dict[str, Any]:
    """Return what the guard says, fit for JSON; nothing where it was not asked."""
    return {} if guard is None else {"guard": {"score": guard.score, "flags": guard.flags}}


def _guard_rows(guard: "Guard | None") -> dict[str, object]:
    """Return what the guard says as a person reads it."""
    if guard is None:
        return {}
    return {"Guard": f"{guard.score:.2f}, {', '.join(guard.flags) or 'not flagged'}"}


def _spacing(header: "Header") -> str:
    if header.spacing_mm is None:
        return ""
    rows, columns = header.spacing_mm
    return f"{rows:g} x {columns:g} mm"


def _bits(header: "Header") -> str:
    sign = "signed" if header.signed else "unsigned"
    return f"{header.bits_stored} stored of {header.bits_allocated} allocated, {sign}"
