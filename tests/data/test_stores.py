"""Addresses in place of folders."""

import hashlib
import io
import tarfile

import pytest

from pleura.data.files import sorted_out
from pleura.data.stores import shown, stores, stores_of_paths
from pleura.errors import AddressError, DataError, UsageError
from pleura.formats.text_file import read_bytes
from pleura.storage import elsewhere
from pleura.storage.archive import places
from pleura.storage.elsewhere import path_at
from tests.remote.servers import serving


def tar_of(*names):
    whole = io.BytesIO()
    with tarfile.open(fileobj=whole, mode="w") as shard:
        for number, name in enumerate(names):
            member = tarfile.TarInfo(name)
            member.size = 1
            shard.addfile(member, io.BytesIO(b"%d" % number))
    return whole.getvalue()


@pytest.fixture
def web():
    files = {"/a.dcm": b"x", "/s.tar": tar_of("1.dcm", "2.dcm", "2.dcm", "t.csv")}
    with serving(files=files) as server:
        yield server


def test_secrets_are_no_part_of_a_path():
    assert shown("https://me:pw@host.org/a.dcm?sign=1f") == "https://host.org/a.dcm"
    assert shown("s3:/bucket/a.dcm") == "s3://bucket/a.dcm"
    assert (shown("file:///data/a"), shown("data/a"), shown("")) == ("/data/a", "data/a", "")


def test_what_an_archive_holds_is_at_hand_and_two_of_one_name_are_told(web):
    address = f"{web.url}/s.tar"
    with stores([address]):
        (folder,) = places(address)
        listed = sorted_out(folder)
        assert [path.name for path in listed.files] == ["1.dcm", "2.dcm"]
        assert listed.passed == {".csv": 1}
        assert read_bytes(folder / "t.csv", DataError, 9) == b"3"
        with pytest.raises(AddressError, match=r"2.dcm: its name comes more than once in the ar"):
            read_bytes(folder / "2.dcm", DataError, 9)
    with stores_of_paths([f"{address}/1.dcm", f"{web.url}/a.dcm", "here.dcm"]):
        assert elsewhere.content_of(f"{address}/1.dcm") == b"0"
        assert elsewhere.content_of(f"{web.url}/a.dcm") == b"x"


def test_a_list_stands_for_what_it_names_and_holds_it_to_its_digest(tmp_path, web):
    (tmp_path / "b.dcm").write_bytes(b"y")
    (tmp_path / "c.dcm").write_bytes(b"z")
    right, wrong = hashlib.sha256(b"y").hexdigest(), hashlib.sha256(b"x").hexdigest()
    table = tmp_path / "l.csv"
    table.write_text(f"path,sha256\n{web.url}/a.dcm,\nb.dcm,{right}\nc.dcm,{wrong}\n")
    with stores([str(table)]):
        first, second, third = places(str(table))
        assert (str(first), second) == (f"{web.url}/a.dcm", tmp_path / "b.dcm")
        assert read_bytes(second, DataError, 9) == b"y"
        with pytest.raises(AddressError, match=r"c.dcm: has the sha256 digest "):
            read_bytes(third, DataError, 9)


def test_names_that_are_the_same_without_their_query_are_refused(web):
    one, two = f"{web.url}/a.dcm?id=1", f"{web.url}/a.dcm?id=2"
    with pytest.raises(DataError, match=r"a.dcm: two files have this address, without what foll"):
        stores([one, two]).__enter__()
    with pytest.raises(UsageError, match=r"^ftp://host/x: addresses of s3://"):
        stores(["ftp://host/x"]).__enter__()
    with stores([one], [f"{web.url}/none.csv"]):
        assert places(shown(one)) == [path_at(f"{web.url}/a.dcm")]
