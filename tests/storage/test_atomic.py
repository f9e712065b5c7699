import os
import time
from pathlib import Path

import pytest

from pleura.errors import OutputError
from pleura.storage.alive import place
from pleura.storage.atomic import (
    atomic_path,
    remove_abandoned,
    require_writable,
    write_bytes,
    write_text,
)
from tests.full_disks import limited_file_size, small_disk


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_finished_write_stands_alone_at_its_place(tmp_path: Path) -> None:
    write_text(tmp_path / "new" / "folder" / "a.txt", "grün")

    assert (tmp_path / "new" / "folder" / "a.txt").read_bytes() == "grün".encode()
    assert names(tmp_path / "new" / "folder") == ["a.txt"]


def test_a_finished_write_replaces_the_old_file(tmp_path: Path) -> None:
    target = tmp_path / "a.bin"
    write_bytes(target, b"old and longer")
    write_bytes(str(target), b"new")

    assert target.read_bytes() == b"new"
    assert names(tmp_path) == ["a.bin"]


def test_the_target_is_untouched_until_the_block_ends(tmp_path: Path) -> None:
    target = tmp_path / "a.txt"
    target.write_text("old")
    with atomic_path(target) as partial:
        partial.write_text("new")

        assert partial.parent == tmp_path
        assert target.read_text() == "old"
    assert target.read_text() == "new"


@pytest.mark.parametrize("error", [ValueError("bad"), KeyboardInterrupt(), SystemExit(3)])
def test_an_exception_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, error: BaseException
) -> None:
    target = tmp_path / "a.txt"
    target.write_text("old")

    def fail() -> None:
        with atomic_path(target) as partial:
            partial.write_text("half")
            raise error

    with pytest.raises(type(error)) as caught:
        fail()

    assert caught.value is error
    assert target.read_text() == "old"
    assert names(tmp_path) == ["a.txt"]


def test_an_exception_before_anything_is_written_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="bad"), atomic_path(tmp_path / "a.txt"):
        raise ValueError("bad")

    assert names(tmp_path) == []


def test_an_os_error_becomes_an_output_error_with_path_and_reason(tmp_path: Path) -> None:
    (tmp_path / "a.txt").mkdir()
    with pytest.raises(OutputError) as caught:
        write_text(tmp_path / "a.txt", "x")

    assert str(caught.value) == (
        f"{tmp_path}/a.txt: could not be written (Is a directory); choose another place"
    )
    assert isinstance(caught.value.__cause__, IsADirectoryError)
    assert names(tmp_path) == ["a.txt"]


def test_a_file_where_a_folder_is_needed_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(
        OutputError, match=r"file/a\.txt: could not be written \(.*\); choose another"
    ):
        write_text(tmp_path / "file" / "a.txt", "x")

    assert names(tmp_path) == ["file"]


def test_a_full_disk_leaves_the_old_file(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 64) as disk:
        target = disk / "a.bin"
        write_bytes(target, b"old")
        with pytest.raises(OutputError) as caught:
            write_bytes(target, bytes(1 << 20))

        assert str(caught.value) == (
            f"{target}: could not be written (No space left on device); free some space or choose "
            "another place"
        )
        assert target.read_bytes() == b"old"
        assert names(target.parent) == ["a.bin"]


def test_a_write_past_the_quota_leaves_the_old_file(tmp_path: Path) -> None:
    target = tmp_path / "a.bin"
    write_bytes(target, b"old")
    with limited_file_size(65_536), pytest.raises(OutputError, match=r"\(File too large\)"):
        write_bytes(target, bytes(1 << 20))

    assert target.read_bytes() == b"old"
    assert names(tmp_path) == ["a.bin"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_permission_is_named(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(OutputError, match=r"\(Permission denied\)"):
        write_text(tmp_path / "a.txt", "x")


def test_a_folder_is_tried_before_the_work(tmp_path: Path) -> None:
    require_writable(tmp_path / "new" / "folder")
    assert names(tmp_path / "new" / "folder") == []
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutputError, match=r"file: could not be written \(File exists\); choose"):
        require_writable(tmp_path / "file")


def partial(folder: Path, where: str, process: int, age_s: float = 0.0) -> Path:
    path = folder / f".a.txt.{where}-{process}-7.partial"
    path.write_text("half")
    os.utime(path, (time.time() - age_s,) * 2)
    return path


def test_only_what_no_living_process_writes_is_removed(tmp_path: Path) -> None:
    dead = 2**22 + 1
    gone = [
        partial(tmp_path, place(), dead),
        partial(tmp_path, "0" * 8, dead, age_s=90_000),  # another machine's, untouched for a day
    ]
    kept = [
        partial(tmp_path, "0" * 8, dead + 1),
        partial(tmp_path, place(), os.getpid()),
        tmp_path / ".mine.partial",
        tmp_path / "a.txt",
    ]
    for path in kept[2:]:
        path.write_text("")
    with atomic_path(tmp_path / "b.txt") as writing:
        writing.write_text("")
        remove_abandoned(tmp_path)
        assert writing.exists()
    assert not any(path.exists() for path in gone)
    assert all(path.exists() for path in kept)
    older = partial(tmp_path, place(), os.getpid(), age_s=1e9)  # our number was another's then
    remove_abandoned(tmp_path)
    remove_abandoned(tmp_path / "absent")
    assert not older.exists()
