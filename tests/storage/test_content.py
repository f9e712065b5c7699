import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pleura.storage.content import Stamp, fingerprint, stamp_of


@given(st.binary(max_size=300), st.data())
def test_a_byte_more_less_or_other_is_another_content(content, data):
    place = data.draw(st.integers(0, len(content)))
    other = data.draw(st.sampled_from([content[:place] + content[place + 1 :], content + b"\0"]))
    assert (fingerprint(content) == fingerprint(other)) == (content == other)
    assert len(fingerprint(content)) == 32


def copied(path: Path) -> None:
    other = path.with_name("other")
    other.write_bytes(b"bbbb")
    other.replace(path)


def linked(path: Path) -> None:
    other = path.with_name("other")
    other.write_bytes(b"bbbb")
    path.unlink()
    path.symlink_to(other)


def overwritten(path: Path) -> None:
    path.write_bytes(b"bbbb")


@pytest.mark.parametrize("replace", [copied, linked, overwritten])
def test_another_content_of_the_same_size_and_time_has_another_stamp(tmp_path, replace):
    path = tmp_path / "x"
    path.write_bytes(b"aaaa")
    os.utime(path, ns=(10**18, 10**18))
    before = stamp_of(path.stat())
    while stamp_of((tmp_path / "x").stat()) == before:  # until the system's clock has ticked
        replace(path)
        os.utime(path, ns=(10**18, 10**18))
    after = stamp_of(path.stat())
    assert after.content == before.content == (4, 10**18)


def test_what_has_no_other_content_keeps_its_stamp(tmp_path):
    path = tmp_path / "x"
    path.write_bytes(b"aaaa")
    assert stamp_of(path.stat()) == stamp_of(path.stat()) != Stamp(0, 0, 0, 0)
    before = stamp_of(path.stat())
    path.chmod(0o600)
    assert stamp_of(path.stat()).content == before.content
