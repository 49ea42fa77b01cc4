"""The loops that the training benchmark compares: the real run, and bare steps on one fixed batch."""

import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.plugins.precision import Precision
from torch import Tensor

from deepfake_ms.models.genconvit.ed import GenConViTED
from deepfake_ms.training.checkpoint_files import AtomicCheckpoints, BackgroundCheckpoints
from deepfake_ms.training.detector import Detector
from deepfake_ms.training.optimization import build_optimizer

Loss = Callable[[Detector, dict[str, Tensor]], Tensor]


def bare(detector: Detector, batch: dict[str, Tensor]) -> Tensor:
    return torch.stack(list(detector.model.loss_terms(batch, detector.loss).values())).sum()


def two_passes(detector: Detector, batch: dict[str, Tensor]) -> Tensor:
    return detector.loss(logits_of_two_passes(detector.model, batch["image"]), batch["label"])


def logits_of_two_passes(model: GenConViTED, image: Tensor) -> Tensor:
    """GenConViT-ED with one call of the backbone for each of its two views."""
    return model.decide(*(model.feature_vectors(view) for view in model.views(image).values()))


@torch.no_grad()
def check_equal(model: GenConViTED, image: Tensor) -> None:
    """Compare the logits of one call of the backbone with those of two.

    Raises:
        SystemExit: they differ by more than rounding errors.
    """
    was_training = model.training
    model.eval()
    ours, theirs = model(image), logits_of_two_passes(model, image)
    model.train(was_training)
    if not torch.allclose(ours, theirs, rtol=1e-3, atol=1e-4):
        raise SystemExit(f"One call and two passes differ by {(ours - theirs).abs().max():.2g}: nothing is timed.")


def clock(device: torch.device) -> float:
    """Seconds, once the device has finished its work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def peak_memory(device: torch.device) -> int:
    """Largest memory in bytes so far: allocated on the GPU, or of the process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


class AlternatingLoops(Callback):
    """Runs a block of each bare loop after every block of steps of the real run, and times them all.

    Args:
        steps: optimizer steps per block.
        make_reference: the detector of the bare loops and its precision plugin; None for the real run's.
        compiled: whether the detector of the bare loops is compiled; then there is no loop of two passes.
    """

    def __init__(
        self, steps: int, make_reference: Callable[[], tuple[Detector, Precision]] | None, compiled: bool = False
    ):
        self.steps, self.make_reference, self.compiled = steps, make_reference, compiled
        self.real: list[float] = []
        self.bare: dict[Loss, list[float]] = {}
        self.input_size = self.peak_bytes = 0
        self.saves_s: list[float] = []

    def on_train_batch_start(self, trainer: L.Trainer, pl_module: Detector, batch: dict, batch_idx: int) -> None:
        if batch_idx % (self.steps * trainer.accumulate_grad_batches):
            return
        now = clock(pl_module.device)
        if batch_idx == 0:
            self.started = now
            return
        self.real.append(now - self.started)
        if not self.peak_bytes:
            self.peak_bytes = peak_memory(pl_module.device)
            self._prepare(trainer, pl_module, batch)
        for loss, seconds in self.bare.items():
            start = clock(pl_module.device)
            for _ in range(self.steps):
                self.optimizer.zero_grad()
                with self.precision.forward_context():
                    value = loss(self.detector, self.batch)
                value.backward()
                self.optimizer.step()
            seconds.append(clock(pl_module.device) - start)
        self.started = clock(pl_module.device)

    def _prepare(self, trainer: L.Trainer, pl_module: Detector, batch: dict[str, Tensor]) -> None:
        # A whole step's batch: with accumulated batches, `batch` is only a part of it.
        whole = {name: torch.cat([values] * trainer.accumulate_grad_batches) for name, values in batch.items()}
        self.batch = {name: values.contiguous(memory_format=torch.contiguous_format) for name, values in whole.items()}
        self.input_size = pl_module.model.input_size
        self.detector, self.precision = pl_module, trainer.precision_plugin
        self.optimizer = trainer.optimizers[0]
        if self.make_reference:
            self.detector, self.precision = self.make_reference()
            self.detector.train().to(pl_module.device)
            fused = pl_module.device.type == "cuda"
            self.optimizer = build_optimizer(self.detector.parameters(), self.detector.hparams.optimizer, fused)
        self.bare[bare] = []
        if isinstance(self.detector.model, GenConViTED) and not self.compiled:
            check_equal(self.detector.model, self.batch["image"])
            self.bare[two_passes] = []

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: Detector, *_) -> None:
        if trainer.is_last_batch:
            own = trainer.strategy.checkpoint_io
            for writer in (AtomicCheckpoints(), BackgroundCheckpoints()):
                trainer.strategy.checkpoint_io = writer
                start = clock(pl_module.device)
                trainer.save_checkpoint(Path(trainer.checkpoint_callback.dirpath) / "timed.ckpt")
                self.saves_s.append(clock(pl_module.device) - start)
                writer.teardown()
            trainer.strategy.checkpoint_io = own
