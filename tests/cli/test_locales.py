"""A locale that is not UTF-8: names and texts are read and written as UTF-8 all the same."""

import json
import os
import subprocess
import sys

import pytest

from tests.dicom_files import make_dicom

ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
COMMAND = "from pleura.cli.app import main; main()"
SCAN = """
import sys
from pathlib import Path
from pleura.data.scan import scan_files
for found in scan_files(sorted(Path(sys.argv[1]).iterdir())):
    print(ascii(getattr(found, "reason", "read")))
"""


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "Röntgen-β"
    folder.mkdir()
    (folder / "Bild-ü.dcm").write_bytes(make_dicom())
    return folder


def ran(code, *arguments):
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(
        command, capture_output=True, encoding="utf-8", env={**os.environ, **ASCII}, timeout=120
    )


def test_a_command_speaks_utf8(folder):
    found = ran(COMMAND, "inspect", str(folder), "--json")
    assert found.returncode == 0, found.stderr
    assert [one["path"] for one in json.loads(found.stdout)] == [str(folder / "Bild-ü.dcm")]
    found = ran(COMMAND, "inspect", str(folder / "kein-ß.dcm"))
    assert found.returncode != 0
    assert f"{folder / 'kein-ß.dcm'}: " in found.stderr


def test_in_python_a_name_that_is_taken_for_no_text_is_told(folder):
    with open(os.fsencode(folder) + b"/\xff.dcm", "wb") as other:  # noqa: PTH123
        other.write(make_dicom())
    told = ran(SCAN, str(folder)).stdout.splitlines()
    assert told == [
        ascii(
            f"{folder / 'Bild-ü.dcm'}: this Python does not read names as UTF-8; start it with "
            "PYTHONUTF8=1"
        ),
        ascii(rf"{folder}/\udcff.dcm: its name is not UTF-8; rename the file"),
    ]
