"""Accidents in files of every transfer syntax: each is refused in one sentence, or read whole.

Seeded and bounded in time. Each syntax is tried in a process of its own, with a bound on its memory
and on the time of every file, so that a crash, a hang or a glutton shows.
"""

import multiprocessing
import resource
import signal
import struct
import time
import traceback
from contextlib import suppress

import cv2
import imagecodecs
import numpy as np
import pytest

from pleura.dicom.radiograph import read_header, read_radiograph
from pleura.errors import DicomError
from tests.dicom.test_codecs import rle
from tests.dicom_files import BIG_ENDIAN, DEFLATED, EXPLICIT, IMPLICIT, UID, make_dicom

pytestmark = pytest.mark.slow

SECONDS = 1.5
"""For each syntax and kind of accident."""

SECONDS_FOR_A_FILE = 20
MORE_MEMORY = 2 << 30

RADIOGRAPH = cv2.GaussianBlur(
    np.random.default_rng(5).integers(0, 255, (72, 88)).astype(np.uint8), (5, 5), 0
)
RADIOGRAPH[50:, 20:] //= 16
RADIOGRAPH[60:, 40:] = 0
DEEP = RADIOGRAPH.astype(np.uint16) * 16 + 5


def lossless(predictor):
    return lambda: imagecodecs.jpeg8_encode(
        DEEP, lossless=True, bitspersample=12, predictor=predictor
    )


# By name: transfer syntax, how a frame is made, and how many pixels may be wrong in a frame that is
# cut and read: those of the last unit that a JPEG codes.
FRAMES = {
    "baseline": (".4.50", lambda: imagecodecs.jpeg8_encode(RADIOGRAPH, level=90), 0),
    "restarts": (
        ".4.50",
        lambda: cv2.imencode(".jpg", RADIOGRAPH, [cv2.IMWRITE_JPEG_RST_INTERVAL, 7])[1].tobytes(),
        64,
    ),
    "12 bits": (".4.51", lambda: imagecodecs.jpeg8_encode(DEEP, level=95, bitspersample=12), 64),
    "progressive": (
        ".4.55",
        lambda: cv2.imencode(".jpg", RADIOGRAPH, [cv2.IMWRITE_JPEG_PROGRESSIVE, 1])[1].tobytes(),
        64,
    ),
    "lossless 1": (".4.70", lossless(1), 1),
    "lossless 4": (".4.57", lossless(4), 1),
    "lossless 7": (".4.57", lossless(7), 1),
    "jpeg-ls": (".4.80", lambda: imagecodecs.jpegls_encode(DEEP), 0),
    "jpeg-ls near": (".4.81", lambda: imagecodecs.jpegls_encode(DEEP, level=4), 0),
    "jpeg 2000": (
        ".4.90",
        lambda: imagecodecs.jpeg2k_encode(
            DEEP, codecformat="j2k", reversible=True, bitspersample=12
        ),
        0,
    ),
    "jpeg 2000 lossy": (
        ".4.91",
        lambda: imagecodecs.jpeg2k_encode(DEEP, level=50, codecformat="j2k", reversible=False),
        0,
    ),
    "htj2k": (".4.201", lambda: imagecodecs.htj2k_encode(DEEP, reversible=True), 0),
    "htj2k tiles": (
        ".4.203",
        lambda: imagecodecs.htj2k_encode(DEEP, reversible=True, tile=(32, 32)),
        0,
    ),
    "rle": (".5", lambda: rle(DEEP), 0),
}
NATIVE = {
    "implicit": IMPLICIT,
    "explicit": EXPLICIT,
    "big endian": BIG_ENDIAN,
    "deflated": DEFLATED,
}


def radiograph(name, frame=None):
    """A file in one of the syntaxes."""
    header = {
        "PatientName": "Doe^Jane",
        "WindowCenter": 2000,
        "WindowWidth": 4000,
        "BitsStored": 12,
    }
    codes = [{"CodeValue": "1"}, {"CodeMeaning": "two"}]
    if name in NATIVE:
        return make_dicom(
            DEEP, transfer_syntax=NATIVE[name], AnatomicRegionSequence=codes, **header
        )
    uid, make, _ = FRAMES[name]
    frame = bytes(make()) if frame is None else frame
    small = name in ("baseline", "restarts", "progressive")
    pixels = RADIOGRAPH if small else DEEP
    header["BitsStored"] = 8 if small else 16 if name == "jpeg 2000 lossy" else 12
    return make_dicom(pixels, transfer_syntax=f"1.2.840.10008.1.2{uid}", frame=frame, **header)


def flipped(content, rng):
    found = bytearray(content)
    for _ in range(rng.integers(1, 4)):
        found[rng.integers(128, len(found))] ^= 1 << int(rng.integers(8))
    return bytes(found)


def cut(content, rng):
    kind = rng.integers(3)
    at = int(rng.integers(132, len(content)))
    if kind == 0:
        return content[:at]
    if kind == 1:
        return content[:at] + bytes(len(content) - at)
    return content[:at] + content[at + int(rng.integers(1, 200)) :]


def swapped(content, rng):
    """Numbers become the largest, the least or another's; pieces change their places."""
    found = bytearray(content)
    for _ in range(rng.integers(1, 3)):
        at, other = (int(rng.integers(132, len(found) - 8)) for _ in range(2))
        size = int(rng.choice([1, 2, 4, 8]))
        piece = found[other : other + size]
        if b"Jane" in piece:  # a name in the place of another value is quoted as that
            continue
        choices = [b"\xff" * size, bytes(size), b"\x80" + bytes(size - 1), piece]
        found[at : at + size] = choices[int(rng.integers(4))]
    return bytes(found)


def judge(path, content):
    """Whether a file was read; it raises where neither that nor a refusal is what it should be."""
    path.write_bytes(content)
    with suppress(DicomError):
        read_header(path)
    try:
        radiograph = read_radiograph(path)
    except DicomError as error:
        message = str(error)
        assert message.startswith(f"{path}: "), message
        assert message.isprintable(), message
        assert len(message) < 600 + len(str(path)), message
        assert "Jane" not in message
        assert UID not in message
        return None
    header = radiograph.header
    assert radiograph.pixels.shape == (header.rows, header.columns)
    assert radiograph.pixels.dtype in (np.uint8, np.uint16)
    return radiograph


def in_a_process(work, *arguments):
    """Run `work` where it may die, and fail with what it says."""
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_guarded, args=(theirs, work, *arguments))
    process.start()
    theirs.close()
    process.join(SECONDS + 2 * SECONDS_FOR_A_FILE)
    hangs = process.is_alive()
    if hangs:
        process.kill()
        process.join()
    said = ours.recv() if ours.poll() else "it died without a word"
    assert not hangs, "a file takes too long"
    assert process.exitcode == 0, f"exit code {process.exitcode}: {said}"
    assert said == "", said


def _guarded(pipe, work, *arguments):
    with open("/proc/self/statm", encoding="utf-8") as sizes:  # noqa: PTH123
        used = int(sizes.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MORE_MEMORY, used + MORE_MEMORY))
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    try:
        work(*arguments)
        pipe.send("")
    except BaseException:  # whatever it is, the parent tells it
        pipe.send(traceback.format_exc())


def _spoil(name, accident, path):
    content, rng = radiograph(name), np.random.default_rng([3, len(name)])
    assert judge(path, content) is not None
    end, tried, read = time.monotonic() + SECONDS, 0, 0
    while time.monotonic() < end and tried < 2000:
        signal.alarm(SECONDS_FOR_A_FILE)
        read += judge(path, accident(content, rng)) is not None
        tried += 1
    assert tried > 10
    assert read < tried


@pytest.mark.parametrize("accident", [flipped, cut, swapped])
@pytest.mark.parametrize("name", [*NATIVE, *FRAMES])
def test_an_accident_ends_in_a_sentence_or_a_picture(name, accident, tmp_path):
    in_a_process(_spoil, name, accident, tmp_path / "x.dcm")


def shortened(name, frame, rng):
    """A frame without the end of its coded data, and everything else as it should be."""
    if name == "rle":
        second = struct.unpack_from("<L", frame, 8)[0]
        segments = [frame[64:second], frame[second:]]
        which = int(rng.integers(2))
        segments[which] = segments[which][: -int(rng.integers(2, len(segments[which])))]
        return struct.pack("<16L", 2, 64, 64 + len(segments[0]), *[0] * 13) + b"".join(segments)
    if "2k" in name or "2000" in name:
        start = [at for at in range(len(frame)) if frame.startswith(b"\xff\x90", at)]
        at = start[int(rng.integers(len(start)))]
        length = struct.unpack_from(">L", frame, at + 6)[0]
        gone = int(rng.integers(1, length - 14)) if length > 15 else 0
        left = length - gone
        head = frame[at : at + 6] + struct.pack(">L", left) + frame[at + 10 : at + left]
        return frame[:at] + (head if rng.random() < 0.8 else b"") + frame[at + length :]
    start = frame.index(b"\xff\xda") + 10
    return frame[: int(rng.integers(start, len(frame) - 3))].rstrip(b"\xff") + b"\xff\xd9"


def _shorten(name, path):
    frame, rng = bytes(FRAMES[name][1]()), np.random.default_rng(11)
    whole = judge(path, radiograph(name)).pixels
    end, tried = time.monotonic() + SECONDS, 0
    while time.monotonic() < end and tried < 1000:
        signal.alarm(SECONDS_FOR_A_FILE)
        short = shortened(name, frame, rng)
        read = judge(path, radiograph(name, short)) if short != frame else None
        if read is not None:
            wrong = int((read.pixels != whole).sum())
            assert wrong <= FRAMES[name][2], f"{len(frame) - len(short)} bytes less: {wrong} wrong"
        tried += 1
    assert tried > 10


@pytest.mark.parametrize("name", FRAMES)
def test_a_frame_that_lacks_pixels_is_never_answered(name, tmp_path):
    in_a_process(_shorten, name, tmp_path / "x.dcm")
