"""Runs a curriculum: one Trainer per stage, chained by StageChain."""

import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from types import MethodType

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.strategies import DDPStrategy
from lightning.pytorch.utilities.exceptions import SIGTERMException
from rich.console import Console

from deepfake_ms.errors import UserError
from deepfake_ms.randomness import key
from deepfake_ms.training.curriculum import Curriculum, Stage
from deepfake_ms.training.detector import Detector
from deepfake_ms.training.metrics_table import AfterEpoch, MetricsTable
from deepfake_ms.training.progress import CurriculumProgress
from deepfake_ms.training.stage_chain import Handoff, StageChain, read_chain


@dataclass(frozen=True)
class TrainerSettings:
    """On what a curriculum runs: but for `precision` and `micro_batches`, none of it changes numbers beyond rounding.

    Attributes:
        accelerator, devices, num_nodes, precision: as in `lightning.Trainer`.
        strategy: ``auto``, ``ddp`` or ``ddp_spawn``.
        deterministic: refuse operations without a deterministic implementation.
        save_every_n_steps: how much work a kill can cost.
        timeout_s: how long a rank waits for another that has died.
        compile: translate the model with `torch.compile`. Checkpoints are the same, with it and without.
        channels_last: keep images and convolutions' weights as [B, H, W, C] in memory.
        micro_batches: in how many parts every process takes its share of a training batch, one after the other, for
            one optimizer step; less memory, otherwise see `Detector.training_step`.
    """

    accelerator: str
    devices: int
    num_nodes: int
    strategy: str
    precision: str
    deterministic: bool
    save_every_n_steps: int
    timeout_s: int
    compile: bool
    channels_last: bool
    micro_batches: int

    def __post_init__(self):
        if self.strategy not in ("auto", "ddp", "ddp_spawn"):
            raise UserError(f"trainer.strategy={self.strategy} is unknown; choose auto, ddp or ddp_spawn.")
        if self.strategy == "auto" and self.processes > 1:
            raise UserError(f"trainer.devices={self.devices} needs trainer.strategy=ddp.")
        if self.micro_batches < 1:
            raise UserError(f"trainer.micro_batches={self.micro_batches}: choose 1 for whole batches, or more.")

    @property
    def processes(self) -> int:
        """How many processes share a batch."""
        return self.devices * self.num_nodes

    def build(self, callbacks: Sequence[Callback] = (), **arguments) -> L.Trainer:
        """A Lightning Trainer on this hardware; `arguments` as for `lightning.Trainer`."""
        strategy = self.strategy
        if strategy != "auto":
            # BatchNorm statistics stay each rank's own; Detector takes rank 0's before validation. Broadcasting them
            # at every forward would hang where ranks hold unequal numbers of validation batches.
            strategy = DDPStrategy(
                start_method="spawn" if strategy == "ddp_spawn" else "popen",
                timeout=timedelta(seconds=self.timeout_s),
                broadcast_buffers=False,
            )
        return L.Trainer(
            accelerator=self.accelerator,
            devices=self.devices,
            num_nodes=self.num_nodes,
            strategy=strategy,
            precision=self.precision,
            deterministic=self.deterministic,
            use_distributed_sampler=False,  # ours shard by themselves and count no face twice
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            callbacks=[ModelSwitches(self.compile, self.channels_last, self.micro_batches), *callbacks],
            **arguments,
        )


class ModelSwitches(Callback):
    """Makes a `Detector` and its batches what `TrainerSettings` says."""

    def __init__(self, compiled: bool, channels_last: bool, micro_batches: int):
        self.compiled, self.channels_last, self.micro_batches = compiled, channels_last, micro_batches

    def setup(self, trainer: L.Trainer, pl_module: Detector, stage: str) -> None:
        pl_module.micro_batches = self.micro_batches
        if self.channels_last:
            pl_module.model.to(memory_format=torch.channels_last)
        if self.compiled:
            check_compiler(trainer.strategy.root_device)
            # In place, so that the names in checkpoints stay.
            model = pl_module.model
            model.compile(**COMPILING)
            model.loss_terms = torch.compile(MethodType(type(model).loss_terms, model), **COMPILING)

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


COMPILING = {"dynamic": False, "options": {"fallback_random": True}}
"""For `torch.compile`, so that a resumed run continues bit for bit and draws what it would without.

A translation for all shapes, made when a second shape comes up, would round otherwise than the one before it.
"""


def check_compiler(device: torch.device) -> None:
    """Compile a small function on `device`.

    Raises:
        UserError: it cannot be compiled.
    """
    try:
        torch.compile(torch.sin, **COMPILING)(torch.ones(2, device=device))
    except Exception as error:  # whatever is missing: compiler, headers, Triton
        reason = str(error).strip().split("\n")[0][:200]
        raise UserError(
            f"trainer.compile=true does not work here ({reason}): install a C++ compiler (on a GPU Triton too), or set "
            "trainer.compile=false."
        ) from error


class StopAtSigterm(Callback):
    """Ends training between two steps, on all ranks after the same one, when a scheduler sends SIGTERM.

    Lightning's own handler broadcasts in the middle of whatever the rank is at, where the others expect something else:
    several processes then hang. This one only takes note, and tells the processes that this one has started. After each
    training step the ranks agree. Validation is left at once, for it is done again anyway.
    """

    def __init__(self) -> None:
        self.asked = False

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        def note(*_) -> None:
            if not self.asked and trainer.strategy.launcher is not None:
                trainer.strategy.launcher.kill(signal.SIGTERM)
            self.asked = True

        signal.signal(signal.SIGTERM, note)  # Lightning puts back, at the end, what was there before its own handler

    def on_train_batch_end(self, trainer: L.Trainer, *_) -> None:
        asked = self.asked
        if trainer.world_size > 1:
            mine = torch.tensor(int(asked), device=trainer.strategy.root_device)
            asked = bool(trainer.strategy.reduce(mine, reduce_op="max"))
        if asked and not trainer.is_last_batch:
            self.asked = True
            raise SIGTERMException

    def on_validation_batch_end(self, *_) -> None:
        if self.asked:
            raise SIGTERMException


class StepRandomness(Callback):
    """Seeds torch before every step by (seed, stage, epoch, batch, rank): a resumed run draws what it would have."""

    def __init__(self, seed: int, stage: str):
        self.seed, self.stage = seed, stage

    def on_train_batch_start(self, trainer: L.Trainer, pl_module: L.LightningModule, batch: dict, batch_idx: int):
        torch.manual_seed(key("step", self.seed, self.stage, trainer.current_epoch, batch_idx, trainer.global_rank))


def run_curriculum(
    run: Path,
    curriculum: Curriculum,
    detector: Detector,
    make_data: Callable[[Stage], L.LightningDataModule],
    settings: TrainerSettings,
    seed: int,
    config_sha256: str,
    console: Console,
    report: Callable[[], None] | None = None,
) -> list[Handoff]:
    """Train the stages that are not finished yet, in order; every rank runs this same loop.

    Args:
        run: the run's folder, holding chain.json and a folder per stage.
        make_data: the data of a stage.
        config_sha256: stamped on every checkpoint.
        report: called on rank 0 before each stage, after each epoch and at the end, when what is new is on disk.

    Returns:
        The handoff of every stage.

    Raises:
        UserError: a checkpoint or handoff of another run or stage is found, or the loss is not finite.
        SystemExit: 143 after SIGTERM (0 on other ranks than 0); the same command continues the work.
    """
    stop = StopAtSigterm()
    for index, stage in enumerate(curriculum.stages):
        if index < len(read_chain(run)):
            continue
        chain = StageChain(run, curriculum, index, config_sha256)
        steps_before = sum(handoff.steps for handoff in read_chain(run))
        if report:
            report()
        trainer = settings.build(
            max_epochs=stage.epochs,
            logger=False,
            callbacks=[
                StepRandomness(seed, stage.name),
                MetricsTable(run, stage.name, stage.faces, steps_before),
                *([AfterEpoch(report)] if report else []),
                CurriculumProgress(curriculum, index, console),
                *chain.callbacks(settings.save_every_n_steps),
                stop,
            ],
        )
        try:
            trainer.fit(detector, datamodule=make_data(stage), ckpt_path=chain.resume_point(), weights_only=True)
        except SIGTERMException:
            stop.asked = True
        except RuntimeError:
            if not stop.asked:  # else it is a rank that has left validation and with it those that wait for it
                raise
        if stop.asked:
            # Lightning kills rank 0 as soon as a process that it has started ends with a status other than 0.
            raise SystemExit(0 if trainer.global_rank else 128 + signal.SIGTERM)
    if report:
        report()
    return read_chain(run)
