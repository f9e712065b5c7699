import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage

from pleura.dicom.radiograph import read_radiograph
from pleura.dicom.sides import true_columns
from pleura.errors import MislabelledError
from pleura.formats.plain_picture import open_plain_picture
from tests.dicom.test_codecs import rle
from tests.dicom_files import make_dicom

RLE = "1.2.840.10008.1.2.5"
NOISE = np.random.default_rng(0)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("shape", [(60, 80), (80, 60), (40, 70), (80, 20)])
def test_exchanged_sides_are_told(tmp_path, shape, packed):
    pixels = (np.hypot(*np.mgrid[-30 : shape[0] - 30, -40 : shape[1] - 40]) * 30).astype(np.uint16)
    more = {"transfer_syntax": RLE, "frame": rle(pixels)} if packed else {}
    path = tmp_path / "x.dcm"
    path.write_bytes(make_dicom(pixels, **more))
    read_radiograph(path)
    path.write_bytes(make_dicom(pixels, **more, Rows=shape[1], Columns=shape[0]))
    with pytest.raises(MislabelledError) as refused:
        read_radiograph(path)
    assert f"only as {shape[0]} x {shape[1]} the pixels make a picture" in str(refused.value)


ROUGH = ndimage.gaussian_filter(NOISE.normal(size=(128, 160)), 6) * 9000
PICTURE = (ROUGH - ROUGH.min() + NOISE.normal(0, 9, ROUGH.shape) + 99).astype(np.uint16)


@pytest.mark.parametrize("columns", [40, 64, 80, 128, 256, 320, 640])
@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("packed", [False, True])
def test_other_sides_of_the_same_area_are_told(tmp_path, columns, signed, packed):
    pixels = (PICTURE.astype(np.int16) - 500) if signed else PICTURE
    rows = pixels.size // columns
    more = {"transfer_syntax": RLE, "frame": rle(pixels.view(np.uint16))} if packed else {}
    path = tmp_path / "x.dcm"
    path.write_bytes(make_dicom(pixels, **more))
    read_radiograph(path)
    path.write_bytes(make_dicom(pixels, **more, Rows=rows, Columns=columns))
    with pytest.raises(MislabelledError) as refused:
        read_radiograph(path)
    assert f"Columns is {rows} x {columns}, but only as 128 x 160 the" in str(refused.value)


@pytest.mark.parametrize("columns", [100, 159, 161, 163, 240, 501])
def test_rows_of_another_length_that_shear_a_picture_are_told(columns):
    rows = PICTURE.size // columns
    sheared = PICTURE.reshape(-1)[: rows * columns].reshape(rows, columns)
    assert true_columns(sheared, PICTURE.size) == 160


def test_a_row_without_image_behind_a_sheared_picture_is_no_padding(tmp_path):
    pixels = np.pad(PICTURE, ((0, 1), (0, 0)))
    path = tmp_path / "x.dcm"
    path.write_bytes(make_dicom(pixels, Columns=159))
    with pytest.raises(MislabelledError, match="only as 129 x 160 the pixels make a picture"):
        read_radiograph(path)


def test_real_radiographs_have_their_sides(real_data):
    paths = sorted((real_data / "nih" / "images").glob("*.jpg"))[:40]
    for path in paths:
        pixels = open_plain_picture(path).pixels
        assert true_columns(pixels, pixels.size) is None
        for columns in (256, 1024):
            assert true_columns(pixels.reshape(-1, columns), pixels.size) == 512


@pytest.mark.parametrize("shape", [(60, 80), (80, 60), (1, 9), (9, 1), (40, 40)])
def test_plain_pictures_and_noise_have_their_sides(shape):
    down, across = np.mgrid[: shape[0], : shape[1]].astype(np.uint16)
    for picture in (down, across, down * 0, NOISE.integers(0, 999, shape).astype(np.uint16)):
        assert true_columns(picture, picture.size) is None


@given(
    hnp.arrays(
        st.sampled_from([np.uint8, np.int16]), st.tuples(st.integers(1, 30), st.integers(1, 33))
    )
)
def test_few_values_are_no_evidence_of_exchanged_sides(stored):
    assert true_columns(stored, stored.size) is None


@given(
    rows=st.integers(30, 90),
    columns=st.integers(30, 90),
    step=st.integers(1, 99),
    ground=st.integers(0, 9),
)
def test_a_slanting_line_on_an_even_ground_is_no_evidence(rows, columns, step, ground):
    stored = np.full(rows * columns, ground, np.uint16)
    stored[:: max(step, 9)] = 999
    stored[::rows] = 500
    assert true_columns(stored.reshape(rows, columns), stored.size) is None
