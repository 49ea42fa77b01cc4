"""The Lightning Trainer of a stage or an evaluation: hardware, precision and switches of the model."""

import difflib
import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import cached_property
from types import MethodType
from typing import Any, Self

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.plugins.environments import LightningEnvironment, SLURMEnvironment
from lightning.pytorch.profilers import AdvancedProfiler, SimpleProfiler
from lightning.pytorch.strategies import DDPStrategy
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from lightning.pytorch.utilities.rank_zero import rank_zero_only

from deepfake_ms.errors import UserError
from deepfake_ms.training.checkpoint_files import AtomicCheckpoints, BackgroundCheckpoints
from deepfake_ms.training.detector import Detector
from deepfake_ms.training.memory import keep_freed_memory

STRATEGIES = ("auto", "ddp", "ddp_spawn")
MATMUL_PRECISIONS = ("highest", "high", "medium")
REDUCE_OVERHEAD = "reduce-overhead"
COMPILE = (False, True, REDUCE_OVERHEAD)
OURS = {
    "callbacks": "they are set by the package",
    "logger": "choose logger=csv or logger=wandb",
    "max_epochs": "set optimization.epochs",
    "min_epochs": "set optimization.epochs",
    "max_steps": "set optimization.epochs",
    "min_steps": "set optimization.epochs",
    "plugins": "they follow from the strategy",
    "max_time": "a stage always trains for its epochs",
    "enable_checkpointing": "each stage starts from a checkpoint",
    "enable_progress_bar": "the package prints its own progress",
    "enable_model_summary": "it is always off",
    "num_sanity_val_steps": "it is always 0, so that a run resumes bit for bit",
    "check_val_every_n_epoch": "each epoch is validated, to find the best one",
    "val_check_interval": "each epoch is validated once; a run would not resume bit for bit otherwise",
    "fast_dev_run": "it works with `deepfake-ms train` only",
    "overfit_batches": "set limit_train_batches and limit_val_batches",
    "default_root_dir": "it is the run folder",
    "use_distributed_sampler": "the loaders distribute the faces themselves",
    "reload_dataloaders_every_n_epochs": "each stage has its own loaders",
    "barebones": "a run needs checkpoints and metrics",
}
"""Arguments of `lightning.Trainer` that users cannot set, with the reason or the alternative."""
HARDWARE = ("accelerator", "devices", "num_nodes", "strategy", "deterministic", "benchmark")
EVALUATION_PRECISION = "32-true"
NEUTRAL = (*HARDWARE, "profiler", "log_every_n_steps", "detect_anomaly", "inference_mode")
"""Arguments that change no result beyond rounding; all others belong to a run's identity."""


@dataclass(frozen=True)
class TrainerSettings:
    """Hardware, precision and switches of a training or evaluation (``conf/trainer``).

    Attributes:
        lightning: arguments of `lightning.Trainer`. `strategy` is auto (one process), ddp or ddp_spawn.
        compile: False, True (`torch.compile`) or ``reduce-overhead`` (with CUDA graphs, too: a step is one launch
            instead of thousands). Checkpoints are interchangeable with uncompiled runs.
        matmul_precision: of 32-bit matrix products on a GPU: highest (32-bit), high (TF32) or medium (bf16); see
            `torch.set_float32_matmul_precision`. Convolutions are 32-bit with highest, else TF32.
        channels_last: keep images and convolutions' weights as [B, H, W, C] in memory.
        save_every_n_steps: optimizer steps between two saves of last.ckpt, at least 1.
        background_checkpoints: copy checkpoints to CPU memory and write them while training goes on. A kill then loses
            at most three times `save_every_n_steps`, because up to two checkpoints wait to be written.
        timeout_s: seconds after which a process stops waiting for another one.
        num_workers: loader processes per device.

    Raises:
        UserError: an argument is unknown, in `OURS`, or rejected by Lightning.
    """

    lightning: Mapping[str, Any]
    compile: bool | str
    channels_last: bool
    matmul_precision: str
    save_every_n_steps: int
    background_checkpoints: bool
    timeout_s: int
    num_workers: int

    def __post_init__(self):
        known = inspect.signature(L.Trainer).parameters
        for key in self.lightning:
            if key in OURS:
                raise UserError(f"trainer.lightning.{key} cannot be set: {OURS[key]}.")
            if key not in known:
                nearest = difflib.get_close_matches(key, known, n=1, cutoff=0)[0]
                raise UserError(f"trainer.lightning.{key}: lightning.Trainer has no such argument; nearest: {nearest}.")
        for key in ("limit_train_batches", "limit_val_batches"):
            if self.lightning.get(key) == 0:
                raise UserError(f"trainer.lightning.{key}=0: each stage needs at least one batch.")
        accumulated = self.lightning.get("accumulate_grad_batches", 1)
        if type(accumulated) is not int or accumulated < 1:
            raise UserError(f"trainer.lightning.accumulate_grad_batches={accumulated}: give a positive whole number.")
        if self.lightning.get("precision") in (16, "16", "16-mixed") and self.lightning.get("accelerator") == "cpu":
            raise UserError("trainer.lightning.precision=16-mixed needs a GPU: on a CPU choose bf16-mixed or 32-true.")
        if (strategy := self.lightning.get("strategy", "auto")) not in STRATEGIES:
            raise UserError(f"trainer.lightning.strategy={strategy} is unknown; choose from {', '.join(STRATEGIES)}.")
        if strategy != "auto" and self.lightning.get("sync_batchnorm") and self.lightning.get("accelerator") == "cpu":
            raise UserError("trainer.lightning.sync_batchnorm needs GPUs if there are several processes: leave it out.")
        if self.compile not in COMPILE:
            raise UserError(f"trainer.compile={self.compile} is unknown; choose from false, true, {REDUCE_OVERHEAD}.")
        if self.compile == REDUCE_OVERHEAD and accumulated > 1:
            raise UserError(
                f"trainer.compile={REDUCE_OVERHEAD} overwrites the gradients of accumulated batches: set "
                "trainer.compile=true, or trainer.lightning.accumulate_grad_batches=1."
            )
        if self.matmul_precision not in MATMUL_PRECISIONS:
            choices = ", ".join(MATMUL_PRECISIONS)
            raise UserError(f"trainer.matmul_precision={self.matmul_precision} is unknown; choose from {choices}.")
        for key, least in (("save_every_n_steps", 1), ("timeout_s", 1), ("num_workers", 0)):
            if not isinstance(value := getattr(self, key), int) or value < least:
                raise UserError(f"trainer.{key}={value}: give a whole number of at least {least}.")
        if self.world_size == 1:  # building a Trainer finds invalid settings before anything is written
            rank_zero_only.rank = 0  # ignore RANK, LOCAL_RANK and SLURM_PROCID of another job

    @cached_property
    def _place(self) -> tuple[int, str]:
        trainer = self.build(logger=False, enable_checkpointing=False)
        device = trainer.strategy.root_device
        name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
        return trainer.world_size, name

    @property
    def world_size(self) -> int:
        """Number of processes."""
        return self._place[0]

    @property
    def device_name(self) -> str:
        """Type of the devices, e.g. ``cpu`` or ``NVIDIA H100 80GB HBM3``."""
        return self._place[1]

    def for_evaluation(self) -> Self:
        """The same hardware, in 32-bit precision and without settings that only concern training."""
        hardware = {key: self.lightning[key] for key in HARDWARE if key in self.lightning}
        return replace(self, lightning={**hardware, "precision": EVALUATION_PRECISION}, matmul_precision="highest")

    def build(self, callbacks: Sequence[Callback] = (), **arguments) -> L.Trainer:
        """A Trainer with these settings; `arguments` as for `lightning.Trainer`.

        Raises:
            UserError: Lightning rejects the settings, e.g. because there is no such accelerator here.
        """
        settings = dict(self.lightning)
        strategy = settings.get("strategy", "auto")
        if strategy != "auto":
            # BatchNorm statistics stay each rank's own; Detector takes rank 0's before validation. Broadcasting them
            # at every forward would hang where ranks hold unequal numbers of validation batches.
            settings["strategy"] = DDPStrategy(
                start_method="spawn" if strategy == "ddp_spawn" else "popen",
                timeout=timedelta(seconds=self.timeout_s),
                broadcast_buffers=False,
            )
        checkpoints = BackgroundCheckpoints() if self.background_checkpoints else AtomicCheckpoints()
        try:
            if strategy == "auto":
                environment = LightningEnvironment()  # one process: SLURM's variables may be those of an allocation
            else:
                environment = SLURMEnvironment(auto_requeue=False) if SLURMEnvironment.detect() else None
            trainer = L.Trainer(
                **settings,
                use_distributed_sampler=False,  # our loaders distribute the faces and count none twice
                enable_progress_bar=False,
                enable_model_summary=False,
                num_sanity_val_steps=0,
                plugins=[checkpoints, *([environment] if environment else [])],
                callbacks=[
                    ProcessSettings(self.matmul_precision),
                    ModelSwitches(self.compile, self.channels_last),
                    *callbacks,
                ],
                **arguments,
            )
        except (MisconfigurationException, ValueError, TypeError, ModuleNotFoundError, RuntimeError) as error:
            reason = " ".join(str(error).split()).rstrip(".")
            raise UserError(f"trainer.lightning: Lightning rejects {dict(self.lightning)}: {reason}.") from error
        if isinstance(trainer.profiler, SimpleProfiler | AdvancedProfiler):
            trainer.profiler.filename = "profile"  # a file in the run's folder; Lightning's log is silent
        if strategy == "auto" and trainer.world_size > 1:
            raise UserError(
                f"trainer.lightning.devices={self.lightning.get('devices')} starts {trainer.world_size} processes: set "
                "trainer.lightning.strategy=ddp."
            )
        return trainer


def decisive_settings(trainer: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of ``conf/trainer`` that change results, for a run's identity.

    They include the number of parts that a batch is divided into (processes times accumulated batches): BatchNorm
    statistics, class weight normalisation and means over pairs or anchors are computed within a part.
    """
    lightning = trainer["lightning"]
    processes = count_devices(lightning) * lightning.get("num_nodes", 1)
    return {
        **{key: value for key, value in lightning.items() if key not in NEUTRAL},
        "matmul_precision": trainer["matmul_precision"],
        "batch_parts": processes * lightning.get("accumulate_grad_batches", 1),
    }


def count_devices(lightning: Mapping[str, Any]) -> int:
    """Number of devices per machine, from `devices` as in Lightning: a number, a list of indices, ``auto`` or -1 (all).

    Raises:
        UserError: it is none of these.
    """
    devices = lightning.get("devices", "auto")
    if isinstance(devices, str) and devices.lstrip("-").isdigit():
        devices = int(devices)
    if isinstance(devices, int) and devices > 0:
        return devices
    if isinstance(devices, Sequence) and not isinstance(devices, str):
        return len(devices)
    if devices not in ("auto", -1):
        raise UserError(f"trainer.lightning.devices={devices}: give a number, a list of indices, auto or -1 for all.")
    on_gpu = lightning.get("accelerator", "auto") in ("gpu", "cuda", "auto")
    return max(1, torch.cuda.device_count()) if on_gpu else 1


def starts_other_processes(settings: TrainerSettings) -> bool:
    """Whether this process starts all others, so that none of them can be reading the run's folder yet."""
    started_outside = LightningEnvironment().creates_processes_externally or SLURMEnvironment.detect()
    return settings.world_size == 1 or not started_outside


class ProcessSettings(Callback):
    """Applies `TrainerSettings.matmul_precision` and settings that only save time, in every process of the training."""

    def __init__(self, matmul_precision: str):
        self.matmul_precision = matmul_precision

    def setup(self, trainer: L.Trainer, pl_module: Detector, stage: str) -> None:
        torch.set_float32_matmul_precision(self.matmul_precision)
        torch.backends.cudnn.allow_tf32 = self.matmul_precision != "highest"  # of convolutions; torch allows it
        keep_freed_memory()
        # Deterministic mode would fill new memory with NaN, for operations that read it before they write to it.
        torch.utils.deterministic.fill_uninitialized_memory = False


class ModelSwitches(Callback):
    """Applies `TrainerSettings.compile` and `channels_last` to a `Detector` and its batches."""

    def __init__(self, compiled: bool | str, channels_last: bool):
        self.compiled, self.channels_last = compiled, channels_last

    def setup(self, trainer: L.Trainer, pl_module: Detector, stage: str) -> None:
        if self.channels_last:
            pl_module.model.to(memory_format=torch.channels_last)
        if self.compiled:
            check_compiler(trainer.strategy.root_device)
            # In place, so that the names in checkpoints stay.
            model, arguments = pl_module.model, compiler_arguments(cuda_graphs=self.compiled == REDUCE_OVERHEAD)
            model.compile(**arguments)
            model.loss_terms = torch.compile(MethodType(type(model).loss_terms, model), **arguments)

    def _order(self, batch: dict[str, torch.Tensor]) -> None:
        if self.channels_last:
            batch["image"] = batch["image"].contiguous(memory_format=torch.channels_last)

    def on_train_batch_start(self, trainer: L.Trainer, pl_module: Detector, batch: dict, batch_idx: int) -> None:
        self._order(batch)

    def on_validation_batch_start(
        self, trainer: L.Trainer, pl_module: Detector, batch: dict, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        self._order(batch)

    on_test_batch_start = on_validation_batch_start


def compiler_arguments(cuda_graphs: bool = False) -> dict[str, Any]:
    """Arguments of `torch.compile`: bit-exact resume, and the same random numbers as without compilation.

    Code for dynamic shapes, compiled when a second shape occurs, would round differently.
    """
    return {"dynamic": False, "options": {"fallback_random": True, "triton.cudagraphs": cuda_graphs}}


def check_compiler(device: torch.device) -> None:
    """Compile a small function on `device`.

    Raises:
        UserError: it cannot be compiled.
    """
    try:
        torch.compile(torch.sin, **compiler_arguments())(torch.ones(2, device=device))
    except Exception as error:  # e.g. the compiler, headers or Triton are missing
        reason = str(error).strip().split("\n")[0][:200]
        raise UserError(
            f"trainer.compile=true does not work here ({reason}): install a C++ compiler (on a GPU also Triton), or "
            "set trainer.compile=false."
        ) from error
