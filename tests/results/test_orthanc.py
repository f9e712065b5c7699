"""A PACS on this machine takes the results over DICOMweb, finds them, and gives them back."""

import io
import json
import socket
import subprocess
import time
import urllib.request
import uuid
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pydicom
import pytest

from pleura.choices import RESULT_KINDS
from pleura.cli.app import execute
from tests import dicom_tools
from tests.results.made import KEY, MOMENT, answer, source_file, write_results

PLUGINS = (
    "/usr/share/orthanc/plugins/libOrthancDicomWeb.so",
    "/usr/local/share/orthanc/plugins/libOrthancDicomWeb.so",
)


@pytest.fixture(scope="module")
def pacs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of the DICOMweb service of an Orthanc that is empty and only this machine reaches."""
    orthanc = dicom_tools.program("Orthanc")
    plugin = next((path for path in PLUGINS if Path(path).exists()), None)
    if plugin is None:
        pytest.skip("Orthanc's DICOMweb plugin is not here: apt-get install orthanc-dicomweb")
    folder = tmp_path_factory.mktemp("orthanc")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (folder / "orthanc.json").write_text(
        json.dumps(
            {
                "StorageDirectory": str(folder / "storage"),
                "IndexDirectory": str(folder / "storage"),
                "HttpBindAddresses": ["127.0.0.1"],
                "HttpPort": port,
                "DicomServerEnabled": False,
                "RemoteAccessAllowed": False,
                "AuthenticationEnabled": False,
                "Plugins": [plugin],
                "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
            }
        )
    )
    log = (folder / "log").open("wb")
    process = subprocess.Popen([orthanc, folder / "orthanc.json"], stdout=log, stderr=log)
    try:
        address = f"http://127.0.0.1:{port}"
        for _ in range(150):
            try:
                ask(f"{address}/system")
                break
            except OSError:
                assert process.poll() is None, (folder / "log").read_text(errors="replace")
                time.sleep(0.2)
        yield f"{address}/dicom-web"
    finally:
        process.terminate()
        process.wait(20)
        log.close()


def ask(address: str, accept: str = "application/json", **more) -> tuple[bytes, str]:
    request = urllib.request.Request(address, **more)
    request.add_header("Accept", accept)
    with urllib.request.urlopen(request, timeout=60) as response:
        return response.read(), response.headers["Content-Type"]


def store(pacs: str, paths: list[Path]) -> dict:
    """STOW-RS."""
    mark = uuid.uuid4().hex
    parts = [
        f"--{mark}\r\nContent-Type: application/dicom\r\n\r\n".encode() + path.read_bytes()
        for path in paths
    ]
    body = b"\r\n".join(parts) + f"\r\n--{mark}--\r\n".encode()
    kind = f'multipart/related; type="application/dicom"; boundary={mark}'
    content, _ = ask(
        f"{pacs}/studies", "application/dicom+json", data=body, headers={"Content-Type": kind}
    )
    return json.loads(content)


def retrieve(pacs: str, dataset: pydicom.Dataset) -> pydicom.Dataset:
    """WADO-RS, in the transfer syntax in which the file was stored."""
    address = (
        f"{pacs}/studies/{dataset.StudyInstanceUID}/series/{dataset.SeriesInstanceUID}"
        f"/instances/{dataset.SOPInstanceUID}"
    )
    content, kind = ask(address, 'multipart/related; type="application/dicom"; transfer-syntax=*')
    mark = kind.split("boundary=")[1].split(";")[0].strip('"').encode()
    part = content.split(b"--" + mark)[1]
    return pydicom.dcmread(io.BytesIO(part.split(b"\r\n\r\n", 1)[1].removesuffix(b"\r\n")))


@pytest.mark.slow
@pytest.mark.parametrize("key", [None, KEY], ids=["identified", "deidentified"])
@pytest.mark.parametrize("invalid", [False, True], ids=["valid", "invalid"])
def test_a_pacs_takes_finds_and_returns_the_results(pacs, tmp_path, key, invalid):
    # Every case is a study of its own.
    uid = f"1.2.3.{1 + (key is not None)}.{1 + invalid}"
    broken = {"SOPInstanceUID": "ID_1", "StudyInstanceUID": "", "PatientID": "", "PatientName": ""}
    valid = {"SOPInstanceUID": f"{uid}.1", "StudyInstanceUID": uid}
    source = source_file(tmp_path / "x.dcm", **broken if invalid else valid)
    written = write_results(
        source, answer(source), tmp_path, "x", RESULT_KINDS, moment=MOMENT, deidentify_key=key
    )
    found = {kind: pydicom.dcmread(path) for kind, path in written.files.items()}
    study = found["sr"].StudyInstanceUID
    stored = [*written.files.values()]
    if not invalid and key is None:
        stored.append(source)
    reply = store(pacs, stored)
    assert len(reply["00081199"]["Value"]) == len(stored)
    assert not reply.get("00081198", {}).get("Value"), "none was refused"
    listed, _ = ask(f"{pacs}/studies/{study}/instances", "application/dicom+json")
    uids = {item["00080018"]["Value"][0] for item in json.loads(listed)}
    assert {str(dataset.SOPInstanceUID) for dataset in found.values()} <= uids
    assert len(uids) == len(stored), "all in one study"
    for kind, dataset in found.items():
        back = retrieve(pacs, dataset)
        assert back == dataset, kind
    seg = retrieve(pacs, found["seg"])
    assert np.array_equal(seg.pixel_array, answer(source).mask)


@pytest.mark.slow
@pytest.mark.parametrize("empty", [False, True], ids=["positive", "negative"])
def test_a_pacs_takes_the_results_of_real_radiographs(pacs, real_data, tmp_path, empty):
    sources = [*real_data.glob("other-dicom/*.dcm"), *real_data.glob("siim/*test/*.dcm")]
    for source in sources:
        written = write_results(
            source, answer(source, empty=empty), tmp_path, source.stem, RESULT_KINDS, moment=MOMENT
        )
        paths = [*written.files.values()]
        reply = store(pacs, paths)
        assert len(reply["00081199"]["Value"]) == len(paths) == (3 if empty else 5), source
        for path in paths:
            dataset = pydicom.dcmread(path)
            assert retrieve(pacs, dataset) == dataset, path


@pytest.mark.slow
def test_what_a_pacs_holds_is_answered_as_its_files_are(pacs, cohort, tiny_model, tmp_path, capsys):
    films = sorted(cohort.glob("dicom-images-test/**/*.dcm"))
    store(pacs, films)
    study = pydicom.dcmread(films[0]).StudyInstanceUID
    command = ["predict", str(tiny_model), "--answer-flagged", "--json"]
    answers = {}
    for name, place in [
        ("here", [str(path) for path in films]),
        ("all", [f"dicomweb+{pacs}?ModalitiesInStudy=CR&StudyDate=19010101-"]),
        ("one", [f"dicomweb+{pacs}/studies/{study}"]),
    ]:
        execute([*command, *place, "--out", str(tmp_path / name)])
        rows = map(json.loads, capsys.readouterr().out.splitlines()[:-1])
        answers[name] = {
            row["image_id"]: (row["called"], row["score"], row["rle"], row["error"]) for row in rows
        }
    assert answers["here"].items() <= answers["all"].items()
    assert answers["one"].items() <= answers["here"].items()
    assert len(answers["one"]) == 1
