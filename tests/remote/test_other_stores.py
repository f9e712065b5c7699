"""Stores of the kinds of Google and Azure, by their emulators, where those are installed."""

import contextlib
import importlib.util
import shutil
import socket
import subprocess
import time

import pytest

from pleura.remote.address import Address
from pleura.remote.objects import Objects

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]

# Known to all: https://learn.microsoft.com/azure/storage/common/storage-use-azurite
AZURITE = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="


@contextlib.contextmanager
def running(command, needs):
    """Yield the port of an emulator, which takes it as the last word; skip where it is absent."""
    program = shutil.which(command[0])
    if program is None or importlib.util.find_spec(needs) is None:
        pytest.skip(f"{command[0]} and {needs} are not both installed")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    quiet = subprocess.DEVNULL
    child = subprocess.Popen([program, *command[1:], str(port)], stdout=quiet, stderr=quiet)
    try:
        for _ in range(600):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            time.sleep(0.1)
        yield port
    finally:
        child.kill()
        child.wait()


def used(base, tmp_path):
    """Do with a store all that pleura does; return whether a second was put in place of a first."""
    (tmp_path / "d").write_bytes(b"67890")
    with Objects(seconds=20.0) as objects:
        assert objects.about(f"{base}/a/b.dcm") is None
        assert objects.put_new(f"{base}/a/b.dcm", b"12345")
        again = objects.put_new(f"{base}/a/b.dcm", b"12345")
        assert objects.fetch(Address(f"{base}/a/b.dcm")).content == b"12345"
        assert objects.begin_part(f"{base}/a/b.dcm", 1, 3).result() == b"23"
        assert objects.about(f"{base}/a/b.dcm")["size"] == 5
        assert list(objects.put({f"{base}/c/d": tmp_path / "d"})) == [f"{base}/c/d"]
        found = dict(objects.below(base))
        assert {name: stamp.size for name, stamp in found.items()} == {
            f"{base}/a/b.dcm": 5,
            f"{base}/c/d": 5,
        }
        objects.remove(f"{base}/a/b.dcm")
        assert [name for name, _ in objects.below(base)] == [f"{base}/c/d"]
    return again


def test_a_store_of_googles_kind(tmp_path, monkeypatch):
    command = ["gcp-storage-emulator", "start", "--in-memory", "--default-bucket", "films"]
    with running([*command, "--host", "127.0.0.1", "--port"], "gcsfs") as port:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", f"http://127.0.0.1:{port}")
        used("gs://films", tmp_path)  # this emulator passes over the condition that none is there


def test_a_store_of_azures_kind(tmp_path, monkeypatch):
    command = ["azurite-blob", "--inMemoryPersistence", "--skipApiVersionCheck", "--blobPort"]
    with running(command, "adlfs") as port:
        place = f"http://127.0.0.1:{port}/devstoreaccount1"
        account = f"AccountName=devstoreaccount1;AccountKey={AZURITE}"
        told = f"DefaultEndpointsProtocol=http;{account};BlobEndpoint={place};"
        monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", told)
        from azure.storage.blob import BlobServiceClient

        BlobServiceClient.from_connection_string(told).create_container("films")
        assert not used("az://films", tmp_path)
