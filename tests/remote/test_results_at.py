import json
import threading

import pytest

from pleura.errors import OutputError
from pleura.remote.objects import Objects
from pleura.remote.results_at import ResultsAt

URL, TABLES = "s3://films/out", ("rows.csv", "page.html", "last.csv")
FILES = {"rows.csv": "1", "last.csv": "2", "pictures/a.png": "3", ".hidden": "4"}


@pytest.fixture
def objects(store):
    with Objects(seconds=20.0, pause=lambda _: None) as found:
        found.about("s3://films/none")  # its client takes a second to be made
        store.way.asked.clear()
        yield found


@pytest.fixture
def results(objects, tmp_path):
    """Returns results on their way, of one command or another, made on one machine or another."""

    def of(command="predict", machine="here"):
        return ResultsAt(URL, command, TABLES, tmp_path / machine, objects)

    return of


def made(results):
    for name, text in FILES.items():
        path = results.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return results


def there(store):
    found = store.client.list_objects_v2(Bucket="films").get("Contents", ())
    return {
        one["Key"]: store.client.get_object(Bucket="films", Key=one["Key"])["Body"].read().decode()
        for one in found
    }


def test_all_is_put_once_and_the_last_file_last(store, results, tmp_path):
    told = []
    with results() as sent:
        made(sent)
        assert list(there(store)) == ["out/.pleura.lock"]
        sent.put(lambda *one: told.append(one))
    assert there(store) == {
        f"out/{name}": text for name, text in FILES.items() if name != ".hidden"
    }
    put = [one.split("/out/")[1] for one in store.way.asked if one.startswith("PUT")]
    assert put == [".pleura.lock", "pictures/a.png", "rows.csv", "last.csv"]
    assert told == [(1, 3), (2, 3), (3, 3)]
    assert not list((tmp_path / "here").iterdir())
    with pytest.raises(
        OutputError, match=r"^s3://films/out: holds rows.csv already, and results at"
    ):
        results("other").__enter__()
    assert ".pleura.lock" not in "".join(there(store))


def test_one_at_a_time_holds_an_address(store, results):
    with results():
        with pytest.raises(OutputError) as raised:
            results(machine="there").__enter__()
        assert str(raised.value).startswith(f"{URL}: is in use by pleura predict (process ")
        assert str(raised.value).endswith(f"is not to go on, remove {URL}/.pleura.lock")
    with results(machine="there"):
        pass
    assert not there(store)


def test_of_many_who_begin_together_one_does(store, objects, results):
    begun, barrier = [], threading.Barrier(8)

    def begin(number):
        barrier.wait()
        if objects.put_new(f"{URL}/lock", b"%d" % number):
            begun.append(str(number))

    threads = [threading.Thread(target=begin, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [there(store)["out/lock"]] == begun


def test_a_killed_job_holds_its_address_and_goes_on(store, results):
    killed = made(results().__enter__())
    killed._held.pop_all()  # it takes leave of nothing
    with pytest.raises(OutputError, match="is in use by pleura predict"):
        results(machine="there").__enter__()
    with results() as again:
        assert (again.folder / "rows.csv").read_text() == "1"
        again.put()
    assert there(store)["out/last.csv"] == "2"


def test_what_was_put_in_part_is_put_by_the_same_command_alone(store, objects, results):
    store.way.refused[:] = ["", "", "403"]
    with (
        pytest.raises(OutputError, match=r"rows.csv: may not be written: check what gives the rig"),
        results() as sent,
    ):
        made(sent).put()
    assert sorted(there(store)) == ["out/.pleura.lock", "out/pictures/a.png"]
    with pytest.raises(OutputError, match="is in use by pleura predict"):
        results(machine="there").__enter__()
    with results() as again:
        again.put()
    assert "out/last.csv" in there(store)


@pytest.mark.parametrize("fault", ["500", "503", "409", "lost", "501"])
def test_what_passes_is_waited_for(store, results, fault):
    with results() as sent:
        store.way.refused[:] = ["", fault]  # of the lock nothing is seen yet
        made(sent).put()
    assert there(store)["out/last.csv"] == "2"
    store.client.delete_object(Bucket="films", Key="out/rows.csv")
    store.client.delete_object(Bucket="films", Key="out/last.csv")
    store.way.refused[:] = [fault]
    with results():
        assert "out/.pleura.lock" in there(store)


def test_a_store_without_conditions_is_looked_at_first(store, results):
    store.way.refused[:] = ["501"]
    with results():
        store.way.refused[:] = ["501"]
        with pytest.raises(OutputError, match="is in use by pleura predict"):
            results(machine="there").__enter__()


def test_nothing_is_put_by_who_lost_the_lock(store, results):
    other = json.dumps({"holder": {}, "claim": "another"})
    with results() as sent:
        made(sent)
        for content in (other, "", "[]", None):
            if content is None:
                store.client.delete_object(Bucket="films", Key="out/.pleura.lock")
            else:
                store.put({"out/.pleura.lock": content})
            with pytest.raises(
                OutputError, match=r"its .pleura.lock is not this process's any mor"
            ):
                sent.put()
    assert not there(store)


def test_a_bucket_that_is_not_there(objects, tmp_path):
    with pytest.raises(
        OutputError, match=r"^s3://none/out/.pleura.lock: there is no such bucket; "
    ):
        ResultsAt("s3://none/out", "", TABLES, tmp_path / "w", objects).__enter__()
    assert not list((tmp_path / "w").iterdir())


def test_a_folder_that_cannot_be_made(store, objects, tmp_path):
    (tmp_path / "w").write_text("")
    with pytest.raises(
        OutputError, match=r"/w/[0-9a-f]{32}: could not be written \(Not a directory"
    ):
        ResultsAt(URL, "", TABLES, tmp_path / "w", objects).__enter__()
    assert not there(store)


def test_what_is_put_meanwhile_is_put_once_and_its_rows_go_at_the_end(store, results):
    with results() as sent:
        assert list(sent.parts("job")) == []
        made(sent)
        store.way.refused[:] = ["403"]
        with pytest.raises(OutputError, match=r"a.png: may not be written: check what gives the"):
            sent.put_part("job", {"k1": "1"})
        sent.put_part("job", {"k2": "2"})
    names = list(there(store))
    assert names[0] == "out/.pleura.lock"
    assert names[1].startswith("out/.rows/")
    assert names[2:] == ["out/pictures/a.png"]
    with results() as again:
        assert list(again.parts("job")) == [{"k1": "1", "k2": "2"}]
        assert list(again.parts("of another model")) == []
        store.put({names[1]: b"{}"})
        assert list(again.parts("job")) == []
        again.put()
    assert list(there(store)) == ["out/last.csv", "out/pictures/a.png", "out/rows.csv"]


def test_what_lies_at_an_address_is_brought_into_its_own_folder_alone(store, results, tmp_path):
    with results() as sent:
        made(sent).put_part("job", {"k": "1"})
    store.client.delete_object(Bucket="films", Key="out/.pleura.lock")
    store.put({"out/a/../../../evil": b"x", "out/a/.b/c": b"x", "out/pictures/b.png": b"5"})
    with results(machine="there") as again:
        assert len(list(again.parts("job"))) == 1
        found = [path for path in (tmp_path / "there").rglob("*") if path.is_file()]
        names = {path.name for path in found if not path.name.startswith(".")}
        assert names == {"a.png", "b.png"}
