import numpy as np
import pytest

from pleura.formats.annotation_table import read_annotations
from pleura.formats.mask_doubts import doubts, why_impossible
from pleura.formats.mask_fit import check_masks
from pleura.formats.rle import mask2rle

SHAPE = (128, 96)


def blob(number):
    """A mask in one of many places."""
    mask = np.zeros(SHAPE, np.bool_)
    top, left = 8 + 37 * number % 90, 6 + 53 * number % 70
    for step in range(12):
        mask[top + step : top + 20 - step // 2, left + step] = True
    return mask


def found(masks, count=20, form="relative"):
    texts = {f"i{n}": (mask2rle(masks(n), form=form),) for n in range(count)}
    return doubts(texts, dict.fromkeys(texts, SHAPE), form)


def with_mark(part):
    def marked(number):
        mask = blob(number)
        mask[part] = True
        return mask

    return marked


LUNGS = with_mark(np.s_[30:100, 10:40])


@pytest.mark.parametrize(
    "masks",
    [with_mark(np.s_[120:124, 4:30]), with_mark(np.s_[2, 2]), with_mark(np.s_[:, 95]), LUNGS],
)
@pytest.mark.parametrize("form", ["relative", "absolute"])
def test_pixels_that_most_masks_have_in_common_are_told(masks, form):
    assert found(masks, form=form) == {"common-pixels": 20}
    assert not found(masks, count=9)


def test_pixels_in_common_are_told_of_pictures_of_several_sizes():
    texts = {f"i{n}": (mask2rle(with_mark(np.s_[120:128, 4:30])(n)),) for n in range(20)}
    shapes = dict.fromkeys(texts, SHAPE)
    large = {f"j{n}": (mask2rle(blob(n).repeat(3, 0).repeat(3, 1)),) for n in range(3)}
    shapes |= dict.fromkeys(large, (384, 288))
    assert doubts(texts | large, shapes, "relative") == {"common-pixels": 20}


def test_masks_that_leave_their_pictures_have_no_pixels_in_common():
    texts = {f"i{n}": (f"0 1 {SHAPE[0] * SHAPE[1] + n} 1", "5 4000000000") for n in range(20)}
    assert not doubts(texts, dict.fromkeys(texts, SHAPE), "relative")


def test_masks_in_many_places_have_no_pixels_in_common():
    assert not found(blob, count=60)


def test_real_masks_have_no_pixels_in_common(real_data):
    table = read_annotations(real_data / "annotations" / "train-rle-stage2.csv.gz")
    shapes = dict.fromkeys(table.masks, (1024, 1024))
    assert not doubts(table.masks, shapes, table.form)
    assert not any(
        why_impossible(text, (1024, 1024)) for texts in table.masks.values() for text in texts
    )


def edged(width, *sides):
    mask = blob(0)
    for side in sides:
        mask[{"top": np.s_[:width], "foot": np.s_[-width:]}.get(side, np.s_[:0])] = True
        mask[:, {"left": np.s_[:width], "right": np.s_[-width:]}.get(side, np.s_[:0])] = True
    return mask


@pytest.mark.parametrize(
    ("mask", "said"),
    [
        (blob(0), ""),
        (edged(1, "top", "left"), ""),
        (edged(1, "left", "right", "top", "foot"), "its mask runs along opposite edges of the pic"),
        (edged(3, "top", "foot"), "its mask runs along opposite edges of the picture, as a frame"),
        (edged(2, "left", "right"), "its mask runs along opposite edges of the picture, as a fram"),
        (
            ~blob(0),
            "its mask holds 99% of the picture, and a pneumothorax never more than half; is",
        ),
        (~edged(2, "left", "top", "foot"), "its mask holds 94% of the picture, and a pneumothora"),
    ],
)
def test_a_mask_that_no_pneumothorax_can_have(mask, said, tmp_path):
    why = why_impossible(mask2rle(mask), SHAPE)
    assert why.startswith(said)
    assert bool(why) == bool(said)
    path = tmp_path / "masks.csv"
    path.write_text(f"ImageId,EncodedPixels\na,{mask2rle(mask)}\n")
    checked = check_masks(read_annotations(path), {"a": SHAPE})
    assert [problem.code for problem in checked.problems] == ["impossible-mask"] * bool(said)
