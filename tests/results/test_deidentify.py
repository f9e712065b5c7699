"""What leaves the site: a canary in every place of a source, and none in any result."""

import hashlib
import struct

import numpy as np
import pydicom
import pytest
from pydicom.datadict import DicomDictionary
from pydicom.dataset import Dataset

from pleura.choices import RESULT_KINDS
from pleura.dicom.uids import derive_uid, is_valid_uid
from pleura.errors import UsageError
from pleura.results.deidentify import deidentify
from tests import dicom_tools
from tests.dicom_files import element, make_dicom
from tests.results.made import KEY, MOMENT, answer, source_file, write_results

CANARY = "KANARIENVOGEL"
DIGITS = "90817263"
TEXT = ("AE", "LO", "LT", "PN", "SH", "ST", "UC", "UT", "CS")
SHAPING = {  # what a picture's pixels depend on, or what makes the file one
    "SpecificCharacterSet",
    "PhotometricInterpretation",
    "VOILUTFunction",
    "PresentationLUTShape",
    "BurnedInAnnotation",
    "LossyImageCompression",
    "Modality",
}


def planted(path, **changes):
    """A radiograph with the canary in every text element of the dictionary, and elsewhere."""
    pixels = np.arange(40 * 50, dtype=np.uint16).reshape(40, 50)
    values = {}
    for tag, (vr, _, _, retired, keyword) in DicomDictionary.items():
        group = tag >> 16
        if keyword in SHAPING or retired or not keyword or group in (0x0002, 0x0004, 0x0028):
            continue
        if vr in TEXT and group < 0x7FE0:
            values[keyword] = (vr, CANARY.encode() + b" ")
        elif vr in ("DA", "DT") and group < 0x7FE0:
            values[keyword] = (vr, b"19" + DIGITS[:6].encode() if vr == "DT" else b"19081726")
    values |= {
        "PatientAge": "073Y",
        "PatientSex": "F",
        "StudyTime": "081726",
        "StudyInstanceUID": f"1.2.{DIGITS}.1",
        "SeriesInstanceUID": f"1.2.{DIGITS}.2",
        "SOPInstanceUID": f"1.2.{DIGITS}.3",
        "FrameOfReferenceUID": f"1.2.{DIGITS}.4",
        "BodyPartExamined": "CHEST",
        "ReferencedPatientSequence": [{"PatientName": CANARY, "PatientID": CANARY}],
        "RequestAttributesSequence": [
            {"ScheduledProtocolCodeSequence": [{"CodeMeaning": CANARY, "CodeValue": CANARY}]}
        ],
        "OriginalAttributesSequence": [{"ModifiedAttributesSequence": [{"PatientName": CANARY}]}],
    }
    extra = element(0x00091001, "LO", CANARY.encode()) + element(
        0x60003000, "OW", (CANARY + CANARY).encode()
    )
    preamble = (CANARY.encode() * 9).ljust(128, b"\0")[:128] + b"DICM"
    content = make_dicom(pixels, preamble=preamble, **values | changes)
    at = content.index(struct.pack("<HH", 0x7FE0, 0x0010))
    path.write_bytes(content[:at] + extra + content[at:] + CANARY.encode())
    return path


FORMS = [CANARY, CANARY.lower(), DIGITS, "19081726", "073Y", "081726"]


def found_in(content):
    forms = [form.encode(code) for form in FORMS for code in ("ascii", "utf-16-le")]
    forms += [hashlib.sha256(CANARY.encode()).hexdigest().encode()[:16]]
    return [form for form in forms if form in content]


def test_the_canary_is_planted_and_is_found_where_it_is_not_asked_away(tmp_path):
    source = planted(tmp_path / "x.dcm")
    assert source.read_bytes().count(CANARY.encode()) > 200
    written = write_results(source, answer(source), tmp_path, CANARY, RESULT_KINDS, moment=MOMENT)
    for path in written.files.values():  # in the source's study, so with its patient
        assert found_in(path.read_bytes())


@pytest.mark.parametrize("empty", [False, True])
@pytest.mark.parametrize("invalid", [False, True])
def test_no_canary_is_in_any_byte_of_what_leaves_the_site(tmp_path, empty, invalid):
    bad = {"SOPInstanceUID": CANARY, "StudyInstanceUID": CANARY, "SeriesInstanceUID": CANARY}
    source = planted(tmp_path / "x.dcm", **bad if invalid else {})
    folder = tmp_path / "out"
    written = write_results(
        source,
        answer(source, empty=empty),
        folder,
        CANARY,
        RESULT_KINDS,
        moment=MOMENT,
        deidentify_key=KEY,
    )
    assert sorted(folder.iterdir()) == sorted(written.files.values())
    assert len(written.files) == (3 if empty else 5)
    uids = ("SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")
    guessable = [derive_uid("source", keyword, CANARY).encode() for keyword in uids]
    for path in written.files.values():
        content = path.read_bytes()
        assert found_in(content) == [], path.name
        assert not any(uid in content for uid in guessable)
        assert found_in(path.name.encode()) == []
        assert dicom_tools.faults(path) == []
    assert CANARY not in " ".join(written.notes)


def test_results_still_belong_together_and_say_what_was_done(tmp_path):
    source = source_file(tmp_path / "x.dcm")
    written = write_results(
        source, answer(source), tmp_path, "x", RESULT_KINDS, moment=MOMENT, deidentify_key=KEY
    )
    found = {kind: pydicom.dcmread(path) for kind, path in written.files.items()}
    for keyword in ("StudyInstanceUID", "PatientID", "PatientName"):
        assert len({str(dataset[keyword].value) for dataset in found.values()}) == 1
    seg = found["seg"].ReferencedSeriesSequence[0].ReferencedInstanceSequence[0]
    state = found["gsps"].ReferencedSeriesSequence[0].ReferencedImageSequence[0]
    picture = found["sc"].SourceImageSequence[0]
    assert (
        seg.ReferencedSOPInstanceUID
        == state.ReferencedSOPInstanceUID
        == picture.ReferencedSOPInstanceUID
        != "1.2.3.4.5"
    )
    assert str(found["seg"].SOPInstanceUID) in str(found["sr"])
    options = {
        "seg": ["113100"],
        "map": ["113100"],
        "sr": ["113100", "113104"],
        "gsps": ["113100", "113103"],
        "sc": ["113100"],
    }
    for kind, dataset in found.items():
        assert dataset.PatientIdentityRemoved == "YES"
        assert dataset.DeidentificationMethod == (
            "DICOM PS3.15 Basic Application Confidentiality Profile"
        )
        codes = [item.CodeValue for item in dataset.DeidentificationMethodCodeSequence]
        assert codes == options[kind]
        assert dataset.LongitudinalTemporalInformationModified == "REMOVED"
        assert dataset.file_meta.MediaStorageSOPInstanceUID == dataset.SOPInstanceUID
        for keyword in ("StudyDate", "StudyTime", "StudyID", "AccessionNumber", "PatientSex"):
            assert not dataset[keyword].value
        assert "PatientAge" not in dataset
        assert "2026" not in str(dataset)
    assert found["sc"].BurnedInAnnotation == "YES"
    assert np.array_equal(found["seg"].pixel_array, answer(source).mask)


def test_a_key_hides_and_repeats(tmp_path):
    source = source_file(tmp_path / "x.dcm")
    other = source_file(tmp_path / "y.dcm", SOPInstanceUID="1.2.9", PatientID="other")

    def written(path, key, name):
        files = write_results(
            path,
            answer(path),
            tmp_path / name,
            path.stem,
            ["sr"],
            moment=MOMENT,
            deidentify_key=key,
        ).files
        return files["sr"], pydicom.dcmread(files["sr"])

    first, again = written(source, KEY, "a"), written(source, KEY, "b")
    assert first[0].read_bytes() == again[0].read_bytes()
    assert first[0].name == again[0].name
    hidden = written(source, KEY[::-1], "c")
    assert hidden[0].name != first[0].name
    assert hidden[1].StudyInstanceUID != first[1].StudyInstanceUID
    assert hidden[1].PatientID != first[1].PatientID
    another = written(other, KEY, "d")
    assert another[1].StudyInstanceUID == first[1].StudyInstanceUID  # one study still
    assert another[1].PatientID != first[1].PatientID


def test_patients_without_an_id_are_not_made_one(tmp_path):
    names = set()
    for study in ("1.2.1", "1.2.2"):
        source = source_file(tmp_path / "x.dcm", PatientID="", StudyInstanceUID=study)
        written = write_results(
            source, answer(source), tmp_path, "x", ["sr"], moment=MOMENT, deidentify_key=KEY
        )
        names.add(pydicom.dcmread(written.files["sr"]).PatientID)
    assert len(names) == 2


def test_whatever_a_data_set_holds_is_cleaned():
    dataset = Dataset()
    dataset.file_meta = pydicom.dataset.FileMetaDataset()
    dataset.SOPInstanceUID = dataset.StudyInstanceUID = "1.2.3"
    dataset.SOPClassUID = "1.2.840.10008.5.1.4.1.1.7"
    dataset.add_new(0x00091001, "LO", "secret")
    item = Dataset()
    item.ObservationDateTime = "20260101"
    item.ReferencedSOPInstanceUID = "1.2.3"
    item.add_new(0x00091002, "LO", "secret")
    item.VerificationDateTime = "20260102"
    dataset.ContentSequence = [item]
    deidentify(dataset, KEY)
    assert "secret" not in str(dataset)
    assert "2026" not in str(dataset)
    assert item.ReferencedSOPInstanceUID == dataset.SOPInstanceUID != "1.2.3"
    assert is_valid_uid(dataset.SOPInstanceUID)
    assert dataset.SOPClassUID == "1.2.840.10008.5.1.4.1.1.7"


@pytest.mark.parametrize("key", [b"", b"short", bytes(15)])
def test_a_key_that_is_no_secret_is_refused(tmp_path, key):
    source = source_file(tmp_path / "x.dcm")
    with pytest.raises(UsageError, match=rf"has {len(key)} bytes; a secret needs at least 16"):
        write_results(
            source, answer(source), tmp_path, "x", ["sr"], moment=MOMENT, deidentify_key=key
        )
