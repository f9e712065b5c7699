"""What further columns of a table of run lengths say of its rows.

::

    ImageId,EncodedPixels,class           which structure each mask is of
    ImageId,EncodedPixels,has_pneumo      whether there is a pneumothorax at all
    ImageId,EncodedPixels,reader          who drew it
    ImageId,EncodedPixels,width,height    how large the image is that it was drawn on

A table of several structures is read as COCO of several categories is: the one that is called
pneumothorax counts, else it has to be named. All rows taken together would be a mask of everything.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, NamedTuple

from pleura.dicom.structures import denies_pneumothorax, names_another, names_pneumothorax
from pleura.errors import AnnotationError
from pleura.formats.csv_table import columns_shown, whole_number
from pleura.formats.rle import EMPTY
from pleura.printable import few, printable

_STRUCTURES: Final = (
    *("classname", "categoryname", "findingname", "labelname", "structurename", "objectname"),
    *("class", "category", "finding", "findings", "label", "structure", "object", "organ"),
    *("lesion", "lesiontype", "disease", "pathology", "abnormality", "maskclass", "maskname"),
    *("classlabel", "classid", "categoryid", "findingid", "labelid"),
)
"""Columns of structures, less blanks, strokes and capitals; those that hold names first."""

_PRESENCE: Final = re.compile(r"(has|is|label)?(pneumo(thorax)?|ptx)(label)?")
_READERS: Final = re.compile(
    "(reader|annotator|radiologist|rater|observer|labell?er)(id|name|no)?"
    "|(annotated|labell?ed|drawn|read)by|radid"
)
"""Columns of readers, less blanks, strokes and capitals; reader1 is that of one reader."""

_SIDES: Final = (
    *(("height", "width"), ("imageheight", "imagewidth"), ("imgheight", "imgwidth")),
    *(("rows", "columns"), ("rows", "cols"), ("imagerows", "imagecolumns"), ("h", "w")),
)
"""Columns of an image's rows and columns, less strokes and capitals."""

_CORNERS: Final = frozenset(("x", "y", "xmin", "ymin", "left", "top", "xc", "yc", "xcenter"))
"""Columns beside which a width is that of a box."""

_LONGEST_SIDE: Final = 65_535
_NO_STRUCTURE: Final = frozenset(
    ("", "0", "-1", "none", "nan", "null", "n/a", "normal", "no", "negative", "background")
).union(("no finding", "no findings"))
"""What stands for the structure in a row that says that there is none."""

_UNNAMED: Final = "the row has a mask, but its {} is empty, unlike that of others; write it"

_YES: Final = frozenset(("1", "1.0", "true", "yes", "y", "positive", "pos", "present"))
_NO: Final = frozenset(("0", "0.0", "false", "no", "n", "negative", "neg", "absent"))

Cells = tuple[int, list[str], str]
"""A row as :meth:`pleura.formats.csv_table.CsvTable.cells` yields it: line, cells, fault."""


class Chosen(NamedTuple):
    """The rows of a table that are of the pneumothorax.

    Attributes:
        rows: They, in the order of the file.
        passed: How many others there are.
        structures: What those are of, in words.
        read: The columns that decided.
    """

    rows: Iterable[Cells]
    passed: int = 0
    structures: str = ""
    read: tuple[str, ...] = ()


def rows_of_pneumothorax(
    names: Sequence[str], rows: Iterator[Cells], mask_at: int, label: str = ""
) -> Chosen:
    """Return the rows of a table that are of the pneumothorax, and not of other structures.

    A row that says that there is nothing (``-1``) is one of them if it names the pneumothorax or no
    structure.

    Args:
        names: The columns.
        rows: All rows.
        mask_at: Where the column of run lengths is.
        label: What the pneumothorax is called, where that is to be said.

    Raises:
        AnnotationError: Nothing says which of several structures it is, or `label` is none of
            them. The message lacks the path.
    """
    others = [name for name in names if name and name != names[mask_at]]
    keys = {_key(name): names.index(name) for name in reversed(others)}
    columns = [keys[key] for key in _STRUCTURES if key in keys]
    if not columns:
        if label and len(others) > 1:
            raise AnnotationError(
                f"`mask_label` is {label[:40]!r}, but the columns are {columns_shown(names)}, and "
                "none is known to hold structures; call the one that does class"
            )
        return Chosen(rows)
    kept = list(rows)
    decided = _decided(names, columns, kept, mask_at, label)
    if decided is None:
        return Chosen(kept)
    own_rows = []
    for line, cells, fault in kept:
        value = _value(cells[decided.at]) if not fault else ""
        nothing = not fault and cells[mask_at].strip() == EMPTY
        if not (fault or value or nothing):
            fault = _UNNAMED.format(names[decided.at])
        none = value.lower() in _NO_STRUCTURE or denies_pneumothorax(value)
        if fault or value in decided.own or (nothing and none):
            own_rows.append((line, cells, fault))
    passed = len(kept) - len(own_rows)
    return Chosen(own_rows, passed, _in_words(decided.others, 3), (names[decided.at],))


class _Decided(NamedTuple):
    """A column of structures, which of its values are the pneumothorax, and which are not."""

    at: int
    own: set[str]
    others: set[str]


def _decided(
    names: Sequence[str], columns: Sequence[int], rows: Sequence[Cells], mask_at: int, label: str
) -> _Decided | None:
    """Return the first column that tells structures apart; None where none of them does.

    Raises:
        AnnotationError: One holds several structures, and none says which it is.
    """
    drawn = [cells for _, cells, fault in rows if not fault and cells[mask_at].strip() != EMPTY]
    unclear = ""
    for at in columns:
        values = {_value(cells[at]) for cells in drawn} - {""}
        try:
            own = _chosen(names[at], values, label)
        except AnnotationError as error:
            unclear = unclear or str(error)
            continue
        if own is not None:
            return _Decided(at, own, values - own)
    if unclear:
        raise AnnotationError(unclear)
    return None


def presence_column(names: Sequence[str]) -> int | None:
    """Return where the column is that says whether there is a pneumothorax; None: there is none."""
    return next((at for at, name in enumerate(names) if _PRESENCE.fullmatch(_key(name))), None)


def reader_column(names: Sequence[str], wanted: str = "") -> int | None:
    """Return where the column is that says who drew a mask; None: there is none.

    Args:
        names: The columns.
        wanted: Its name, where it is known.

    Raises:
        AnnotationError: There is no such column. The message lacks the path.
    """
    if wanted and wanted not in names:
        raise AnnotationError(
            f"the columns are {columns_shown(names)}; `reader_column` {wanted[:40]!r} is none of "
            "them"
        )
    if wanted:
        return names.index(wanted)
    known = (_READERS.fullmatch(re.sub(r"[^a-z0-9]", "", name.lower())) for name in names)
    return next((at for at, found in enumerate(known) if found), None)


def size_columns(names: Sequence[str]) -> tuple[int, int] | None:
    """Return where the columns are of an image's height and width; None: there are none."""
    keys = {_key(name): at for at, name in reversed(list(enumerate(names)))}
    boxes = not _CORNERS.isdisjoint(keys)
    pairs = (
        (keys[height], keys[width])
        for height, width in _SIDES
        if height in keys and width in keys and not (boxes and height in ("height", "h"))
    )
    return next(pairs, None)


def size_in(cells: Sequence[str], at: tuple[int, int] | None) -> tuple[int, int] | None:
    """Return ``(rows, columns)`` that a row says its image has; None: it does not say it.

    Raises:
        AnnotationError: They are no numbers of pixels. The message lacks path and line.
    """
    said = [] if at is None else [cells[place].strip() for place in at]
    if not any(said):
        return None
    height, width = (
        whole_number(text.removesuffix(".0"), _LONGEST_SIDE) or _no_side(text) for text in said
    )
    return height, width


def _no_side(text: str) -> int:
    raise AnnotationError(
        f"its height or width is {text[:20]!r}, but an image has 1 to {_LONGEST_SIDE:,} pixels a "
        "side; correct it, or leave the columns out"
    )


def contradicts(said: str, text: str) -> bool:
    """Return whether a cell of that column says the contrary of a row's run lengths."""
    word = said.strip().lower()
    return word in (_YES if text.strip() == EMPTY else _NO)


def _chosen(column: str, drawn: set[str], label: str) -> set[str] | None:
    """Return the values of a column that are the pneumothorax; None where all are, or none is."""
    shown = _in_words(drawn, 8)
    if label:
        own = {one for one in drawn if one.lower() == label.strip().lower()}
        if not own:
            raise AnnotationError(
                f"the column {column!r} holds {shown or 'nothing'}, and {label[:40]!r} is none of "
                "them; name the one that is the pneumothorax with `mask_label`"
            )
        return own
    named = {one for one in drawn if names_pneumothorax(one)}
    if named == drawn:
        return None
    if len(named) == 1:
        return named
    if len(drawn) > 1 or any(map(names_another, drawn)):
        raise AnnotationError(
            f"the column {column!r} holds {shown}, so its masks may be of several structures; name "
            "the one that is the pneumothorax with `mask_label`, or leave the column out"
        )
    return None


def _in_words(values: set[str], most: int) -> str:
    return few([printable(one[:40]) for one in sorted(values)], most)


def _key(name: str) -> str:
    return re.sub(r"[^a-z]", "", name.lower())


def _value(cell: str) -> str:
    value = cell.strip()
    return value[:-2] if re.fullmatch(r"[0-9]+\.0", value) else value
