"""What the training run costs beside the bare computation, per model; what the switches are worth; peak memory.

    python experiments/benchmarks/training.py                                  # on drawn faces
    python experiments/benchmarks/training.py --prepared prepared/FOLDER       # on the faces that you prepared
    python experiments/benchmarks/training.py --models resnet50 vit --switches # precision, compile, memory format, ...

Each model has a process of its own, in which these take turns, a block of steps each:

- real: `run_curriculum` over `FaceDataModule`, as `python -m deepfake_ms.train` builds it from ``conf``: loader, eye
  mask, augmentation, Lightning, callbacks, metrics, log. A callback measures from the start of a block's first step to
  the start of the next block's, so that as many batches are loaded as computed.
- bare: forward, backward and optimizer step on one fixed batch, with the same model and optimizer.
- two passes (GenConViT-ED): the same, but the backbone is called for the reconstruction and then for the image, as in
  the released code, instead of once for both. Logits are checked to be the same before anything is timed.

What is compared are the blocks of one round, which other programs on the machine slow down alike: only ratios are
shown, the median over the rounds and the smallest and largest. The first round is not counted. Validation and
checkpoints, which the bare loop does not have, are not in the blocks; how long a checkpoint takes is shown beside them.

With ``--switches``, each switch gets a process too, where bare (and two passes) are an untouched model of their own.
Peak memory is the process's largest resident set during the first real block, before any bare step.
"""

import argparse
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, fields
from multiprocessing import get_context
from pathlib import Path
from statistics import median

import lightning as L
import pandas as pd
import torch
from hydra import compose, initialize_config_dir
from lightning.pytorch.callbacks import Callback
from loading import draw_faces
from machine import describe_machine
from omegaconf import DictConfig
from rich.console import Console
from rich.table import Table
from torch import Tensor

from deepfake_ms.assembly import build_curriculum, build_data, build_detector, build_trainer_settings
from deepfake_ms.data.splits import balance
from deepfake_ms.errors import UserError
from deepfake_ms.manifest import read_manifest
from deepfake_ms.models.genconvit.ed import GenConViTED
from deepfake_ms.quiet import hush
from deepfake_ms.randomness import key
from deepfake_ms.training.detector import Detector
from deepfake_ms.training.trainer import TrainerSettings, run_curriculum

CONF = Path(__file__).parents[2] / "conf"
LIBRARIES = ("torch", "lightning", "timm", "albumentations", "numpy")
MODELS = ("resnet50", "senet", "efficientnet_b7", "bit", "vit", "recce", "caddm", "genconvit_ed", "genconvit_vae")
SWITCHES = {
    "none": (),
    "bf16-mixed": ("trainer.precision=bf16-mixed",),
    "compile": ("trainer.compile=true",),
    "channels_last": ("trainer.channels_last=true",),
    "micro_batches": ("trainer.micro_batches=2",),
    "gradient_checkpointing": ("model.gradient_checkpointing=true",),
}
VALIDATION_FACES = 2  # of each class: the run needs some

Loss = Callable[[Detector, dict[str, Tensor]], Tensor]


@dataclass(frozen=True)
class Plan:
    """What is measured in one process.

    Attributes:
        prepared: the prepared folder.
        model: its file in ``conf/model``.
        switch: one of `SWITCHES`.
        batch_size: per step.
        steps: per block.
        rounds: counted ones.
        overrides: further Hydra overrides.
    """

    prepared: Path
    model: str
    switch: str
    batch_size: int
    steps: int
    rounds: int
    overrides: tuple[str, ...] = ()

    @property
    def per_class(self) -> int:
        """Training faces of each class, so that one epoch has as many steps as are needed."""
        return -(-(self.rounds + 1) * self.steps * self.batch_size // 2) + self.batch_size


@dataclass(frozen=True)
class Measured:
    """Seconds per block, a value per counted round; `two_passes` is empty where there is nothing to pass twice."""

    real: list[float]
    bare: list[float]
    two_passes: list[float]
    input_size: int
    peak_bytes: int
    save_s: float


def bare(detector: Detector, batch: dict[str, Tensor]) -> Tensor:
    return torch.stack(list(detector.model.loss_terms(batch, detector.loss).values())).sum()


def two_passes(detector: Detector, batch: dict[str, Tensor]) -> Tensor:
    return detector.loss(logits_of_two_passes(detector.model, batch["image"]), batch["label"])


def logits_of_two_passes(model: GenConViTED, image: Tensor) -> Tensor:
    """GenConViT-ED with a call of the backbone for each of its two views."""
    reconstruction = model.decoder(model.encoder(image))
    vectors = torch.cat((model.feature_vectors(reconstruction), model.feature_vectors(image)), dim=1)
    return model.fc2(model.activation(model.fc(model.activation(vectors))))


@torch.no_grad()
def check_equal(model: GenConViTED, image: Tensor) -> None:
    """Compare the logits of one call with those of two.

    Raises:
        SystemExit: they differ by more than rounding.
    """
    was_training = model.training
    model.eval()
    ours, theirs = model(image), logits_of_two_passes(model, image)
    model.train(was_training)
    if not torch.allclose(ours, theirs, rtol=1e-3, atol=1e-4):
        raise SystemExit(f"One call and two passes differ by {(ours - theirs).abs().max():.2g}: nothing is timed.")


class Turns(Callback):
    """Lets the bare loops take their turn after each block of the real run's steps, and stops the clock for them."""

    def __init__(self, steps: int, make_reference: Callable[[], Detector] | None):
        self.steps, self.make_reference = steps, make_reference
        self.real: list[float] = []
        self.others: dict[Loss, list[float]] = {}
        self.peak_bytes = 0
        self.save_s = 0.0

    def on_train_batch_start(self, trainer: L.Trainer, pl_module: Detector, batch: dict, batch_idx: int) -> None:
        now = time.perf_counter()
        if batch_idx % self.steps:
            return
        if batch_idx == 0:
            self.started = now
            return
        self.real.append(now - self.started)
        if not self.peak_bytes:
            unit = 1 if sys.platform == "darwin" else 1024
            self.peak_bytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
            self._prepare(trainer, pl_module, batch)
        for loss, seconds in self.others.items():
            start = time.perf_counter()
            for _ in range(self.steps):
                self.optimizer.zero_grad()
                loss(self.detector, self.batch).backward()
                self.optimizer.step()
            seconds.append(time.perf_counter() - start)
        self.started = time.perf_counter()

    def _prepare(self, trainer: L.Trainer, pl_module: Detector, batch: dict[str, Tensor]) -> None:
        self.batch = {name: values.clone(memory_format=torch.contiguous_format) for name, values in batch.items()}
        self.detector, self.optimizer = pl_module, trainer.optimizers[0]
        if self.make_reference:
            self.detector = self.make_reference().train()
            self.detector._trainer = trainer  # the schedule, made beside the optimizer, asks it
            self.optimizer = self.detector.configure_optimizers()["optimizer"]
        self.others[bare] = []
        if isinstance(self.detector.model, GenConViTED):
            check_equal(self.detector.model, self.batch["image"])
            self.others[two_passes] = []

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: Detector, *_) -> None:
        if trainer.is_last_batch:
            start = time.perf_counter()
            path = Path(trainer.checkpoint_callback.dirpath) / "timed.ckpt"
            trainer.save_checkpoint(path)
            self.save_s = time.perf_counter() - start


@dataclass(frozen=True)
class TimedSettings(TrainerSettings):
    """Trainers that carry `turns`."""

    turns: Turns | None = None

    def build(self, callbacks=(), **arguments) -> L.Trainer:
        return super().build([*callbacks, self.turns], **arguments)


def compose_config(plan: Plan) -> DictConfig:
    """What ``python -m deepfake_ms.train`` would compose for this model, as one stage of one epoch."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose(
            "train",
            [
                f"model={plan.model}",
                "curriculum=masked_cropped_masked",
                "augmentation=standard",
                "trainer=cpu",
                f"optimization.batch_size={plan.batch_size}",
                "optimization.epochs=3",
                "optimization.monitor=validation/loss",
                "optimization.mode=min",
                f"split.per_class={plan.per_class}",
                "trainer.save_every_n_steps=1000000",
                *SWITCHES[plan.switch],
                *plan.overrides,
            ],
        )


def deal(prepared: Path, per_class: int) -> pd.Series:
    """Subsets with `per_class` training faces of each class and a few for validation.

    Raises:
        SystemExit: there are not as many.
    """
    manifest = read_manifest(prepared)
    subsets = pd.Series("unused", index=manifest.index)
    rows = balance(manifest, manifest.index.to_numpy(), per_class + VALIDATION_FACES, seed=0)
    for _, of_label in pd.Series(rows).groupby(manifest["label"].to_numpy()[rows]):
        if len(of_label) < per_class + VALIDATION_FACES:
            raise SystemExit(
                f"{prepared} has {len(of_label)} faces of a class, {per_class + VALIDATION_FACES} are needed: "
                "choose fewer --rounds or --steps, or a smaller --batch-size."
            )
        subsets[of_label.iloc[:VALIDATION_FACES]] = "validation"
        subsets[of_label.iloc[VALIDATION_FACES:]] = "train"
    return subsets


def measure(plan: Plan, threads: int) -> Measured:
    """Run one plan in this process."""
    hush()
    torch.set_num_threads(threads)
    cfg = compose_config(plan)
    curriculum = build_curriculum(cfg)
    stage = curriculum.stages[0]

    def make_detector() -> Detector:
        torch.manual_seed(key("weights", 0))
        return build_detector(cfg)

    switched = plan.switch != "none"
    turns = Turns(plan.steps, make_reference=(lambda: build_reference(plan)) if switched else None)
    settings = build_trainer_settings(cfg.trainer)
    timed = TimedSettings(**{field.name: getattr(settings, field.name) for field in fields(settings)}, turns=turns)
    detector = make_detector()
    subsets = deal(plan.prepared, plan.per_class)
    data = build_data(cfg, plan.prepared, subsets, stage, detector.model, settings.processes, cfg.trainer.num_workers)
    with tempfile.TemporaryDirectory() as folder:
        run_curriculum(
            Path(folder),
            type(curriculum)((stage,), curriculum.carry, curriculum.monitor, curriculum.mode),
            detector,
            lambda _: data,
            timed,
            seed=0,
            config_sha256="benchmark",
            console=Console(quiet=True),
        )
    counted = slice(1, plan.rounds + 1)
    others = {loss: seconds[counted] for loss, seconds in turns.others.items()}
    return Measured(
        real=turns.real[counted],
        bare=others[bare],
        two_passes=others.get(two_passes, []),
        input_size=detector.model.input_size,
        peak_bytes=turns.peak_bytes,
        save_s=turns.save_s,
    )


def build_reference(plan: Plan) -> Detector:
    """The detector with nothing switched on."""
    return build_detector(compose_config(Plan(**{**vars(plan), "switch": "none"})))


def measure_apart(plan: Plan, threads: int) -> Measured:
    """Run one plan in a process of its own."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(measure, plan, threads).result()


def ratio(of: list[float], to: list[float]) -> str:
    """How many times as fast `to` is as `of`: median, smallest and largest over the rounds."""
    ratios = [one / other for one, other in zip(of, to, strict=True)]
    return f"{median(ratios):.3f} ({min(ratios):.2f} to {max(ratios):.2f})"


def compare_switches(found: dict[str, Measured], model: str, table: Table) -> None:
    """Add a row per switch: speed and memory over those without a switch."""
    base = found["none"]
    base_speed = median(b / r for b, r in zip(base.bare, base.real, strict=True))
    for name, measured in found.items():
        speeds = [b / r / base_speed for b, r in zip(measured.bare, measured.real, strict=True)]
        versus = ratio(measured.two_passes, measured.real) if measured.two_passes else ""
        table.add_row(
            model,
            name,
            f"{median(speeds):.2f} ({min(speeds):.2f} to {max(speeds):.2f})",
            f"{measured.peak_bytes / base.peak_bytes:.2f}",
            versus,
        )


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prepared", type=Path, help="a prepared folder; without it, faces are drawn")
    parser.add_argument("--models", nargs="+", default=MODELS, help="files in conf/model (default: all full-size ones)")
    parser.add_argument("--rounds", type=int, default=5, help="counted rounds (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=3, help="steps per block (default: %(default)s)")
    parser.add_argument("--batch-size", type=int, default=4, help="default: %(default)s")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="default: torch's")
    parser.add_argument(
        "--switches",
        nargs="*",
        choices=[*SWITCHES],
        help="compare these with none of them; without names, all",
    )
    parser.add_argument("--override", nargs="+", default=[], help="Hydra overrides, e.g. model.input_size=224")
    options = parser.parse_args(arguments)

    console = Console(soft_wrap=True, highlight=False)
    progress = Console(stderr=True, soft_wrap=True, highlight=False)
    console.print(describe_machine(LIBRARIES))
    title = f"Training, batch {options.batch_size}, {options.rounds} rounds of {options.steps} steps"
    rows = Table(
        "model", "px", "real / bare", "one call / two passes", "real / two passes", "peak", "save", title=title
    )
    effects = Table("model", "switch", "speed", "peak memory", "real / two passes", title=f"{title}: over none")
    with tempfile.TemporaryDirectory() as scratch:
        prepared = options.prepared or draw_faces(Path(scratch), count=640)
        for model in options.models:
            names = ["none"]
            if options.switches is not None:
                names += [name for name in options.switches or SWITCHES if name != "none"]
            found = {}
            for name in names:
                extra = tuple(options.override)
                plan = Plan(prepared, model, name, options.batch_size, options.steps, options.rounds, extra)
                try:
                    found[name] = measure_apart(plan, options.threads)
                except (UserError, ValueError) as error:  # a model without this switch
                    progress.print(f"{model}, {name}: {error}")
                    continue
                progress.print(f"{model}, {name}: real / bare {ratio(found[name].bare, found[name].real)}")
            if "none" not in found:
                continue
            base = found["none"]
            rows.add_row(
                model,
                str(base.input_size),
                ratio(base.bare, base.real),
                ratio(base.two_passes, base.bare) if base.two_passes else "",
                ratio(base.two_passes, base.real) if base.two_passes else "",
                f"{base.peak_bytes / 1e9:.2f} GB",
                f"{base.save_s:.1f} s",
            )
            if len(found) > 1:
                compare_switches(found, model, effects)
    console.print(rows)
    if effects.row_count:
        console.print(effects)


if __name__ == "__main__":
    main()
