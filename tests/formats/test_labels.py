import gzip

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pleura import config
from pleura.errors import DataError, UsageError
from pleura.formats import labels
from pleura.formats.label_row import Box
from pleura.formats.labels import boxes_text, key_of, read_labels

NIH = """image,labels,pneumothorax,adjudicated,boxes,patient,age,sex,view
00000001_000.jpg,No Finding,0,,,1,57,M,PA
00000002_000.jpg,Effusion,1,0,,2,80,f,AP
00000003_001.jpg,Pneumothorax,1,,259.0 188.5 107.3 115.9; 1 2 3 4,3,,,LL
00000004_000.jpg,No Finding,,,,4,20,M,PA
"""


@pytest.fixture
def table(tmp_path):
    """A function from a text and settings to what is read of it."""

    def read(text, **settings):
        path = tmp_path / "labels.csv"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return read_labels(config.Labels(table=str(path), **settings))

    return read


def test_the_first_column_that_says_something_counts_as_far_as_it_is_believed(table):
    found = table(NIH, columns=["adjudicated", "pneumothorax:0.7"])
    said = {key: (one.probability, one.weight) for key, one in found.labels.items()}
    assert said == {
        "00000001_000": (0.0, 0.7),
        "00000002_000": (0.0, 1.0),
        "00000003_001": (1.0, 0.7),
        "00000004_000": (None, 1.0),
    }
    second = found.labels["00000002_000"]
    assert second.otherwise == "adjudicated 0, pneumothorax 1"
    assert (second.patient, second.sex, second.age, second.view) == ("2", "F", "80", "AP")
    assert found.labels["00000003_001"].view == ""
    assert found.rows == 4
    assert not found.problems
    assert found.names == set(found.labels)


def test_a_box_is_a_label_of_its_own(table):
    found = table(NIH, columns=["pneumothorax:0.7"], boxes="boxes:0.9", boxes_side=1024)
    label = found.labels["00000003_001"]
    assert (label.probability, label.weight) == (1.0, 0.9)
    assert label.boxes == (Box(259.0, 188.5, 107.3, 115.9), Box(1, 2, 3, 4))
    assert found.boxes_side == 1024
    assert boxes_text(label.boxes, 0.5) == "129.5 94.25 53.65 57.95;0.5 1 1.5 2"


def test_weights_of_a_column_and_of_a_row_multiply_and_what_is_not_believed_says_nothing(table):
    text = "image,pneumothorax,w\na,1,0.5\nb,0,0\nc,1,\n"
    found = table(text, columns=["pneumothorax:0.8"], weight="w").labels
    assert found["a"].weight == pytest.approx(0.4)
    assert found["b"].probability is None
    assert found["c"].weight == 0.8


@pytest.mark.parametrize(
    ("text", "settings"),
    [
        ("image;pneumothorax\na.PNG;0,25\n", {}),
        ("Image Index\tpneumothorax\na\t0.25\n", {}),
        ('\ufeff image , "pneumothorax" \n"a.dcm" , 0.25 \n', {}),
        ("name,p\n a.jpeg ,.25\n", {"id": "name", "columns": ["p"]}),
        (gzip.compress(b"ImageId,pneumothorax\na,25e-2\n", mtime=0), {}),
    ],
)
def test_tables_of_other_dialects(table, text, settings):
    assert {key: one.probability for key, one in table(text, **settings).labels.items()} == {
        "a": 0.25
    }


@pytest.mark.parametrize(("word", "value"), [("True", 1), ("yes", 1), ("FALSE", 0), ("no", 0)])
def test_words_that_are_labels(table, word, value):
    assert table(f"image,pneumothorax\na,{word}\n").labels["a"].probability == value


def test_rows_that_say_the_same_count_once_and_boxes_of_several_rows_are_all_kept(table):
    text = "image,pneumothorax,box,patient\na,1,1 1 2 2,\na,1,5 5 2 2,7\na,,,\nb,0,,\nb,0,,\n"
    found = table(text, boxes="box")
    assert not found.problems
    assert found.labels["a"].boxes == (Box(1, 1, 2, 2), Box(5, 5, 2, 2))
    assert (found.labels["a"].line, found.labels["a"].patient) == (2, "7")
    assert (found.rows, found.repeated) == (5, 1)


@pytest.mark.parametrize(
    ("rows", "code", "message"),
    [
        ("a,2,,", "label-rows", "line 2, image a: pneumothorax is '2'; it must be 0, 1 or a prob"),
        ("a,-2,,", "label-rows", "pneumothorax is '-2'; it must be 0, 1 or a probability between"),
        ("a,none,,", "label-rows", "pneumothorax is 'none'; it must be"),
        ("a,maybe,,", "label-rows", "pneumothorax is 'maybe'; it must be"),
        ("a,1,1.5,", "label-rows", "w is '1.5'; it must be a number from 0 to 1, or empty"),
        ("a,1,,1 2 3", "label-rows", "the box is '1 2 3'; it must be x, y, width and height in"),
        ("a,1,,1 2 0 3", "label-rows", "the box is '1 2 0 3'; it must be x, y, width and height"),
        ("a,1,,1 2 inf 3", "label-rows", "the box is '1 2 inf 3'; it must be x, y, width and"),
        ("a,0,,1 2 3 4", "box-beside-negative", "there is a box, but pneumothorax is 0; remove t"),
        (
            "a,1",
            "label-rows",
            "image a: the row has 2 values, but the table has 4 columns; repair it",
        ),
        ("a,1,,,,x", "label-rows", "image a: the row has 6 values, but the table has 4 columns"),
        ("/a,1,,", "label-rows", "'/a' is not an image id; an id is 1 to 64 letters"),
        (",1,,", "label-rows", "'' is not an image id"),
        ("a,1,,\na,0,,", "label-conflict", "line 3, image a: its probability is another one than "),
        ("a,1,1,\na,1,0.5,", "label-conflict", "its weight is another one than on line 2"),
    ],
)
def test_what_cannot_be_trusted_is_a_problem_and_its_image_has_no_label(table, rows, code, message):
    found = table(
        f"image,pneumothorax,w,box\n{rows}\nother,1,,\nnone,0,,\n", weight="w", boxes="box"
    )
    (problem,) = found.problems
    assert problem.code == code
    assert message in str(problem)
    assert set(found.labels) == {"other", "none"}
    assert "other" in found.names


def test_another_patient_is_a_conflict_and_is_not_named(table):
    found = table("image,pneumothorax,patient\na,1,SMITH\na,1,JONES\n")
    assert str(found.problems[0]).endswith(
        "its patient is another one than on line 2; keep one row"
    )
    assert "a" in found.names


@pytest.mark.parametrize(
    ("text", "settings", "message"),
    [
        (
            "x,y\n1,2\n",
            {},
            "a table of labels has a column of ids, named image or ImageId or Image ",
        ),
        ("x,y\n1,2\n", {"id": "z"}, "named z; found x, y; name it with `label_id`"),
        ("", {}, "found none; name it with `label_id`"),
        ("image,y\n1,2\n", {}, "has no column 'pneumothorax' .*; its columns are image, y"),
        ("image,pneumothorax\n", {"weight": "w"}, "has no column 'w'"),
        ("image,pneumothorax\n", {"boxes": "b:0.5"}, "has no column 'b'"),
        ("image,pneumothorax\n", {"patient": "p"}, "has no column 'p'"),
        ("image,pneumothorax,image\n", {}, "two columns have the name image; rename one of them"),
        (
            b"\xff\xfe\0\xd8a\0",
            {},
            "is no whole text in UTF-16, as its beginning says; save the table as",
        ),
        (b"a\0b", {}, "holds a null byte"),
        (gzip.compress(b"image", mtime=0)[:-4], {}, r"could not be read \(Compressed file ended"),
    ],
)
def test_a_table_that_cannot_be_read_as_a_whole(table, text, settings, message):
    with pytest.raises(DataError, match=message):
        table(text, **settings)


def test_a_stray_quote_costs_its_own_row_alone(table):
    found = table('image,pneumothorax\n"a,1\nb,0\n"c,1\nd",1\ne,1\n')
    assert set(found.labels) == {"b", "e"}
    assert [(p.line, p.image_id) for p in found.problems] == [(2, "a"), (4, "c"), (5, "'d\"'")]
    assert found.problems[0].reason.startswith("the quotes of the row do not close on its line")


def test_a_table_that_is_not_there(tmp_path):
    with pytest.raises(DataError, match=r"none.csv: could not be read \(No such"):
        read_labels(config.Labels(table=str(tmp_path / "none.csv")))


@pytest.mark.parametrize("column", ["p:0", "p:1.5", "p:x", "p:"])
def test_a_column_with_a_weight_that_is_none(table, column):
    with pytest.raises(UsageError, match=rf"the column '{column}' of labels has the weight"):
        table("image,p\n", columns=[column])


def test_limits(table, monkeypatch):
    monkeypatch.setattr(labels, "MAX_PROBLEMS", 2)
    with pytest.raises(
        DataError, match="more than 2 rows are refused, the first one on line 2, im"
    ):
        table("image,pneumothorax\na,7\nb,7\nc,7\n")


@given(st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,20}", fullmatch=True))
def test_an_id_is_a_name_without_its_suffix(name):
    for suffix in (".png", ".JPG", ".dcm"):
        assert key_of(f" {name}{suffix}") == name
    assert key_of(key_of(f"{name}.png")) == key_of(name)


def test_a_uid_is_an_id_as_it_is():
    assert key_of("1.2.840.113") == "1.2.840.113"
    assert key_of(".png") == ".png"


class TestPublicSets:
    """The tables of public sets as they come, no column named."""

    def read(self, tmp_path, text, **settings):
        path = tmp_path / "labels.csv"
        path.write_text(text)
        return read_labels(config.Labels(table=str(path), **settings))

    def said(self, table):
        return {key: label.probability for key, label in table.labels.items()}

    def test_nih(self, tmp_path):
        table = self.read(
            tmp_path,
            "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,"
            "View Position\n"
            "00000001_000.png,Cardiomegaly|Pneumothorax,0,1,58,M,PA\n"
            "00000002_000.png,No Finding,0,2,81,F,AP\n",
        )
        assert self.said(table) == {"00000001_000": 1.0, "00000002_000": 0.0}
        label = table.labels["00000002_000"]
        assert (label.patient, label.sex, label.age, label.view) == ("2", "F", "81", "AP")

    def test_chexpert(self, tmp_path):
        table = self.read(
            tmp_path,
            "Path,Sex,Age,Frontal/Lateral,AP/PA,No Finding,Pneumothorax\n"
            "set/train/p1/s1/view1_frontal.jpg,Female,68,Frontal,AP,1.0,\n"
            "set/train/p2/s1/view1_frontal.jpg,Male,8,Frontal,PA,,1.0\n"
            "set/train/p3/s1/view1_frontal.jpg,Male,8,Frontal,PA,,0.0\n"
            "set/train/p4/s1/view1_frontal.jpg,Male,8,Frontal,PA,,-1.0\n",
        )
        assert [*self.said(table).values()] == [None, 1.0, 0.0, None]
        assert table.uncertain == ("set/train/p4/s1/view1_frontal",)
        assert next(iter(table.labels.values())).sex == "F"
        assert not table.problems

    def test_vindr(self, tmp_path):
        table = self.read(
            tmp_path,
            "image_id,rad_id,Pneumothorax,No finding\na,R1,1,0\na,R2,0,1\na,R3,1,0\nb,R1,0,1\n",
        )
        assert self.said(table) == {"a": pytest.approx(2 / 3), "b": 0.0}

    def test_a_row_for_each_finding_of_each_reader(self, tmp_path):
        table = self.read(
            tmp_path,
            "image_id,class_name,class_id,rad_id\na,Cardiomegaly,3,R1\na,Pneumothorax,12,R1\n"
            "a,Pneumothorax,12,R1\na,No finding,14,R2\nb,No finding,14,R1\nb,No finding,14,R2\n"
            "c,No finding,14,R1\nc,Pneumothorax,12,R1\nd,Mass,1,R1\n",
        )
        assert self.said(table) == {"a": 0.5, "b": 0.0, "d": 0.0}
        assert [problem.image_id for problem in table.problems] == ["c"]

    @pytest.mark.parametrize("word", ["PTX", "large pnx", "pneumothoraces"])
    def test_what_may_be_the_finding_in_short_is_refused(self, tmp_path, word):
        table = self.read(tmp_path, f"image_id,Labels\na,No Finding\nb,Mass|{word}\n")
        assert self.said(table) == {"a": 0.0}
        assert f"the list holds '{word.lower()}', which may be pneu" in table.problems[0].reason

    def test_a_list_without_any_known_finding_makes_nobody_negative(self, tmp_path):
        message = r"no row of the column 'class_name' has 'pneumothorax' or 'No finding', so it may"
        with pytest.raises(DataError, match=message):
            self.read(tmp_path, "image_id,class_name\na,PTX\nb,Mass\n")
        named = self.read(
            tmp_path, "image_id,class_name\na,PTX\nb,Mass\n", columns=["class_name=ptx"]
        )
        assert self.said(named) == {"a": 1.0, "b": 0.0}

    def test_words_for_yes_and_no(self, tmp_path):
        words = ("Yes", "y", "TRUE", "t", "positive", "present", "1.0", "1")
        against = ("No", "n", "false", "F", "Negative", "absent", "0.0", "0")
        rows = [f"{n},{word}" for n, word in enumerate((*words, *against))]
        table = self.read(tmp_path, "\n".join(("image_id,pneumothorax", *rows)) + "\n")
        assert [*self.said(table).values()] == [1.0] * 8 + [0.0] * 8

    def test_one_reader_who_says_two_things_is_refused(self, tmp_path):
        table = self.read(tmp_path, "image_id,who,Pneumothorax\na,R1,1\na,R1,0\n", reader="who")
        assert table.problems[0].code == "label-conflict"

    def test_padchest(self, tmp_path):
        table = self.read(
            tmp_path,
            "ImageID,PatientID,Labels\n"
            "1_a.png,7,\"['pneumothorax', ' pleural effusion']\"\n"
            "2_b.png,8,['normal']\n"
            "3_c.png,9,['unchanged']\n"
            "4_d.png,9,\"['hydropneumothorax']\"\n",
        )
        assert self.said(table) == {"1_a": 1.0, "2_b": 0.0, "3_c": None, "4_d": None}
        assert table.labels["1_a"].patient == "7"

    def test_a_list_under_any_name(self, tmp_path):
        table = self.read(
            tmp_path,
            "image,tags\na,air;Tension Pneumothorax\nb,none\n",
            columns=["tags=tension pneumothorax:0.5"],
        )
        assert self.said(table) == {"a": 1.0, "b": 0.0}
        assert table.labels["a"].weight == 0.5

    def test_a_table_without_labels_says_which_columns_it_has(self, tmp_path):
        with pytest.raises(
            DataError, match=r"Finding Labels or Labels.*image, size.*`label_column`"
        ):
            self.read(tmp_path, "image,size\na,3\n")


@pytest.mark.parametrize("word", ["Hydropneumothorax", "no pneumothorax", "Pneumothorax (left)"])
def test_a_longer_word_in_a_list_is_neither(word, tmp_path):
    path = tmp_path / "t.csv"
    rows = [f"a.png,Effusion|{word}", f"b.png,{word}|Pneumothorax", "c.png,No Finding"]
    path.write_text("\n".join(["Image Index,Finding Labels", *rows]) + "\n")
    found = read_labels(config.Labels(table=str(path)))
    assert {key: label.probability for key, label in found.labels.items()} == {
        "a": None,
        "b": 1.0,
        "c": 0.0,
    }
    assert found.uncertain == ("a",)


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        (("0", "0", "100", "0", "100", "1"), "2 rows .* such as 100, so its 0 and 1 may mean"),
        (("0.3", "87,5", "0.9", "12"), "2 rows of the column 'pneumothorax' hold a number outside"),
        (
            ("1", "2", "1", "2", "1", "1"),
            "2 rows .* write 0 for negative, 1 for positive or a prob",
        ),
        (("1", "1", "1", "2"), "1 row of the column 'pneumothorax' holds a number outside"),
        (("0", "0", "3"), "1 row of the column 'pneumothorax' holds a number outside 0 to 1"),
        (("1", "-1", "-1.0", ""), "holds 1 and -1 and no 0, so -1 may mean negative or not cert"),
        (("-3.2", "0.2", "-0.1", "4"), r"3 rows .*\(per cent: divide by 100\)"),
    ],
)
def test_numbers_of_another_scale_are_no_labels(labels, said, table):
    rows = "".join(f"i{place};{label}\n" for place, label in enumerate(labels))
    with pytest.raises(DataError, match=said):
        table(f"image;pneumothorax\n{rows}")


def test_a_number_outside_is_a_slip_of_its_row(table):
    found = table("image,pneumothorax\na,0\nb,1\nc,yes\ne,10\nf,-1\n")
    assert [problem.image_id for problem in found.problems] == ["e"]
    rows = "".join(f"i{place},{place % 2}\n" for place in range(60))
    found = table(f"image,pneumothorax\n{rows}d,11\ne,10\nf,10\n")
    assert [problem.image_id for problem in found.problems] == ["d", "e", "f"]


@pytest.mark.parametrize(
    ("text", "probability"),
    [("pos", 1.0), ("Neg", 0.0), ("NaN", None), ("NA", None), ("n/a", None), ("<NA>", None)],
)
def test_a_label_as_programs_write_it(table, text, probability):
    found = table(f"image,pneumothorax\na,{text}\nb,1\nc,0\n")
    assert not found.problems
    assert found.labels["a"].probability == probability
    assert not found.uncertain


def test_uncertain_in_words_is_no_label(table):
    found = table("image,pneumothorax\na,uncertain\nb,yes\n")
    assert found.uncertain == ("a",)
    assert found.labels["a"].probability is None


def test_the_numbers_of_the_rows_are_no_boxes(table):
    """pandas writes them into a column without a name."""
    found = table(",image,pneumothorax\n0,a,1\n1,b,0\n")
    assert [label.probability for label in found.labels.values()] == [1.0, 0.0]
    assert not found.labels["a"].boxes


def test_columns_of_public_sets_that_are_read_are_not_said_to_be_unused(tmp_path):
    table = tmp_path / "l.csv"
    table.write_text("Path,Patient ID,Sex,Age,ward,rad_id,Pneumothorax\na.png,7,Male,60,x,R1,1\n")
    found = read_labels(config.Labels(table=str(table)))
    assert found.unused == ("ward",)
    (label,) = found.labels.values()
    assert (label.patient, label.sex, label.age) == ("7", "M", "60")


@pytest.mark.parametrize("column", ["No Pneumothorax", "no_pneumothorax:0.5", "x=no pneumothorax"])
def test_a_column_that_denies_a_pneumothorax_is_refused(column, tmp_path):
    table = tmp_path / "l.csv"
    table.write_text("image,No Pneumothorax,no_pneumothorax,x\na,1,1,no pneumothorax\n")
    with pytest.raises(DataError, match="says that there is no pneumothorax, so its 1 would count"):
        read_labels(config.Labels(table=str(table), columns=[column]))
