"""Paths that lead into ZIP and tar files: what is read, what is refused, and in which words."""

import contextlib
import io
import os
import pickle
import stat
import struct
import tarfile
import zipfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pleura.errors import ArchiveError, InputError
from pleura.storage import archive
from pleura.storage.archive import (
    Member,
    entries,
    find_member,
    is_file,
    is_folder,
    is_inside,
    members_of,
    places,
    read_member,
    require_archive,
    unpack,
    walk_files,
    why_closed,
)
from pleura.storage.content import stamp_at


def zip_bytes(files, **how):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, **how) as packed:
        for name, content in files.items():
            packed.writestr(name, content)
    return buffer.getvalue()


def tar_bytes(files):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as packed:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            packed.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


PACK = {"zip": zip_bytes, "tar": tar_bytes}


@pytest.fixture(params=PACK)
def packed(request, tmp_path):
    """An archive of a table, two files in a folder, and a hidden one."""
    files = {"t.csv": b"a,b\n", "s/2.dcm": b"two" * 999, "s/1.dcm": b"", ".x": b"hidden"}
    path = tmp_path / f"films.{request.param}"
    path.write_bytes(PACK[request.param](files))
    return path


def refused(path):
    with pytest.raises(ArchiveError) as raised:
        read_member(path)
    return str(raised.value)


def test_it_is_a_folder_that_is_walked_and_read(packed):
    inside = [packed / name for name in (".x", "s/1.dcm", "s/2.dcm", "t.csv")]
    assert list(walk_files(packed.parent)) == list(walk_files(packed)) == inside
    assert list(walk_files(packed / "s")) == inside[1:3]
    assert entries(packed) == [packed / ".x", packed / "s", packed / "t.csv"]
    assert [is_folder(path) for path in entries(packed)] == [False, True, False]
    assert [is_file(path) for path in entries(packed)] == [True, False, True]
    assert read_member(packed / "s" / "2.dcm") == b"two" * 999
    assert read_member(packed / "s" / "2.dcm", 4) == b"twot"
    assert read_member(packed / "s" / "1.dcm") == b""
    assert is_inside(packed / "none")
    assert not is_inside(packed)
    assert not is_file(packed / "none")


def test_what_is_not_there_is_told(packed):
    assert refused(packed / "none.dcm") == "there is no such file in the archive"
    assert find_member(packed.parent / "x" / "y.dcm") is None
    (packed.parent / "plain.txt").write_text("words")
    with pytest.raises(NotADirectoryError, match="no archive"):
        read_member(packed.parent / "plain.txt" / "y.dcm")
    assert not is_folder(packed.parent / "plain.txt")


def test_a_file_in_it_becomes_another_when_the_archive_does(packed):
    name = packed / "s" / "2.dcm"
    before = stamp_at(name)
    assert before.size == 3 * 999
    packed.write_bytes(PACK[packed.suffix[1:]]({"s/2.dcm": b"other"}))
    os.utime(packed, ns=(1, 1))
    assert stamp_at(name).content == (5, 1)
    assert read_member(name) == b"other"
    assert stamp_at(packed / "t.csv") is None


@given(
    files=st.dictionaries(
        st.text("abc019_- é", min_size=1, max_size=9).filter(str.strip),
        st.binary(max_size=400),
        max_size=6,
    ),
    kind=st.sampled_from(sorted(PACK)),
)
@settings(max_examples=40, deadline=None)
def test_what_is_packed_comes_back_to_the_byte(files, kind):
    content = PACK[kind](files)
    found = {
        member.name: unpack(content[member.start : member.start + member.piece], member)
        for member in members_of(io.BytesIO(content), f".{kind}")
    }
    assert found == files


@given(at=st.floats(0, 1), value=st.integers(1, 255), kind=st.sampled_from(sorted(PACK)))
@settings(max_examples=150, deadline=None)
def test_damage_is_an_error_or_harms_nothing(at, value, kind):
    files = {"a.dcm": bytes(range(256)) * 3, "b/c.dcm": b"x" * 700}
    content = bytearray(PACK[kind](files))
    content[round(at * (len(content) - 1))] ^= value
    found = []
    with contextlib.suppress(ArchiveError):
        for member in members_of(io.BytesIO(content), f".{kind}"):
            piece = bytes(content[member.start : member.start + member.piece])
            found.append(unpack(piece, member))
    assert kind == "tar" or set(found) <= set(files.values()), "a tar file has no checksums"


def test_a_name_that_leads_out_is_refused(tmp_path):
    path = tmp_path / "x.zip"
    path.write_bytes(zip_bytes({"../a.dcm": b"1", "/etc/b.dcm": b"2", "s\\c.dcm": b"3"}))
    assert sorted(map(str, walk_files(path))) == [
        f"{path}/../a.dcm",
        f"{path}/etc/b.dcm",
        f"{path}/s/c.dcm",
    ]
    out = "its name leads out of the archive; pack it again"
    assert refused(path / ".." / "a.dcm") == refused(path / "etc" / "b.dcm") == out
    assert read_member(path / "s" / "c.dcm") == b"3"


def test_bombs_are_refused_before_they_are_inflated(tmp_path):
    path = tmp_path / "x.zip"
    path.write_bytes(zip_bytes({"a.dcm": bytes(20 << 20)}))
    told = (
        " bytes in the archive stand for 20,971,520, and at most 16,777,216 are unpacked; refused"
    )
    assert told in refused(path / "a.dcm")
    # One that states less than it holds is cut off there, and found out by its size.
    content = zip_bytes({"a.dcm": bytes(9 << 20)})
    stated = struct.pack("<L", 9 << 20)
    path.write_bytes(content.replace(stated, struct.pack("<L", 1000)))
    assert refused(path / "a.dcm").startswith("its archive is damaged there")


def test_files_that_lie_over_one_another_are_refused():
    content = zip_bytes({"a.dcm": b"x" * 99, "b.dcm": os.urandom(99)})
    second = content.index(b"PK\3\4", 1)
    at = content.index(b"PK\1\2")
    over = bytearray(content)
    over[at + 20 : at + 24] = struct.pack("<L", second)  # the first takes more than its place
    found = list(members_of(io.BytesIO(over), ".zip"))
    assert found[0].fault.startswith("lies over another file in the archive")
    assert found[1].fault == ""


def test_what_cannot_be_read_says_why(tmp_path):
    path = tmp_path / "x.zip"
    content = bytearray(zip_bytes({"a.dcm": b"x"}))
    at = content.index(b"PK\1\2")
    content[at + 8] |= 1
    path.write_bytes(content)
    assert refused(path / "a.dcm").startswith("is encrypted; unpack the archive with its password")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_LZMA) as packed:
        packed.writestr("a.dcm", b"x")
        link = zipfile.ZipInfo("l.dcm")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        packed.writestr(link, "a.dcm")
    assert refused(path / "a.dcm").startswith("is packed by method 14 of ZIP; stored and deflated")
    assert refused(path / "l.dcm") == "is a link, which in an archive leads nowhere"
    with zipfile.ZipFile(path, "w") as packed:
        packed.writestr("a.dcm", b"x")
        with pytest.warns(UserWarning, match="Duplicate"):
            packed.writestr("a.dcm", b"y")
    assert refused(path / "a.dcm").startswith("its name comes more than once in the archive")
    shard = tmp_path / "x.tar"
    with tarfile.open(shard, "w") as packed:
        link = tarfile.TarInfo("l.dcm")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        packed.addfile(link)
    assert refused(shard / "l.dcm").startswith("is a link, a device or a sparse file")


def test_what_is_no_archive_stays_a_file(tmp_path, monkeypatch):
    path = tmp_path / "x.zip"
    path.write_bytes(b"PK\3\4 and no more")
    assert list(walk_files(tmp_path)) == [path]
    assert not is_folder(path)
    with pytest.raises(ArchiveError, match="is no whole ZIP file; copy it again from its source"):
        require_archive(path)
    path.write_bytes(zip_bytes({"a.dcm": b"x"}))
    monkeypatch.setattr(archive, "MAX_CONTENTS_BYTES", 20)
    with pytest.raises(ArchiveError, match=r"table of contents has .* bytes; at most 20 are read"):
        require_archive(path)
    path.write_bytes(zip_bytes({}))
    assert list(walk_files(tmp_path)) == [path]
    assert issubclass(ArchiveError, InputError)
    assert issubclass(ArchiveError, OSError)
    assert str(pickle.loads(pickle.dumps(ArchiveError("why")))) == "why"  # noqa: S301


def test_a_tar_file_that_leads_back_ends(tmp_path):
    content = bytearray(tar_bytes({"a.dcm": b"x" * 99, "b.dcm": b"y"}))
    content[124:136] = (-1024).to_bytes(12, "big", signed=True)
    content[148:156] = b" " * 8
    content[148:156] = b"%06o\0 " % sum(content[:512])
    with pytest.raises(ArchiveError, match="is no whole tar file"):
        list(members_of(io.BytesIO(content), ".tar"))


def test_what_is_hidden_is_not_looked_into(tmp_path):
    path = tmp_path / "x.zip"
    path.write_bytes(zip_bytes({"__MACOSX/._a.dcm": b"", ".git/a.dcm": b"", ".git/b.dcm": b""}))
    assert list(walk_files(path)) == [path / ".git", path / "__MACOSX" / "._a.dcm"]


def test_thousands_of_files_are_listed_once(tmp_path, monkeypatch):
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w") as packed:
        for number in range(3000):
            packed.writestr(f"{number % 7}/{number}.dcm", b"%d" % number)
    read, real = [], archive.members_of
    monkeypatch.setattr(archive, "members_of", lambda *given: read.append(1) or real(*given))
    found = list(walk_files(path))
    assert len(found) == 3000
    assert all(read_member(one) == one.stem.encode() for one in found[::97])
    assert read == [1]


def test_places_that_a_text_names(tmp_path):
    for name in ("a.dcm", "b.dcm", "c [1].dcm"):
        (tmp_path / name).write_bytes(b"")
    assert places(f"{tmp_path}/[ab].dcm") == [tmp_path / "a.dcm", tmp_path / "b.dcm"]
    assert places(f"{tmp_path}/c [1].dcm") == [tmp_path / "c [1].dcm"]
    assert places(f"{tmp_path}/none") == [Path(tmp_path, "none")]
    assert places(f"{tmp_path}/none*") == []


def test_a_member_is_plain():
    assert unpack(b"abc", Member("a", 0, 3, 3, 3)) == b"abc"
    with pytest.raises(ArchiveError, match="damaged there"):
        unpack(b"ab", Member("a", 0, 3, 3, 3))


@pytest.mark.parametrize(
    ("name", "command"), [("a.tar.gz", "tar xf"), ("a.TGZ", "tar xf"), ("a.7z", "7z x")]
)
def test_an_archive_that_is_not_looked_into_says_how_it_is_unpacked(name, command, tmp_path):
    path = tmp_path / name
    assert why_closed(path) == "", "it is not there"
    path.write_bytes(b"")
    told = f"{path}: is an archive of a kind that is not looked into; unpack it ({command} {name})"
    assert why_closed(path).startswith(told)
    assert why_closed(path / "images" / "1.png").startswith(told)
    assert why_closed(tmp_path / "other") == ""


def test_an_archive_in_an_archive_is_named(tmp_path):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("in.zip", b"")
    told = f"{path}/in.zip: is an archive in an archive; unpack the outer one, and name the folder"
    assert why_closed(path / "in.zip") == why_closed(path / "in.zip" / "1.dcm") == told
    assert why_closed(path) == why_closed(path / "1.dcm") == ""
