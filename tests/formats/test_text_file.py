import os
from pathlib import Path

import pytest

from pleura.errors import ConfigError, DataError
from pleura.formats.text_file import open_regular, read_text


def test_a_text_is_read_without_its_mark(tmp_path):
    (tmp_path / "a").write_bytes("\ufeffüx\n".encode())
    (tmp_path / "link").symlink_to("a")
    assert read_text(tmp_path / "link", DataError, 100) == "üx\n"


def test_what_is_no_regular_file_is_not_read(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path, kind in (
        (tmp_path / "pipe", "a pipe"),
        (tmp_path, "a folder"),
        ("/dev/zero", "a de"),
    ):
        with pytest.raises(ConfigError, match=f"{path}: is {kind}.*; name a regular file"):
            open_regular(path, ConfigError)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"x" * 11, r"a: holds more than 10 bytes; is it the right file\?"),
        (b"ok\xff", r"a: holds byte 0xff where text in UTF-8 was expected"),
    ],
)
def test_what_is_too_large_or_no_text(tmp_path, content, message):
    (tmp_path / "a").write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_text(tmp_path / "a", DataError, 10)


def test_what_cannot_be_opened(tmp_path, monkeypatch):
    with pytest.raises(DataError, match=r"none: could not be read \(No such file or directory\)"):
        read_text(tmp_path / "none", DataError, 10)
    with pytest.raises(
        DataError, match=r"could not be read \(embedded null byte\); check the path"
    ):
        open_regular(Path("a\0b"), DataError)
