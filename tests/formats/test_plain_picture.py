"""JPEG and PNG radiographs: what is read, and what is refused before anything is decoded."""

import gzip
import io
import os
import struct
import zlib

import imagecodecs
import nibabel
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from pleura.errors import PictureError
from pleura.formats import plain_picture
from pleura.formats.plain_picture import (
    is_plain_picture,
    open_plain_picture,
    parse_plain_picture,
    signed_png,
)
from pleura.rendering.overlay import overlay, write_png

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
    def write(content, name="radiograph.png"):
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
    found = open_plain_picture(save(imagecodecs.png_encode(pixels))).pixels
    assert found.dtype == pixels.dtype
    np.testing.assert_array_equal(found, pixels if pixels.ndim == 2 else pixels[..., 0])


@pytest.mark.parametrize("channels", [1, 3])
def test_what_is_transparent_in_part_is_no_radiograph_unless_it_is_black_there(save, channels):
    pixels = np.stack([*[np.maximum(GREY, 1)] * channels, np.full_like(GREY, 255)], axis=-1)
    pixels[:3, 0, -1] = (0, 9, 254)
    path = save(imagecodecs.png_encode(pixels))
    with pytest.raises(PictureError, match=f"^{path}: is transparent in 3 of its pixels, so what"):
        open_plain_picture(path)
    pixels[:3, 0, :-1] = 0
    found = open_plain_picture(save(imagecodecs.png_encode(pixels))).pixels
    np.testing.assert_array_equal(found, pixels[..., 0])
    keyed = io.BytesIO()  # one value of all stands for what is transparent
    Image.fromarray(GREY).save(keyed, "PNG", transparency=int(GREY.max()))
    with pytest.raises(PictureError, match="is transparent in"):
        open_plain_picture(save(keyed.getvalue()))


def test_a_png_of_several_pictures_is_refused(save):
    buffer = io.BytesIO()
    grey = Image.fromarray(GREY)
    grey.save(buffer, "PNG", save_all=True, append_images=[grey.point(lambda v: 255 - v)])
    with pytest.raises(PictureError, match="holds 2 pictures in turn; save the one that is meant"):
        open_plain_picture(save(buffer.getvalue()))


@pytest.mark.parametrize("channels", [1, 3])
def test_a_jpeg_comes_back_nearly(save, channels):
    pixels = GREY if channels == 1 else np.stack([GREY] * 3, axis=-1)
    found = open_plain_picture(
        save(imagecodecs.jpeg8_encode(pixels, level=95), "radiograph.jpg")
    ).pixels
    assert found.shape == GREY.shape
    assert np.abs(found.astype(int) - GREY).max() <= 4


def jpeg(channels=1, **options):
    pixels = np.add.outer(np.arange(160) % 90, np.arange(96)).astype(np.uint8)
    grey = Image.fromarray(pixels if channels == 1 else np.stack([pixels] * 3, axis=-1))
    buffer = io.BytesIO()
    grey.save(buffer, "JPEG", quality=95, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("end", [b"", b"\xff\xd9"])
def test_a_jpeg_that_breaks_off_is_no_radiograph(save, channels, progressive, end):
    whole = jpeg(channels, progressive=progressive)
    right = parse_plain_picture(whole, "it").pixels
    for share in (0.4, 0.7, 0.95):
        path = save(whole[: int(share * len(whole))] + end, "radiograph.jpg")
        with pytest.raises(PictureError, match=f"^{path}: .*(truncated|incomplete)"):
            open_plain_picture(path)
    lacks_nothing = save(whole.removesuffix(b"\xff\xd9") + end, "radiograph.jpg")
    np.testing.assert_array_equal(open_plain_picture(lacks_nothing).pixels, right)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF"])
def test_a_picture_that_is_to_be_turned_is_refused(save, kind):
    def saved(orientation):
        exif = Image.Exif()
        exif[0x112] = orientation
        buffer = io.BytesIO()
        Image.fromarray(GREY).save(buffer, kind, exif=exif)
        return save(buffer.getvalue(), f"a.{kind}")

    assert open_plain_picture(saved(1)).pixels.shape == GREY.shape
    assert open_plain_picture(saved(9)).pixels.shape == GREY.shape  # there is no such
    for orientation in range(2, 9):
        path = saved(orientation)
        with pytest.raises(PictureError, match=rf"^{path}: says that it is to be turned .*save it"):
            open_plain_picture(path)


def test_a_damaged_exif_block_is_none_of_the_picture(save):
    content = jpeg(exif=b"Exif\0\0II*\0" + b"\xff" * 40)
    assert open_plain_picture(save(content, "a.jpg")).pixels.shape == (160, 96)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is neither JPEG, PNG, TIFF nor NIfTI; convert it"),
        (b"GIF89a" + bytes(40), "is neither JPEG, PNG, TIFF nor NIfTI; convert it"),
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
        open_plain_picture(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert message in str(caught.value)


def test_colour_is_refused(save):
    pixels = np.stack([GREY, GREY, 255 - GREY], axis=-1)
    with pytest.raises(
        PictureError, match=r"is in colour .channels differ by up to 255.; a radiograph"
    ):
        open_plain_picture(save(imagecodecs.png_encode(pixels)))


def test_folders_pipes_and_absent_files_are_refused(tmp_path):
    with pytest.raises(PictureError, match=r"absent.png: cannot be read \(No such file"):
        open_plain_picture(tmp_path / "absent.png")
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(PictureError, match="is a folder, a pipe or a device"):
        open_plain_picture(tmp_path / "pipe.png")


def test_a_huge_file_is_refused_before_it_is_read(save, monkeypatch):
    monkeypatch.setattr(plain_picture, "MAX_FILE_BYTES", 100)
    with pytest.raises(PictureError, match="has 101 bytes; at most 100 are read"):
        open_plain_picture(save(bytes(101)))


def test_a_picture_that_pleura_drew_is_no_radiograph(save, tmp_path):
    path = tmp_path / "overlay.png"
    write_png(path, overlay(GREY, np.zeros(GREY.shape, bool)))  # an empty mask leaves it grey
    with pytest.raises(PictureError, match=f"^{path}: is a picture that pleura drew, and results"):
        open_plain_picture(path)
    plain = png(4, 5, data=zlib.compress(bytes(24)))
    assert open_plain_picture(save(plain)).pixels.shape == (4, 5)
    assert imagecodecs.png_decode(signed_png(plain)).shape == (4, 5)


def tiff(pixels, **options):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "TIFF", **options)
    return buffer.getvalue()


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_tiff_comes_back_to_the_bit_and_white_on_black(save, dtype):
    pixels = GREY.astype(dtype) * (700 if dtype == np.uint16 else 1)
    np.testing.assert_array_equal(open_plain_picture(save(tiff(pixels), "a.tif")).pixels, pixels)
    # Pillow turns 8 bits round when it saves them so, and not 16.
    turned = tiff(pixels if dtype == np.uint8 else 65535 - pixels, tiffinfo={262: 0})
    np.testing.assert_array_equal(open_plain_picture(save(turned, "b.tif")).pixels, pixels)


@given(bits=st.integers(9, 16), least=st.floats(0, 0.9))
def test_white_that_is_zero_is_turned_within_the_bits_in_use(bits, least):
    most = (1 << bits) - 1
    stored = np.array([[most, int(least * most), most // 3]], np.uint16)
    found = parse_plain_picture(tiff(stored, tiffinfo={262: 0}), "it").pixels
    np.testing.assert_allclose(found / 65535, 1 - stored / most, atol=1e-4)


def nifti(values, affine=(-1.0, -1.0, 1.0, 1.0), pack=False):
    content = nibabel.Nifti1Image(values, np.diag(affine)).to_bytes()
    return gzip.compress(content) if pack else content


@pytest.mark.parametrize("pack", [False, True])
def test_a_slice_of_nifti_is_laid_as_itk_writes_it(save, pack):
    found = open_plain_picture(save(nifti(GREY.T[:, :, None], pack=pack), "a.nii")).pixels
    np.testing.assert_array_equal(found, GREY)
    assert found.dtype == np.uint8


def test_numbers_of_nifti_that_are_no_counts_are_stretched(save):
    shares = open_plain_picture(save(nifti((GREY.T / 68).astype(np.float32)))).pixels
    below = open_plain_picture(save(nifti(GREY.T.astype(np.int16) - 34))).pixels
    whole = np.rint(GREY / 68 * 65535)
    np.testing.assert_allclose(shares, whole, atol=1)
    np.testing.assert_array_equal(below, whole)


@given(bits=st.integers(9, 16), share=st.floats(0.51, 1))
def test_twelve_bits_in_sixteen_are_stretched_over_them(bits, share):
    most = (1 << bits) - 1
    stored = np.array([[0, most // 3, int(share * most)]], np.uint16)
    found = parse_plain_picture(imagecodecs.png_encode(stored), "it").pixels
    np.testing.assert_allclose(found / 65535, stored / most, atol=1e-4)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (tiff(GREY.astype(np.float32)), "is a TIFF of mode F; grey ones of 8 or 16 bits are read"),
        (
            tiff(GREY, save_all=True, append_images=[Image.fromarray(GREY)]),
            "holds 2 pages; save the one that is meant",
        ),
        (tiff(GREY)[:50], "is corrupt or breaks off"),
        (nifti(np.full((4, 4), np.nan, np.float32)), "holds values that are no numbers; save it"),
        (nifti(np.zeros((4, 4, 3), np.uint8)), "has the shape 4 x 4 x 3, but a radiograph is one"),
        (nifti(GREY.T)[:400], "is corrupt or breaks off"),
        (gzip.compress(b"text", mtime=0), "is neither JPEG, PNG, TIFF nor NIfTI; convert it"),
        (gzip.compress(nifti(GREY), mtime=0)[:60], "the gzip file ends too early"),
    ],
)
def test_what_of_tiff_and_nifti_cannot_be_read(save, content, message):
    path = save(content, "radiograph.tif")
    with pytest.raises(PictureError) as caught:
        open_plain_picture(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert message in str(caught.value)


def test_how_pictures_begin():
    for content in (png(), tiff(GREY), nifti(GREY), imagecodecs.jpeg8_encode(GREY)):
        assert is_plain_picture(content)
    assert not is_plain_picture(b"DICM")


@pytest.mark.parametrize(
    ("dtype", "words"),
    [
        ([("R", "u1"), ("G", "u1"), ("B", "u1")], "in colour"),
        (np.complex64, "of complex64 numbers"),
    ],
)
def test_a_nifti_in_colour_is_not_called_corrupt(tmp_path, dtype, words):
    path = tmp_path / "x.nii"
    nibabel.save(nibabel.Nifti1Image(np.zeros((4, 5, 1), dtype), np.eye(4)), path)
    with pytest.raises(PictureError, match=f"x.nii: is {words}; grey NIfTI of one slice is read"):
        open_plain_picture(path)
