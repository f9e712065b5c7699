import hashlib
import importlib
import socket
import sys
import threading
import time

import pytest

from pleura.errors import AddressError
from pleura.remote import objects
from pleura.remote.address import Address
from pleura.remote.failures import reason
from pleura.remote.objects import ATTEMPTS, Objects, stamp_of
from pleura.storage.archive import Member
from pleura.storage.content import Stamp
from tests.remote.servers import serving

CONTENT = bytes(range(256)) * 40


@pytest.fixture
def web():
    with serving(files={"/a.dcm": CONTENT}) as server:
        yield server


@pytest.fixture
def ask():
    """Objects of which an attempt may take a second, and which do not wait between two."""
    waited = []
    with Objects(seconds=1.0, pause=waited.append) as found:
        found.waited = waited
        yield found


@pytest.fixture
def known(ask, store):
    """The store, which was asked before: its client takes a second to be made."""
    store.put({"a.dcm": CONTENT})
    ask.about("s3://films/a.dcm")
    ask.waited.clear()
    store.way.asked.clear()
    return store


def test_an_object_is_fetched_once(ask, web, known):
    assert ask.fetch(Address(f"{web.url}/a.dcm")).content == CONTENT
    assert ask.fetch(Address("s3://films/a.dcm")).content == CONTENT
    assert web.gets("/a.dcm") == known.way.gets("/films/a.dcm") == 1


def test_a_part_is_fetched_alone(ask, web):
    part = Address(f"{web.url}/a.dcm", member=Member("x.dcm", 300, 50, 50, 50))
    assert ask.fetch(part).content == CONTENT[300:350]


@pytest.mark.parametrize("fault", ["500", "503", "429", "cut", "slow"])
def test_what_passes_is_waited_for(ask, web, known, fault):
    stamp = Stamp(len(CONTENT), 0, 0, 0)
    for server, url in ((web, f"{web.url}/a.dcm"), (known.way, "s3://films/a.dcm")):
        server.faults[:] = [fault] * 2
        assert ask.fetch(Address(url), stamp).content == CONTENT
    assert len(ask.waited) == 4
    assert ask.waited[0] < ask.waited[1] <= 2 * objects._FIRST_WAIT_S


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("500", "its server answered 500"),
        ("cut", "broke off on the way"),
        ("slow", "its server did not answer in time"),
    ],
)
def test_what_does_not_pass_is_given_up(ask, web, fault, said):
    web.faults[:] = [fault] * 9
    begun = time.monotonic()
    with pytest.raises(AddressError) as raised:
        ask.fetch(Address(f"{web.url.replace('//', '//me:secret@')}/a.dcm?key=5ec3e7"))
    told = f"{web.url}/a.dcm: {said}, {ATTEMPTS} times; run it again when its server is well"
    assert str(raised.value) == told
    assert web.gets("/a.dcm") == ATTEMPTS
    assert time.monotonic() - begun < 8 * ATTEMPTS


@pytest.mark.parametrize(
    ("status", "said"),
    [
        ("401", "may not be read: check what gives the right to"),
        ("403", "may not be read: check what gives the right to"),
        ("404", "there is no such object, or no such bucket"),
        ("400", "its server"),
    ],
)
def test_what_cannot_pass_is_not_asked_for_again(ask, web, known, status, said):
    for server, url in ((web, f"{web.url}/a.dcm"), (known.way, "s3://films/a.dcm")):
        server.faults[:] = [status]
        with pytest.raises(AddressError) as raised:
            ask.fetch(Address(url))
        assert str(raised.value).startswith(f"{url}: {said}")
    assert not ask.waited


class _Said(Exception):  # noqa: N818 - as botocore's ClientError
    def __init__(self, status, code):
        self.response = {"ResponseMetadata": {"HTTPStatusCode": status}, "Error": {"Code": code}}


class ProfileNotFound(Exception):  # noqa: N818 - as botocore calls it
    pass


@pytest.mark.parametrize(
    ("error", "said", "passes"),
    [
        (_Said(400, "ExpiredToken"), "may not be read (ExpiredToken): check what gives the", False),
        (_Said(403, "InvalidObjectState"), "may not be read (InvalidObjectState): check", False),
        (_Said(400, "AuthorizationHeaderMalformed"), "its server answered 400 (Authoriz", False),
        (_Said(400, "400"), "its server answered 400: see its region, and that no token", False),
        (_Said(400, "RequestTimeout"), "its server answered 400 (RequestTimeout)", True),
        (_Said(500, "<a secret>"), "its server answered 500", True),
        (ValueError("Invalid endpoint"), "what says how its store is reached is wrong (V", False),
        (ProfileNotFound(), "what says how its store is reached is wrong (ProfileN", False),
        (type("ParamValidationError", (Exception,), {})(), "is no address of a bucket", False),
        (type("ServerDisconnectedError", (Exception,), {})(), "broke off on the way", True),
        (type("Odd", (Exception,), {})(), "could not be fetched (Odd)", True),
    ],
)
def test_what_a_library_raises_is_told_in_words(error, said, passes):
    told, may_pass = reason(error, "s3")
    assert told.startswith(said)
    assert "secret" not in told
    assert may_pass == passes


def test_without_credentials_it_says_where_they_are_looked_for(ask, store, monkeypatch, tmp_path):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(AddressError, match=r"may not be read: .*usual places of AWS"):
        ask.fetch(Address("s3://films/a.dcm"))


def test_a_bucket_that_is_not_there(ask, store):
    for url in ("s3://none/a.dcm", "s3://none/"):
        with pytest.raises(AddressError, match=r"^s3://none/.*no such object, or no such bucket$"):
            ask.fetch(Address(url)) if url.endswith("m") else list(ask.below(url))


def test_nobody_answers(ask):
    with pytest.raises(AddressError, match=r"^http://127.0.0.1:9/a.dcm: its server cannot be re"):
        ask.fetch(Address("http://127.0.0.1:9/a.dcm"))
    assert len(ask.waited) == ATTEMPTS - 1


@pytest.mark.parametrize(("scheme", "package"), [("s3", "s3fs"), ("gs", "gcsfs"), ("az", "adlfs")])
def test_what_reads_a_store_may_not_be_installed(ask, monkeypatch, scheme, package):
    importlib.import_module("fsspec")
    sys.modules["fsspec.registry"]._registry.pop(scheme, None)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(AddressError) as raised:
        ask.fetch(Address(f"{scheme}://films/a.dcm"))
    said = f"{scheme}://films/a.dcm: what reads {scheme}:// is not installed; pip install "
    assert str(raised.value) == f"{said}'pleura[{scheme}]' brings it"


def test_a_digest_holds_or_it_is_an_error(ask, web):
    digest = hashlib.sha256(CONTENT).hexdigest()
    good = Address(f"{web.url}/a.dcm", f"sha256:{digest}")
    assert ask.fetch(good).content == CONTENT
    with pytest.raises(AddressError) as raised:
        ask.fetch(Address(f"{web.url}/a.dcm", f"md5:{32 * '0'}"))
    found = hashlib.md5(CONTENT).hexdigest()[:16]
    told = f"has the md5 digest {found}..., and must have 0000000000000000...; fetch it anew"
    assert str(raised.value).startswith(f"{web.url}/a.dcm: {told}")


def test_what_is_too_large_is_not_asked_for(ask, web):
    with pytest.raises(AddressError, match=r"has 536,870,913 bytes; at most 536,870,912 are"):
        ask.fetch(Address(f"{web.url}/a.dcm"), Stamp(objects.MAX_OBJECT_BYTES + 1, 0, 0, 0))
    assert not web.asked


def test_a_listing_comes_page_by_page(ask, store, monkeypatch):
    store.put({f"x/{number:04d}.dcm": b"1" for number in range(7)})
    store.put({"y/1.dcm": b"12"})
    real = objects.Objects._asked

    def small(self, url, shown, ask):
        return real(self, url, shown, lambda *given: ask(*given[:2], paged(given[2])))

    def paged(run):
        return lambda *names, **more: run(*names, **more, MaxKeys=3)

    monkeypatch.setattr(objects.Objects, "_asked", small)
    found = ask.below("s3://films/x/")
    assert next(found)[0] == "s3://films/x/0000.dcm"
    assert len(store.way.asked) == 1  # the others when they are wanted
    names = [name for name, _ in found]
    assert names == [f"s3://films/x/{number:04d}.dcm" for number in range(1, 7)]
    assert len(store.way.asked) == 3


def test_another_store_is_listed_folder_by_folder(ask, tmp_path):
    for name in ("b/2.dcm", "a.dcm", "b/1.dcm", "b/c/3.dcm"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"12")
    found = dict(ask.below(f"file://{tmp_path}"))
    names = [f"file://{tmp_path}/{name}" for name in ("a.dcm", "b/1.dcm", "b/2.dcm", "b/c/3.dcm")]
    assert list(found) == names
    assert {stamp.size for stamp in found.values()} == {2}


def test_a_stamp_is_another_where_the_content_is(ask, store):
    store.put({"a.dcm": b"1234"})
    (before,) = ask.stamps([Address("s3://films/a.dcm")])
    (listed,) = dict(ask.below("s3://films/")).values()
    store.put({"a.dcm": b"4321"})
    (after,) = ask.stamps([Address("s3://films/a.dcm")])
    assert before.size == after.size == 4
    assert before.inode == listed.inode != after.inode
    assert stamp_of({}) == Stamp(0, 0, 0, 0)
    assert ask.stamp(Address("s3://films/none.dcm")) is None
    assert ask.stamp(Address("s3://films/a.dcm", "md5:0")) is None  # its digest says it all


def test_an_end_interrupts_the_waiting(web):
    web.faults[:] = ["500"] * 9
    waiting = threading.Event()
    with Objects(seconds=1.0) as ask:
        wait = ask._pause
        ask._pause = lambda _: waiting.set() or wait(600)
        begun = ask.begin(Address(f"{web.url}/a.dcm"), None)
        assert waiting.wait(60)
        started = time.monotonic()
    assert "its server answered 500" in begun.result().reason
    assert time.monotonic() - started < 300


def test_a_part_of_an_open_file_is_asked_for_again(ask, web, known):
    for server, url in ((web, f"{web.url}/a.dcm"), (known.way, "s3://films/a.dcm")):
        with ask.open(url) as file:
            server.faults[:] = ["503", "500"]
            assert file.read(9) == CONTENT[:9]
        assert not server.faults


def test_nobody_waits_for_a_silent_server_once_it_is_over():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = Address(f"http://127.0.0.1:{silent.getsockname()[1]}/a.dcm")
        begun = time.monotonic()
        with Objects(seconds=600.0) as found:
            answer = found.begin(address, None)
            asking, _ = silent.accept()  # and says nothing
        asking.close()
        assert time.monotonic() - begun < 300
        assert "could not be fetched" in answer.result().reason
