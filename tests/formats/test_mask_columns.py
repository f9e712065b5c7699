import pytest

from pleura.errors import AnnotationError
from pleura.formats.annotation_table import read_annotations
from pleura.formats.annotations import TableNote
from pleura.formats.mask_fit import check_masks
from pleura.formats.masks import MaskReading, read_masks

ROWS = ["a,0 2,Pneumothorax", "a,4 2,Effusion", "b,1 2,effusion", "c,-1,No Finding"]
BOTH = {"a": ("0 2",), "b": ("1 2",)}


@pytest.fixture
def table(tmp_path):
    def write(*rows, header="ImageId,EncodedPixels,class"):
        path = tmp_path / "masks.csv"
        path.write_text("\n".join([header, *rows]) + "\n")
        return path

    return write


@pytest.mark.parametrize("column", ["class", "Class_Name", "finding", "label", "category"])
def test_of_several_structures_the_pneumothorax_counts(table, column):
    found = read_annotations(table(*ROWS, header=f"ImageId,EncodedPixels,{column}"))
    # b shows an effusion, and nobody said whether it shows a pneumothorax too
    assert found.masks == {"a": ("0 2",), "c": ()}
    assert found.notes == (TableNote("other-structures", 2, "Effusion, effusion"),)
    assert found.unused == ()


def test_another_structure_is_named(table):
    found = read_masks(table(*ROWS), MaskReading(label="effusion"))
    assert found.masks == {"a": ("4 2",), "b": ("1 2",), "c": ()}


def test_a_mask_of_no_structure_is_refused_where_others_name_theirs(table):
    found = read_annotations(table(*ROWS, "d,5 2,"))
    assert found.refused == {"d"}
    assert found.problems[0].reason.startswith("the row has a mask, but its class is empty")


def test_nothing_of_another_structure_says_nothing_of_the_pneumothorax(table):
    rows = ["a,0 2,pneumothorax", "a,-1,effusion", "b,-1,effusion", "b,1 2,lung", "c,-1,"]
    assert read_annotations(table(*rows)).masks == {"a": ("0 2",), "c": ()}


def test_a_class_that_denies_a_pneumothorax_is_none(table):
    rows = ["a,0 2,Pneumothorax", "b,-1,No Pneumothorax", "c,1 2,no pneumothorax"]
    assert read_annotations(table(*rows)).masks == {"a": ("0 2",), "b": ()}
    with pytest.raises(AnnotationError, match="so its masks may be of several structures"):
        read_annotations(table("a,0 2,No Pneumothorax"))


@pytest.mark.parametrize(
    ("rows", "header", "masks"),
    [
        (["a,0 2,1", "b,-1,0"], "label", {"a": ("0 2",), "b": ()}),
        (["a,0 2,1.0", "a,4 2,1", "b,-1,"], "ClassId", {"a": ("0 2", "4 2"), "b": ()}),
        (["a,0 2,small pneumothorax", "b,1 2,pneumothorax"], "class", BOTH),
        (["a,0 2,x", "b,1 2,y"], "hospital", BOTH),
    ],
)  # fmt: skip
def test_a_column_that_parts_no_structures_changes_nothing(table, rows, header, masks):
    found = read_annotations(table(*rows, header=f"ImageId,EncodedPixels,{header}"))
    assert found.masks == masks
    assert found.notes == ()


@pytest.mark.parametrize(
    ("rows", "label", "why"),
    [
        (["a,0 2,1", "b,1 2,2"], "", r"the column 'class' holds 1, 2, so its masks may be of sev"),
        (
            ["a,0 2,lung", "b,-1,none"],
            "",
            r"the column 'class' holds lung, .*`mask_label`, or leave the",
        ),
        (["a,0 2,1", "b,1 2,2"], "3", r"the column 'class' holds 1, 2, and '3' is none of them"),
    ],
)
def test_what_may_be_another_structure_is_refused(table, rows, label, why):
    with pytest.raises(AnnotationError, match=rf"masks.csv: {why}"):
        read_annotations(table(*rows), label=label)


def test_a_label_wants_a_column_that_is_known(table):
    path = table("a,0 2,lung,x", header="ImageId,EncodedPixels,kind of thing,room")
    with pytest.raises(AnnotationError, match=r"none is known to hold structures; call the one"):
        read_annotations(path, label="lung")


def test_a_number_is_found_where_names_stand_beside_it(table):
    header = "ImageId,EncodedPixels,class_id,class_name"
    path = table("a,0 2,7,pneumothorax", "b,1 2,3,lung", header=header)
    assert read_annotations(path).masks == {"a": ("0 2",)}
    assert read_annotations(path, label="3").masks == {"b": ("1 2",)}


@pytest.mark.parametrize("column", ["has_pneumo", "Pneumothorax", "pneumothorax_label"])
def test_a_column_that_says_the_contrary_is_told(table, column):
    rows = ["a,0 2,0", "b,-1,1", "c,-1,0", "d,1 2,1.0", "e,-1,", "f,0 2,0.7"]
    found = read_annotations(table(*rows, header=f"ImageId,EncodedPixels,{column}"))
    assert set(found.masks) == set("abcdef")
    assert found.notes == (TableNote("contrary-column", 2, "the first is on line 2"),)


READERS = ["a,0 4,A", "a,2 4,B", "a,3 4,C", "b,0 2,A", "b,-1,B", "b,-1,C", "c,0 2,A"]


@pytest.mark.parametrize("column", ["reader", "Annotator_ID", "rad_id", "labeled by"])
def test_of_several_readers_the_union_counts_or_what_most_of_them_drew(table, column):
    path = table(*READERS, header=f"ImageId,EncodedPixels,{column}")
    found = read_masks(path)
    assert (found.masks["b"], found.lines["b"], found.unused) == (("0 2",), (5,), ())
    assert found.readers == {"a": 3, "b": 3}
    assert found.doubts[0].startswith("2 of 3 masks are of several readers, by a column")
    found = read_masks(path, MaskReading(readers="majority"))
    assert found.masks == {"a": ("2 4",), "b": (), "c": ("0 2",)}


def test_readers_of_whom_no_two_agree_on_a_pixel_are_refused(table):
    header = "ImageId,EncodedPixels,reader"
    path = table("a,0 2,A", "a,5 2,B", "b,0 2,A", "b,-1,B", "c,-1,A", "c,-1,B", header=header)
    found = read_masks(path, MaskReading(readers="majority"))
    assert found.masks == {"c": ()}
    assert [problem.code for problem in found.problems] == ["readers-disagree"] * 2
    assert found.problems[1].reason.startswith("1 of its 2 readers drew a mask, but no pixel is in")


def test_rows_that_cover_the_same_pixels_are_of_several_readers(table):
    found = read_annotations(
        table("a,0 9,1", "a,1 9,1", "b,0 9,1", "b,20 9,1", header="ImageId,EncodedPixels,n")
    )
    assert found.drawn_twice() == {"a": 0.8}
    assert found.doubts[0].startswith("1 of 2 masks are of several readers")


@pytest.mark.parametrize(
    ("header", "reading", "message"),
    [
        (
            "ImageId,EncodedPixels,who",
            {"readers": "majority"},
            "but no column says who drew a mask",
        ),
        ("ImageId,EncodedPixels,who", {"reader_column": "by"}, "`reader_column` 'by' is none of"),
    ],
)
def test_a_column_of_readers_that_is_missing(table, header, reading, message):
    with pytest.raises(AnnotationError, match=message):
        read_masks(table("a,0 2,x", header=header), MaskReading(**reading))


def test_only_a_table_says_who_drew_a_mask(tmp_path):
    (tmp_path / "m.json").write_text("{}")
    for reading in (MaskReading(readers="majority"), MaskReading(reader_column="x")):
        with pytest.raises(AnnotationError, match="only a table of run lengths says who drew"):
            read_masks(tmp_path / "m.json", reading)


@pytest.mark.parametrize(
    "header", ["height,width", "ImageHeight,ImageWidth", "rows,columns", "H,W"]
)
def test_the_size_that_a_row_says_is_held_against_its_runs_and_its_image(table, header):
    rows = ["a,10 2,4,5", "b,18 2,4,5", "c,18 3,4,5", "d,-1,4.0,5", "e,1 2,x,5", "f,1 2,,"]
    found = read_annotations(table(*rows, header=f"ImageId,EncodedPixels,{header}"))
    assert found.sizes == {"a": (4, 5), "b": (4, 5), "d": (4, 5)}
    assert found.unused == ()
    told = {problem.image_id: problem for problem in found.problems}
    assert told["c"].code == "runs-outside"
    assert told["e"].reason.startswith("its height or width is 'x', but an image has 1 to 65,535")
    laid = check_masks(found, {"a": (4, 5), "b": (5, 4), "f": (4, 5)})
    assert set(laid.masks) == {"a", "d", "f"}
    (problem,) = [one for one in laid.problems if one.image_id == "b"]
    assert (problem.code, problem.line) == ("another-size", 3)
    assert problem.reason.startswith(
        "its row says 4 x 5 pixels (rows x columns), but its image has"
    )


def test_two_sizes_of_one_image_and_the_width_of_a_box(table):
    path = table("a,0 2,4,5", "a,4 2,5,4", header="ImageId,EncodedPixels,height,width")
    (problem,) = read_annotations(path).problems
    assert (
        "says that its image has 5 x 4 (rows x columns), and another row of this image says 4 x 5"
        in (problem.reason)
    )
    found = read_annotations(
        table("a,0 2,1,1,4,5", header="ImageId,EncodedPixels,x,y,height,width")
    )
    assert found.sizes == {}
