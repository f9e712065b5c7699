import contextlib
import os
import resource
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from pleura.errors import OutputError
from pleura.formats.atomic import atomic_path, require_writable, write_bytes, write_text


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


@contextlib.contextmanager
def mounted(folder: Path) -> Iterator[bool]:
    """Mount 64 KiB of memory at `folder`; yield whether that worked."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)]
    try:
        done = subprocess.run(command, capture_output=True, check=False).returncode == 0
    except OSError:
        done = False
    try:
        yield done
    finally:
        if done:
            subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_leaves_the_old_file(tmp_path: Path) -> None:
    with mounted(tmp_path / "disk") as done:
        if not done:
            pytest.skip("mounting a small disk needs root and the right to mount")
        target = tmp_path / "disk" / "a.bin"
        write_bytes(target, b"old")
        with pytest.raises(OutputError) as caught:
            write_bytes(target, bytes(1 << 20))

        assert str(caught.value) == (
            f"{target}: could not be written (No space left on device); free some space or choose "
            "another place"
        )
        assert target.read_bytes() == b"old"
        assert names(target.parent) == ["a.bin"]


@contextlib.contextmanager
def limited_file_size(size: int) -> Iterator[None]:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)


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
