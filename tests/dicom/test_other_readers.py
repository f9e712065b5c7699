"""Where pleura and other readers differ over pydicom's own files, each with its reason.

The reasons stand in docs/reference/dicom-input.md too.
"""

import shutil
import subprocess
import warnings
from functools import cache
from pathlib import Path

import pydicom
import pytest

from pleura.dicom.radiograph import read_radiograph
from pleura.errors import DicomError

ROOT = Path(pydicom.__file__).parent / "data"
FILES = sorted(
    path
    for path in (ROOT / "test_files").rglob("*")
    if path.is_file() and path.suffix not in {".py", ".pyc", ".json", ".md", ".txt"}
)
DOCS = Path(__file__).parents[2] / "docs/reference/dicom-input.md"

SEGMENTS = "it is Segmentation Storage .*, which marks regions of another picture"
DOSE = "it is RT Dose Storage .*, which plans or records a treatment"
REFUSED = {
    "liver_1frame.dcm": SEGMENTS,
    "liver_expb_1frame.dcm": SEGMENTS,
    "rtdose_1frame.dcm": DOSE,
    "rtdose_expb_1frame.dcm": DOSE,
    "rtdose_rle_1frame.dcm": DOSE,
}
"""What pydicom and DCMTK read and pleura does not, with its reason."""

BROKEN = {
    "JPEG2000-embedded-sequence-delimiter.dcm": "the JPEG 2000 frame is cut into .* blocks",
    "MR_truncated.dcm": "has 8,192 bytes, but the file ends after 8,130 of them: it is truncated",
}
"""What none of the three reads."""

UNREAD = {"JPEG-lossy.dcm", "JPGExtended.dcm"}
"""What pleura reads, and pydicom with Pillow does not: JPEG of 12 bits."""

NOTED = {
    "MR_small_padded.dcm": "bytes-ignored",
    "dicomdirtests/77654033/CT2/17136": "window-of-other-values",  # a window for soft tissue
    "dicomdirtests/77654033/CT2/17166": "window-of-other-values",
    "dicomdirtests/77654033/CT2/17196": "window-of-other-values",
    "dicomdirtests/98892001/CT2N/6293": "window-of-other-values",  # 16 x 16 pixels of it
    "dicomdirtests/98892003/MR700/4467": "window-of-other-values",
}
"""What is read with a note, of which kind."""

IN_DOCS = ("another kind of object",)
"""How the page names these reasons."""


@cache
def data_set(path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pydicom.dcmread(path, force=True)


def is_single_monochrome(path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            data = data_set(path)
            frames = int(data.get("NumberOfFrames") or 1)
            photometric = str(data.get("PhotometricInterpretation", ""))
        except (AttributeError, KeyError, TypeError, ValueError):
            return False
    return frames == data.get("SamplesPerPixel") == 1 and photometric.startswith("MONOCHROME")


def name(path):
    return str(path.relative_to(ROOT / "test_files"))


SINGLE = [path for path in FILES if is_single_monochrome(path)]


def pydicom_reads(path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return data_set(path).pixel_array.size > 0
        except (AttributeError, KeyError, RuntimeError, TypeError, ValueError):
            return False


def test_there_is_something_to_compare():
    assert len(SINGLE) > 50
    assert {*REFUSED, *BROKEN, *UNREAD, *NOTED} <= set(map(name, SINGLE))


@pytest.mark.parametrize("path", SINGLE, ids=name)
def test_pleura_reads_what_pydicom_reads_or_the_table_says_why_not(path):
    assert pydicom_reads(path) == (name(path) not in {*BROKEN, *UNREAD})
    expected = (REFUSED | BROKEN).get(name(path))
    if expected is not None:
        with pytest.raises(DicomError, match=expected):
            read_radiograph(path)
        return
    notes = [note.kind for note in read_radiograph(path).header.notes]
    assert notes == ([NOTED[name(path)]] if name(path) in NOTED else [])


@pytest.mark.slow
@pytest.mark.skipif(
    shutil.which("dcm2pnm") is None, reason="DCMTK is not here: apt-get install dcmtk"
)
def test_dcmtk_reads_nothing_else(tmp_path):
    """Its decoders of JPEG and JPEG-LS are programs of their own; it has none of JPEG 2000."""

    def reads(path):
        picture, plain = tmp_path / "picture.pgm", tmp_path / "plain.dcm"
        for decoder in (None, "dcmdjpeg", "dcmdjpls", "dcmdrle"):
            source = path
            if decoder is not None:
                if shutil.which(decoder) is None or _run(decoder, path, plain):
                    continue
                source = plain
            if not _run("dcm2pnm", "--write-raw-pnm", source, picture):
                return True
        return False

    for path in SINGLE:
        if reads(path):
            assert name(path) not in BROKEN
        if name(path) in REFUSED:
            assert reads(path)


def _run(*command):
    return subprocess.run(
        [str(part) for part in command], capture_output=True, timeout=60, check=False
    ).returncode


@pytest.mark.parametrize("reason", IN_DOCS)
def test_the_page_says_why(reason):
    assert reason in DOCS.read_text(encoding="utf-8")
