import re
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pleura.data.records import ImageRecord
from pleura.data.scan import pixel_hash
from pleura.errors import DataError, DicomError, OutputError, UsageError
from pleura.formats.rle import mask2rle
from pleura.rendering.heat import HEAT_OPACITY, heat, heat_colours
from pleura.rendering.overlay import overlay, shrink, write_png
from pleura.stages.gallery import gallery, sheet
from tests.dicom_files import make_dicom
from tests.made_pictures import box, radiograph


def record(path: Path, number: int, mask: np.ndarray | None, **values: object) -> ImageRecord:
    """Write a radiograph whose grey is its number and return its record; None: not labelled."""
    shape = (40, 30) if mask is None else mask.shape
    pixels = np.full(shape, number, np.uint8)
    path.write_bytes(make_dicom(pixels))
    fields: dict[str, object] = {
        "image_id": f"1.{number}",
        "path": str(path),
        "part": "train",
        "rows": shape[0],
        "columns": shape[1],
        "sex": "M",
        "age_years": 38,
        "view": "PA",
        "modality": "CR",
        "photometric_interpretation": "MONOCHROME2",
        "transfer_syntax": "",
        "patient": None,
        "pixel_hash": pixel_hash(pixels),
        "labelled": mask is not None,
        "positive": None if mask is None else bool(mask.any()),
        "area_px": None if mask is None else int(mask.sum()),
        "encoded_pixels": None if mask is None else mask2rle(mask),
    }
    return ImageRecord(**(fields | values))


def radiographs(folder: Path) -> list[ImageRecord]:
    """Return 6 negative records, 6 positive ones of growing area, and one that is not labelled."""
    records = []
    for number in range(12):
        mask = np.zeros((40, 30), bool)
        mask[: max(0, number - 5), :5] = True
        records.append(record(folder / f"{number}.dcm", 10 + number, mask))
    return [*records, record(folder / "unlabelled.dcm", 200, None)]


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_where_nothing_is_likely_a_heat_map_is_the_radiograph(dtype: type) -> None:
    picture = heat(radiograph(dtype=dtype), np.zeros((60, 80), np.float32))
    np.testing.assert_allclose(picture, radiograph()[:, :, None].repeat(3, 2).astype(int), atol=1)


def test_a_heat_map_covers_the_radiograph_with_the_colour_of_the_probability() -> None:
    probability = np.zeros((60, 80), np.float32)
    probability[20:40, 30:50] = [0.1] * 10 + [0.9] * 10
    pixels = radiograph()
    picture = heat(pixels, probability)
    colours = heat_colours().astype(float)
    for column, level in ((32, round(0.1 * 255)), (48, round(0.9 * 255))):
        share = HEAT_OPACITY * colours[level, 3] / 255
        expected = (1 - share) * float(pixels[30, column]) + share * colours[level, :3]
        assert np.abs(picture[30, column] - expected).max() <= 1
    assert (picture[:20] == pixels[:20, :, None]).all()


def test_heat_colours_grow_brighter_and_cover_more() -> None:
    colours = heat_colours().astype(float)
    assert colours.shape == (256, 4)
    brightness = colours[:, :3] @ [0.0722, 0.7152, 0.2126]
    assert (np.diff(brightness) > -0.6).all()
    assert brightness[-1] - brightness[0] > 150
    assert (np.diff(colours[:, 3]) >= 0).all()
    assert colours[0, 3] == 0
    assert (colours[64:, 3] == 255).all()


def test_a_large_heat_map_has_a_bar_of_its_colours() -> None:
    pixels = np.full((600, 500), 90, np.uint8)
    picture = heat(pixels, np.zeros((600, 500), np.float32))
    changed = (picture != 90).any(axis=2)
    rows, columns = np.nonzero(changed)
    assert rows.min() > 500
    assert columns.min() > 350
    line = picture[rows.max() - 14]
    found = {tuple(colour) for colour in line}
    wanted = [tuple(colour[:3]) for colour in heat_colours()[[0, 255]]]
    assert found.issuperset(wanted)
    small = heat(pixels[:40, :40], np.zeros((40, 40), np.float32))
    assert (small == 90).all(), "a picture too small for a bar has none"


def test_a_map_of_another_size_is_refused() -> None:
    with pytest.raises(
        UsageError, match=re.escape("the map is (60, 81) but the radiograph (60, 80)")
    ):
        heat(radiograph(), np.zeros((60, 81), np.float32))


@pytest.mark.parametrize(("side", "shape"), [(40, (30, 40)), (80, (60, 80)), (500, (60, 80))])
def test_a_radiograph_is_shrunk_to_fit_and_never_enlarged(
    side: int, shape: tuple[int, int]
) -> None:
    found = shrink(radiograph(dtype=np.uint16), side)
    assert found.shape == shape
    assert found.dtype == np.uint8
    assert found[0, 0] < 3
    assert found[-1, -1] > 252


def test_a_png_comes_back_as_it_was(tmp_path: Path) -> None:
    picture = overlay(radiograph(), box())
    write_png(tmp_path / "new" / "radiograph.png", picture)
    assert (cv2.imread(str(tmp_path / "new" / "radiograph.png")) == picture).all()
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["radiograph.png"]


def test_a_png_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match=r"radiograph\.png: could not be written"):
        write_png(tmp_path / "file" / "radiograph.png", overlay(radiograph(), box()))


@settings(deadline=None, max_examples=30)
@given(tiles=st.integers(1, 7), columns=st.integers(1, 4), side=st.sampled_from([16, 40, 96]))
def test_every_tile_lies_on_the_sheet_and_none_on_another(
    tiles: int, columns: int, side: int
) -> None:
    colours = [(200, 40 + 20 * number, 3) for number in range(tiles)]
    pictures = [np.full((side, side, 3), colour, np.uint8) for colour in colours]
    page = sheet(pictures, columns=columns, captions=[""] * tiles, title="T", subtitle="S")
    for colour in colours:
        assert (page == colour).all(axis=2).sum() == side * side
    assert page.shape[1] > columns * side
    assert page.shape[0] > -(-tiles // columns) * side


def test_a_caption_stays_below_its_own_tile() -> None:
    tiles = [np.zeros((96, 96, 3), np.uint8)] * 2
    page = sheet(tiles, columns=2, captions=["a caption that is far too long for it", ""])
    lit = (page.max(axis=2) > 100).nonzero()
    bare = sheet(tiles, columns=2, captions=["", ""])
    assert len(lit[0]) > 0
    assert lit[1].max() < page.shape[1] // 2
    assert page.shape == bare.shape
    assert bare.max() < 100


@pytest.mark.parametrize(
    ("tiles", "captions", "columns", "message"),
    [
        (0, 0, 1, "a sheet of 0 tiles and 0 captions"),
        (2, 1, 1, "a sheet of 2 tiles and 1 captions"),
        (1, 1, 0, "one column or more"),
    ],
)
def test_a_sheet_that_makes_no_sense_is_refused(
    tiles: int, captions: int, columns: int, message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        sheet([np.zeros((8, 8, 3), np.uint8)] * tiles, columns=columns, captions=[""] * captions)


def test_tiles_of_two_sizes_are_refused() -> None:
    tiles = [np.zeros((8, 8, 3), np.uint8), np.zeros((8, 9, 3), np.uint8)]
    with pytest.raises(UsageError, match="tiles of one size"):
        sheet(tiles, columns=2, captions=["", ""])


def shown(picture: np.ndarray) -> set[int]:
    """Return the numbers of the `radiographs` that a gallery of tiles of 64 pixels shows."""
    grey = (picture == picture[:, :, :1]).all(axis=2)
    return {n for n in (*range(10, 22), 200) if (grey & (picture[:, :, 0] == n)).sum() > 900}


def test_a_gallery_shows_negative_ones_above_positive_ones(tmp_path: Path) -> None:
    picture = gallery(radiographs(tmp_path), negative=3, positive=3, tile=64)
    numbers = shown(picture)
    assert len(numbers & set(range(10, 16))) == 3
    assert len(numbers & set(range(16, 22))) == 3
    assert 200 not in numbers
    amber = (picture[:, :, 2].astype(int) > picture[:, :, 0].astype(int) + 20).any(axis=1)
    assert amber.any()
    assert not amber[: len(amber) // 2].any(), "no mask in the upper half"


def test_a_gallery_spreads_its_positives_from_small_to_large(tmp_path: Path) -> None:
    numbers = shown(gallery(radiographs(tmp_path), negative=0, positive=3, tile=64))
    assert [len(numbers & pair) for pair in ({16, 17}, {18, 19}, {20, 21})] == [1, 1, 1]


def test_a_gallery_depends_on_its_seed_alone(tmp_path: Path) -> None:
    records = radiographs(tmp_path)
    first = gallery(records, negative=2, positive=2, tile=64, seed=1)
    assert (first == gallery(records, negative=2, positive=2, tile=64, seed=1)).all()
    others = [gallery(records, negative=2, positive=2, tile=64, seed=seed) for seed in (2, 3, 4)]
    assert any(shown(first) != shown(other) for other in others)


def test_a_gallery_draws_what_there_is(tmp_path: Path) -> None:
    records = radiographs(tmp_path)
    whole = gallery(records, negative=50, positive=50, tile=64)
    assert shown(whole) == set(range(10, 22))
    healthy_alone = gallery(records[:6], negative=50, positive=50, tile=64)
    assert shown(healthy_alone) == set(range(10, 16))
    assert len(healthy_alone) < len(whole)


def test_a_radiograph_that_is_not_square_keeps_its_shape(tmp_path: Path) -> None:
    records = [record(tmp_path / "a.dcm", 90, np.zeros((40, 20), bool))]
    picture = gallery(records, negative=1, positive=0, tile=64)
    rows, columns = (picture == 90).all(axis=2).nonzero()
    assert np.ptp(rows) + 1 == 64
    assert np.ptp(columns) + 1 == 32


def test_a_gallery_without_labels_is_one_of_radiographs(tmp_path: Path) -> None:
    records = radiographs(tmp_path)
    assert shown(gallery(records[-1:], negative=1, positive=1, tile=64)) == {200}
    with pytest.raises(DataError, match=r"none of the 6 images can be drawn.* name the annotation"):
        gallery(records[:6], negative=0, positive=1)


def test_a_radiograph_that_went_away_is_named(tmp_path: Path) -> None:
    records = radiographs(tmp_path)
    (tmp_path / "0.dcm").unlink()
    with pytest.raises(DicomError, match=r"0\.dcm: cannot be read"):
        gallery(records, negative=6, positive=0, tile=64)


def test_captions_say_view_person_and_area_and_leave_out_what_is_unknown(tmp_path: Path) -> None:
    from pleura.stages.gallery import _caption

    mask = np.zeros((100, 100), bool)
    mask[:40, :30] = True
    positive = record(tmp_path / "a.dcm", 1, mask, view="AP", sex="F", age_years=61)
    unknown = record(tmp_path / "b.dcm", 1, mask & False, view="", sex="", age_years=None)
    assert _caption(positive) == "AP · F 61 · 1,200 px (12.0 %)"
    assert _caption(unknown) == "no pneumothorax"
