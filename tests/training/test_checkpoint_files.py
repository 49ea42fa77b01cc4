"""Writing a checkpoint: piece by piece, and the old one stays if the disk is full."""

import errno
import threading
from contextlib import contextmanager

import pytest
import torch

from deepfake_ms.files import writing
from deepfake_ms.training import checkpoint_files
from deepfake_ms.training.checkpoint_files import AtomicCheckpoints, BackgroundCheckpoints, find_damage, read_checkpoint


class Stream:
    """Passes on what is written, up to a number of bytes."""

    def __init__(self, stream, capacity):
        self.stream, self.capacity, self.longest = stream, capacity, 0

    def write(self, data):
        self.capacity -= len(data)
        self.longest = max(self.longest, len(data))
        if self.capacity < 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        return self.stream.write(data)

    def flush(self):
        self.stream.flush()


@pytest.fixture
def disk(monkeypatch):
    """Limits the bytes that a checkpoint may have; returns the streams that were written to."""
    opened = []

    def limit(capacity):
        @contextmanager
        def limited(path):
            with writing(path) as stream:
                opened.append(Stream(stream, capacity))
                yield opened[-1]

        monkeypatch.setattr(checkpoint_files, "writing", limited)
        return opened

    return limit


def checkpoint(value, tensors=20):
    weights = torch.nn.ParameterList(torch.full((100, 100), value) for _ in range(tensors)).state_dict()
    return {"state_dict": weights}


def test_a_checkpoint_is_never_in_memory_as_a_whole(tmp_path, disk):
    opened = disk(10**9)
    AtomicCheckpoints().save_checkpoint(checkpoint(1.0), tmp_path / "last.ckpt")
    assert find_damage(tmp_path / "last.ckpt") is None
    read = read_checkpoint(tmp_path / "last.ckpt")["state_dict"]
    assert len(read) == 20
    assert all(torch.equal(weight, torch.ones(100, 100)) for weight in read.values())
    assert opened[0].longest < 100_000  # a tensor has 40,000 bytes, all of them 800,000


@pytest.mark.parametrize("capacity", [0, 10, 50_000, 800_000])
def test_a_full_disk_is_named_and_the_old_checkpoint_stays(tmp_path, disk, capacity):
    path = tmp_path / "last.ckpt"
    AtomicCheckpoints().save_checkpoint(checkpoint(1.0), path)
    disk(capacity)
    with pytest.raises(OSError, match="No space left") as failure:
        AtomicCheckpoints().save_checkpoint(checkpoint(2.0), path)
    assert (failure.value.errno, failure.value.filename) == (errno.ENOSPC, str(path))
    assert read_checkpoint(path)["state_dict"]["0"][0, 0] == 1
    assert [each.name for each in tmp_path.iterdir()] == ["last.ckpt"]


def test_the_file_before_is_kept(tmp_path):
    for value in (1.0, 2.0, 3.0):
        AtomicCheckpoints().save_checkpoint(checkpoint(value), tmp_path / "last.ckpt", tmp_path / "previous.ckpt")
    assert read_checkpoint(tmp_path / "last.ckpt")["state_dict"]["0"][0, 0] == 3
    assert read_checkpoint(tmp_path / "previous.ckpt")["state_dict"]["0"][0, 0] == 2


@pytest.fixture
def slow_disk(monkeypatch):
    """Nothing is written before the event is set."""
    go_on = threading.Event()

    @contextmanager
    def slow(path):
        assert go_on.wait(60)
        with writing(path) as stream:
            yield stream

    monkeypatch.setattr(checkpoint_files, "writing", slow)
    yield go_on
    go_on.set()


def test_training_goes_on_while_its_state_is_written(tmp_path, slow_disk):
    io, state = BackgroundCheckpoints(), checkpoint(1.0)
    io.save_checkpoint(state, tmp_path / "best.ckpt")
    io.save_checkpoint({**state, "step": 1}, tmp_path / "last.ckpt")
    for weight in state["state_dict"].values():
        weight += 1
    assert list(tmp_path.iterdir()) == []
    slow_disk.set()
    io.teardown()
    AtomicCheckpoints().save_checkpoint(checkpoint(1.0), tmp_path / "foreground.ckpt")
    assert (tmp_path / "best.ckpt").stat().st_size == (tmp_path / "foreground.ckpt").stat().st_size
    for name in ("best", "last"):
        read = read_checkpoint(tmp_path / f"{name}.ckpt")["state_dict"]
        assert all(torch.equal(weight, torch.ones(100, 100)) for weight in read.values())
        assert read._metadata == state["state_dict"]._metadata
    io.save_checkpoint(state, tmp_path / "last.ckpt", tmp_path / "previous.ckpt")  # as the next stage does
    io.teardown()
    assert read_checkpoint(tmp_path / "last.ckpt")["state_dict"]["0"][0, 0] == 2
    assert read_checkpoint(tmp_path / "previous.ckpt")["step"] == 1


def test_weights_of_a_spawned_process_are_written_at_once(tmp_path):
    """Lightning hands them to the process that has started it, which reads the file when it has ended."""
    BackgroundCheckpoints().save_checkpoint(checkpoint(1.0)["state_dict"], tmp_path / ".temp.ckpt")
    assert torch.equal(read_checkpoint(tmp_path / ".temp.ckpt")["0"], torch.ones(100, 100))


def test_a_third_checkpoint_waits_for_the_first(tmp_path, slow_disk):
    io = BackgroundCheckpoints()
    for number in range(2):
        io.save_checkpoint(checkpoint(1.0), tmp_path / f"{number}.ckpt")
    third = threading.Thread(target=io.save_checkpoint, args=(checkpoint(1.0), tmp_path / "2.ckpt"))
    third.start()
    third.join(0.2)
    assert third.is_alive()
    slow_disk.set()
    third.join(60)
    io.teardown()
    assert sorted(each.name for each in tmp_path.iterdir()) == ["0.ckpt", "1.ckpt", "2.ckpt"]


def test_after_a_failed_write_nothing_is_written_in_the_background(tmp_path, disk):
    io = BackgroundCheckpoints()
    io.save_checkpoint(checkpoint(1.0), tmp_path / "last.ckpt")
    io.teardown()
    disk(50_000)
    io.save_checkpoint(checkpoint(2.0), tmp_path / "best.ckpt")
    io.save_checkpoint(checkpoint(2.0, tensors=1), tmp_path / "last.ckpt")  # small enough
    with pytest.raises(OSError, match="No space left") as failure:
        io.teardown()
    assert failure.value.filename == str(tmp_path / "best.ckpt")
    io.teardown()
    assert [each.name for each in tmp_path.iterdir()] == ["last.ckpt"]
    assert len(read_checkpoint(tmp_path / "last.ckpt")["state_dict"]) == 20
