import doctest
import gzip
import os
import pickle
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from pleura.errors import AnnotationError, OtherFormError, OutputError, RleError, UsageError
from pleura.formats import annotation_table, csv_table
from pleura.formats.annotation_table import columns_of, read_annotations
from pleura.formats.annotations import Annotations, TableNote
from pleura.formats.mask_fit import check_masks
from pleura.formats.rle import mask2rle, rle2mask, union
from pleura.formats.submission import write_submission

TABLES = Path(__file__).parents[2].parent / "shared" / "data" / "annotations"
SIIM = (1024, 1024)
WANTED = (
    "an annotation table is a CSV file with the columns ImageId and EncodedPixels, such as "
    "SIIM-ACR's train-rle.csv; name others with `image_column` and `mask_column`"
)
PAIRS = "; a mask is written as pairs of whole numbers, an empty one as -1"
ID_RULE = "an id is 1 to 64 letters, digits, '.', '_' or '-', a letter or digit first"

Table = Callable[..., Path]


@pytest.fixture
def table(tmp_path: Path) -> Table:
    """Write lines below a header, or bytes as they are."""

    def write(
        *lines: str, header: str = "ImageId, EncodedPixels", raw: bytes | None = None
    ) -> Path:
        path = tmp_path / "table.csv"
        content = "\n".join([header, *lines, ""] if header else [*lines, ""]).encode()
        path.write_bytes(content if raw is None else raw)
        return path

    return write


def reasons(found: Annotations) -> list[tuple[int, str, str]]:
    return [(problem.line, problem.image_id, problem.reason) for problem in found.problems]


def refusal(path: Path, **options: Any) -> str:
    with pytest.raises(AnnotationError) as caught:
        read_annotations(path, **options)
    return str(caught.value).removeprefix(f"{path}: ")


# --- tables that can be read


def test_the_examples_of_the_docstrings_hold() -> None:
    assert doctest.testmod(annotation_table).failed == 0


def test_an_image_is_one_entry_however_many_rows_it_has(table: Table) -> None:
    found = read_annotations(table("b, 0 2", "a, -1", "b, 1 2", "c,4 1", "b, 8 1"))

    assert found.masks == {"b": ("0 2", "1 2", "8 1"), "a": (), "c": ("4 1",)}
    assert list(found.masks) == ["b", "a", "c"]
    assert found.lines == {"b": (2, 4, 6), "a": (3,), "c": (5,)}
    assert (found.rows, found.images, found.positives, found.empty) == (5, 3, 2, 1)
    assert found.with_several_rows == 1
    assert found.overlapping() == ("b",)
    assert found.problems == ()


def test_the_mask_of_an_image_is_the_union_of_its_rows(table: Table) -> None:
    found = read_annotations(table("b, 0 2", "a,-1", "b, 1 2"))

    np.testing.assert_array_equal(found.mask("b", (2, 2)), union(["0 2", "1 2"], (2, 2)))
    assert found.mask("a", (3, 2)).shape == (3, 2)
    assert not found.mask("a", (3, 2)).any()


@pytest.mark.parametrize(
    "raw",
    [
        b"ImageId, EncodedPixels\na, -1\nb, 1 2\n",
        b"ImageId,EncodedPixels\na,-1\nb,1 2",
        b"\xef\xbb\xbfImageId,EncodedPixels\r\na,-1\r\nb,1 2\r\n",
        b'"ImageId", "EncodedPixels"\n"a", "-1"\n"b","1 2"\n',
        b"\n \nImageId,EncodedPixels\n\na , -1 \n\nb, 1 2  \n\n",
        b"EncodedPixels,age,ImageId\n-1,38,a\n1 2,,b\n",
        b"a,-1\nb,1 2\n",
        b"\xef\xbb\xbfa,-1\nb,1 2\n",
        b"b,1 2\na,-1\n",
    ],
)
def test_spellings_of_the_same_table_read_alike(table: Table, raw: bytes) -> None:
    plain = read_annotations(table(raw=raw))
    packed = read_annotations(table(raw=gzip.compress(raw)))

    assert plain.masks == packed.masks == {"a": (), "b": ("1 2",)}
    assert plain.problems == ()
    assert plain.rows == 2


def test_what_is_odd_yet_harmless_is_noted(table: Table) -> None:
    sample = read_annotations(table(raw=b"\xef\xbb\xbfa, 1 2\n"))
    repeats = read_annotations(table("a,-1", "b,0 1", "a, -1", "b,3 1", "b,0 1", "b,0 1"))

    assert sample.notes == (TableNote("byte-order-mark", 1), TableNote("no-header", 1))
    assert repeats.notes == (
        TableNote("header-variant", 1),
        TableNote("empty-mark-variant", 1),
        TableNote("repeated-rows", 3),
    )
    assert repeats.masks == {"a": (), "b": ("0 1", "3 1")}
    assert repeats.lines == {"a": (2,), "b": (3, 5)}
    assert repeats.rows == 6
    plain = read_annotations(table("a,-1", "b,0 1", header="ImageId,EncodedPixels"))
    assert plain.notes == read_annotations(table(header="ImageId,EncodedPixels")).notes == ()


def test_each_problem_is_of_a_kind(table: Table) -> None:
    rows = ("a,1 2", "b,0 9999", "c,3 0", "d,-1", "d,0 1", "e,x", "f,1", "g,0 1", "h,0 1")
    found = read_annotations(table(*rows), shape=(64, 64))

    assert {problem.image_id: problem.code for problem in found.problems} == {
        "b": "runs-outside",
        "c": "zero-runs",
        "d": "empty-beside-mask",
        "e": "malformed-rows",
        "f": "malformed-rows",
    }


def test_the_absolute_form_is_read_when_asked_for(table: Table) -> None:
    found = read_annotations(table("a, 1 2", "a, 2 1"), form="absolute")

    np.testing.assert_array_equal(found.mask("a", (2, 2)), rle2mask("0 2", (2, 2)))
    assert found.overlapping() == ("a",)


def test_annotations_travel_to_other_processes(table: Table) -> None:
    found = read_annotations(table("a, 1 2", "b, x"))

    assert pickle.loads(pickle.dumps(found)) == found  # noqa: S301


# --- rows that cannot be trusted


@pytest.mark.parametrize(
    ("row", "image_id", "reason"),
    [
        ("b, 1 x", "b", "the run-length text holds 'x', not a whole number" + PAIRS),
        ("b,", "b", "the run-length text is empty" + PAIRS),
        ("b,nan", "b", "the run-length text holds 'nan', not a whole number" + PAIRS),
        ("b", "b", "the row has 1 values, but the table has 2 columns; repair it"),
        ("b,1 2,3 4", "b", "the row has 3 values, but the table has 2 columns; repair it"),
        ('b,"1 2', "b", csv_table.UNCLOSED),
        (f'b,"{"1 " * 100_000}"', "b", csv_table.UNCLOSED),
        (",1 2", "''", "this is not an image id; " + ID_RULE),
        ("../b,1 2", "'../b'", "this is not an image id; " + ID_RULE),
        (".b,1 2", "'.b'", "this is not an image id; " + ID_RULE),
        ("b c,1 2", "'b c'", "this is not an image id; " + ID_RULE),
        ("\x1b[2Jb,1 2", "'\\x1b[2Jb'", "this is not an image id; " + ID_RULE),
        ("b" * 65 + ",1 2", f"'{'b' * 64}...'", "this is not an image id; " + ID_RULE),
    ],
)
def test_a_bad_row_takes_its_image_out_and_no_other(
    table: Table, row: str, image_id: str, reason: str
) -> None:
    found = read_annotations(table("a, 0 1", "b, 5 1", row, "c, -1"))

    assert reasons(found) == [(4, image_id, reason)]
    assert found.rows == 4
    assert found.refused == {image_id}
    assert list(found.masks) == (["a", "c"] if image_id == "b" else ["a", "b", "c"])
    assert list(found.lines) == list(found.masks)


@pytest.mark.parametrize(
    ("rows", "marked", "masked"),
    [(("b,-1", "b,1 2"), 3, 4), (("b,1 2", "b,-1"), 4, 3), (("b,1 2", "b,-1", "b,-1"), 4, 3)],
)
def test_an_image_both_marked_and_masked_is_never_guessed(
    table: Table, rows: tuple[str, ...], marked: int, masked: int
) -> None:
    found = read_annotations(table("a,-1", *rows))
    reason = (
        f"the image is marked -1 on line {marked}, but has a mask on line {masked}; remove the "
        "wrong one of them"
    )

    assert reasons(found) == [(4, "b", reason)]
    assert found.masks == {"a": ()}


def test_problems_come_in_the_order_of_the_file(table: Table) -> None:
    found = read_annotations(table("a,-1", "a,1 2", "b,x", "c,9999 1", "d,1 1"), shape=(5, 5))

    assert [(p.line, p.image_id) for p in found.problems] == [(3, "a"), (4, "b"), (5, "c")]
    assert str(found.problems[1]) == (
        "line 4, image b: the run-length text holds 'x', not a whole number" + PAIRS
    )


def test_a_mask_that_cannot_be_used_is_not_a_negative(table: Table) -> None:
    path = table("a, 1 x", "b,-1")
    found = read_annotations(path)
    with pytest.raises(AnnotationError) as refused:
        found.mask("a", (2, 2))
    with pytest.raises(AnnotationError) as unlabelled:
        found.mask("c", (2, 2))

    assert str(refused.value) == (
        f"{path}: image a has no mask to use (line 2, image a: the run-length text holds 'x', not "
        f"a whole number{PAIRS}); treat it as unlabelled, not as negative"
    )
    assert str(unlabelled.value) == (
        f"{path}: image c has no mask to use (no such row); treat it as unlabelled, not as negative"
    )


# --- masks against the size of their image

OUTSIDE = (
    "the runs end at pixel 9, but an image of 2 x 3 (rows x columns) has no more than 6 pixels; "
    "check that the text belongs to an image of this size"
)


def test_a_mask_that_leaves_its_own_image_takes_it_out(table: Table) -> None:
    found = read_annotations(table("a, 0 2", "b, 0 1", "b, 0 9", "c,-1", "d, 0 9", "e,0 6"))
    checked = check_masks(found, dict.fromkeys("abce", (2, 3)))

    assert reasons(checked) == [(4, "b", OUTSIDE)]
    assert list(checked.masks) == list(checked.lines) == ["a", "c", "d", "e"]
    assert found.problems == ()
    assert read_annotations(found.path, shape=(2, 3)).refused == {"b", "d"}
    assert check_masks(found, {}) == found


def test_asking_for_a_mask_that_leaves_its_image_names_the_row(table: Table) -> None:
    path = table("b, 0 1", "b, 0 9")
    with pytest.raises(RleError) as caught:
        read_annotations(path).mask("b", (2, 3))

    assert str(caught.value) == f"{path}: line 3, image b: {OUTSIDE}"


def test_a_table_in_the_other_form_is_refused_with_the_way_to_read_it(table: Table) -> None:
    path = table("a, 3 2 9 2 15 1", "b, 1 4 7 4 13 3", "c, 1 1", "d, -1", "e, -1", "f, -1")

    assert refusal(path, shape=(4, 4)) == (
        "2 of 3 mask rows do not fit as the relative run-length form, but do as the absolute one; "
        "read the table with `rle` absolute"
    )
    assert read_annotations(path, shape=(4, 4), form="absolute").positives == 3


def test_a_relative_table_read_as_absolute_is_refused_too(table: Table) -> None:
    path = table("a, 5 2 2 2 2 2", "b, 4 3 1 3")

    assert refusal(path, form="absolute") == (
        "2 of 2 mask rows do not fit as the absolute run-length form, but do as the relative one; "
        "read the table with `rle` relative"
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"shape": (0, 4)},
            r"a shape is \(rows, columns\), two whole numbers above 0, not \(0, 4\)",
        ),
        ({"form": "coco"}, "unknown run-length form 'coco'; use 'relative' or 'absolute'"),
    ],
)
def test_options_that_make_no_sense_are_refused(
    table: Table, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        read_annotations(table("a,-1"), **options)


# --- files that are no such table


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"", "the file is empty; " + WANTED),
        (b" \n\r\n", "the file is empty; " + WANTED),
        (b"id,mask\na,-1\n", "the columns are id, mask; " + WANTED),
        (b"ImageId\na\n", "the columns are ImageId; " + WANTED),
        (b"a b;-1\n", "the columns are 'a b;-1'; " + WANTED),
        (b"c,c,c,c,c,c,c,c,c,c\n", f"the columns are {', '.join('c' * 8)} and 2 more; " + WANTED),
        (
            b"ImageId,EncodedPixels,EncodedPixels\na,-1,5 5\n",
            "two columns have the name EncodedPixels; rename one of them",
        ),
        (
            b"ImageId,ImageId,EncodedPixels\na,b,-1\n",
            "two columns have the name ImageId; rename one of them",
        ),
        (b'"ImageId\n', "the columns are nothing that reads as CSV; " + WANTED),
        (
            b"ImageId,EncodedPixels\na,\xff\n",
            "line 2 holds byte 0xff, so this is not a text file in UTF-8; save the table as CSV in "
            "UTF-8",
        ),
        (
            "ImageId,EncodedPixels\n".encode("utf-16") + b"\0\xd8a\0",
            "is no whole text in UTF-16, as its beginning says; save the table as CSV in UTF-8",
        ),
        (
            b"ImageId,EncodedPixels\na,\0\n",
            "line 2 holds a null byte, so this is not a text file in UTF-8; save the table as CSV "
            "in UTF-8",
        ),
        (
            b"\x1f\x8bnonsense",
            "could not be read (Unknown compression method); check the path, or fetch the file "
            "again",
        ),
        (
            gzip.compress(b"ImageId,EncodedPixels\n" * 9, mtime=0)[:-9],
            "could not be read (Compressed file ended before the end-of-stream marker was "
            "reached); check the path, or fetch the file again",
        ),
    ],
)
def test_a_file_that_is_no_table_is_refused(table: Table, raw: bytes, message: str) -> None:
    assert refusal(table(raw=raw)) == message


def test_a_zip_archive_is_named_as_one(tmp_path: Path) -> None:
    path = tmp_path / "train-rle.csv.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("train-rle.csv", "ImageId,EncodedPixels\n")

    assert refusal(path) == f"is a ZIP file; name the table in it, such as {path}/labels.csv"


def test_a_path_that_is_no_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")

    assert refusal(tmp_path) == "is a folder; name a regular file"
    assert refusal(tmp_path / "pipe") == "is a pipe; name a regular file"
    assert refusal(tmp_path / "none.csv") == (
        "could not be read (No such file or directory); check the path"
    )


def test_a_small_file_that_unpacks_to_a_huge_line_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "bomb.csv.gz"
    path.write_bytes(gzip.compress(b"0" * (csv_table.MAX_LINE_BYTES + 10)))

    assert path.stat().st_size < 20_000
    assert refusal(path) == "line 1 is longer than 16777216 bytes; " + WANTED


@pytest.mark.parametrize(
    ("limit", "value", "message"),
    [
        ("MAX_TABLE_BYTES", 200, "the table holds more than 200 bytes (decompressed); " + WANTED),
        ("MAX_LINES", 10, "the table has more than 10 lines; " + WANTED),
        (
            "MAX_PROBLEMS",
            5,
            "more than 5 rows are refused, the first one on line 2, image a: the run-length text "
            f"holds 'x', not a whole number{PAIRS}; {WANTED}",
        ),
    ],
)
def test_an_unreasonable_table_is_refused(
    table: Table, monkeypatch: pytest.MonkeyPatch, limit: str, value: int, message: str
) -> None:
    module = annotation_table if hasattr(annotation_table, limit) else csv_table
    monkeypatch.setattr(module, limit, value)

    assert refusal(table(*["a,x"] * 100)) == message


cell = st.one_of(
    st.sampled_from(["ImageId", " EncodedPixels", "-1", "1 2", "0 1 5 2", "a", "b", '"', '"a"']),
    st.text(max_size=5),
)
csv_like = st.lists(st.lists(cell, max_size=3).map(",".join), max_size=6).map("\n".join)


@given(
    st.one_of(
        st.binary(max_size=200),
        st.binary(max_size=50).map(lambda raw: b"\x1f\x8b\x08\x00" + raw),
        csv_like.map(lambda text: text.encode("utf-8", "surrogatepass")),
        csv_like.map(lambda text: b"ImageId,EncodedPixels\n" + text.encode("utf-8", "replace")),
        csv_like.map(lambda text: gzip.compress(text.encode("utf-8", "replace"))),
    )
)
@example(b"ImageId,EncodedPixels\na,-1\n")
@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_any_bytes_are_a_table_or_an_annotation_error(table: Table, raw: bytes) -> None:
    try:
        found = read_annotations(table(raw=raw), shape=(50, 40))
    except AnnotationError:
        return
    for image_id in found.masks:
        assert found.mask(image_id, (50, 40)).any() == bool(found.masks[image_id])
    assert not found.refused & set(found.masks)


# --- submissions


def test_a_submission_has_one_row_per_image_in_the_order_given(tmp_path: Path) -> None:
    path = tmp_path / "out" / "submission.csv"
    mask = np.eye(3, dtype=bool)
    write_submission(path, iter([("b", mask2rle(mask)), ("a", "-1"), ("ID_0.9-x", " 0 1 ")]))

    assert path.read_bytes() == b"ImageId,EncodedPixels\nb,0 1 3 1 3 1\na,-1\nID_0.9-x,0 1\n"
    again = read_annotations(path)
    np.testing.assert_array_equal(again.mask("b", (3, 3)), mask)
    assert again.masks["a"] == ()


@pytest.mark.parametrize(
    ("rows", "error", "message"),
    [
        (
            [("a", "-1"), ("b", "0 1"), ("a", "0 1")],
            UsageError,
            "image a comes twice, but a submission has one row per image; unite its masks first",
        ),
        ([("a,b", "-1")], UsageError, f"'a,b' is not an image id; {ID_RULE}"),
        ([("a", "")], RleError, "image a: the run-length text is empty" + PAIRS),
        ([("a", "=1 2")], RleError, "image a: the run-length text holds '=1', not a whole number"),
    ],
)
def test_a_submission_that_would_be_wrong_is_not_written(
    tmp_path: Path, rows: list[tuple[str, str]], error: type[Exception], message: str
) -> None:
    path = tmp_path / "submission.csv"
    path.write_text("old")
    with pytest.raises(error) as caught:
        write_submission(path, rows)

    assert str(caught.value).startswith(f"{path}: {message}")
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["submission.csv"]  # noqa: PTH208


def test_a_submission_that_cannot_be_written_is_an_output_error(tmp_path: Path) -> None:
    (tmp_path / "submission.csv").mkdir()
    with pytest.raises(
        OutputError, match=r"submission\.csv: could not be written \(Is a directory\)"
    ):
        write_submission(tmp_path / "submission.csv", [("a", "-1")])


# --- masks of another size


def block(rows: int, columns: int) -> str:
    mask = np.zeros((rows, columns), bool)
    mask[rows // 4 : rows // 2, columns // 4 : columns // 2] = True
    return mask2rle(mask)


def test_masks_made_for_another_size_take_their_images_out(table: Table) -> None:
    found = read_annotations(table(f"a,{block(48, 40)}", f"b,{block(96, 80)}", "c,-1"))
    checked = check_masks(found, dict.fromkeys("abc", (96, 80)))

    assert checked.masks.keys() == {"b", "c"}
    (problem,) = checked.problems
    assert (problem.code, problem.made_for) == ("another-size", (48, 40))
    assert str(problem) == (
        "line 2, image a: the mask was likely made for a picture of 48 x 40 (rows x columns), "
        "where alone its runs in neighbouring columns touch, but its image has 96 x 80; resize the "
        "mask, or take the image that it was drawn on"
    )


@pytest.mark.parametrize(
    ("text", "shape", "code", "reason"),
    [
        (block(96, 80), (40, 80), "runs-outside", "it was likely made for 96 x 192 (rows x colu"),
        (block(80, 96), (96, 80), "another-size", "touch (the runs may have been counted along"),
        ("300 7", (96, 80), "another-size", ", as 3 of the 3 masks of this table that show it we"),
        (
            "21 10 117 10 213 10 309 10 405 10 501 10",
            (96, 80),
            "mixed-forms",
            "touch only when read in the absolute run-length form, unlike the other rows; write",
        ),
    ],
)
def test_what_is_said_of_a_mask_that_does_not_fit(
    table: Table, text: str, shape: tuple[int, int], code: str, reason: str
) -> None:
    count = 3 if text == "300 7" else 2
    others = [f"b{n},{block(48, 40)}" for n in range(count)]
    found = read_annotations(table(f"a,{text}", *others))
    right = (96, 80) if text == "300 7" else (48, 40)
    shapes = {"a": shape} | {f"b{n}": right for n in range(count)}
    problem = check_masks(found, shapes).problems[0]

    assert (problem.image_id, problem.code) == ("a", code)
    assert reason in problem.reason


def test_one_odd_mask_says_nothing_of_those_that_are_too_small_to_tell(table: Table) -> None:
    found = read_annotations(table(f"a,{block(48, 40)}", "b,300 7", "c,40 3"))
    checked = check_masks(found, dict.fromkeys("abc", (96, 80)))
    assert [problem.image_id for problem in checked.problems] == ["a"]
    assert checked.masks.keys() == {"b", "c"}


def test_a_table_that_touches_only_in_the_other_form_is_refused(table: Table) -> None:
    texts = " ".join(f"{21 + 96 * column} 10" for column in range(6))
    with pytest.raises(OtherFormError, match=r"2 of 2 mask rows do not fit as the relative run-l"):
        read_annotations(table(f"a,{texts}", f"b,{texts}"), shape=(96, 80))


# --- the real tables


@pytest.mark.parametrize(
    ("name", "rows", "images", "positives"),
    [
        ("train-rle-stage1.csv.gz", 11_582, 10_675, 2_379),
        ("train-rle-stage2.csv.gz", 12_954, 12_047, 2_669),
    ],
)
def test_the_real_tables_count_as_published(
    name: str, rows: int, images: int, positives: int
) -> None:
    path = TABLES / name
    if not path.is_file():
        pytest.skip(f"the real table is not here ({path})")
    found = read_annotations(path, shape=SIIM)

    assert (found.rows, found.images, found.positives) == (rows, images, positives)
    assert found.empty == images - positives
    assert found.with_several_rows == 624
    assert len(found.overlapping()) == 183
    assert found.problems == ()
    assert TableNote("header-variant", 1) in found.notes


def test_the_real_table_is_refused_as_absolute() -> None:
    path = TABLES / "train-rle-stage2.csv.gz"
    if not path.is_file():
        pytest.skip(f"the real table is not here ({path})")

    assert refusal(path, form="absolute").startswith("3576 of 3576 mask rows do not fit as the ab")


def test_exchanged_sides_are_named(table: Table) -> None:
    found = replace(read_annotations(table("a,1 2")), sizes={"a": (4, 6)})
    (problem,) = check_masks(found, {"a": (6, 4)}).problems
    assert problem.reason.endswith("has 6 x 4, so rows and columns are exchanged: mend their order")


@pytest.mark.parametrize("delimiter", [";", "\t", "|"])
@pytest.mark.parametrize("head", ["ImageId,EncodedPixels\n", ""])
def test_a_table_with_another_separator(tmp_path, delimiter, head):
    path = tmp_path / "masks.csv"
    path.write_text(f"{head}a,-1\nb,3 4\n".replace(",", delimiter))
    annotations = read_annotations(path)
    assert annotations.masks == {"a": (), "b": ("3 4",)}
    assert not annotations.problems
    assert not head or columns_of(path) == {"ImageId", "EncodedPixels"}


def test_a_row_that_excel_cut_off_is_refused(tmp_path):
    text = "1 20 " * 6555
    path = tmp_path / "masks.csv"
    path.write_text(f"ImageId,EncodedPixels\na,{text[:32_767]}\nb,{text[:32_765]}\n")
    annotations = read_annotations(path)
    assert list(annotations.masks) == ["b"]
    assert annotations.problems[0].reason == (
        "the run-length text has 32,767 characters, as many as Excel keeps of a longer one; take "
        "the row from the table before it was saved there"
    )


def test_numbers_that_rise_as_places_do_are_no_gaps_whatever_the_size(tmp_path):
    table = tmp_path / "t.csv"
    rows = [" ".join(f"{100 * run + n} 9" for run in range(1, 6)) for n in range(4)]
    gaps = " ".join(["91 9"] * 5)

    def write(*texts):
        lines = "".join(f"i{n},{text}\n" for n, text in enumerate(texts))
        table.write_text(f"ImageId,EncodedPixels\n{lines}")

    write(*rows, gaps, "1 5")
    with pytest.raises(OtherFormError, match="in 4 of its 5 rows of 5 runs or more the first numb"):
        read_annotations(table)
    assert len(read_annotations(table, form="absolute").masks) == 5
    write(*rows[:2], gaps, gaps)
    assert len(read_annotations(table).masks) == 4
