"""JPEG and PNG films: what is read, and what is refused before anything is decoded."""

import os
import struct
import zlib

import imagecodecs
import numpy as np
import pytest

from pleura.errors import PictureError
from pleura.formats import plain_picture
from pleura.formats.plain_picture import read_plain_picture

GREY = np.add.outer(np.arange(40), np.arange(30)).astype(np.uint8)


def png(rows=1, columns=1, bits=8, colour=0, data=b""):
    def chunk(kind, body):
        return (
            struct.pack(">L", len(body)) + kind + body + struct.pack(">L", zlib.crc32(kind + body))
        )

    head = struct.pack(">LLBBBBB", columns, rows, bits, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


@pytest.fixture
def save(tmp_path):
    def write(content, name="film.png"):
        path = tmp_path / name
        path.write_bytes(content)
        return path

    return write


@pytest.mark.parametrize(
    "pixels",
    [
        GREY,
        GREY.astype(np.uint16) * 700,
        np.stack([GREY] * 3, axis=-1),
        np.stack([GREY, np.full_like(GREY, 9)], axis=-1),
        np.stack([*[GREY] * 3, np.full_like(GREY, 9)], axis=-1),
    ],
    ids=["8 bit", "16 bit", "three equal channels", "with opacity", "three and opacity"],
)
def test_a_png_comes_back_to_the_bit(save, pixels):
    found = read_plain_picture(save(imagecodecs.png_encode(pixels)))
    assert found.dtype == pixels.dtype
    np.testing.assert_array_equal(found, pixels if pixels.ndim == 2 else pixels[..., 0])


@pytest.mark.parametrize("channels", [1, 3])
def test_a_jpeg_comes_back_nearly(save, channels):
    pixels = GREY if channels == 1 else np.stack([GREY] * 3, axis=-1)
    found = read_plain_picture(save(imagecodecs.jpeg8_encode(pixels, level=95), "film.jpg"))
    assert found.shape == GREY.shape
    assert np.abs(found.astype(int) - GREY).max() <= 4


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is neither JPEG nor PNG; convert it"),
        (b"GIF89a" + bytes(40), "is neither JPEG nor PNG; convert it"),
        (
            png(colour=3),
            "is a PNG of colour type 3 with 8 bits; grey ones of 8 or 16 bits are read",
        ),
        (png(bits=1), "is a PNG of colour type 0 with 1 bits"),
        (
            png(1 << 20, 1 << 20),
            "states 1,048,576 x 1,048,576 pixels; from 1 to 100,000,000 are read",
        ),
        (png(0, 5), "states 0 x 5 pixels"),
        (png(50, 50, data=b"nonsense"), "is corrupt or breaks off"),
        (imagecodecs.png_encode(GREY)[:20], "is corrupt or breaks off"),
        (b"\xff\xd8\xff", "is corrupt or breaks off"),
        (b"\xff\xd8\x00\x00\x00\x00", "is a corrupt JPEG: no marker where one should be"),
        (b"\xff\xd8\xff\xd9" + bytes(9), "is a corrupt JPEG: its image data has no frame header"),
        (
            b"\xff\xd8\xff\xc3" + struct.pack(">HBHHB", 17, 8, 9, 9, 1),
            "is a JPEG of process SOF3; baseline and progressive ones are read",
        ),
        (
            b"\xff\xd8\xff\xc0" + struct.pack(">HBHHB", 17, 8, 9, 9, 4),
            "is a JPEG of 8 bits and 4 components; grey ones of 8 bits are read",
        ),
        (
            b"\xff\xd8\xff\xc0" + struct.pack(">HBHHB", 17, 8, 65535, 65535, 1),
            "states 65,535 x 65,535 pixels",
        ),
    ],
)
def test_what_cannot_be_read_is_refused_with_its_path(save, content, message):
    path = save(content)
    with pytest.raises(PictureError) as caught:
        read_plain_picture(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert message in str(caught.value)


def test_colour_is_refused(save):
    pixels = np.stack([GREY, GREY, 255 - GREY], axis=-1)
    with pytest.raises(
        PictureError, match=r"is in colour .channels differ by up to 255.; a radiograph"
    ):
        read_plain_picture(save(imagecodecs.png_encode(pixels)))


def test_folders_pipes_and_absent_files_are_refused(tmp_path):
    with pytest.raises(PictureError, match=r"absent.png: cannot be read \(No such file"):
        read_plain_picture(tmp_path / "absent.png")
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(PictureError, match="is a folder, a pipe or a device"):
        read_plain_picture(tmp_path / "pipe.png")


def test_a_huge_file_is_refused_before_it_is_read(save, monkeypatch):
    monkeypatch.setattr(plain_picture, "MAX_FILE_BYTES", 100)
    with pytest.raises(PictureError, match="has 101 bytes; at most 100 are read"):
        read_plain_picture(save(bytes(101)))
