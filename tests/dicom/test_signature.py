import gzip
import os

import pytest

from pleura.dicom.signature import archive_kind, data_start, head_of, is_gzip
from tests.dicom_files import make_dicom


@pytest.fixture
def save(tmp_path):
    def saved(content):
        path = tmp_path / "file"
        path.write_bytes(content)
        return path

    return saved


def is_dicom(path):
    return data_start(head_of(path)) is not None


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_files_with_and_without_preamble(save, pack):
    assert is_dicom(save(pack(make_dicom())))
    assert is_dicom(save(pack(make_dicom(preamble=b""))))
    assert is_dicom(save(pack(make_dicom(preamble=b"", transfer_syntax="1.2.840.10008.1.2"))))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"x",
        b"\0" * 5000,
        b"\x89PNG\r\n" + bytes(300),
        b"DICM" * 9,
        b"\x08\x00\x05\x00\xff\xff\xff\xff",
        gzip.compress(b"words", mtime=0),
        gzip.compress(make_dicom(), mtime=0)[:12],
        b"\x1f\x8b\x08 no gzip",
    ],
)
def test_other_kinds_of_files(save, content):
    assert not is_dicom(save(content))


def test_a_head_is_as_long_as_it_must_be(save):
    content = make_dicom()
    assert head_of(save(content)) == head_of(save(gzip.compress(content))) == content[:144]


def test_what_cannot_be_read_has_no_head(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    assert head_of(tmp_path / "pipe") == b"", "nobody waits for a writer"
    for path in (tmp_path, tmp_path / "none"):
        with pytest.raises(OSError, match="directory"):
            head_of(path)


def test_kinds_of_archives():
    tar = b"name".ljust(257, b"\0") + b"ustar\0"
    kinds = {
        b"PK\3\4x": "a ZIP archive",
        tar: "a tar archive",
        gzip.compress(b"", mtime=0): "with gzip",
    }
    for content, kind in kinds.items():
        assert archive_kind(content).endswith(kind)
    assert archive_kind(b"BZx") == archive_kind(b"") == ""


def test_a_preamble_that_begins_like_gzip_makes_none():
    assert is_gzip(gzip.compress(b"", mtime=0))
    assert not is_gzip(make_dicom(preamble=b"\x1f\x8b\x08".ljust(128, b"\0") + b"DICM"))
