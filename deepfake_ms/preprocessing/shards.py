"""Parts of a corpus that separate processes, perhaps on separate machines, prepare into one folder."""

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
    """Part `index` of `count`, counted from 1; ``1/1`` is everything.

    Raises:
        UserError: there is no such part.
    """

    index: int = 1
    count: int = 1

    def __post_init__(self) -> None:
        if not 1 <= self.index <= self.count:
            raise UserError(f"shard={self}: give one from 1/{self.count} to {self.count}/{self.count}.")

    @classmethod
    def parse(cls, text: str) -> "Shard":
        """``2/8`` is the second of eight.

        Raises:
            UserError: `text` is not of this form, or there is no such part.
        """
        match = re.fullmatch(r"(\d+)/(\d+)", text)
        if match is None:
            raise UserError(f"shard={text} is not of the form i/n, e.g. shard=2/8.")
        return cls(int(match[1]), int(match[2]))

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"

    def share_of(self, items: Sequence[Item]) -> Sequence[Item]:
        """Every `count`-th item; the shards of one count together have each item once."""
        return items[self.index - 1 :: self.count]

    def start_in(self, length: int) -> int:
        """Where the shard's own stretch of a common list begins."""
        return length * (self.index - 1) // self.count


@contextmanager
def only_process(prepared_root: Path, name: str, shard: Shard) -> Iterator[None]:
    """Hold the lock of a prepared folder's shard; it goes with its process, however that ends.

    Raises:
        UserError: another process is at the same shard, or at another division of the same folder.
    """
    locks = prepared_root / ".locks"
    locks.mkdir(parents=True, exist_ok=True)
    mine = locks / f"{name}@{shard.index}-of-{shard.count}.lock"
    others = [path for path in locks.glob(f"{name}@*.lock") if not path.stem.endswith(f"-of-{shard.count}")]
    with ExitStack() as held:
        try:
            for path in others:
                with FileLock(path, timeout=0):
                    pass
            held.enter_context(FileLock(mine, timeout=0))
        except Timeout as error:
            raise UserError(
                f"Another process is preparing {prepared_root / name} (it holds {error.lock_file}): wait for it, or "
                "run shards of one division only."
            ) from error
        yield
