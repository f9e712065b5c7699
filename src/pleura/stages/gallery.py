"""Pictures to look at: a radiograph with its mask or a map of probabilities laid over, and sheets.

Pictures are ``(rows, columns, 3)`` uint8 in OpenCV's order blue, green, red. Nothing of a patient
is written on one but sex and age.
"""

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from pleura.data.records import ImageRecord
from pleura.data.unchanged import read_unchanged
from pleura.errors import ChangedError, DataError, UsageError
from pleura.formats.rle import rle2mask
from pleura.processes.guarded import guarded_picture
from pleura.rendering.fonts import open_font
from pleura.rendering.notice import notice, why
from pleura.rendering.overlay import TEXT, Colour, Picture, as_uint8, overlay, resize

if TYPE_CHECKING:
    from PIL.ImageFont import FreeTypeFont

_PAGE: Colour = (22, 19, 17)
_LETTERBOX: Colour = (0, 0, 0)
_QUIET: Colour = (160, 152, 146)
_COLUMNS = 4


def sheet(
    tiles: Sequence[Picture],
    *,
    columns: int,
    captions: Sequence[str],
    title: str = "",
    subtitle: str = "",
) -> Picture:
    """Return a contact sheet: equal tiles row by row, a caption under each, dark around them.

    Args:
        tiles: One or more pictures of the same size.
        columns: Tiles in a row, 1 or more; the sheet is that wide even if its only row is shorter.
        captions: One for each tile; what does not fit its tile is cut off.
        title: In bold above the tiles.
        subtitle: Quieter, below the title.

    Returns:
        ``(rows, columns, 3)`` uint8, blue, green, red.

    Raises:
        UsageError: There is no tile, their sizes or the number of captions differ.
    """
    if not tiles or len(tiles) != len(captions):
        raise UsageError(
            f"a sheet of {len(tiles)} tiles and {len(captions)} captions; it takes at least one "
            "tile and a caption for each"
        )
    if columns < 1 or len({tile.shape for tile in tiles}) > 1:
        raise UsageError("a sheet takes tiles of one size in one column or more")
    rows, width = tiles[0].shape[:2]
    layout = _Layout(rows, width, columns, len(tiles), bool(title), bool(subtitle))
    page = np.full((*layout.shape, 3), _PAGE, np.uint8)
    for number, tile in enumerate(tiles):
        top, left = layout.corner(number)
        page[top : top + rows, left : left + width] = tile
    return _write_texts(page, layout, captions, title, subtitle)


def gallery(
    records: Sequence[ImageRecord],
    *,
    negative: int = 8,
    positive: int = 8,
    tile: int = 384,
    seed: int = 0,
) -> Picture:
    """Return radiographs without a pneumothorax, and below them some with the mask laid over.

    The first are drawn by lot; of the second there is one from each of `positive` classes of equal
    number, from the smallest to the largest area. The same seed gives the same picture.

    Args:
        records: Any images. Only labelled ones are shown, unless none of them is: then they are
            drawn by lot, and called not labelled.
        negative: At most so many without a pneumothorax.
        positive: At most so many with one.
        tile: Side of a tile in pixels; a radiograph that is not square lies on black.
        seed: Of the choice.

    Returns:
        ``(rows, columns, 3)`` uint8, blue, green, red.

    Raises:
        DataError: There is no record that is asked for.
        DicomError: A file cannot be read.
    """
    rng = np.random.default_rng(seed)
    without = [record for record in records if record.labelled and not record.positive]
    with_one = [record for record in records if record.positive and record.mask_known]
    blocks = [
        _block(
            _drawn(without, negative, rng),
            tile,
            "No pneumothorax",
            f"{min(negative, len(without)):,} of {len(without):,}",
        ),
        _block(
            _spread(with_one, positive, rng),
            tile,
            "Pneumothorax, with its annotated area",
            f"{min(positive, len(with_one)):,} of {len(with_one):,}, from small to large",
        ),
    ]
    if not any(record.labelled for record in records):
        count = negative + positive
        blocks = [
            _block(
                _drawn(records, count, rng),
                tile,
                "Not labelled",
                f"{min(count, len(records)):,} of {len(records):,}",
            )
        ]
    drawn = [block for block in blocks if block is not None]
    if not drawn:
        raise DataError(
            f"none of the {len(records):,} images can be drawn: none is left that was asked for, "
            "or that has a usable annotation; name the annotation table of these files with "
            "`annotations`, or ask for others"
        )
    return np.concatenate(drawn)


class _Layout:
    """Where things lie on a sheet; all in pixels, in proportion to the tiles."""

    def __init__(
        self, rows: int, width: int, columns: int, tiles: int, title: bool, subtitle: bool
    ) -> None:
        self.rows, self.width, self.columns = rows, width, columns
        self.text = max(8, round(width / 24))
        self.heading = round(1.45 * self.text)
        self.gap = max(4, round(width / 24))
        self.margin = 2 * self.gap
        self.caption = round(1.9 * self.text)
        self.head = round(1.9 * self.heading) * title + round(1.9 * self.text) * subtitle
        lines = -(-tiles // columns)
        self.shape = (
            self.margin + self.head + lines * (rows + self.caption + self.gap),
            2 * self.margin + columns * width + (columns - 1) * self.gap,
        )

    def corner(self, number: int) -> tuple[int, int]:
        """Return (row, column) of the top left pixel of a tile."""
        row, column = divmod(number, self.columns)
        return (
            self.margin + self.head + row * (self.rows + self.caption + self.gap),
            self.margin + column * (self.width + self.gap),
        )


def _write_texts(
    page: Picture, layout: _Layout, captions: Sequence[str], title: str, subtitle: str
) -> Picture:
    from PIL import Image, ImageDraw

    image = Image.fromarray(page)  # its colours stay blue, green, red: nothing here mixes them
    draw = ImageDraw.Draw(image)
    top = layout.margin
    if title:
        bold = open_font(layout.heading, bold=True)
        draw.text((layout.margin, top), title, TEXT, bold, anchor="lt")
        top += round(1.7 * layout.heading)
    plain = open_font(layout.text)
    if subtitle:
        draw.text((layout.margin, top), subtitle, _QUIET, plain, anchor="lt")
    for number, caption in enumerate(captions):
        row, column = layout.corner(number)
        baseline = row + layout.rows + round(1.4 * layout.text)
        draw.text(
            (column, baseline), _fitted(caption, plain, layout.width), TEXT, plain, anchor="ls"
        )
    return np.array(image, np.uint8)


def _fitted(text: str, font: "FreeTypeFont", width: int) -> str:
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(text + "…") > width:
        text = text[:-1]
    return text.rstrip() + "…"


def _drawn(
    records: Sequence[ImageRecord], count: int, rng: np.random.Generator
) -> list[ImageRecord]:
    """Return `count` of the records by lot, in their own order."""
    chosen = rng.permutation(len(records))[:count]
    return [records[number] for number in sorted(chosen)]


def _spread(
    records: Sequence[ImageRecord], count: int, rng: np.random.Generator
) -> list[ImageRecord]:
    """Return one record by lot from each of `count` classes of area, small to large."""
    ordered = sorted(records, key=lambda record: (record.area_px or 0, record.image_id))
    classes = np.array_split(np.arange(len(ordered)), max(1, min(count, len(ordered))))
    return [ordered[rng.choice(part)] for part in classes if part.size and count]


def _block(records: Sequence[ImageRecord], tile: int, title: str, subtitle: str) -> Picture | None:
    if not records:
        return None
    return sheet(
        [guarded_picture(partial(_tile, side=tile), record, record.path) for record in records],
        columns=_COLUMNS,
        captions=[_caption(record) for record in records],
        title=title,
        subtitle=subtitle,
    )


def _tile(record: ImageRecord, side: int) -> Picture:
    """Return a radiograph with its mask, shrunk to fit a square; the mask is drawn last, sharp."""
    try:
        radiograph = read_unchanged(record.path, record.pixel_hash)
    except ChangedError as error:
        return notice(why(error), side)
    mask = rle2mask(record.encoded_pixels or "-1", radiograph.pixels.shape)
    pixels, mask = radiograph.squared(mask)
    pixels = as_uint8(pixels)
    scale = side / max(pixels.shape)
    rows, columns = (max(1, round(length * scale)) for length in pixels.shape)
    picture = overlay(
        resize(pixels, rows, columns),
        resize(np.ascontiguousarray(mask).view(np.uint8) * np.uint8(255), rows, columns) >= 128,
    )
    square = np.full((side, side, 3), _LETTERBOX, np.uint8)
    top, left = (side - rows) // 2, (side - columns) // 2
    square[top : top + rows, left : left + columns] = picture
    return square


def _caption(record: ImageRecord) -> str:
    age = "" if record.age_years is None else str(record.age_years)
    person = " ".join(part for part in (record.sex, age) if part)
    return " · ".join(part for part in (record.view, person, _area(record)) if part)


def _area(record: ImageRecord) -> str:
    if not record.labelled:
        return ""
    if not record.positive or record.area_px is None:
        return "no pneumothorax"
    share = 100 * record.area_px / (record.rows * record.columns)
    return f"{record.area_px:,} px ({share:.1f} %)"
