"""Checkpoint files: written atomically, and verified before they are used; none can run code."""

import pickle
import zipfile
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, BinaryIO

import torch
from lightning.fabric.plugins import TorchCheckpointIO
from lightning_utilities.core.apply_func import apply_to_collection

from deepfake_ms.errors import UserError
from deepfake_ms.files import link_or_copy, writing

_VERSION = "pytorch-lightning_version"
"""What Lightning asks of a checkpoint before anything else."""


class _Target:
    """The stream that torch writes a checkpoint to; it keeps the first error, which torch would replace by its own.

    A checkpoint is never in memory as a whole: that of the full GenConViT-VAE has several gigabytes.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self.stream, self.error = stream, None

    def write(self, data: bytes) -> int:
        self._unless_failed(self.stream.write, data)
        return len(data)

    def flush(self) -> None:
        self._unless_failed(self.stream.flush)

    def _unless_failed(self, action: Callable, *arguments: bytes) -> None:
        if self.error is None:
            try:
                action(*arguments)
            except OSError as error:
                self.error = error


class AtomicCheckpoints(TorchCheckpointIO):
    """Writes checkpoints beside their target, then renames them.

    Lightning writes them to the system's temporary folder first. A kill leaves them there, and moving them to another
    disk is not atomic.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: Path | str, storage_options: Path | None = None
    ) -> None:
        """Write a checkpoint; the file that it replaces, if any, is kept as `storage_options`."""
        if storage_options and Path(path).is_file():
            link_or_copy(Path(path), storage_options)
        with writing(Path(path)) as stream:
            target = _Target(stream)
            torch.save(checkpoint, target)
            if target.error:
                raise target.error

    def load_checkpoint(
        self, path: Path | str, map_location: Any = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """The checkpoint of an interrupted training, or, without `weights_only`, the weights from a spawned process.

        Raises:
            UserError: see `read_checkpoint`, or it is another kind of checkpoint.
        """
        content = read_checkpoint(Path(path))
        if not weights_only:
            return content
        if missing := [key for key in (_VERSION, "loops", "optimizer_states") if key not in content]:
            raise UserError(f"{path} cannot be resumed from, because it lacks {', '.join(missing)}: delete it.")
        return content


class BackgroundCheckpoints(AtomicCheckpoints):
    """Copies checkpoints to CPU memory and writes them one after the other while training goes on.

    At most two checkpoints wait to be written: the best one and the resume point of an epoch. A third save waits for
    the first write. After a failed write nothing more is written; a later save, or `teardown`, raises the error.

    Lightning's AsyncCheckpointIO keeps its copy on the GPU and reads it there during later steps, when CUDA graphs may
    be captured.
    """

    WAITING = 2
    """Checkpoints that may wait to be written."""

    def __init__(self) -> None:
        self.writer: ThreadPoolExecutor | None = None
        self.writes: list[Future] = []

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: Path | str, storage_options: Path | None = None
    ) -> None:
        if "state_dict" not in checkpoint:  # weights that a spawned process hands to its parent, which waits for them
            super().save_checkpoint(checkpoint, path)
            return
        if len(self.writes) == self.WAITING:
            self.writes.pop(0).result()
        copy = apply_to_collection(checkpoint, torch.Tensor, lambda tensor: tensor.detach().to("cpu", copy=True))
        copy["state_dict"]._metadata = checkpoint["state_dict"]._metadata  # of torch's modules; copying drops it
        before = self.writes[-1] if self.writes else None
        write = super().save_checkpoint

        def write_in_order() -> None:
            if before:
                before.result()
            write(copy, path, storage_options)

        self.writer = self.writer or ThreadPoolExecutor(max_workers=1)
        self.writes.append(self.writer.submit(write_in_order))

    def teardown(self) -> None:
        """Wait until everything is written.

        Raises:
            OSError: a checkpoint could not be written.
        """
        writes, self.writes = self.writes, []
        if self.writer:
            self.writer.shutdown()
            self.writer = None
        for each in writes:
            each.result()


def find_damage(path: Path) -> str | None:
    """Why a checkpoint cannot be read: it is cut off, empty, or differs from what was written; None if it is whole.

    torch.save writes a ZIP file with a checksum per tensor, which torch.load does not verify.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
    except OSError:
        raise
    except Exception as error:  # a damaged directory can name any compression, size or flag
        return str(error) or type(error).__name__
    return damaged and f"checksum of {damaged} is wrong"


def read_checkpoint(path: Path) -> dict[str, Any]:
    """The content of a checkpoint, in CPU memory; only tensors and plain values are loaded.

    Raises:
        UserError: the file is damaged, or contains objects whose loading could run code.
    """
    if damage := find_damage(path):
        raise UserError(f"{path} is damaged ({damage}): restore it from a copy, or delete it and train again.")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise UserError(
            f"{path} is refused, because it contains more than tensors and plain values, and loading it could run code "
            f"({_forbidden(error)}): use a checkpoint from a source that you trust, saved as a state dict."
        ) from error
    except (RuntimeError, EOFError, KeyError, ValueError) as error:
        raise UserError(f"{path} is not a checkpoint of torch ({str(error).splitlines()[0]}): delete it.") from error
    if not isinstance(content, dict):
        raise UserError(f"{path} holds a {type(content).__name__} instead of a checkpoint: delete it.")
    return content


def _forbidden(error: Exception) -> str:
    """What torch names as not allowed, in a few words."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return next((line for line in lines if "GLOBAL" in line or "Unsupported" in line), lines[-1])[:150].rstrip(".")
