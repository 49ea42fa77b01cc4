"""Atomic writes, names of limited length and hashes."""

import os
import resource
import socket
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from deepfake_ms.files import append_line, limit_name, remove_abandoned, replacing, sha256_of, write_atomically


def test_failed_write_keeps_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "folder" / "value.txt"
    write_atomically(path, "old")
    monkeypatch.setattr("deepfake_ms.files.os.fsync", lambda _: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        write_atomically(path, "new")
    assert path.read_text() == "old"
    assert list(path.parent.iterdir()) == [path]


def test_a_failed_write_names_the_file_and_not_its_partial_one(tmp_path, monkeypatch):
    monkeypatch.setattr("deepfake_ms.files.os.fsync", lambda _: (_ for _ in ()).throw(OSError(28, "disk full")))
    with pytest.raises(OSError, match="disk full") as caught:
        write_atomically(tmp_path / "value.txt", "new")
    assert caught.value.filename == str(tmp_path / "value.txt")


def test_a_full_disk_leaves_whole_lines(tmp_path):
    """Under a limit on the size of files, as on a full disk."""
    path = tmp_path / "log.jsonl"
    append_line(path, "x" * 99)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (150, before[1]))
    try:
        with pytest.raises(OSError, match="too large") as caught:
            append_line(path, "y" * 99)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert caught.value.filename == str(path)
    assert path.read_bytes() == b"x" * 99 + b"\n"


@pytest.mark.parametrize("left", ["", "one\n", "one\ntw", "on", "\n"])
def test_an_incomplete_line_of_a_killed_process_is_removed(tmp_path, left):
    path = tmp_path / "log.jsonl"
    path.write_text(left)
    append_line(path, "new")
    assert path.read_text() == left[: left.rfind("\n") + 1] + "new\n"


def test_only_abandoned_parts_are_removed(tmp_path):
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    host = socket.gethostname()[:40]
    names = {
        "ended": f".a.json.{host}.{ended.pid}.7.part",
        "own": f".a.json.{host}.{os.getpid()}.7.part",
        "running": f".a.json.{host}.{os.getppid()}.7.part",
        "elsewhere": f".a.json.elsewhere.{ended.pid}.7.part",
        "elsewhere, long ago": f".b.json.elsewhere.{os.getppid()}.7.part",
        "no part": f".a.json.{host}.{ended.pid}.7",
    }
    for name in names.values():
        (tmp_path / "folder" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "folder" / name).touch()
    os.utime(tmp_path / "folder" / names["elsewhere, long ago"], (0, 0))
    remove_abandoned(tmp_path)
    left = {what for what, name in names.items() if (tmp_path / "folder" / name).exists()}
    assert left == {"running", "elsewhere", "no part"}


def test_what_another_thread_is_writing_is_not_abandoned(tmp_path):
    begun, looked = threading.Event(), threading.Event()

    def write() -> None:
        with replacing(tmp_path / "value.txt") as part:
            part.write_text("new")
            begun.set()
            assert looked.wait(30)

    with ThreadPoolExecutor(1) as pool:
        writing = pool.submit(write)
        assert begun.wait(30)
        remove_abandoned(tmp_path)
        looked.set()
        writing.result()
    assert (tmp_path / "value.txt").read_text() == "new"


def test_part_files_carry_host_and_process(tmp_path):
    """Two containers on one shared disk often have equal process ids."""
    with replacing(tmp_path / "value.txt") as part:
        assert part.parent == tmp_path
        assert part.name.startswith(".value.txt.")
        assert socket.gethostname()[:40] in part.name
        assert f".{os.getpid()}." in part.name
        part.write_text("new")
    assert (tmp_path / "value.txt").read_text() == "new"


@pytest.mark.parametrize("name", ["n" * 251 + ".txt", "ä" * 125 + ".txt"])
def test_the_longest_file_names_can_be_written(tmp_path, name):
    write_atomically(tmp_path / name, "new")
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_long_names_are_shortened_to_different_ones():
    assert limit_name("short", 100) == "short"
    one, other = limit_name("ä" * 100 + "1", 100), limit_name("ä" * 100 + "2", 100)
    assert one != other
    assert len(one.encode()) <= 100


def test_sha256(tmp_path):
    (tmp_path / "abc").write_bytes(b"abc")
    assert sha256_of(tmp_path / "abc").startswith("ba7816bf")
