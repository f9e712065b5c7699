"""`pleura inspect`: what radiographs say of themselves."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from pleura.cli import console

if TYPE_CHECKING:
    from pleura.dicom.radiograph import Header
    from pleura.processes.isolation import Reply
    from pleura.remote.objects import Brought

HIDDEN = "hidden"


def inspect(
    inputs: Annotated[
        list[str],
        typer.Argument(
            metavar="INPUT",
            help="DICOM files, pictures, folders, ZIP or tar files, quoted globs, addresses.",
        ),
    ],
    show_patient: Annotated[
        bool, typer.Option("--show-patient", help="Show the patient's name and id.")
    ] = False,
    with_guard: Annotated[
        bool, typer.Option("--guard", help="Check whether it is a frontal chest radiograph.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print a JSON list instead of tables.")
    ] = False,
) -> int:
    """Show what radiographs say of themselves: storage type, patient, view, size, encoding.

    A picture without a header (PNG, JPEG, TIFF, NIfTI) says little, and what is unknown is named.
    Pixels are not decoded, unless --guard asks how unlike a frontal chest radiograph they are (a
    score from 0, like one, to 1) and what speaks against an answer. A file that cannot be read is
    listed on stderr, the others go on; the exit status is then 3.
    """
    import itertools
    from functools import partial

    from pleura.data.inputs import Inputs, brought
    from pleura.errors import AddressError, InputError
    from pleura.processes.guarded import guarded
    from pleura.remote.objects import NotBrought, Objects

    failures: list[tuple[str, str]] = []
    told: list[dict[str, Any]] = []
    said = partial(_said, show_patient=show_patient, with_guard=with_guard)
    with Objects() as objects:
        listed = Inputs(inputs, objects)
        sources = itertools.chain.from_iterable(turn.items() for turn in listed.turns())
        for file in brought(sources, objects):
            name = str(file if isinstance(file, Path) else file.address)
            try:
                if isinstance(file, NotBrought):
                    raise AddressError(file.reason)
                piece = _Piece(name) if isinstance(file, Path) else _Piece.of(file)
                shown = guarded(said, piece, name).fields
            except InputError as error:
                failures.append((name, str(error)))
                told.append({"path": name, "error": str(error)})
                continue
            told.append(shown["object"])
            if not as_json:
                console.print_table(name, shown["rows"])
                console.show()
    if as_json:
        console.print_json(told)
    console.print_failures(failures)
    console.say_passed_over(listed.passed)
    return console.SOME_INPUTS_FAILED if failures else console.DONE


class _Piece(NamedTuple):
    """A file to look at: its path; or its address without secrets, and what lies there."""

    name: str
    file_name: str = ""
    content: bytes | None = None

    @classmethod
    def of(cls, brought: "Brought") -> "_Piece":
        """Return what was fetched, without the key to it."""
        return cls(str(brought.address), brought.address.name, brought.content)


def _said(piece: _Piece, *, show_patient: bool, with_guard: bool) -> "Reply":
    """Return what a file says of itself; this is what runs in the other process."""
    from pleura.data.radiographs import (
        open_any_radiograph,
        parse_any_header,
        parse_any_radiograph,
        read_any_header,
    )
    from pleura.dicom.square import squared
    from pleura.pictures.flags import judge
    from pleura.processes.isolation import Reply

    guarded: dict[str, Any] = {}
    shown: dict[str, object] = {}
    name, path, content = piece.name, Path(piece.file_name or piece.name), piece.content
    if with_guard:
        opened = (
            open_any_radiograph(path)
            if content is None
            else parse_any_radiograph(content, name, path)
        )
        header = opened.radiograph.header
        guard = judge(squared(opened.radiograph.pixels, header.geometry.aspect), header)
        guarded = {"guard": {"score": guard.score, "flags": guard.flags}}
        shown = {"Guard": f"{guard.score:.2f}, {', '.join(guard.flags) or 'not flagged'}"}
    else:
        header = read_any_header(path) if content is None else parse_any_header(content, name, path)
    return Reply(
        {
            "object": _as_object(header, name, show_patient) | guarded,
            "rows": _as_rows(header, show_patient) | shown,
        }
    )


def _as_object(header: "Header", path: str, show_patient: bool) -> dict[str, Any]:
    """Return the header's raw values, fit for JSON."""
    from dataclasses import asdict

    values = asdict(header) | {"path": path, "spacing_mm": header.spacing_mm}
    return values if show_patient else values | {"patient_name": HIDDEN, "patient_id": HIDDEN}


def _as_rows(header: "Header", show_patient: bool) -> dict[str, object]:
    """Return the header as a person reads it; a dash for what the file does not say."""
    size = f"{header.rows} x {header.columns}"
    if header.frames > 1:
        size += f", {header.frames} frames"
    rows = {
        "Storage type": _coded(header.sop_class_name, header.sop_class_uid),
        "SOP instance UID": header.sop_instance_uid,
        "Patient name": header.patient_name if show_patient else HIDDEN,
        "Patient id": header.patient_id if show_patient else HIDDEN,
        "Age": header.age,
        "Sex": header.sex,
        "Modality": header.modality,
        "Body part": header.body_part or header.region,
        "View position": header.view_position or header.view_code,
        "Image size": f"{size}, {header.pixel_bytes:,} bytes of pixel data",
        "Pixel spacing": _spacing(header),
        "Photometric": header.photometric_interpretation,
        "Bits": _bits(header),
        "Transfer syntax": _coded(header.transfer_syntax_name, header.transfer_syntax_uid),
        "Windows": "; ".join(
            f"center {window.center:g}, width {window.width:g} {window.explanation}".strip()
            for window in header.windows
        ),
        "Notes": "; ".join(note.text for note in header.notes),
    }
    return {name: value or "-" for name, value in rows.items()}


def _coded(name: str, uid: str) -> str:
    return f"{name} ({uid})" if uid else name


def _spacing(header: "Header") -> str:
    geometry = header.geometry
    if geometry.spacing_mm is None:
        if geometry.aspect == 1:
            return "not known; pixels are square"
        return f"not known; a pixel is {geometry.aspect:g} times as high as wide"
    rows, columns = geometry.spacing_mm
    believed = f"not believed: {geometry.doubt}" if geometry.doubt else geometry.origin
    return f"{rows:g} x {columns:g} mm, {believed}"


def _bits(header: "Header") -> str:
    sign = "signed" if header.signed else "unsigned"
    return f"{header.bits_stored} stored of {header.bits_allocated} allocated, {sign}"
