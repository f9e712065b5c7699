import pytest

from pleura.errors import AnnotationError
from pleura.formats.annotation_table import read_annotations
from pleura.formats.annotations import TableNote
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
