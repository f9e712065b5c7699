"""Options that more than one command takes, and what the commands make of them."""

import copy
import functools
import inspect
import shlex
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, get_args

import typer
from typer.models import OptionInfo

from pleura.choices import MaskReaders, MatchBy, RleForm
from pleura.remote.address import SCHEMES, STORES, path_of, scheme_in, url_of, without_secrets

if TYPE_CHECKING:
    from pleura.cluster.shards import Cluster
    from pleura.config import Data, Labels, Run
    from pleura.formats.masks import MaskReading

DataFolders = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="DATA",
        help="The folder with the radiographs and their table. It may be a ZIP or tar file, or an "
        "address (s3://). Several folders, files and quoted globs will do as well.",
    ),
]
_WRITTEN, _ANYWHERE, _ARRAYS = "written", "anywhere", "arrays"
Out = Annotated[Path, _WRITTEN]
OutOrNone = Annotated[Path | None, _WRITTEN]
Anywhere = Annotated[Path, _ANYWHERE]
"""What may lie at an address; any other path that is read is one of this machine."""
AnywhereOrNone = Annotated[Path | None, _ANYWHERE]
SeveralAnywhere = Annotated[list[Path], _ANYWHERE]
SeveralAnywhereOrNone = Annotated[list[Path] | None, _ANYWHERE]
Arrays = Annotated[Path, _ARRAYS]
"""A prepared folder, which may lie in a store; :func:`pleura.cli.stores.open_arrays` opens it."""
ArraysOrNone = Annotated[Path | None, _ARRAYS]
Images = Annotated[
    AnywhereOrNone,
    typer.Option(help="Folder of the training radiographs, where it cannot be found by name."),
]
AnnotationTable = Annotated[
    AnywhereOrNone,
    typer.Option(
        help="The masks, where they cannot be found: a table of run lengths (.csv, .csv.gz), a "
        "COCO file (.json), or a folder of masks (PNG, TIFF, NIfTI, DICOM SEG) named as the "
        "radiographs."
    ),
]
Patients = Annotated[
    AnywhereOrNone,
    typer.Option(help="Whose radiographs they are: a CSV with the columns ImageId and patient."),
]
FoldTable = Annotated[
    AnywhereOrNone, typer.Option(help="A fold table, as pleura folds writes it, to split by.")
]
ImageSize = Annotated[
    str, typer.Option(help="ROWSxCOLUMNS of all images, where run lengths alone do not say it.")
]
Workers = Annotated[int, typer.Option(help="Processes; 0 means one per core.", min=0)]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
Setting = Annotated[
    list[str] | None,
    typer.Option("--set", help="section.key=value, over the run file; may be repeated."),
]
RunFile = Annotated[
    AnywhereOrNone, typer.Option("--run", help="A run as a TOML file, or its address.")
]
CLUSTER = "Many machines"
On = Annotated[
    str,
    typer.Option(
        help="Where it runs. local: this machine; ray: a Ray cluster begun for it on this machine; "
        "auto: the Ray cluster that runs here; or a cluster's address, such as ray://HOST:10001.",
        rich_help_panel=CLUSTER,
    ),
]
Cpus = Annotated[
    int,
    typer.Option(
        help="Cores of a cluster's worker; 0 means all of a machine.",
        min=0,
        rich_help_panel=CLUSTER,
    ),
]
Gpus = Annotated[
    float, typer.Option(help="GPUs of a cluster's worker.", min=0, rich_help_panel=CLUSTER)
]
Device = Annotated[str, typer.Option(help="cpu, cuda or cuda:0.")]
MixNames = Annotated[
    list[str] | None,
    typer.Option(
        "--mix",
        help="Re-weigh the figures to another set: siim (sizes and prevalence of the whole "
        "SIIM-ACR set) or a prevalence such as 0.05; may be repeated.",
    ),
]


@dataclass(frozen=True, slots=True)
class MaskOptions:
    """How masks and tables are read, the same in every command that reads them."""

    PANEL: ClassVar[str] = "Masks and their tables"

    rle: Annotated[
        RleForm,
        typer.Option(help="How the table writes run lengths; relative is that of SIIM-ACR."),
    ] = "relative"
    image_column: Annotated[
        str,
        typer.Option(
            help="The tables' column of ids, file names or paths.", show_default="ImageId"
        ),
    ] = ""
    mask_column: Annotated[
        str, typer.Option(help="The column of run lengths.", show_default="EncodedPixels")
    ] = ""
    mask_label: Annotated[
        str,
        typer.Option(
            help="Which value, category or segment is the pneumothorax, where masks hold several."
        ),
    ] = ""
    reader_column: Annotated[
        str,
        typer.Option(
            help="The column that says who drew a mask.", show_default="found by its name"
        ),
    ] = ""
    readers: Annotated[
        MaskReaders,
        typer.Option(help="Which pixels count where several drew: any reader's, or most readers'."),
    ] = "union"
    match: Annotated[
        MatchBy | None,
        typer.Option(
            help="What tables call an image by; stem is its file's name.",
            show_default="any of them",
        ),
    ] = None

    def reading(self) -> "MaskReading":
        """Return how the forms of masks are read."""
        from pleura.formats.masks import MaskReading

        return MaskReading(
            self.rle,
            self.image_column,
            self.mask_column,
            self.mask_label,
            self.reader_column,
            self.readers,
        )


@dataclass(frozen=True, slots=True)
class LabelColumns:
    """Which columns of a table of labels are read."""

    PANEL: ClassVar[str] = "A table of labels"

    label_column: Annotated[
        list[str] | None,
        typer.Option(
            help="Its column of labels, or NAME:WEIGHT to say how far it is believed (0..1). May "
            "be repeated: the first that is not empty counts.",
            show_default="pneumothorax",
        ),
    ] = None
    label_patient: Annotated[
        str, typer.Option(help="Its column of patients.", show_default="patient")
    ] = ""
    label_reader: Annotated[
        str,
        typer.Option(
            help="Its column of readers, where each has a row: the label is the share of them.",
            show_default="rad_id",
        ),
    ] = ""

    def of(self, table: Path, image_column: str = "") -> "Labels":
        """Return how a table of labels is read, as settings.

        Args:
            table: The table.
            image_column: Its column of ids; empty for the usual ones.
        """
        from pleura.config import Labels

        named: dict[str, Any] = {"columns": self.label_column} if self.label_column else {}
        return Labels(
            table=str(table),
            id=image_column,
            patient=self.label_patient,
            reader=self.label_reader,
            **named,
        )


@dataclass(frozen=True, slots=True)
class LabelOptions(LabelColumns):
    """What a table says of images of which nobody drew a mask."""

    labels: Annotated[
        AnywhereOrNone,
        typer.Option(
            help="A CSV that says which images show a pneumothorax where nobody drew a mask: an id "
            "(or a file's name) and 0, 1 or a probability. JPEGs and PNGs that it names are read "
            "too."
        ),
    ] = None
    label_id: Annotated[
        str,
        typer.Option(help="Its column of ids, where that is not image, ImageId or Image Index."),
    ] = ""
    label_weight: Annotated[
        str, typer.Option(help="Its column of how far each is believed, 0..1.")
    ] = ""
    label_boxes: Annotated[
        str,
        typer.Option(
            help="Its column of boxes (or NAME:WEIGHT) that hold a pneumothorax: x y width "
            "height; ..."
        ),
    ] = ""
    boxes_side: Annotated[
        float,
        typer.Option(
            help="Longer side in pixels of the picture the boxes were drawn in; 0: the file's.",
            min=0,
        ),
    ] = 0.0

    def settings(self, image_column: str = "") -> "Labels":
        """Return the same as settings.

        Args:
            image_column: The column of ids of all tables, where this one's is not named.

        Raises:
            UsageError: They are given without a table.
        """
        from pleura.config import Labels
        from pleura.errors import UsageError

        if self.labels is None:
            if self != LABELS:
                raise UsageError(
                    "columns of a table of labels are named, but no table: add --labels"
                )
            return Labels()
        return replace(
            self.of(self.labels, self.label_id or image_column),
            weight=self.label_weight,
            boxes=self.label_boxes,
            boxes_side=self.boxes_side,
        )


@dataclass(frozen=True, slots=True)
class SourceOptions:
    """Where the radiographs and their tables are."""

    data: DataFolders = None
    annotations: AnnotationTable = None
    images: Images = None
    test_images: Annotated[
        AnywhereOrNone,
        typer.Option(help="Folder of the test radiographs, where it cannot be found."),
    ] = None
    patients: Patients = None
    fold_table: FoldTable = None

    @property
    def name_radiographs(self) -> bool:
        """Whether any radiographs are named, and not a table alone."""
        return bool(self.data or self.images or self.test_images)

    @property
    def audit_command(self) -> str:
        """The command that tells each case of what is left out."""
        return f"pleura audit {shlex.join(map(without_secrets, self.data or ()))} --out FOLDER"

    def settings(self, masks: MaskOptions, labels: "LabelOptions | None" = None) -> "Data":
        """Return where the data is and how it is read, as settings.

        Args:
            masks: How masks and tables are read.
            labels: The options about a table of labels.

        Raises:
            UsageError: Something is said of a table of labels, and there is none.
        """
        from pleura.config import Data

        named: dict[str, Any] = {
            name: str(path)
            for name in ("images", "test_images", "annotations", "patients", "fold_table")
            if (path := getattr(self, name)) is not None
        }
        if labels is not None:
            named["labels"] = labels.settings(masks.image_column)
        path, *also = self.data or [""]
        return Data(
            path=path,
            also=also,
            **named,
            rle=masks.rle,
            image_column=masks.image_column,
            mask_column=masks.mask_column,
            mask_label=masks.mask_label,
            reader_column=masks.reader_column,
            readers=masks.readers,
            match=masks.match or "",
        )

    def required(
        self, masks: MaskOptions, labels: "LabelOptions | None" = None, *, or_table: bool = False
    ) -> "Data":
        """Return the same where radiographs have to be named, or, if `or_table`, the masks.

        Raises:
            UsageError: None are; or as for :meth:`settings`.
        """
        from pleura.errors import UsageError

        if not (self.name_radiographs or (or_table and self.annotations)):
            other = "a table with --annotations" if or_table else "the radiographs with --images"
            raise UsageError(f"name a data folder, or {other}")
        return self.settings(masks, labels)


MASKS, SOURCES = MaskOptions(), SourceOptions()
LABEL_COLUMNS, LABELS = LabelColumns(), LabelOptions()


def expand_groups(command: Callable[..., Any]) -> Callable[..., Any]:
    """Return a command with an option for each field of the groups that it takes.

    A group's own options come before those that it has of a more general one.
    """
    taken: dict[str, Any] = {}
    parameters: list[inspect.Parameter] = []
    for parameter in inspect.signature(command).parameters.values():
        group = parameter.annotation
        if not is_dataclass(group):
            shown = _as_shown(group, None)
            parameters.append(parameter.replace(kind=parameter.KEYWORD_ONLY, annotation=shown))
            continue
        taken[parameter.name] = group
        own, panel = getattr(group, "__annotations__", {}), getattr(group, "PANEL", None)
        parameters += [
            inspect.Parameter(
                one.name,
                parameter.KEYWORD_ONLY,
                default=one.default,
                annotation=_as_shown(one.type, panel),
            )
            for one in sorted(fields(group), key=lambda one: one.name not in own)
        ]

    @functools.wraps(command)
    def expanded(**values: Any) -> Any:
        for name, group in taken.items():
            values[name] = group(**{one.name: values.pop(one.name) for one in fields(group)})
        return command(**values)

    expanded.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    expanded.__annotations__ = {one.name: one.annotation for one in parameters}
    return expanded if taken else command


def _as_shown(annotation: Any, panel: str | None) -> Any:
    """Return an option's annotation for the help: in its panel, and a flag without a value."""
    kind, *marks = get_args(annotation) or (annotation,)
    if not any(isinstance(mark, OptionInfo) for mark in marks):
        return annotation
    marks = [copy.copy(mark) for mark in marks]
    for mark in marks:
        if isinstance(mark, OptionInfo):
            mark.rich_help_panel = mark.rich_help_panel or panel
            mark.metavar = "" if kind is bool else mark.metavar
    return Annotated[(kind, *marks)]


def stays_here(command: Callable[..., Any]) -> Callable[..., Any]:
    """Return a command that refuses an address where it would take it for a path of this machine.

    A ``file://`` address is such a path. What is read from anywhere is :data:`Anywhere`.
    """
    paths = {
        one.name: getattr(one.annotation, "__metadata__", ())
        for one in inspect.signature(command).parameters.values()
        if holds_path(one.annotation)
    }

    @functools.wraps(command)
    def checked(**values: Any) -> Any:
        for name, marks in paths.items():
            given = values[name]
            if isinstance(given, list):
                values[name] = [here(one, name, marks) for one in given]
            elif given is not None:
                values[name] = here(given, name, marks)
        return command(**values)

    return checked


def holds_path(annotation: Any) -> bool:
    """Return whether an option's annotation is that of one path or several."""
    return annotation is Path or any(map(holds_path, get_args(annotation)))


def here(given: Path, option: str = "", marks: Sequence[Any] = ()) -> Path:
    """Return a path that was given, of this machine unless it is read from anywhere.

    Args:
        given: The path, or an address.
        option: By which option.
        marks: What its annotation says, such as that it is written.

    Raises:
        UsageError: It is an address.
    """
    from pleura.errors import UsageError

    text = str(given)
    scheme = scheme_in(text)
    if not scheme or (_ANYWHERE in marks and scheme in SCHEMES):
        return given
    if _ARRAYS in marks and scheme in STORES:
        return given
    if scheme == "file":
        return Path(path_of(text))
    if _WRITTEN in marks:
        return Path(written_at(text, option, stores=()))
    if _ANYWHERE in marks:
        known = ", ".join(f"{one}://" for one in SCHEMES)
        raise UsageError(f"{_shown(text)}: addresses of {known} and file:// are read")
    known = "" if scheme in SCHEMES else f"addresses of {scheme}:// are not read; "
    raise UsageError(
        f"{_shown(text)}: {known}this is read from this machine alone; copy it here, and name the "
        "copy"
    )


def require_paths(run: "Run", *, but: Sequence[str] = ()) -> "Run":
    """Return settings of which none is an address that is not read.

    Args:
        run: The settings.
        but: Keys, or how keys begin, of those that are read from anywhere.

    Raises:
        SettingError: One is.
    """
    from dataclasses import asdict

    from pleura.errors import SettingError

    def names_addresses(key: str, value: Any) -> Iterator[str]:
        if isinstance(value, dict):
            for name, one in value.items():
                yield from names_addresses(f"{key}.{name}".lstrip("."), one)
        elif isinstance(value, list | tuple):
            for one in value:
                yield from names_addresses(key, one)
        elif isinstance(value, str) and scheme_in(value) and not key.startswith(tuple(but)):
            yield f"{key} {_shown(value)}"

    for found in names_addresses("", asdict(run)):
        raise SettingError(
            f"{found}: this is read from this machine, and written to it; copy it here, and name "
            "its path"
        )
    return run


def written_at(text: str, option: str, stores: Sequence[str] = STORES) -> str:
    """Return where results go: a path, or an address in a store.

    Args:
        text: What was given.
        option: By which option.
        stores: What an address may begin with.

    Raises:
        UsageError: Nothing is written there.
    """
    from pleura.errors import UsageError

    scheme = scheme_in(text)
    if scheme in stores:
        return url_of(text)
    if scheme not in ("", "file"):
        there = f", or to {', '.join(f'{one}://' for one in stores)}" if stores else ""
        raise UsageError(
            f"--{option.replace('_', '-')} {_shown(text)}: results are written to a folder of this "
            f"machine{there}; name one, and copy it to the store"
        )
    return path_of(text)


def _shown(text: str) -> str:
    """Return an address of whatever kind without secrets."""
    scheme, _, rest = text.partition("?")[0].partition(":")
    return without_secrets(f"{scheme}://{rest.lstrip('/')}")


def cluster_of(on: str, cpus: int, gpus: float = 0.0) -> "Cluster | None":
    """Return the cluster that options name; None for this machine.

    Raises:
        UsageError: Something is said of its workers, and there is none.
    """
    from pleura.cluster.shards import Cluster, Share
    from pleura.errors import UsageError

    if on != "local":
        return Cluster(on, Share(cpus, gpus))
    if cpus or gpus:
        option = f"--cpus {cpus}" if cpus else f"--gpus {gpus:g}"
        raise UsageError(
            f"{option}: is for the workers of a cluster; name one with --on, or leave it out"
        )
    return None


def image_size(text: str) -> tuple[int, int] | None:
    """Return rows and columns.

    Raises:
        UsageError: The text is something else.
    """
    from pleura.errors import UsageError

    if not text:
        return None
    sides = text.lower().split("x")
    if len(sides) != 2 or not all(side.isascii() and side.isdecimal() for side in sides):
        raise UsageError(f"--image-size {text}: write ROWSxCOLUMNS, such as 1024x1024")
    rows, columns = map(int, sides)
    if not (0 < rows <= 65_535 and 0 < columns <= 65_535):
        raise UsageError(f"--image-size {text}: a side has from 1 to 65535 pixels")
    return rows, columns


def require_read(radiographs: bool, on: str) -> None:
    """See that a cluster has something to read."""
    from pleura.errors import UsageError

    if on != "local" and not radiographs:
        raise UsageError(f"--on {on}: only the radiographs of a data folder are read by a cluster")
