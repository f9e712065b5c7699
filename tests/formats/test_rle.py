import csv
import doctest
import gzip
import math
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from pleura.errors import InputError, RleError, UsageError
from pleura.formats import rle
from pleura.formats.rle import (
    MAX_PIXELS,
    Form,
    agreed,
    area_px,
    mask2rle,
    overlap_px,
    rle2mask,
    runs,
    union,
    united,
)

TABLE = (
    Path(__file__).parents[2].parent / "shared" / "data" / "annotations" / "train-rle-stage2.csv.gz"
)
SIIM = (1024, 1024)

unhurried = settings(deadline=None)
forms = st.sampled_from(get_args(Form))
shapes = hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=40)


@st.composite
def masks(draw: st.DrawFn, shape: tuple[int, ...] | None = None) -> NDArray[np.bool_]:
    """Masks of any shape and memory order: speckles, boxes, nothing, everything."""
    rows, columns = draw(shapes) if shape is None else shape
    kind = draw(st.sampled_from(["speckles", "box", "empty", "full"]))
    mask = np.full((rows, columns), kind == "full")
    if kind == "speckles":
        mask = np.random.default_rng(draw(st.integers(0, 2**32))).random((rows, columns)) < 0.4
    if kind == "box":
        top, left = draw(st.integers(0, rows - 1)), draw(st.integers(0, columns - 1))
        mask[top : draw(st.integers(top, rows)), left : draw(st.integers(left, columns))] = True
    order = draw(st.sampled_from(["C", "F", "part", "backward"]))
    if order == "part":
        return np.repeat(np.repeat(mask, 2, axis=0), 3, axis=1)[::2, ::3]
    if order == "backward":
        return mask[::-1, ::-1].copy()[::-1, ::-1]
    return np.asarray(mask, order=order)


def slow_decode(text: str, shape: tuple[int, int]) -> NDArray[np.bool_]:
    """The convention, spelled out pixel by pixel."""
    mask, place = np.zeros(shape, bool), 0
    numbers = [int(word) for word in text.split()]
    for gap, length in zip(numbers[0::2], numbers[1::2], strict=True):
        for pixel in range(place + gap, place + gap + length):
            mask[pixel % shape[0], pixel // shape[0]] = True
        place += gap + length
    return mask


@pytest.fixture(scope="module")
def real_texts() -> list[str]:
    if not TABLE.is_file():
        pytest.skip(f"the real table is not here ({TABLE})")
    with gzip.open(TABLE, "rt") as file:
        texts = [row[1].strip() for row in list(csv.reader(file))[1:]]
    return [text for text in texts if text != "-1"]


# --- laws


@given(masks(), forms)
@unhurried
def test_decoding_undoes_encoding(mask: NDArray[np.bool_], form: Form) -> None:
    text = mask2rle(mask, form=form)
    decoded = rle2mask(text, mask.shape, form=form)

    assert decoded.dtype == np.bool_
    assert decoded.shape == mask.shape
    np.testing.assert_array_equal(decoded, mask)
    assert mask2rle(decoded, form=form) == text


@given(masks())
@unhurried
def test_decoding_agrees_with_the_convention_spelled_out(mask: NDArray[np.bool_]) -> None:
    text = mask2rle(mask)
    expected = np.zeros(mask.shape, bool) if text == "-1" else slow_decode(text, mask.shape)

    np.testing.assert_array_equal(mask, expected)


@given(masks(), forms)
@unhurried
def test_area_is_known_without_decoding(mask: NDArray[np.bool_], form: Form) -> None:
    assert area_px(mask2rle(mask, form=form), form=form) == mask.sum()


@given(masks(), st.sampled_from([1, 255, -1]), st.sampled_from(["uint8", "int8", "int64"]))
@unhurried
def test_integer_masks_read_as_bool_ones(mask: NDArray[np.bool_], inside: int, dtype: str) -> None:
    integers = np.where(mask, inside, 0).astype(dtype)

    assert mask2rle(integers) == mask2rle(mask)


@given(st.data(), forms)
@unhurried
def test_union_and_overlap_do_not_depend_on_the_order_of_rows(
    data: st.DataObject, form: Form
) -> None:
    shape = data.draw(shapes)
    several = data.draw(st.lists(masks(shape), max_size=4))
    texts = [mask2rle(mask, form=form) for mask in several]
    shuffled = data.draw(st.permutations(texts))
    stack = np.array(several).reshape(-1, *shape)

    np.testing.assert_array_equal(union(texts, shape, form=form), stack.any(axis=0))
    np.testing.assert_array_equal(union(shuffled, shape, form=form), stack.any(axis=0))
    expected = (stack.sum(axis=0) > 1).sum()
    assert overlap_px(texts, shape, form=form) == expected
    assert overlap_px(shuffled, form=form) == expected
    assert united(shuffled, form=form) == mask2rle(stack.any(axis=0))
    most = mask2rle(2 * stack.sum(axis=0) > len(stack))
    assert agreed([[text] for text in shuffled], form=form) == most


@given(masks(), forms)
@unhurried
def test_runs_rise_and_are_the_same_in_both_forms(mask: NDArray[np.bool_], form: Form) -> None:
    starts, lengths = runs(mask2rle(mask, form=form), mask.shape, form=form)

    assert starts.dtype == lengths.dtype == np.int64
    assert (lengths > 0).all()
    assert (starts[1:] > starts[:-1] + lengths[:-1]).all()
    np.testing.assert_array_equal(starts, runs(mask2rle(mask))[0])


rle_like = st.lists(
    st.one_of(
        st.integers(-2, 300).map(str),
        st.sampled_from(["-1", "+5", "1_0", "1.5", "\u0663", "9" * 30]),
    )
).map(" ".join)


@given(st.one_of(st.text(), rle_like, st.text("0123456789 -\t\n")), shapes, forms)
@settings(max_examples=200, deadline=None)
def test_any_text_is_a_mask_or_an_rle_error(text: str, shape: tuple[int, int], form: Form) -> None:
    try:
        mask = rle2mask(text, shape, form=form)
    except RleError:
        return
    assert mask.sum() == area_px(text, form=form)
    again = rle2mask(mask2rle(mask, form=form), shape, form=form)
    np.testing.assert_array_equal(again, mask)


# --- the convention, by example


def test_the_examples_of_the_docstrings_hold() -> None:
    assert doctest.testmod(rle).failed == 0


def test_the_first_gap_counts_from_zero_and_absolute_starts_from_one() -> None:
    corner = np.zeros((2, 3), bool)
    corner[0, 0] = True

    assert mask2rle(corner) == "0 1"
    assert mask2rle(corner, form="absolute") == "1 1"


def test_a_run_goes_on_across_the_border_of_a_column() -> None:
    mask = np.zeros((3, 4), bool)
    mask[2, 1] = mask[0, 2] = True

    assert mask2rle(mask) == "5 2"
    np.testing.assert_array_equal(rle2mask("5 2", (3, 4)), mask)


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (7, 1), (5, 3)])
def test_a_full_mask_is_one_run(shape: tuple[int, int]) -> None:
    count = shape[0] * shape[1]

    assert mask2rle(np.ones(shape, bool)) == f"0 {count}"
    assert mask2rle(np.ones(shape, bool), form="absolute") == f"1 {count}"
    assert rle2mask(f"0 {count}", shape).all()


@pytest.mark.parametrize("text", ["-1", " -1", "-1 \n"])
def test_minus_one_is_an_empty_mask(text: str) -> None:
    mask = rle2mask(text, (4, 3))

    assert mask.shape == (4, 3)
    assert not mask.any()
    assert mask2rle(mask) == "-1"
    assert area_px(text) == 0


def test_runs_that_touch_are_read_and_written_as_one() -> None:
    assert mask2rle(rle2mask("1 2 0 3", (3, 3))) == "1 5"
    assert mask2rle(rle2mask("2 2 4 3", (3, 3), form="absolute")) == "1 5"


def test_blanks_do_not_matter() -> None:
    np.testing.assert_array_equal(rle2mask(" 1\t2  2 1\r\n", (3, 2)), rle2mask("1 2 2 1", (3, 2)))


def test_the_mask_may_be_written_to_and_lies_down_the_columns() -> None:
    for text in ("1 2", "-1"):
        mask = rle2mask(text, (3, 2))
        mask[0, 0] = True
        assert mask.flags.f_contiguous


def test_no_text_at_all_is_an_empty_union() -> None:
    assert not union([], (3, 2)).any()
    assert union(["-1", "0 1", "-1"], (3, 2)).sum() == 1
    assert overlap_px(["0 1"]) == overlap_px([]) == 0
    assert united([]) == united(["-1", "-1"]) == "-1"
    assert united(["2 1 0 1", "-1", "0 2"]) == "0 4"


def test_a_generator_of_texts_will_do() -> None:
    assert union(iter(["0 1", "1 1"]), (3, 2)).sum() == 2
    assert overlap_px(iter(["0 2", "1 1"]), (3, 2)) == 1


# --- refusals, each with its message

PAIRS = "; a mask is written as pairs of whole numbers, an empty one as -1"
REFUSED: list[tuple[Any, Form, str]] = [
    ("", "relative", "the run-length text is empty" + PAIRS),
    (" \n", "relative", "the run-length text is empty" + PAIRS),
    (None, "relative", "the run-length text is None (NoneType), not text" + PAIRS),
    (math.nan, "relative", "the run-length text is nan (float), not text" + PAIRS),
    (b"0 1", "relative", "the run-length text is b'0 1' (bytes), not text" + PAIRS),
    ("0 one", "relative", "the run-length text holds 'one', not a whole number" + PAIRS),
    ("+5 1", "relative", "the run-length text holds '+5', not a whole number" + PAIRS),
    ("1_0 1", "relative", "the run-length text holds '1_0', not a whole number" + PAIRS),
    ("1.0 1", "relative", "the run-length text holds '1.0', not a whole number" + PAIRS),
    ("1e1 1", "relative", "the run-length text holds '1e1', not a whole number" + PAIRS),
    ("\u0663 1", "relative", "the run-length text holds '\u0663', not a whole number" + PAIRS),
    ("0 1\0", "relative", "the run-length text holds '1\\x00', not a whole number" + PAIRS),
    ("0\u00a01", "relative", "the run-length text holds '0\\xa01', not a whole number" + PAIRS),
    (
        "x" * 100,
        "relative",
        f"the run-length text holds '{'x' * 39}..., not a whole number" + PAIRS,
    ),
    ("5 -2", "relative", "the run-length text holds the negative number -2" + PAIRS),
    (
        "5 2 -1",
        "relative",
        "the empty mark -1 stands among 2 other numbers, but it stands alone" + PAIRS,
    ),
    (
        "1 2 3",
        "absolute",
        "the run-length text holds an odd count of numbers (3), but they come in pairs; it may be "
        "cut off" + PAIRS,
    ),
    (
        "0 1 4 0",
        "relative",
        "run 2 (4 0) has length 0, but a run is 1 pixel or longer; leave it out, adding its gap to "
        "the next one's",
    ),
    (
        "9" * 40 + " 1",
        "relative",
        f"the run-length text holds the number {'9' * 40}, more than the pixels of any radiograph "
        "(4294836225); check that the text is whole",
    ),
    (
        "00 1 0 " + "7" * 50,
        "relative",
        f"the run-length text holds the number {'7' * 40}..., more than the pixels of any "
        "radiograph (4294836225); check that the text is whole",
    ),
    (
        "0 13",
        "relative",
        "the runs end at pixel 13, but an image of 4 x 3 (rows x columns) has no more than 12 "
        "pixels; check that the text belongs to an image of this size",
    ),
    (
        "12 2",
        "absolute",
        "the runs end at pixel 13, but an image of 4 x 3 (rows x columns) has no more than 12 "
        "pixels; check that the text belongs to an image of this size",
    ),
    (
        "2 2 8 2 12 1",
        "relative",
        "the runs end at pixel 27, but an image of 4 x 3 (rows x columns) has no more than 12 "
        "pixels; this looks like Kaggle's absolute form; read it with form='absolute'",
    ),
    (
        "0 1 3 1",
        "absolute",
        "a run starts at 0, but absolute starts count from 1; add 1 to every start",
    ),
    (
        "2 3 1 1",
        "absolute",
        "the run 1 1 starts before the end of the run 2 3; absolute starts rise: sort and merge "
        "the runs, or read the text with form='relative' if its first numbers are gaps",
    ),
    (
        "1 2 8 3 10 1",
        "absolute",
        "the run 10 1 starts before the end of the run 8 3; absolute starts rise: sort and merge "
        "the runs, or read the text with form='relative' if its first numbers are gaps",
    ),
]


@pytest.mark.parametrize(("text", "form", "message"), REFUSED)
def test_a_text_that_is_no_mask_is_refused(text: Any, form: Form, message: str) -> None:
    with pytest.raises(RleError) as caught:
        rle2mask(text, (4, 3), form=form)

    assert str(caught.value) == message
    assert isinstance(caught.value, InputError | ValueError)


def test_without_a_shape_only_the_border_goes_unchecked() -> None:
    assert area_px("0 13") == 13
    with pytest.raises(RleError, match=f"any radiograph has no more than {MAX_PIXELS} pixels"):
        area_px(f"1 {MAX_PIXELS}")


@pytest.mark.parametrize("shape", [(0, 3), (3, -1), (3,), (3, 3, 3), (2.0, 3), None, 5])
def test_a_shape_is_two_whole_numbers(shape: Any) -> None:
    with pytest.raises(UsageError) as caught:
        rle2mask("0 1", shape)

    assert str(caught.value) == (
        f"a shape is (rows, columns), two whole numbers above 0, not {shape!r}"
    )


def test_a_shape_larger_than_any_radiograph_is_refused() -> None:
    with pytest.raises(UsageError, match=r"shape \(100000, 100000\) has more pixels than any"):
        rle2mask("0 1", (100_000, 100_000))


def test_numpy_numbers_make_a_shape() -> None:
    assert rle2mask("0 1", (np.uint16(3), np.int64(2))).shape == (3, 2)  # type: ignore[arg-type]


def test_an_unknown_form_is_refused() -> None:
    message = "unknown run-length form 'coco'; use 'relative' or 'absolute'"
    for call in (
        lambda: rle2mask("0 1", (2, 2), form="coco"),  # type: ignore[arg-type]
        lambda: mask2rle(np.ones((2, 2), bool), form="coco"),  # type: ignore[arg-type]
    ):
        with pytest.raises(UsageError) as caught:
            call()
        assert str(caught.value) == message


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (np.zeros(4, bool), r"an array of \(rows, columns\), but this one is shape \(4,\)"),
        (np.zeros((0, 3), bool), r"but this one is shape \(0, 3\)"),
        ([[0, 1]], r"but this one is \[\[0, 1\]\] \(list\)"),
        (np.zeros((2, 2)), r"holds float64; cut it with a threshold first, as in mask >= 0\.5"),
    ],
)
def test_what_is_no_mask_is_refused(mask: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        mask2rle(mask)


@pytest.mark.parametrize("function", [union, overlap_px])
def test_one_str_is_not_several_texts(function: Any) -> None:
    with pytest.raises(
        UsageError, match="expected several run-length texts, found one str; put it"
    ):
        function("0 1", (2, 2))


# --- the real table


def test_every_real_row_encodes_to_its_own_text(real_texts: list[str]) -> None:
    assert len(real_texts) == 3576
    for text in real_texts:
        mask = rle2mask(text, SIIM)
        assert mask2rle(mask) == text
    # Row order in memory takes another path through the encoder.
    for text in real_texts[::10]:
        assert mask2rle(np.ascontiguousarray(rle2mask(text, SIIM))) == text


def test_real_rows_survive_the_absolute_form(real_texts: list[str]) -> None:
    for text in real_texts[::100]:
        mask = rle2mask(text, SIIM)
        absolute = mask2rle(mask, form="absolute")
        np.testing.assert_array_equal(rle2mask(absolute, SIIM, form="absolute"), mask)


def test_gaps_count_from_zero_in_the_real_table(real_texts: list[str]) -> None:
    starts, lengths = zip(*(runs(text, SIIM) for text in real_texts), strict=True)
    first, last = np.concatenate(starts), np.concatenate(starts) + np.concatenate(lengths) - 1

    assert (first % 1024 == 0).sum() == 363
    assert (last % 1024 == 1023).sum() == 397
    assert (first % 1024 == 1023).sum() == (last % 1024 == 0).sum() == 0
