import io
import os
from pathlib import Path
from types import MappingProxyType

import pydicom
import pytest
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian

from pleura.choices import RESULT_KINDS
from pleura.dicom.own_result import is_own_result
from pleura.dicom.radiograph import read_header, read_radiograph
from pleura.errors import OwnResultError
from pleura.pictures.flags import header_flags
from pleura.synthesis.phantom import write_cohort
from tests.dicom_files import NATIVE, make_dicom
from tests.results.made import KEY, MOMENT, answer, source_file, write_results


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """Every kind of result, as written and without the patient."""
    folder = tmp_path_factory.mktemp("results")
    source = source_file(folder / "radiograph.dcm")
    found = {}
    for name, key in (("named", None), ("deidentified", KEY)):
        written = write_results(
            source,
            answer(source),
            folder / name,
            "x",
            RESULT_KINDS,
            moment=MOMENT,
            deidentify_key=key,
        )
        found |= {(name, kind): path for kind, path in written.files.items()}
    return found


def stored_anew(path, folder, syntax=None, edits=MappingProxyType({})):
    """A file as an archive keeps it: with file meta information of its own, and perhaps edited."""
    dataset = pydicom.dcmread(path)
    dataset.file_meta.ImplementationClassUID = "1.2.276.0.7230010.3.0.3.6.7"
    dataset.file_meta.ImplementationVersionName = "OFFIS_DCMTK_367"
    if syntax is not None:
        dataset.file_meta.TransferSyntaxUID = syntax
    for keyword, value in edits.items():
        setattr(dataset, keyword, value)
    buffer = io.BytesIO()
    pydicom.dcmwrite(buffer, dataset)
    copy = folder / "copy.dcm"
    copy.write_bytes(buffer.getvalue())
    return copy


@pytest.mark.parametrize("kind", RESULT_KINDS)
@pytest.mark.parametrize("how", ["named", "deidentified"])
def test_each_result_is_known_and_refused(results, how, kind, tmp_path):
    written = results[how, kind]
    for path in (written, stored_anew(written, tmp_path)):
        assert is_own_result(path)
        with pytest.raises(OwnResultError, match="is a result that pleura wrote, and results are"):
            read_radiograph(path)
        if kind in ("seg", "map", "sc"):
            assert read_header(path).own_result


EDITS = {
    "the series": {"SeriesDescription": "AI outline"},
    "the series, in part": {"SeriesDescription": "[AI] PLEURA:  Pneumothorax"},
    "the makers": {"Manufacturer": "PACS", "ManufacturerModelName": ""},
    "how the makers are written": {
        "Manufacturer": "PLEURA ",
        "ManufacturerModelName": "Pleura",
        "SeriesDescription": "",
    },
    "all of them": {"Manufacturer": "PACS", "ManufacturerModelName": "", "SeriesDescription": "AI"},
}


@pytest.mark.parametrize("edit", EDITS)
@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, DeflatedExplicitVRLittleEndian])
@pytest.mark.parametrize("kind", RESULT_KINDS)
@pytest.mark.parametrize("how", ["named", "deidentified"])
def test_an_edited_copy_is_known_too(results, how, kind, syntax, edit, tmp_path):
    path = stored_anew(results[how, kind], tmp_path, syntax, EDITS[edit])
    assert is_own_result(path)
    with pytest.raises(OwnResultError, match="is a result that pleura wrote"):
        read_radiograph(path)


@pytest.mark.parametrize("kind", RESULT_KINDS)
def test_one_without_the_list_of_equipment_is_known_by_what_it_holds(results, kind, tmp_path):
    """So they were written once, and so an archive may leave them."""
    path = stored_anew(results["named", kind], tmp_path, edits=EDITS["all of them"])
    dataset = pydicom.dcmread(path)
    del dataset.ContributingEquipmentSequence
    dataset.save_as(path)
    assert is_own_result(path)


def test_a_picture_that_names_pleura_nowhere_is_flagged_as_made_from_another(results, tmp_path):
    """The picture of an answer, in grey and with nothing left that names its maker."""
    path = stored_anew(results["named", "sc"], tmp_path, edits=EDITS["all of them"])
    dataset = pydicom.dcmread(path)
    del dataset.ContributingEquipmentSequence, dataset.DerivationDescription
    grey = pydicom.dcmread(io.BytesIO(make_dicom()))
    for keyword in ("SamplesPerPixel", "PhotometricInterpretation", "Rows", "Columns", "PixelData"):
        dataset[keyword] = grey[keyword]
    del dataset.PlanarConfiguration
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.save_as(path)
    assert not is_own_result(path)
    flags = header_flags(read_radiograph(path).header)
    assert flags == ("made-from=Computed Radiography Image Storage",)


def test_a_report_about_the_pleura_is_no_result_of_pleura(results, tmp_path):
    other = {"Manufacturer": "X", "ManufacturerModelName": "Y", "SeriesDescription": "pleura"}
    path = stored_anew(results["named", "sr"], tmp_path, edits=other)
    dataset = pydicom.dcmread(path)
    del dataset.ContributingEquipmentSequence
    for element in dataset.iterall():
        if element.keyword == "TextValue" and element.value == "pleura":
            element.value = "the pleura"
    dataset.save_as(path)
    assert not is_own_result(path)


@pytest.mark.parametrize("syntax", NATIVE)
def test_a_copy_in_another_syntax_is_known(results, syntax, tmp_path):
    content = make_dicom(
        transfer_syntax=syntax,
        Manufacturer="pleura",
        ManufacturerModelName="pleura",
        ReferencedImageSequence=[{"ReferencedSOPInstanceUID": "1.2.3"}],
    )
    path = tmp_path / "copy.dcm"
    path.write_bytes(content)
    assert is_own_result(path)
    assert read_header(path).own_result


def test_radiographs_are_no_results(tmp_path, results):
    write_cohort(tmp_path / "phantoms", train=1, test=1, seed=1, size=64, workers=1)
    radiographs = [
        *(tmp_path / "phantoms").rglob("*.dcm"),
        source_file(tmp_path / "radiograph.dcm"),
    ]
    assert len(radiographs) > 2
    assert not any(map(is_own_result, radiographs))
    assert not any(read_header(path).own_result for path in radiographs)
    other = source_file(tmp_path / "other.dcm", Manufacturer="pleura", ManufacturerModelName="X")
    assert not is_own_result(other)


def test_what_is_no_dicom_file_is_no_result_and_not_waited_for(tmp_path, results):
    fifo = tmp_path / "fifo.dcm"
    os.mkfifo(fifo)
    torn = tmp_path / "torn.dcm"
    torn.write_bytes(results["named", "sr"].read_bytes()[:140])
    text = tmp_path / "text.dcm"
    text.write_bytes(b"pleura" * 100)
    for path in (fifo, tmp_path, Path("/dev/null"), tmp_path / "none", "nul\0name", torn, text):
        assert not is_own_result(path)
