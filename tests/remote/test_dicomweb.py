import re

import pytest

from pleura.errors import AddressError, UsageError
from pleura.remote.address import Address
from pleura.remote.dicomweb import (
    PAGE,
    file_in,
    headers,
    is_instance,
    names_below,
    plain_url,
    rows_in,
)
from pleura.remote.objects import ATTEMPTS, Objects
from tests.dicom_files import make_dicom
from tests.remote.pacs import ROOT, USER, address, pacs

SERVICE = "dicomweb+https://pacs/dicom-web"
INSTANCE = "/studies/1.2/series/1.3/instances/1.4"
FILM = make_dicom(StudyInstanceUID="1.2", SeriesInstanceUID="1.3", SOPInstanceUID="1.4")


@pytest.fixture
def ask():
    with Objects(seconds=5.0, pause=lambda _: None) as found:
        yield found


def entry(study="", series="", instance="", modality=""):
    tags = {"0020000D": study, "0020000E": series, "00080018": instance, "00080060": modality}
    return {tag: {"vr": "UI", "Value": [value]} for tag, value in tags.items() if value}


def test_an_instance_is_asked_for_without_what_its_name_ends_in():
    plain = "https://pacs/dicom-web/studies/1.2/series/1.3/instances/1.4"
    for ending in ("", ".dcm", ".ct"):
        assert plain_url(f"{SERVICE}{INSTANCE}{ending}") == plain
    assert plain_url("https://pacs/a.dcm") == "https://pacs/a.dcm"
    assert not any(map(is_instance, (SERVICE, f"{SERVICE}/studies", f"{SERVICE}/studies/1.2")))
    assert not is_instance(f"{SERVICE}/studies/1.2/series/1.3/?Modality=DX")
    assert is_instance("dicomweb+http://pacs/studies" + INSTANCE)


def test_pages_are_asked_for_until_one_is_not_full():
    asked = []

    def ask(url):
        asked.append(url.removeprefix(SERVICE))
        if "/instances" in url:
            return [entry(series="1.3", instance="2", modality="CT"), entry("", "1.3", "1")]
        count = PAGE if url.endswith("offset=0") else 1
        return [entry(study=f"{len(asked)}.{number}") for number in range(count)]

    names = list(names_below(f"{SERVICE}?StudyDate=20260101-", ask, map))
    assert len(names) == PAGE + 1
    assert asked[:2] == [
        f"/studies?StudyDate=20260101-&limit={PAGE}&offset=0",
        f"/studies/1.0/instances?includefield=00080060&limit={PAGE}&offset=0",
    ]
    assert asked[PAGE + 1] == f"/studies?StudyDate=20260101-&limit={PAGE}&offset={PAGE}"
    # In the order of their names, and what is no radiograph says so by its own.
    above = f"{SERVICE}/studies/1.0/series/1.3/instances"
    assert names[0] == [f"{above}/1.dcm", f"{above}/2.ct"]
    all_at_once = list(names_below(SERVICE, lambda url: [entry("1", "2", "3")] * (PAGE + 9), map))
    assert [len(one) for one in all_at_once] == [PAGE + 9]


def test_a_study_that_moved_to_the_next_page_is_taken_once():
    pages = [[entry(study=f"1.{number}") for number in range(PAGE)], [entry(f"1.{PAGE - 1}")]]

    def ask(url):
        return [entry("", "1.3", "1")] if "/instances" in url else pages.pop(0)

    assert len(list(names_below(SERVICE, ask, map))) == PAGE


@pytest.mark.parametrize("modality", ["CR", "cr", "DX", "RG", ""])
def test_radiographs_end_in_dcm(modality):
    ((name,),) = names_below(
        f"{SERVICE}/studies/1", lambda _: [entry("1", "2", "3", modality)], map
    )
    assert name.endswith("/3.dcm")


def test_a_modality_that_is_no_word_ends_in_other():
    ((name,),) = names_below(f"{SERVICE}/studies/1", lambda _: [entry("1", "2", "3", "../A")], map)
    assert name == f"{SERVICE}/studies/1/series/2/instances/3.other"


@pytest.mark.parametrize(
    ("query", "rows", "error", "said"),
    [
        (
            "?limit=9",
            [],
            UsageError,
            "pleura asks for the pages by itself; leave limit and offset out of the query",
        ),
        (
            "",
            [{}],
            AddressError,
            r"its server lists an entry without \(0020,000D\), which cannot be",
        ),
        ("", [entry("..")], AddressError, r"its server lists an entry without \(0020,000D\)"),
        (
            "",
            [entry("1")] * PAGE,
            AddressError,
            "its server gives the same page again and again, so",
        ),
    ],
)
def test_what_cannot_be_listed(query, rows, error, said):
    with pytest.raises(error, match=f"^{SERVICE.replace('+', '.')}[a-z/]*: {said}"):
        list(names_below(SERVICE + query, lambda _: rows, lambda *_: []))


@pytest.mark.parametrize("answer", [b"<html>Log in</html>", b"{}", b"[1]", b"\xff"])
def test_an_answer_that_is_no_list(answer):
    told = r"^https://pacs/x: its server answered with what is no list in DICOM JSON; name the addr"
    with pytest.raises(AddressError, match=told):
        rows_in(answer, "https://pacs/x?PatientName=Doe")
    assert rows_in(b"", "") == []


def test_a_file_is_what_is_in_its_part():
    whole = b"\r\n--mark\r\nContent-Type: application/dicom\r\n\r\n" + FILM + b"\r\n--mark--\r\n"
    assert file_in(whole) == file_in(whole[2:]) == file_in(FILM) == FILM
    assert file_in(b"no DICOM") == b"no DICOM"  # its reader says so
    for cut in (whole[:30], whole[:-12], b"\r\n--mark"):
        with pytest.raises(OSError, match="broke off"):
            file_in(cut)


def test_who_asks_is_said_by_netrc_or_a_token_or_the_address(ask, monkeypatch, tmp_path):
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login me password the-password\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    with pacs(FILM) as server:
        named, nobody = (Address(address(server, user) + INSTANCE) for user in (USER, ""))
        told = r"1.4: may not be read: check what gives the right to \(~/.netrc, DICOMWEB_TOKEN, or"
        with pytest.raises(AddressError, match=told):
            ask.fetch(nobody)
        assert ask.fetch(named).content == FILM
        monkeypatch.setenv("NETRC", str(netrc))
        assert ask.fetch(nobody).content == FILM
        netrc.write_text("machine 127.0.0.1 login me password another\n")
        monkeypatch.setenv("DICOMWEB_TOKEN", "the-token")
        assert ask.fetch(nobody).content == ask.fetch(named).content == FILM
    assert "Authorization" not in headers(named.url, "x")
    assert "the-" not in f"{named}{nobody!r}"


def test_a_netrc_that_cannot_be_read_says_so_without_its_words(ask, monkeypatch, tmp_path):
    path = tmp_path / "netrc"
    monkeypatch.setenv("NETRC", str(path))
    path.write_text("\nmachine 127.0.0.1 login me password the secret\n")
    with pytest.raises(AddressError) as raised:
        ask.fetch(Address(SERVICE + INSTANCE))
    told = r"cannot be read \(line [23]\); write machine HOST login USER password PASSWORD"
    assert re.fullmatch(f"{path}: {told}", str(raised.value))
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(AddressError, match="netrc: cannot be read; write machine HOST login"):
        list(ask.below(SERVICE))


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("500", f"its server answered 500, {ATTEMPTS} times; run it again when its server is well"),
        ("cut", f"broke off on the way, {ATTEMPTS} times; run it again when its server is well"),
        ("404", "there is no such object, or no such DICOMweb service"),
        ("406", "its server answered 406"),
    ],
)
def test_what_a_pacs_does_not_give(ask, fault, said):
    with pacs(FILM) as server:
        server.faults[:] = [fault] * ATTEMPTS
        with pytest.raises(AddressError) as raised:
            ask.fetch(Address(address(server) + INSTANCE))
        assert str(raised.value) == f"{address(server, '')}{INSTANCE}: {said}"
        server.faults[:] = [fault] * ATTEMPTS
        with pytest.raises(AddressError, match=r"^dicomweb.http://127"):
            list(ask.below(f"{address(server)}/studies/1.2"))
        server.faults[:] = ["503", "cut"]
        assert ask.fetch(Address(address(server) + INSTANCE)).content == FILM
        assert server.gets(ROOT + INSTANCE) >= 3
