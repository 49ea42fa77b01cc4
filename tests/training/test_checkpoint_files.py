"""Writing a checkpoint: piece by piece, and the old one stays if the disk is full."""

import errno
from contextlib import contextmanager

import pytest
import torch

from deepfake_ms.files import writing
from deepfake_ms.training import checkpoint_files
from deepfake_ms.training.checkpoint_files import AtomicCheckpoints, find_damage, read_checkpoint


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
    return {"state_dict": {f"weight_{number}": torch.full((100, 100), value) for number in range(tensors)}}


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
    assert read_checkpoint(path)["state_dict"]["weight_0"][0, 0] == 1
    assert [each.name for each in tmp_path.iterdir()] == ["last.ckpt"]
