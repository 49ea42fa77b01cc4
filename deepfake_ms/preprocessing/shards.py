"""Shards: parts of a corpus that several processes or machines prepare into one folder."""

import glob
import re
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from filelock import FileLock, Timeout

from deepfake_ms.errors import UserError

Item = TypeVar("Item")


@dataclass(frozen=True)
class Shard:
    """Part `index` of `count`, counted from 1; ``1/1`` is the whole corpus.

    Raises:
        UserError: `index` is not between 1 and `count`.
    """

    index: int = 1
    count: int = 1

    def __post_init__(self) -> None:
        if not 1 <= self.index <= self.count:
            raise UserError(f"shard={self} does not exist: choose from 1/{self.count} to {self.count}/{self.count}.")

    @classmethod
    def parse(cls, text: object) -> "Shard":
        """Parse e.g. ``2/8``, the second of eight shards.

        Raises:
            UserError: `text` does not have this form, or the shard does not exist.
        """
        match = re.fullmatch(r"(\d+)/(\d+)", str(text))
        if match is None:
            raise UserError(f"shard={text} does not have the form i/n, e.g. shard=2/8.")
        return cls(int(match[1]), int(match[2]))

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"

    def share_of(self, items: Sequence[Item]) -> Sequence[Item]:
        """Every `count`-th item; each item belongs to exactly one of the `count` shards."""
        return items[self.index - 1 :: self.count]

    def start_index(self, length: int) -> int:
        """Where this shard starts if every shard processes a whole list of this length, each from another position."""
        return length * (self.index - 1) // self.count


@contextmanager
def lock_shard(prepared_root: Path, name: str, shard: Shard) -> Iterator[None]:
    """Hold the lock of one shard of a prepared folder. It is released when the process ends, even if it is killed.

    Raises:
        UserError: another process is preparing the same shard, or the same folder with another number of shards.
    """
    locks = _lock_folder(prepared_root)
    mine = locks / f"{name}@{shard.index}-of-{shard.count}.lock"
    of_name = locks.glob(f"{glob.escape(name)}@*.lock")
    others = [path for path in of_name if not path.stem.endswith(f"-of-{shard.count}")]
    with ExitStack() as held:
        try:
            for path in others:
                with FileLock(path, timeout=0):
                    pass
            held.enter_context(FileLock(mine, timeout=0))
        except Timeout as error:
            raise UserError(
                f"Another process is preparing {prepared_root / name} (it holds {error.lock_file}): wait for it, and "
                "use the same number of shards in all processes."
            ) from error
        yield


@contextmanager
def lock_folder(prepared_root: Path, name: str) -> Iterator[None]:
    """Hold the lock under which a prepared folder's description, manifest and report are written; waits for it."""
    with FileLock(_lock_folder(prepared_root) / f"{name}.finish.lock"):
        yield


def _lock_folder(prepared_root: Path) -> Path:
    locks = prepared_root / ".locks"
    locks.mkdir(parents=True, exist_ok=True)
    return locks
