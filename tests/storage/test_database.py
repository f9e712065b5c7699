import contextlib
import gc
import os
import sqlite3
import subprocess
import sys

import pytest

from pleura.errors import OutputError
from pleura.storage import database
from pleura.storage.database import Store
from tests.full_disks import small_disk


def test_texts_come_back_in_the_order_of_their_keys(tmp_path):
    path = tmp_path / "deep" / "store"
    with Store(path, "job") as store:
        for key in "bac":
            store.put(key, f"text {key}")
        store.put("b", "again")
    with Store(path, "job") as store:
        assert list(store.items()) == [("b", "again"), ("a", "text a"), ("c", "text c")]
        assert (len(store), store.get("c"), store.get("d")) == (3, "text c", None)
        assert "a" in store
        assert "d" not in store
    assert [found.name for found in path.parent.iterdir()] == ["store"]


def test_another_job_begins_anew(tmp_path):
    with Store(tmp_path / "store", "job") as store:
        store.put("a", "text")
    with Store(tmp_path / "store", "other") as store:
        assert len(store) == 0


def test_a_passing_text_counts_until_the_store_is_opened_again(tmp_path):
    with Store(tmp_path / "store", "job") as store:
        store.put("a", "lasting")
        store.put("a", "passing", passing=True)
        assert store.get("a") == "passing"
        store.put("b", "passing", passing=True)
        store.put("c", "passing", passing=True)
        store.put("c", "lasting")
        assert store.get("c") == "lasting"
    with Store(tmp_path / "store", "job") as store:
        assert list(store.items()) == [("a", "lasting"), ("c", "lasting")]


def test_what_was_put_survives_a_kill(tmp_path):
    code = (
        "import os, signal; from pathlib import Path; from pleura.storage.database import Store\n"
        f"store = Store(Path({str(tmp_path / 'store')!r}), 'job')\n"
        "for number in range(50): store.put(str(number), 'x' * number)\n"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -9
    with Store(tmp_path / "store", "job") as store:
        assert list(store.items()) == [(str(number), "x" * number) for number in range(50)]


def test_a_view_outlives_its_store_and_lets_the_next_one_in(tmp_path):
    with Store(tmp_path / "store", "job") as store:
        store.put("a", "one")
        store.put("b", "two")
        view = store.view(["b", "a"])
    with Store(tmp_path / "store", "job") as store:
        store.put("c", "three")
        store.remove()
    assert list(tmp_path.iterdir()) == []
    assert [view.text(place) for place in range(len(view))] == ["two", "one"]
    with pytest.raises(IndexError):
        view.text(2)
    with Store(tmp_path / "store", "job") as store:
        store.put("d", "four")
        del view
        gc.collect()
        store.put("e", "five")
    with Store(tmp_path / "store", "job") as store:
        assert len(store) == 2, "what is closed late removes nothing of another's"


def test_its_owner_alone_may_read_what_is_private(tmp_path):
    with Store(tmp_path / "store", "job", private=True) as store:
        store.put("a", "text")
        for path in tmp_path.iterdir():
            assert path.stat().st_mode & 0o077 == 0


def test_a_store_that_another_holds(tmp_path, monkeypatch):
    monkeypatch.setattr(database, "_WAIT_S", 0.1)
    message = r"store: is held by another process; wait until that is done, or choose another place"
    with Store(tmp_path / "store", "job"), pytest.raises(OutputError, match=message):
        Store(tmp_path / "store", "job")


def test_a_store_of_another_program(tmp_path):
    with sqlite3.connect(tmp_path / "store") as other:
        other.execute("CREATE TABLE kept (number)")
    other.close()
    message = (
        r"store: is no store of pleura; remove it, or choose another place: what it may have held "
        "is done again"
    )
    with pytest.raises(OutputError, match=message):
        Store(tmp_path / "store", "job")


def test_a_text_that_was_changed_is_damage(tmp_path):
    with Store(tmp_path / "store", "job") as store:
        store.put("a", "score 0.25")
    content = (tmp_path / "store").read_bytes()
    (tmp_path / "store").write_bytes(content.replace(b"score 0.25", b"score 0.95"))
    with pytest.raises(OutputError, match=r"store: is damaged; remove it, or choose another place"):
        Store(tmp_path / "store", "job")


def test_a_drive_without_locks(tmp_path, monkeypatch):
    real, asked = database._connected, []

    def connected(path, how=""):
        asked.append(how)
        if not how:
            error = sqlite3.OperationalError("disk I/O error")
            error.sqlite_errorcode = sqlite3.SQLITE_IOERR_LOCK
            raise error
        return real(path, how)

    monkeypatch.setattr(database, "_connected", connected)
    for number in range(2):
        with Store(tmp_path / "store", "job") as store:
            assert len(store) == number
            store.put(str(number), "text")
    assert asked == ["", "?vfs=unix-none"] * 2


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "out").write_text("mine")
    message = (
        r"out: results could not be written \(.+\); what is finished is kept: choose another place "
        "and run it again"
    )
    with pytest.raises(OutputError, match=message):
        Store(tmp_path / "out" / "store", "job")


def test_a_name_that_is_not_utf_8(tmp_path):
    folder = tmp_path / os.fsdecode(b"f-\xff ?#%")
    with Store(folder / "store", "job") as store:
        store.put("a", "text")
    assert (folder / "store").exists()


def test_a_full_disk_keeps_what_was_put_and_goes_on_once_there_is_space(tmp_path):
    with small_disk(tmp_path / "disk", 256) as disk:
        ballast = disk / "ballast"
        ballast.write_bytes(bytes(64 << 10))
        kept = 0
        message = (
            rf"{disk}: results could not be written \(No space left on device\); what is finished "
            "is kept: free some space and run it again"
        )
        with Store(disk / "store", "job") as store:
            with contextlib.suppress(OutputError):
                while True:
                    store.put(str(kept), "x" * 2000)
                    kept += 1
            with pytest.raises(OutputError, match=message):
                store.put("too much", "x" * 90_000)
        assert kept > 3
        ballast.unlink()
        with Store(disk / "store", "job") as store:
            assert [key for key, _ in store.items()] == [str(number) for number in range(kept)]
            store.put("more", "text")


def test_a_text_does_not_answer_for_another_key(tmp_path):
    with Store(tmp_path / "s", "job") as store:
        store.put("a", "of a")
        store.put("b", "of b")
    with contextlib.closing(sqlite3.connect(tmp_path / "s")) as opened:
        opened.execute("UPDATE kept SET key='c' WHERE key='a'")
        opened.commit()
    with pytest.raises(OutputError, match=r"s: is damaged; remove it"):
        Store(tmp_path / "s", "job")


def test_a_text_that_is_gone_is_damage(tmp_path):
    with Store(tmp_path / "s", "job") as store:
        store.put("a", "of a")
    with contextlib.closing(sqlite3.connect(tmp_path / "s")) as opened:
        opened.execute("UPDATE kept SET text=NULL")
        opened.commit()
    with pytest.raises(OutputError, match=r"s: is damaged; remove it"):
        Store(tmp_path / "s", "job")


def test_a_store_of_another_layout_is_of_another_version(tmp_path):
    path = tmp_path / "store"
    with Store(path, "job") as store:
        store.put("a", "1")
    with contextlib.closing(sqlite3.connect(path)) as other:
        other.execute("ALTER TABLE kept ADD COLUMN more TEXT")
    with pytest.raises(OutputError, match="store: was begun by another version of pleura, or is"):
        Store(path, "job")
