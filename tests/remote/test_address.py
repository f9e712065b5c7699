from pathlib import Path

import pytest

from pleura.errors import UsageError
from pleura.remote.address import (
    Address,
    identity_of,
    path_of,
    public,
    scheme_in,
    scheme_of,
    without_secrets,
)
from pleura.storage.archive import Member


def inside(name):
    """A file in an archive."""
    return Member(name, 0, 1, 1, 1)


SIGNED = "https://me:pass%40word@host.org:8443/a/film%201.dcm?X-Amz-Signature=5ec3e7&id=2#part"


def test_no_secret_is_in_the_text_of_an_address():
    for address in (
        Address(SIGNED),
        Address(SIGNED, member=inside("x/1.dcm")),
        Address(SIGNED, "md5:0"),
    ):
        for text in (str(address), repr(address), f"{public(address).url}"):
            assert not any(word in text for word in ("me:", "pass", "5ec3e7", "X-Amz", "id=2"))
    assert str(Address(SIGNED)) == "https://host.org:8443/a/film%201.dcm"
    assert str(Address("s3://key:secret@bucket/a.dcm")) == "s3://bucket/a.dcm"
    assert str(Address("s3://bucket/a@b.dcm")) == "s3://bucket/a@b.dcm"
    assert without_secrets("/home/me@work/a?b.dcm") == "/home/me@work/a?b.dcm"


@pytest.mark.parametrize(
    ("address", "name"),
    [
        (Address(SIGNED), "film 1.dcm"),
        (Address("s3://bucket/a/b?c.dcm"), "b?c.dcm"),
        (Address("s3://bucket/part.tar", member=inside("s/1.dcm")), "1.dcm"),
        (Address("/data/x.dcm", "md5:0"), "x.dcm"),
        (Path("/data/x.dcm"), "x.dcm"),
    ],
)
def test_the_name_is_the_last_part(address, name):
    assert address.name == name


def test_what_tells_addresses_apart():
    other = SIGNED.replace("5ec3e7", "0ther")
    assert identity_of(Address(SIGNED)) != identity_of(Address(other))
    # With a digest it is the content that is meant, whoever signed the way to it.
    assert identity_of(Address(SIGNED, "md5:0")) == identity_of(Address(other, "md5:0"))
    assert identity_of(Address("s3://b/t.tar", member=inside("1"))) != identity_of(
        Address("s3://b/t.tar", member=inside("2"))
    )
    assert identity_of(Path("a/b.dcm")) == "a/b.dcm"


def test_schemes_and_paths():
    assert scheme_of("S3://b/k") == "s3"
    assert scheme_of("C:/x") == scheme_of("/a//b") == scheme_of("") == ""
    assert path_of("file:///data/film%201.dcm") == "/data/film 1.dcm"
    assert path_of("s3://b/film%201.dcm") == "s3://b/film%201.dcm"
    assert path_of("file:/data/a.dcm") == path_of("file://localhost/data/a.dcm") == "/data/a.dcm"
    assert str(Address("s3://b/t.tar", member=inside("s/1.dcm"))) == "s3://b/t.tar/s/1.dcm"


def test_a_path_of_another_machine_is_none_of_this_one():
    with pytest.raises(UsageError) as raised:
        path_of("file://me:secret@host/data/a.dcm")
    said = "file://host/data/a.dcm: names host as a machine, and only files of this one are opened;"
    assert str(raised.value) == f"{said} write file:///host/data/a.dcm for a path"


def test_an_address_is_known_where_it_was_written_as_a_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert scheme_in("s3:/b/a.dcm") == scheme_in("S3://b/a.dcm") == "s3"
    assert scheme_in("hdfs:/h/a") == "hdfs"
    assert scheme_in("C:/a") == scheme_in("a:b") == scheme_in("pleura:fast") == ""
    (tmp_path / "notes:").mkdir()
    assert scheme_in("notes:/a.csv") == ""
