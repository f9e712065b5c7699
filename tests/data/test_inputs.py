import csv
import gzip
import io
import tarfile
import zipfile
from hashlib import sha256
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pleura.data.address_list import source_of
from pleura.data.inputs import Inputs
from pleura.errors import AddressError, DataError, UsageError
from pleura.remote.address import Address
from pleura.remote.objects import Objects
from tests.dicom_files import make_dicom
from tests.remote.pacs import USER, address, pacs
from tests.remote.servers import serving

FILM = make_dicom()


@pytest.fixture
def ask():
    with Objects(seconds=5.0, pause=lambda _: None) as found:
        yield found


def listed(ask, *texts):
    named = Inputs([str(text) for text in texts], ask)
    found = {}
    for turn in named.turns():
        found |= turn
    return found, named.passed


def names(found):
    return [str(source) for source in found]


def packed(files, mode="w"):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as shard:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            shard.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def test_paths_are_what_they_were(ask, tmp_path):
    for name in ("b.dcm", "a.dcm", "x.txt"):
        (tmp_path / name).write_bytes(FILM)
    found, _ = listed(ask, tmp_path)
    assert list(found) == [tmp_path / "a.dcm", tmp_path / "b.dcm", tmp_path / "x.txt"]
    (tmp_path / "x.txt").write_text("words")
    named = Inputs([f"file://{tmp_path}"], ask)
    assert named.count == 2
    assert named.passed == {".txt": 1}
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="holds no DICOM file and no picture"):
        Inputs([str(tmp_path / "empty")], ask)


def test_what_lies_below_an_address(ask, store):
    store.put(dict.fromkeys(("in/b.dcm", "in/c/IM1", "in/a.DCM", "in/old.zip"), FILM))
    store.put(dict.fromkeys(("in/t.csv", "in/.x.dcm", "in/.h/y.dcm", "in/DICOMDIR"), b"1"))
    store.put({"in/s.tar": packed({"1.dcm": FILM, "1.json": b"{}"}), "ink.dcm": FILM})
    found, passed = listed(ask, "s3://films/in")
    assert names(found) == [
        "s3://films/in/a.DCM",
        "s3://films/in/b.dcm",
        "s3://films/in/c/IM1",
        "s3://films/in/old.zip",
        "s3://films/in/s.tar/1.dcm",
    ]
    assert passed == {".csv": 1, "hidden": 2, "DICOMDIR": 1, ".json": 1}
    assert all(found.values())
    assert names(listed(ask, "s3://films/in/*.dcm")[0]) == ["s3://films/in/b.dcm"]
    assert names(listed(ask, "s3://films/i*/**/IM?")[0]) == ["s3://films/in/c/IM1"]
    assert names(listed(ask, "s3://films/ink.dcm")[0]) == ["s3://films/ink.dcm"]
    assert len(listed(ask, "s3://films")[0]) == len(listed(ask, "s3://films/")[0]) == 6


def test_a_name_that_is_there_is_no_pattern(ask, store):
    odd = ["a b.dcm", "a#b.dcm", "a?b.dcm", "a%20b.dcm", "A.dcm", "a.dcm", "x[1].dcm", "x1.dcm"]
    store.put({f"in/{name}": name.encode() for name in odd})
    for name in odd:
        (found,) = listed(ask, f"s3://films/in/{name}")[0]
        assert ask.fetch(found).content == name.encode()
    assert len(listed(ask, "s3://films/in/a?*.dcm")[0]) == 4


def test_one_that_is_not_there_stays_an_input(ask, store):
    found, _ = listed(ask, "s3://films/none.dcm")
    assert found == {Address("s3://films/none.dcm"): None}


def test_places_that_hold_nothing(ask, store):
    store.put({"t/x.csv": b"a"})
    told = r"^s3://films/t/: holds no DICOM file \(1 other file: 1 .csv\); see how its address is"
    with pytest.raises(DataError, match=told):
        listed(ask, "s3://films/t/")
    with pytest.raises(AddressError, match=r"^s3://none/: there is no such object, or no such buc"):
        listed(ask, "s3://none")
    with pytest.raises(UsageError, match=r"^ftp://h/x: addresses of s3://, .* and file:// are re"):
        listed(ask, "ftp://me:secret@h/x")
    with pytest.raises(UsageError, match=r"^s3:///x.dcm: names no bucket; write s3://BUCKET/NAME$"):
        listed(ask, "s3:///x.dcm")
    with pytest.raises(UsageError, match=r"^https:///x: names no host; write https://HOST/NAME$"):
        listed(ask, "https://me:secret@/x")


def zipped(files):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


@pytest.mark.parametrize(("suffix", "pack"), [("tar", packed), ("zip", zipped)])
def test_an_archive_is_looked_into_where_it_lies(ask, store, tmp_path, suffix, pack):
    archive = pack({"study/1.dcm": FILM, "1.cls": b"0", "2.dcm": FILM[:-2]})
    path = tmp_path / f"part-0.{suffix}"
    path.write_bytes(archive)
    store.put({path.name: archive})
    with serving(files={f"/{path.name}": archive}) as web:
        for text in (f"s3://films/{path.name}", f"{web.url}/{path.name}?key=5ec3e7"):
            found, passed = listed(ask, text)
            place = text.partition("?")[0]
            assert names(found) == [f"{place}/study/1.dcm", f"{place}/2.dcm"]
            assert passed == {".cls": 1}
            contents = [ask.fetch(one, stamp).content for one, stamp in found.items()]
            assert contents == [FILM, FILM[:-2]]
    found, passed = listed(ask, path)
    assert list(found) == [path / "2.dcm", path / "study" / "1.dcm"]
    assert [stamp.size for stamp in found.values()] == [len(FILM) - 2, len(FILM)]
    assert passed == {".cls": 1}


def test_an_archive_that_is_none_is_an_input_that_is_refused(ask, store, tmp_path):
    for name, content in [
        ("x.tar", gzip.compress(packed({"1.dcm": FILM}))),
        ("y.tar", packed({"1.dcm": FILM})[:700]),
        ("x.zip", zipped({"1.dcm": FILM})[:-9]),
    ]:
        (tmp_path / name).write_bytes(content)
        store.put({name: content})
        assert list(listed(ask, tmp_path / name)[0]) == [tmp_path / name]
    for name in ("x.tar", "x.zip"):
        assert list(listed(ask, f"s3://films/{name}")[0]) == [Address(f"s3://films/{name}")]
    first, rest = listed(ask, "s3://films/y.tar")[0]
    assert str(first) == "s3://films/y.tar/1.dcm"
    told = r"^s3://films/y.tar/all-the-rest: is no whole tar .*: the first 1 were read$"
    with pytest.raises(AddressError, match=told):
        ask.fetch(rest)
    for name, content in [("z.tar", packed({"1.cls": b""})), ("z.zip", zipped({"1.cls": b""}))]:
        (tmp_path / name).write_bytes(content)
        store.put({name: content})
        with pytest.raises(DataError, match=r"z\....: holds no DICOM file"):
            listed(ask, tmp_path / name)
        with pytest.raises(DataError, match="holds no DICOM file; see what was packed"):
            listed(ask, f"s3://films/{name}")


def test_what_in_an_archive_at_an_address_cannot_be_read_is_its_own_error(ask, store):
    archive = zipped({"a.dcm": FILM, "../b.dcm": FILM})
    store.put({"x.zip": archive})
    found, _ = listed(ask, "s3://films/x.zip")
    told = r"^s3://films/x.zip/../b.dcm: its name leads out of the archive; pack it again"
    with pytest.raises(AddressError, match=told):
        ask.fetch(list(found)[1])
    with tarfile.open(fileobj=(twice := io.BytesIO()), mode="w") as shard:
        for content in (FILM, FILM[:-2]):
            (entry := tarfile.TarInfo("a.dcm")).size = len(content)
            shard.addfile(entry, io.BytesIO(content))
    store.put({"t.tar": twice.getvalue()})
    one, other = listed(ask, "s3://films/t.tar")[0]
    assert ask.fetch(one).content == FILM
    assert one.identity != other.identity  # so that neither gets the other's answer
    with pytest.raises(AddressError, match=r"^s3://films/t.tar/a.dcm: its name comes more than"):
        ask.fetch(other)
    damaged = bytearray(archive)
    damaged[60] ^= 255
    store.put({"y.zip": bytes(damaged)})
    with pytest.raises(AddressError, match=r"^s3://films/y.zip/a.dcm: its archive is damaged"):
        ask.fetch(next(iter(listed(ask, "s3://films/y.zip")[0])))


@pytest.mark.parametrize(
    ("form", "delimiter"), [("csv", ","), ("csv", ";"), ("csv.gz", "\t"), ("parquet", "")]
)
def test_a_list_names_files_and_digests(ask, tmp_path, form, delimiter):
    (tmp_path / "b.dcm").write_bytes(FILM)
    digest = sha256(FILM).hexdigest()
    rows = {
        "note": ["x", "y", "z", "ü", ""],
        "address": ["b.dcm", "b.dcm", "s3://films/a.dcm", f"file://{tmp_path}/c.dcm", "/d.dcm"],
        "digest": ["", f"SHA256:{digest}", digest, None, ""],
    }
    path = tmp_path / f"films.{form}"
    if form == "parquet":
        pq.write_table(pa.table(rows), path)
    else:
        text = io.StringIO()
        csv.writer(text, delimiter=delimiter).writerows(
            [list(rows), *zip(*rows.values(), strict=True)]
        )
        content = text.getvalue().encode("utf-8-sig")
        path.write_bytes(gzip.compress(content) if form == "csv.gz" else content)
    found, _ = listed(ask, path)
    assert list(found) == [
        tmp_path / "b.dcm",
        Address(str(tmp_path / "b.dcm"), f"sha256:{digest}"),
        Address("s3://films/a.dcm", f"sha256:{digest}"),
        tmp_path / "c.dcm",
        Path("/d.dcm"),
    ]
    assert ask.fetch(list(found)[1]).content == FILM


def test_a_list_may_lie_in_a_store(ask, store):
    store.put({"lists/l.csv": b"url\na.dcm\n../x/s.tar\n", "lists/a.dcm": FILM})
    store.put({"x/s.tar": packed({"1.dcm": FILM}), "lists/none.csv": b"name\na.dcm\n"})
    store.put({"lists/l.csv": b"url\na.dcm\ns3://films/x/s.tar\n"})
    found, _ = listed(ask, "s3://films/lists/l.csv")
    assert names(found) == ["s3://films/lists/a.dcm", "s3://films/x/s.tar/1.dcm"]
    assert all(found.values())
    told = r"lists/none.csv: has no column address, url or path; name the one of the addresses so"
    with pytest.raises(DataError, match=told):
        listed(ask, "s3://films/lists/none.csv")


def test_a_table_that_is_no_list_stays_a_bad_input(ask, tmp_path):
    path = tmp_path / "labels.csv"
    path.write_text("name,value\na,1\n")
    assert list(listed(ask, path)[0]) == [path]


@pytest.mark.parametrize(
    ("text", "digest", "said"),
    [
        ("", "", "names no file; give each row an address or a path"),
        ("a.dcm", "12", "has the digest '12'; write sha256: or md5: and hexadecimal digits"),
        ("a.dcm", "0" * 40, "has the digest '00000000000000000000'; write sha256:"),
        ("ftp://h/a.dcm", "", "has an address of ftp://; s3, gs, az, http, https, dicomweb+http"),
    ],
)
def test_a_row_that_cannot_be_read(ask, tmp_path, text, digest, said):
    path = tmp_path / "l.csv"
    path.write_text(f"path,digest\nx.dcm,\n{text},{digest}\n")
    with pytest.raises(DataError) as raised:
        listed(ask, path)
    assert str(raised.value).startswith(f"{path}: row 2: {said}")


def test_a_damaged_list(ask, tmp_path):
    path = tmp_path / "l.parquet"
    path.write_bytes(b"PAR1 nothing")
    with pytest.raises(DataError, match=r"cannot be read as a table \(ArrowInvalid\); write it as"):
        listed(ask, path)


def test_rows_of_a_list_count_from_its_folder():
    assert source_of("a/b.dcm", "", "s3://films/x") == Address("s3://films/x/a/b.dcm")
    assert source_of("a/b.dcm", "", "/data") == Path("/data/a/b.dcm")
    assert source_of("/a/b.dcm", "", "s3://films/x") == Path("/a/b.dcm")


def test_a_turn_holds_a_few(ask, store, tmp_path):
    store.put({f"in/{number}.dcm": FILM for number in range(5)})
    (tmp_path / "y.dcm").write_bytes(FILM)
    turns = Inputs(["s3://films/in", str(tmp_path / "y.dcm")], ask).turns(3)
    assert [len(turn) for turn in turns] == [3, 3]


def test_what_a_pacs_holds(ask, tmp_path):
    files = {
        f"{study}.{number}": make_dicom(
            StudyInstanceUID=f"1.{study}",
            SeriesInstanceUID=f"1.{study}.{number}",
            SOPInstanceUID=f"1.{study}.{number}.0",
            Modality=modality,
        )
        for study, number, modality in [(1, 1, "CR"), (1, 2, "SR"), (2, 1, "DX"), (3, 1, "CT")]
    }
    with pacs(*files.values()) as server:
        service = address(server)
        shown = f"{address(server, '')}/studies/1.{{0}}/series/1.{{0}}.1/instances/1.{{0}}.1.0.dcm"
        one, two = shown.format(1), shown.format(2)
        found, passed = listed(ask, service)
        assert (names(found), passed) == ([one, two], {".ct": 1, ".sr": 1})
        assert [ask.fetch(*item).content for item in found.items()] == [files["1.1"], files["2.1"]]
        assert names(listed(ask, f"{service}/studies/?ModalitiesInStudy=DX")[0]) == [two]
        assert names(listed(ask, f"{service}/studies/1.1")[0]) == [one]
        assert names(listed(ask, f"{service}/studies/1.2/series/1.2.1/")[0]) == [two]
        single = f"{service}/studies/1.3/series/1.3.1/instances/1.3.1.0"  # named, so it is meant
        assert names(listed(ask, single)[0]) == [single.replace(f"{USER}@", "")]
        (tmp_path / "l.csv").write_text(f"url\n{service}/studies/1.2\n{single}\n")
        assert names(listed(ask, tmp_path / "l.csv")[0])[0] == two
        told = r"studies/1.3: holds no radiograph \(CR, DX\) \(1 other file: 1 .ct\); see how its "
        with pytest.raises(DataError, match=told):
            listed(ask, f"{service}/studies/1.3")
