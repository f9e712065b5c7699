"""A file that was swapped since it was read: no page shows its picture under the old answer."""

import shutil

import numpy as np
import pytest

from pleura import config
from pleura.audit.thumbs import SIDE, ToShow, read_thumb
from pleura.data.index import build_index
from pleura.data.sources import find_sources
from pleura.data.unchanged import read_unchanged
from pleura.dicom.radiograph import open_radiograph
from pleura.errors import ChangedError
from pleura.formats.annotation_table import read_annotations
from pleura.inference.row import Row
from pleura.rendering.notice import CHANGED, UNREADABLE, notice
from pleura.stages import evaluate, score_answers
from pleura.stages.gallery import gallery
from tests.dicom_files import make_dicom


@pytest.fixture
def folder(tmp_path):
    """Two radiographs with different pictures, the first with a mask."""
    data = tmp_path / "data"
    data.mkdir()
    rng = np.random.default_rng(5)
    for number in range(2):
        pixels = rng.integers(0, 255, (64, 64), np.uint8)
        content = make_dicom(pixels, SOPInstanceUID=f"1.2.{number}")
        (data / f"{number}.dcm").write_bytes(content)
    (data / "train-rle.csv").write_text("ImageId,EncodedPixels\n1.2.0,10 30\n1.2.1,-1\n")
    return data


@pytest.fixture
def index(folder):
    return build_index(find_sources(config.Data(str(folder))), workers=1)


def swap(folder):
    """Put the second radiograph at the place of the first."""
    shutil.copyfile(folder / "1.dcm", folder / "0.dcm")


def same(one, other):
    return one.shape == other.shape and np.array_equal(one, other)


def test_a_picture_is_read_again_only_where_it_is_the_same(folder, index):
    record = index.train[0]
    assert read_unchanged(record.path, record.pixel_hash).pixels.shape == (64, 64)
    swap(folder)
    with pytest.raises(ChangedError, match=r"0.dcm: shows another picture than the one that was"):
        read_unchanged(record.path, record.pixel_hash)


def test_tiles_of_an_evaluation(folder, index):
    record = index.train[0]
    mask = np.zeros((64, 64), np.bool_)
    assert not same(evaluate._record_tile(record, mask), notice(CHANGED, evaluate.TILE))
    swap(folder)
    assert same(evaluate._record_tile(record, mask), notice(CHANGED, evaluate.TILE))
    (folder / "0.dcm").unlink()
    assert same(evaluate._record_tile(record, mask), notice(UNREADABLE, evaluate.TILE))


def test_tiles_of_answers(folder):
    path = folder / "0.dcm"
    answer = Row(
        str(path),
        "1.2.0",
        rows=64,
        columns=64,
        rle="-1",
        fingerprint=open_radiograph(path).fingerprint,
    )
    truth = read_annotations(folder / "train-rle.csv")
    assert not same(score_answers._answer_tile(answer, truth), notice(CHANGED, evaluate.TILE))
    swap(folder)
    assert same(score_answers._answer_tile(answer, truth), notice(CHANGED, evaluate.TILE))
    path.write_bytes(make_dicom(np.zeros((32, 64), np.uint8)))
    unknown = Row(str(path), "1.2.0", rows=64, columns=64, rle="-1")
    assert same(score_answers._answer_tile(unknown, truth), notice(CHANGED, evaluate.TILE))


def test_a_gallery(folder, index):
    swap(folder)
    picture = gallery(index.records, negative=0, positive=1, tile=96)
    words = notice(CHANGED, 96)
    places = [
        (row, column)
        for row in range(picture.shape[0] - 95)
        for column in range(97)
        if same(picture[row : row + 96, column : column + 96], words)
    ]
    assert len(places) == 1


def test_pictures_of_an_audit(folder, index):
    record = index.train[0]
    radiograph = ToShow(record.path, record.encoded_pixels, record.pixel_hash)
    assert read_thumb(radiograph).outline
    swap(folder)
    found = read_thumb(radiograph)
    assert same(found.picture, notice(CHANGED, SIDE)[:, :, 0])
    assert not found.outline


def test_what_is_kept_of_an_answer_tells_its_bytes_but_no_table_does():
    answer = Row("a.dcm", fingerprint="abc")
    assert "fingerprint" not in answer.as_json()
