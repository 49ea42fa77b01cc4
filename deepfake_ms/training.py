"""Runs a curriculum: one Trainer per stage, chained by StageChain."""

import signal
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.strategies import DDPStrategy
from lightning.pytorch.utilities.exceptions import SIGTERMException
from rich.console import Console

from deepfake_ms.curriculum import Curriculum, Stage
from deepfake_ms.detector import Detector
from deepfake_ms.errors import UserError
from deepfake_ms.loggers import AfterEpoch, MetricsTable
from deepfake_ms.progress import CurriculumProgress
from deepfake_ms.randomness import key
from deepfake_ms.stage_chain import Handoff, StageChain, read_chain


@dataclass(frozen=True)
class TrainerSettings:
    """On what a curriculum runs: none of this may change its numbers beyond rounding.

    Attributes:
        accelerator, devices, num_nodes, precision: as in `lightning.Trainer`.
        strategy: ``auto``, ``ddp`` or ``ddp_spawn``.
        deterministic: refuse operations without a deterministic implementation.
        save_every_n_steps: how much work a kill can cost.
        timeout_s: how long a rank waits for another that has died.
    """

    accelerator: str
    devices: int
    num_nodes: int
    strategy: str
    precision: str
    deterministic: bool
    save_every_n_steps: int
    timeout_s: int

    def __post_init__(self):
        if self.strategy not in ("auto", "ddp", "ddp_spawn"):
            raise UserError(f"trainer.strategy={self.strategy} is unknown; choose auto, ddp or ddp_spawn.")
        if self.strategy == "auto" and self.processes > 1:
            raise UserError(f"trainer.devices={self.devices} needs trainer.strategy=ddp.")

    @property
    def processes(self) -> int:
        """How many processes share a batch."""
        return self.devices * self.num_nodes

    def build(self, **arguments) -> L.Trainer:
        """A Lightning Trainer on this hardware."""
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
            **arguments,
        )


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
        SystemExit: 143 after SIGTERM; the work is on disk and the same command continues it.
    """
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
            ],
        )
        try:
            trainer.fit(detector, datamodule=make_data(stage), ckpt_path=chain.resume_point(), weights_only=True)
        except SIGTERMException:
            raise SystemExit(128 + signal.SIGTERM) from None
    if report:
        report()
    return read_chain(run)
