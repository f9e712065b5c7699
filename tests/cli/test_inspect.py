import json

import imagecodecs
import numpy as np
import pytest
import typer

from pleura.cli import console
from pleura.cli.inspect import inspect
from pleura.synthesis.phantom import draw_phantom
from tests.dicom_files import make_dicom

app = typer.Typer()
app.command()(inspect)


def run(arguments):
    return app(arguments, standalone_mode=False)


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "a.dcm"
    content = make_dicom(
        np.zeros((30, 40), np.uint16),
        BitsStored=12,
        PatientName="Doe^Jane",
        PatientID="4711",
        PatientAge="038Y",
        PatientSex="F",
        BodyPartExamined="CHEST",
        ViewPosition="PA",
        PixelSpacing=(0.168, 0.168),
        WindowCenter=(2048, 100),
        WindowWidth=(4096, 50),
        WindowCenterWidthExplanation="NORMAL\\",
    )
    path.write_bytes(content)
    return path


def test_a_table_says_everything_but_the_patient(file, capsys):
    assert run([str(file)]) == console.DONE
    shown = capsys.readouterr()
    for words in [
        str(file),
        "Secondary Capture Image Storage (1.2.840.10008.5.1.4.1.1.7)",
        "038Y",
        "CR",
        "CHEST",
        "PA",
        "30 x 40, 2,400 bytes of pixel data",
        "0.168 x 0.168 mm",
        "MONOCHROME2",
        "12 stored of 16 allocated, unsigned",
        "Explicit VR Little Endian (1.2.840.10008.1.2.1)",
        "center 2048, width 4096 NORMAL; center 100, width 50",
        "hidden",
    ]:
        assert words in shown.out
    assert "Jane" not in shown.out
    assert "4711" not in shown.out
    assert shown.err == ""


def test_the_patient_is_shown_on_request(file, capsys):
    assert run(["--show-patient", str(file)]) == console.DONE
    shown = capsys.readouterr().out
    assert "Doe^Jane" in shown
    assert "4711" in shown
    assert "hidden" not in shown


def test_json_has_raw_values(file, capsys):
    assert run(["--json", str(file)]) == console.DONE
    (shown,) = json.loads(capsys.readouterr().out)
    assert shown["path"] == str(file)
    assert shown["rows"] == 30
    assert shown["pixel_bytes"] == 2400
    assert shown["spacing_mm"] == [0.168, 0.168]
    assert shown["windows"][0] == {"center": 2048, "width": 4096, "explanation": "NORMAL"}
    assert (shown["patient_name"], shown["patient_id"]) == ("hidden", "hidden")
    assert run(["--json", "--show-patient", str(file)]) == console.DONE
    (shown,) = json.loads(capsys.readouterr().out)
    assert (shown["patient_name"], shown["patient_id"]) == ("Doe^Jane", "4711")


def test_what_is_absent_is_a_dash_and_frames_are_counted(tmp_path, capsys):
    path = tmp_path / "b.dcm"
    path.write_bytes(make_dicom(NumberOfFrames="3"))
    assert run([str(path)]) == console.DONE
    shown = capsys.readouterr().out.strip().split("\n")
    lines = [" ".join(line.split()) for line in shown]
    assert "Age -" in lines
    assert "Windows -" in lines
    assert "Image size 4 x 5, 3 frames, 20 bytes of pixel data" in lines


def test_notes_are_shown(tmp_path, capsys):
    path = tmp_path / "b.dcm"
    path.write_bytes(make_dicom(SOPInstanceUID=None))
    assert run([str(path)]) == console.DONE
    words = " ".join(capsys.readouterr().out.split())
    assert "Notes (0008,0018) SOP Instance UID is missing or empty; the file's name is the" in words
    assert run(["--json", str(path)]) == console.DONE
    (note,) = json.loads(capsys.readouterr().out)[0]["notes"]
    assert note["kind"] == "id-elsewhere"


def test_a_bad_file_is_listed_and_the_others_go_on(file, tmp_path, capsys):
    bad = tmp_path / "bad.dcm"
    bad.write_bytes(b"not DICOM")
    assert run([str(bad), str(file)]) == console.SOME_INPUTS_FAILED
    shown = capsys.readouterr()
    assert "30 x 40" in shown.out
    assert shown.err.startswith(f"failed {bad}: is not DICOM")
    assert run(["--json", str(bad), str(file)]) == console.SOME_INPUTS_FAILED
    first, second = json.loads(capsys.readouterr().out)
    assert first["path"] == str(bad)
    assert "is not DICOM" in first["error"]
    assert second["rows"] == 30


def test_a_folder_is_looked_into_and_the_rest_of_it_counted(file, capsys):
    (file.parent / "IM1").write_bytes(b"")
    (file.parent / "notes.txt").write_text("words")
    assert run([str(file.parent)]) == console.SOME_INPUTS_FAILED
    shown = capsys.readouterr()
    assert "30 x 40" in shown.out
    assert f"failed {file.parent}/IM1: is empty (0 bytes)" in shown.err
    assert "passed over 1 other file: 1 .txt" in shown.err


def test_the_guard_speaks_on_request(file, tmp_path, capsys):
    radiograph = tmp_path / "radiograph.dcm"
    pixels = draw_phantom(np.random.default_rng(0), size=128, pneumothorax=True).pixels
    radiograph.write_bytes(make_dicom(pixels))
    head = tmp_path / "head.dcm"
    head.write_bytes(make_dicom(np.ascontiguousarray(pixels[::-1])))
    assert run(["--json", "--guard", str(radiograph), str(head), str(file)]) == console.DONE
    found = [shown["guard"] for shown in json.loads(capsys.readouterr().out)]
    assert [own["flags"] for own in found] == [[], ["upside-down"], ["blank", "size=30x40"]]
    assert found[0]["score"] < 0.5 < found[1]["score"] <= found[2]["score"] == 1
    assert run(["--guard", str(radiograph), str(head)]) == console.DONE
    shown = capsys.readouterr().out
    assert ", not flagged" in shown
    assert ", upside-down" in shown
    assert run([str(radiograph)]) == console.DONE
    assert "Guard" not in capsys.readouterr().out


def test_pixels_that_cannot_be_read_are_a_failure_with_the_guard_only(tmp_path, capsys):
    path = tmp_path / "many.dcm"
    path.write_bytes(make_dicom(NumberOfFrames="3"))
    assert run([str(path)]) == console.DONE
    capsys.readouterr()
    assert run(["--guard", str(path)]) == console.SOME_INPUTS_FAILED
    assert capsys.readouterr().err.startswith(f"failed {path}")


def test_only_bad_files_is_still_some_inputs_failed(tmp_path, capsys):
    assert run([str(tmp_path / "none.dcm")]) == console.SOME_INPUTS_FAILED
    assert "No such file" in capsys.readouterr().err


def test_a_picture_says_what_is_unknown(tmp_path, capsys):
    path = tmp_path / "film.png"
    path.write_bytes(imagecodecs.png_encode(np.zeros((30, 40), np.uint8)))
    assert run([str(tmp_path)]) == console.DONE
    shown = " ".join(capsys.readouterr().out.split())
    assert "Transfer syntax PNG" in shown
    assert "Image size 30 x 40" in shown
    assert "spacing, view, patient, age and sex are unknown, and 0 is taken for black" in shown
    path.write_bytes(b"torn")
    assert run(["--json", str(path)]) == console.SOME_INPUTS_FAILED
    (shown,) = json.loads(capsys.readouterr().out)
    assert shown["error"].endswith("is neither JPEG, PNG, TIFF nor NIfTI; convert it")


def test_addresses_say_what_files_say(file, tmp_path, capsys, store):
    content = file.read_bytes()
    store.put({"in/a.dcm": content, "in/b.dcm": b"no radiograph", "in/t.csv": b"x"})
    assert run([str(file), "--json", "--show-patient"]) == console.DONE
    (here,) = json.loads(capsys.readouterr().out)
    for guard in ([], ["--guard"]):
        arguments = ["s3://films/in/", "--json", "--show-patient", *guard]
        assert run(arguments) == console.SOME_INPUTS_FAILED
        shown = capsys.readouterr()
        there, failed = json.loads(shown.out)
        assert ("guard" in there) == bool(guard)
        there.pop("guard", None)
        assert there == here | {"path": "s3://films/in/a.dcm"}
        assert failed["path"] == "s3://films/in/b.dcm"
        assert failed["error"].startswith("s3://films/in/b.dcm: ")
        assert "the-secret-key" not in shown.out + shown.err
    assert run(["s3://films/in/none.dcm"]) == console.SOME_INPUTS_FAILED
    said = "s3://films/in/none.dcm: there is no such object, or no such bucket"
    assert said in capsys.readouterr().err
