"""Files made to do harm, or made by bad luck: each must end in a reason or an answer."""

import struct
import zlib
from pathlib import Path

import imagecodecs
import numpy as np

from tests.dicom_files import DEFLATED, EXPLICIT, encode, make_dicom, nested

JPEG, LOSSLESS, LS, J2K, RLE = (
    f"1.2.840.10008.1.2.{end}" for end in ("4.50", "4.70", "4.80", "4.90", "5")
)


def radiographs(seed: int) -> list[bytes]:
    """Return a sound radiograph in each kind of encoding."""
    rng = np.random.default_rng(seed)
    grey = rng.integers(40, 200, (48, 64)).astype(np.uint8)
    deep = (grey.astype(np.uint16) << 4) | 3
    return [
        make_dicom(grey),
        make_dicom(deep, BitsStored=12, WindowCenter="1600", WindowWidth="3000"),
        make_dicom(grey, transfer_syntax=DEFLATED),
        make_dicom(grey, transfer_syntax=JPEG, frame=imagecodecs.jpeg8_encode(grey)),
        make_dicom(grey, transfer_syntax=LS, frame=imagecodecs.jpegls_encode(grey)),
        make_dicom(
            deep,
            BitsStored=12,
            transfer_syntax=J2K,
            frame=imagecodecs.jpeg2k_encode(deep, codecformat="j2k", level=0, bitspersample=12),
        ),
    ]


def mutated(content: bytes, rng: np.random.Generator) -> bytes:
    """Return a file with one to four accidents in its header, its pixels, or anywhere.

    Bytes are changed, and in a fourth of the files lost or inserted.
    """
    found = bytearray(content)
    begin, end = [(128, 900), (900, len(found)), (128, len(found))][rng.integers(3)]
    kinds = 6 if rng.random() < 1 / 4 else 3
    for _ in range(rng.integers(1, 5)):
        last = min(end, len(found))
        place = int(rng.integers(min(begin, last - 1), last))
        what = rng.integers(kinds)
        if what == 0:
            found[place] = rng.integers(256)
        elif what == 1:
            found[place] ^= 1 << int(rng.integers(8))
        elif what == 2:
            found[place : place + 4] = b"\xff\xff\xff\xff"
        elif what == 3:
            del found[place : place + int(rng.integers(1, 64))]
        elif what == 4:
            found[place:place] = rng.bytes(int(rng.integers(1, 64)))
        else:
            del found[place:]
        if len(found) < 200:
            break
    return bytes(found)


def crafted() -> dict[str, bytes]:
    """Return one file for each way to do harm that is known."""
    whole = make_dicom()
    deflate = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
    bomb = deflate.compress(bytes(64 << 20)) + deflate.flush()
    meta = encode({"FileMetaInformationVersion": b"\0\1", "TransferSyntaxUID": DEFLATED})
    huge = struct.pack("<HH2sHL", 0x0009, 0x0010, b"OB", 0, 0xFFFFFFF0)
    runs = struct.pack("<LL14L", 1, 64, *[0] * 14) + b"\x81\x00" * 200_000
    side = struct.pack(">HH", 9000, 9000)
    jpeg = bytearray(imagecodecs.jpeg8_encode(np.zeros((16, 16), np.uint8)))
    frame = jpeg.index(b"\xff\xc0")
    jpeg[frame + 5 : frame + 9] = side
    sized = {"Rows": 9000, "Columns": 9000}
    return {
        "empty": b"",
        "text": b"no DICOM at all\n" * 20,
        "magic alone": bytes(128) + b"DICM",
        "cut in the header": whole[:200],
        "cut in the pixels": make_dicom(np.zeros((64, 64), np.uint8))[:-99],
        "deflated bomb": bytes(128) + b"DICM" + meta + bomb,
        "3000 nested sequences": make_dicom(extra=nested(3000)),
        "60 nested sequences": make_dicom(extra=nested(60)),
        "giant length": make_dicom(extra=huge),
        "giant sides": make_dicom(Rows=65535, Columns=65535),
        "giant picture of few bytes": make_dicom(**sized),
        "JPEG that says it is giant": make_dicom(transfer_syntax=JPEG, frame=bytes(jpeg), **sized),
        "run lengths beyond the picture": make_dicom(transfer_syntax=RLE, frame=runs),
        "no fragment": make_dicom(transfer_syntax=JPEG, frame=[]),
        "many elements": make_dicom(
            extra=b"".join(
                struct.pack("<HH2sH", 0x0009, number, b"SH", 0) for number in range(0x1000, 0xFFFF)
            )
            * 2
        ),
        "id that climbs": make_dicom(SOPInstanceUID="../../etc/passwd"),
        "no rows": make_dicom(Rows=0),
        "samples of nothing": make_dicom(BitsAllocated=0, BitsStored=0),
        "window that is no number": make_dicom(WindowCenter="nan", WindowWidth="inf"),
        "rescale beyond numbers": make_dicom(RescaleSlope="1e308", RescaleIntercept="1e308"),
    }


def polyglots() -> dict[str, tuple[bytes, str]]:
    """Return sound radiographs that are something else too, and what is to be said of each."""
    tail = b"DICM"
    return {
        "program": (
            make_dicom(preamble=b"MZ" + bytes(126) + tail, SOPInstanceUID="1.2.1"),
            "the preamble holds a Windows program where zeros or TIFF belong",
        ),
        "elf": (
            make_dicom(preamble=b"\x7fELF".ljust(128, b"\2") + tail, SOPInstanceUID="1.2.2"),
            "the preamble holds a Linux program where zeros or TIFF belong",
        ),
        "bytes": (
            make_dicom(preamble=bytes(127) + b"\1" + tail, SOPInstanceUID="1.2.3"),
            "the preamble holds bytes where zeros or TIFF belong",
        ),
        "tiff": (
            make_dicom(preamble=b"II*\0".ljust(128, b"\1") + tail, SOPInstanceUID="1.2.4"),
            "",
        ),
        "plain": (make_dicom(SOPInstanceUID="1.2.5", transfer_syntax=EXPLICIT), ""),
    }


def write(folder: Path, files: dict[str, bytes]) -> list[Path]:
    """Write files by their names, without blanks, and return their paths in order."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{name.replace(' ', '-')}.dcm" for name in files]
    for path, content in zip(paths, files.values(), strict=True):
        path.write_bytes(content)
    return paths
