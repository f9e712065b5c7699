import datetime
import pickle
import stat

import numpy as np
import pydicom
import pytest

from pleura.choices import RESULT_KINDS
from pleura.data.prepare import Frame
from pleura.dicom.radiograph import open_radiograph
from pleura.inference.prediction import finish
from pleura.inference.tables import Provenance
from pleura.models.bundle import OperatingPoint
from pleura.results.writer import FOLDER, FOLDER_DEIDENTIFIED, DicomResults, forget_key, job_key
from tests.dicom_files import make_dicom

MOMENT = datetime.datetime(2026, 1, 2, 3, 4, 5)
MADE_WITH = Provenance("0123456789abcdef" * 4, "test", OperatingPoint(0.5, 0.4, 0.0), "0.1.0")


@pytest.fixture(scope="module")
def radiograph(tmp_path_factory):
    path = tmp_path_factory.mktemp("radiographs") / "radiograph.dcm"
    pixels = np.random.default_rng(0).integers(256, size=(64, 48), dtype=np.uint8)
    path.write_bytes(make_dicom(pixels, SOPInstanceUID="1.2.3", PatientID="canary"))
    return path


@pytest.fixture(scope="module")
def prediction():
    prepared = np.zeros((32, 32), np.float32)
    prepared[4:20, 12:20] = 0.9
    return finish("1.2.3", prepared, 0.8, Frame(64, 48, 32), MADE_WITH.point)


def test_each_kind_is_written_and_says_what_the_tables_say(radiograph, prediction, tmp_path):
    writer = DicomResults(("seg", "map", "sr"), MADE_WITH, MOMENT)
    sent = pickle.loads(pickle.dumps(writer))  # noqa: S301
    assert sent.write(open_radiograph(radiograph), prediction, tmp_path).trouble == ""
    written = {path.name: pydicom.dcmread(path) for path in (tmp_path / FOLDER).iterdir()}
    assert sorted(written) == ["1.2.3.map.dcm", "1.2.3.seg.dcm", "1.2.3.sr.dcm"]
    assert int(written["1.2.3.seg.dcm"].pixel_array.sum()) == prediction.area_px
    assert all(dataset.PatientID == "canary" for dataset in written.values())
    assert written["1.2.3.sr.dcm"].DeviceSerialNumber == MADE_WITH.model[:16]
    writer.finish([], tmp_path)
    assert len(list(tmp_path.rglob("*.dcm"))) == 3


def test_an_answer_below_the_threshold_is_absent(radiograph, prediction, tmp_path):
    absent = finish("1.2.3", prediction.prepared_map, 0.3, prediction.frame, MADE_WITH.point)
    DicomResults(("seg", "sr"), MADE_WITH, MOMENT).write(
        open_radiograph(radiograph), absent, tmp_path
    )
    assert [path.name for path in (tmp_path / FOLDER).iterdir()] == ["1.2.3.sr.dcm"]
    assert b"Absent" in (tmp_path / FOLDER / "1.2.3.sr.dcm").read_bytes()


def test_a_flagged_answer_is_not_assessed_and_its_flags_are_named(radiograph, prediction, tmp_path):
    given = prediction.prepared_map, 0.8, prediction.frame, MADE_WITH.point
    flagged = finish("1.2.3", *given, flags=("inverted", "modality=CT"))
    writer = DicomResults(RESULT_KINDS, MADE_WITH, MOMENT)
    writer.write(open_radiograph(radiograph), flagged, tmp_path)
    written = sorted((tmp_path / FOLDER).iterdir())
    assert [path.name.split(".")[-2] for path in written] == ["gsps", "sc", "sr"]
    for path in written:
        content = path.read_bytes()
        assert b"not assessed" in content
        assert b": looks inverted, the header says modality CT" in content
        assert b"Absent" not in content


def test_under_a_key_nobody_is_named_and_the_folder_is_another(radiograph, prediction, tmp_path):
    writer = DicomResults(("sr",), MADE_WITH, MOMENT, b"k" * 32)
    writer.write(open_radiograph(radiograph), prediction, tmp_path)
    (path,) = (tmp_path / FOLDER_DEIDENTIFIED).iterdir()
    assert "1.2.3." not in path.name
    assert b"canary" not in path.read_bytes()
    assert not (tmp_path / FOLDER).exists()


def test_the_moment_makes_no_other_job_and_the_key_does():
    def name(moment=MOMENT, key=None, kinds=("seg", "sr")):
        return DicomResults(kinds, MADE_WITH, moment, key).name

    assert name() == name(MOMENT + datetime.timedelta(1)) == name(kinds=("sr", "seg"))
    assert len({name(), name(key=b"k" * 32), name(key=b"l" * 32), name(kinds=("sr",))}) == 4
    assert "kkkk" not in name(key=b"k" * 32)


def test_a_jobs_secret_stays_until_it_is_forgotten(tmp_path):
    key = job_key(tmp_path / "out")
    (kept,) = (tmp_path / "out").iterdir()
    assert len(key) == 32
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert job_key(tmp_path / "out") == key
    forget_key(tmp_path / "out")
    assert not kept.exists()
    assert job_key(tmp_path / "out") != key
