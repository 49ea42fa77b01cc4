"""Overhead of the training run compared with the bare computation, per model; effect of the switches; peak memory.

    python -m experiments.benchmarks.training                                  # on drawn faces
    python -m experiments.benchmarks.training --prepared prepared/FOLDER       # on the faces that you prepared
    python -m experiments.benchmarks.training --models resnet50 vit --switches # precision, compile, memory format, ...
    python -m experiments.benchmarks.training --trainer gpu --batch-size 32 --models genconvit_ed --steps 20

Each model has its own process, in which these loops alternate in blocks of steps:

- real: `train_stages` with everything that `deepfake-ms train` uses: loader, eye mask, augmentation, Lightning,
  callbacks, metrics, log. A callback measures from the start of a block's first step to the start of the next block's,
  so that as many batches are loaded as computed.
- bare: forward, backward and optimizer step on one fixed batch, with the same model, optimizer and precision.
- two passes (GenConViT-ED): the same, but the backbone is called separately for the reconstruction and for the image,
  as in the released code, instead of once for both. The logits are checked to be the same before anything is timed.

Ratios compare blocks of the same round, because other programs on the machine slow them down equally; the table shows
their median, minimum and maximum over the rounds. The first round is not counted; its real block, in which a model is
compiled and CUDA graphs are captured, is shown as the time to start. On a GPU, the clock is read when the GPU has
finished. Validation and checkpoints, which the bare loop does not have, are not part of the blocks; the time to save a
checkpoint is shown separately.

With ``--switches``, each switch also gets its own process, in which bare (and two passes) use a second model without
the switch. Peak memory is that of the first real block, before any bare step: on a GPU the largest memory allocated
there, else the largest resident set of the process.
"""

import argparse
import tempfile
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from statistics import median

import lightning as L
import pandas as pd
import torch
from hydra.errors import HydraException
from lightning.pytorch.plugins.precision import Precision
from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from rich.table import Table

from deepfake_ms.assembly import run_config
from deepfake_ms.composition import compose
from deepfake_ms.data.prepared_faces import PreparedFaces
from deepfake_ms.data.splits import balance
from deepfake_ms.errors import UserError
from deepfake_ms.manifest import read_manifest
from deepfake_ms.quiet import hush
from deepfake_ms.training.detector import Detector
from deepfake_ms.training.progress import rank_zero_console
from deepfake_ms.training.run import Run
from deepfake_ms.training.train_stages import train_stages
from deepfake_ms.training.trainer import TrainerSettings
from experiments.benchmarks import timed_loops
from experiments.benchmarks.loading import draw_faces
from experiments.benchmarks.machine import describe_machine

LIBRARIES = ("torch", "lightning", "timm", "albumentations", "numpy")
MODELS = ("resnet50", "senet", "efficientnet_b7", "bit", "vit", "recce", "caddm", "genconvit_ed", "genconvit_vae")
SWITCHES = {
    "none": (),
    "32-true": ("trainer.lightning.precision=32-true",),
    "bf16-mixed": ("trainer.lightning.precision=bf16-mixed",),
    "compile": ("trainer.compile=true",),
    "reduce-overhead": ("trainer.compile=reduce-overhead",),
    "channels_last": ("trainer.channels_last=true",),
    "accumulate_grad_batches": ("trainer.lightning.accumulate_grad_batches=2",),
    "gradient_checkpointing": ("model.gradient_checkpointing=true",),
}
ROW_COLUMNS = (
    *("model", "px", "images/s", "real / bare", "one call / two passes", "real / two passes", "peak"),
    "save; in background",
)
EFFECT_COLUMNS = ("model", "switch", "images/s", "real / bare, unswitched", "speed", "memory", "start")
VALIDATION_FACES = 2  # of each class; the run needs a validation set


@dataclass(frozen=True)
class Plan:
    """The measurement of one process.

    Attributes:
        prepared: the prepared folder.
        model: a file in ``conf/model``.
        size: ``full``, ``lite`` or ``small``.
        switch: one of `SWITCHES`.
        batch_size: faces per step.
        steps: per block.
        rounds: number of counted rounds.
        trainer: a file in ``conf/trainer``.
        overrides: further Hydra overrides.
    """

    prepared: Path
    model: str
    size: str
    switch: str
    batch_size: int
    steps: int
    rounds: int
    trainer: str = "cpu"
    overrides: tuple[str, ...] = ()

    @property
    def per_class(self) -> int:
        """Training faces of each class, enough for all steps to be in one epoch."""
        return -(-(self.rounds + 1) * self.steps * self.batch_size // 2) + self.batch_size


@dataclass(frozen=True)
class Measured:
    """Seconds per block, one value per counted round; `two_passes` is empty for models other than GenConViT-ED.

    `start_s`: seconds of the first real block, in which a model is compiled. `saves_s`: seconds for which a checkpoint
    stops training, written at once and in the background.
    """

    real: list[float]
    bare: list[float]
    two_passes: list[float]
    start_s: float
    input_size: int
    peak_bytes: int
    saves_s: list[float]


@dataclass(frozen=True)
class TimedSettings(TrainerSettings):
    """Settings whose Trainers have an additional callback."""

    loops: timed_loops.AlternatingLoops | None = None

    def build(self, callbacks=(), **arguments) -> L.Trainer:
        return super().build([*callbacks, self.loops], **arguments)


def compose_config(plan: Plan) -> DictConfig:
    """The configuration of ``deepfake-ms train`` for this model: one masked stage of one epoch."""
    return compose(
        f"model={plan.model}",
        f"size={plan.size}",
        "model.pretrained=false",
        "curriculum.stages=[{faces: masked, share: 1.0}]",
        "augmentation=standard",
        f"trainer={plan.trainer}",
        f"optimization.batch_size={plan.batch_size}",
        "optimization.epochs=1",
        "optimization.monitor=validation/loss",
        "optimization.mode=min",
        "trainer.save_every_n_steps=1000000",
        *SWITCHES[plan.switch],
        *plan.overrides,
    )


def make_run(plan: Plan, cfg: DictConfig, folder: Path) -> Run:
    """A run in `folder` on faces of the prepared folder."""
    faces = PreparedFaces(plan.prepared, {}, read_manifest(plan.prepared))
    subsets = assign_subsets(faces, plan.per_class)
    split = pd.DataFrame({"sample_id": faces.manifest["sample_id"], "subset": subsets, "balanced": subsets == "train"})
    return Run(folder, {"config": run_config(cfg, "benchmark"), "config_sha256": "benchmark"}, faces, split)


def assign_subsets(faces: PreparedFaces, per_class: int) -> pd.Series:
    """The subset of every face: `per_class` training faces of each class, a few for validation, the rest unused.

    Raises:
        SystemExit: there are not enough faces.
    """
    manifest = faces.manifest
    subsets = pd.Series("unused", index=manifest.index)
    rows = balance(manifest, manifest.index.to_numpy(), per_class + VALIDATION_FACES, seed=0)
    for _, of_label in pd.Series(rows).groupby(manifest["label"].to_numpy()[rows]):
        if len(of_label) < per_class + VALIDATION_FACES:
            raise SystemExit(
                f"{faces.folder} has {len(of_label)} faces of a class, {per_class + VALIDATION_FACES} are needed: "
                "choose fewer --rounds or --steps, or a smaller --batch-size."
            )
        subsets[of_label.iloc[:VALIDATION_FACES]] = "validation"
        subsets[of_label.iloc[VALIDATION_FACES:]] = "train"
    return subsets


def measure(plan: Plan, threads: int) -> Measured:
    """Carry out one plan in this process."""
    hush()
    torch.set_num_threads(threads)
    cfg = compose_config(plan)
    with tempfile.TemporaryDirectory() as folder:
        run = make_run(plan, cfg, Path(folder))

        def make_reference() -> tuple[Detector, Precision]:
            plain = compose_config(replace(plan, switch="none"))
            untouched = make_run(plan, plain, Path(folder))
            trainer = TrainerSettings(**OmegaConf.to_container(plain.trainer)).build(logger=False)
            return untouched.detector(untouched.curriculum.stages[0]), trainer.precision_plugin

        own = plan.switch == "none"
        loops = timed_loops.AlternatingLoops(
            plan.steps, None if own else make_reference, own and bool(cfg.trainer.compile)
        )
        settings = TimedSettings(**OmegaConf.to_container(cfg.trainer), loops=loops)
        train_stages(run, settings, Console(quiet=True))
    counted = slice(1, plan.rounds + 1)
    seconds = {loss: each[counted] for loss, each in loops.bare.items()}
    return Measured(
        real=loops.real[counted],
        bare=seconds[timed_loops.bare],
        two_passes=seconds.get(timed_loops.two_passes, []),
        start_s=loops.real[0],
        input_size=loops.input_size,
        peak_bytes=loops.peak_bytes,
        saves_s=loops.saves_s,
    )


def measure_in_own_process(plan: Plan, threads: int) -> Measured:
    """Carry out one plan in a new process."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(measure, plan, threads).result()


def ratio(of: list[float], to: list[float]) -> str:
    """Speed of `to` relative to `of`: median, minimum and maximum over the rounds."""
    ratios = [one / other for one, other in zip(of, to, strict=True)]
    return f"{median(ratios):.3f} ({min(ratios):.2f} to {max(ratios):.2f})"


def images_per_second(plan: Plan, seconds: list[float]) -> float:
    """Median over the blocks."""
    return plan.batch_size * plan.steps / median(seconds)


def compare_switches(found: dict[str, Measured], plan: Plan, table: Table) -> None:
    """Add a row per switch: speed and memory relative to the model without switches."""
    base = found["none"]
    base_speed = median(b / r for b, r in zip(base.bare, base.real, strict=True))
    for name, measured in found.items():
        speeds = [b / r / base_speed for b, r in zip(measured.bare, measured.real, strict=True)]
        table.add_row(
            plan.model,
            name,
            f"{images_per_second(plan, measured.real):.0f}",
            ratio(measured.bare, measured.real),
            f"{median(speeds):.2f} ({min(speeds):.2f} to {max(speeds):.2f})",
            f"{measured.peak_bytes / base.peak_bytes:.2f}",
            f"{measured.start_s:.1f} s",
        )


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m experiments.benchmarks.training",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--prepared", type=Path, help="a prepared folder; without it, faces are drawn")
    parser.add_argument("--models", nargs="+", default=MODELS, help=f"default: {' '.join(MODELS)}")
    parser.add_argument("--size", choices=("full", "lite", "small"), default="full", help="default: %(default)s")
    parser.add_argument("--rounds", type=int, default=5, help="number of counted rounds (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=3, help="steps per block (default: %(default)s)")
    parser.add_argument("--batch-size", type=int, default=4, help="default: %(default)s")
    parser.add_argument("--trainer", default="cpu", help="a choice of the group trainer (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="default: torch's")
    parser.add_argument(
        "--switches",
        nargs="*",
        choices=[*SWITCHES],
        help="measure these switches, each compared with none; without names, all",
    )
    parser.add_argument("--override", nargs="+", default=[], help="Hydra overrides, e.g. model.input_size=224")
    options = parser.parse_args(arguments)

    console = rank_zero_console()
    progress = Console(stderr=True, soft_wrap=True, highlight=False)
    console.print(describe_machine(LIBRARIES))
    title = f"Training, batch {options.batch_size}, {options.rounds} rounds of {options.steps} steps"
    rows = Table(*ROW_COLUMNS, title=title)
    effects = Table(*EFFECT_COLUMNS, title=f"{title}: compared with none")
    with tempfile.TemporaryDirectory() as scratch:
        numbers = options.batch_size, options.steps, options.rounds
        largest = max(640, 2 * (Plan(Path(), "", "", "none", *numbers).per_class + VALIDATION_FACES))
        prepared = options.prepared or draw_faces(Path(scratch), largest)
        for model in options.models:
            names = ["none"]
            if options.switches is not None:
                names += [name for name in options.switches or SWITCHES if name != "none"]
            found = {}
            for name in names:
                plan = Plan(prepared, model, options.size, name, *numbers, options.trainer, tuple(options.override))
                try:
                    found[name] = measure_in_own_process(plan, options.threads)
                except (UserError, HydraException, ValueError) as error:  # a model without this switch
                    progress.print(f"{model}, {name}: {error}")
                    continue
                real = found[name]
                speed = f"{images_per_second(plan, real.real):.0f} images/s, first block {real.start_s:.1f} s"
                progress.print(f"{model}, {name}: real / bare {ratio(real.bare, real.real)}, {speed}")
            if "none" not in found:
                continue
            base = found["none"]
            rows.add_row(
                model,
                str(base.input_size),
                f"{images_per_second(plan, base.real):.0f}",
                ratio(base.bare, base.real),
                ratio(base.two_passes, base.bare) if base.two_passes else "",
                ratio(base.two_passes, base.real) if base.two_passes else "",
                f"{base.peak_bytes / 1e9:.2f} GB",
                "{:.2f} s; {:.2f} s".format(*base.saves_s),
            )
            if len(found) > 1:
                compare_switches(found, plan, effects)
    console.print(rows)
    if effects.row_count:
        console.print(effects)


if __name__ == "__main__":
    main()
