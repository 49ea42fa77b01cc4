"""The curriculum (MEP, paper section 2.4): stages in order, each a set of overrides of the run's settings."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import accumulate, pairwise
from typing import Any, Self

from deepfake_ms.data.augmentation import build_augmentation, ordered
from deepfake_ms.data.face_masks import FaceMask
from deepfake_ms.errors import UserError
from deepfake_ms.training.losses import weighted_cross_entropy
from deepfake_ms.training.optimization import check_optimization

FACES = ("cropped", "masked")
CARRY = ("best", "last")
GROUPS = ("mask", "augmentation", "loss", "optimization")
"""Config groups that a stage may override, by single values or by the name of another choice."""
STAGE_KEYS = ("faces", "share", *GROUPS, "freeze", "carry")
STAGE_OPTIMIZATION = ("name", "optimizer", "schedule", "batch_size", "gradient_clip", "freeze")
CLIPPING = ("norm", "value")
MONITORS = {
    **dict.fromkeys((f"validation/{name}" for name in ("accuracy", "balanced_accuracy", "macro_f1", "auroc")), "max"),
    **dict.fromkeys((f"validation/{name}" for name in ("loss", "real_error", "fake_error")), "min"),
}
"""Metric that finds the best epoch -> whether the best is its highest or lowest value."""


@dataclass(frozen=True)
class Stage:
    """One training stage with all its settings resolved, in plain values.

    Attributes:
        name: folder of the stage, e.g. ``1_masked_eyes`` or ``2_cropped``.
        faces: ``cropped`` or ``masked`` (training faces only; validation and test faces are never masked).
        epochs: passes over the balanced training set, at least 1.
        mask: settings of the face mask (``conf/mask``); None on cropped faces.
        augmentation: settings of the augmentation, from `deepfake_ms.data.augmentation.ordered`.
        loss: settings of the loss (``conf/loss``).
        optimizer, schedule: as in ``conf/optimization``.
        batch_size: faces per optimizer step.
        freeze: modules or parameters that are not trained in this stage, by dotted names, see `find_parts`.
        carry: checkpoint that is handed on, and scored if the stage is the last one: ``best`` by the curriculum's
            monitor, or the ``last`` epoch.
        gradient_clip: largest ``norm`` of the gradient, or largest magnitude (``value``) of its entries; None for none.

    Raises:
        UserError: a value is unknown or not allowed.
    """

    name: str
    faces: str
    epochs: int
    mask: dict | None
    augmentation: dict
    loss: dict
    optimizer: dict
    schedule: dict
    batch_size: int
    freeze: tuple[str, ...] = ()
    carry: str = "best"
    gradient_clip: dict | None = None

    @property
    def title(self) -> str:
        """The name without its number: ``masked_eyes``."""
        return self.name.partition("_")[2]

    @property
    def clipping(self) -> dict[str, Any]:
        """`gradient_clip` as arguments of `lightning.Trainer`."""
        limits = {name: limit for name, limit in (self.gradient_clip or {}).items() if limit is not None}
        return next(
            ({"gradient_clip_val": limit, "gradient_clip_algorithm": name} for name, limit in limits.items()), {}
        )

    def __post_init__(self):
        object.__setattr__(self, "freeze", tuple(self.freeze))
        if self.epochs < 1:
            raise UserError(f"curriculum: stage {self.name} has {self.epochs} epochs; give it at least 1.")
        if self.batch_size < 1:
            raise UserError(f"curriculum: stage {self.name} has batches of {self.batch_size}; give it at least 1.")
        if self.carry not in CARRY:
            raise UserError(f"curriculum.carry={self.carry} is unknown; choose from {', '.join(CARRY)}.")
        _check_clipping(self.gradient_clip or {})
        if self.mask:
            FaceMask.from_settings(self.mask)
        build_augmentation(self.augmentation)
        weighted_cross_entropy(self.loss["class_weights"])
        check_optimization(self.optimizer, self.schedule, self.epochs)


@dataclass(frozen=True)
class Curriculum:
    """Stages in order. Weights are carried from one to the next; optimizer and schedule start anew.

    Attributes:
        stages: at least one.
        monitor: a validation metric, e.g. ``validation/accuracy``.
        mode: whether `monitor` should be ``max`` or ``min``.
    """

    stages: tuple[Stage, ...]
    monitor: str
    mode: str

    def __post_init__(self):
        if self.mode not in ("max", "min"):
            raise UserError(f"optimization.mode={self.mode} is unknown; choose max or min.")
        if self.monitor not in MONITORS:
            raise UserError(f"optimization.monitor={self.monitor} is unknown; choose from {', '.join(MONITORS)}.")
        if self.mode != (better := MONITORS[self.monitor]):
            raise UserError(
                f"optimization.mode={self.mode} would keep the worst epoch by optimization.monitor={self.monitor}: set "
                f"optimization.mode={better}."
            )

    @classmethod
    def resolve(cls, config: Mapping) -> Self:
        """The curriculum of a composed configuration: each stage's overrides merged into the run's settings.

        Shares of the epochs let rows with one stage and rows with three train equally long: the paper's 20 + 15 + 15
        epochs are shares .4 .3 .3 of 50. The epochs of the stages always add up to the run's.

        Args:
            config: plain containers with `curriculum` and `GROUPS`.

        Raises:
            UserError: a stage has an unknown key or value, or the shares do not add up to 1.
        """
        optimization = config["optimization"]
        stages = config["curriculum"]["stages"]
        for position, stage in enumerate(stages):
            _check_keys(stage, f"curriculum.stages.{position}")
        if not stages:
            raise UserError("curriculum.stages is empty: name at least one stage.")
        total = sum(stage["share"] for stage in stages)
        if abs(total - 1) > 1e-6:
            raise UserError(f"curriculum.stages: the shares add up to {total:g}; they must add up to 1.")
        epochs = split_epochs([stage["share"] for stage in stages], optimization["epochs"])
        return cls(
            tuple(
                _resolve_stage(number, stage, share, config)
                for number, (stage, share) in enumerate(zip(stages, epochs, strict=True), start=1)
            ),
            optimization["monitor"],
            optimization["mode"],
        )

    @classmethod
    def from_record(cls, config: Mapping) -> Self:
        """The curriculum in a run's recorded configuration."""
        stages = tuple(Stage(**stage) for stage in config["curriculum"]["stages"])
        return cls(stages, config["optimization"]["monitor"], config["optimization"]["mode"])

    def as_records(self) -> list[dict]:
        """The resolved stages in plain containers, for `from_record`."""
        return [{**asdict(stage), "freeze": list(stage.freeze)} for stage in self.stages]


def _check_keys(stage: Mapping, key: str) -> None:
    if not isinstance(stage, Mapping):
        raise UserError(f"{key}={stage}: a stage is a table of settings, such as {{faces: cropped, share: 1}}.")
    if unknown := [name for name in stage if name not in STAGE_KEYS]:
        raise UserError(f"{key}.{unknown[0]} is unknown: choose from {', '.join(STAGE_KEYS)}.")
    if missing := [name for name in ("faces", "share") if name not in stage]:
        raise UserError(f"{key}.{missing[0]} is missing.")
    if stage["faces"] not in FACES:
        hint = " (masked_eyes is now faces: masked, with mask=eyes)" if stage["faces"] == "masked_eyes" else ""
        raise UserError(f"{key}.faces={stage['faces']} is unknown: choose from {', '.join(FACES)}{hint}.")
    if stage["faces"] == "cropped" and "mask" in stage:
        raise UserError(f"{key} has a mask but cropped faces: set {key}.faces=masked.")
    for name in GROUPS:
        if not isinstance(stage.get(name, {}), Mapping):
            raise UserError(f"{key}.{name}={stage[name]}: give the name of a file in conf/{name}, or single values.")
    for name in stage.get("optimization", {}):
        if name not in STAGE_OPTIMIZATION:
            remedy = "its epochs follow from its share" if name == "epochs" else "all stages share it"
            raise UserError(
                f"{key}.optimization.{name} cannot differ from stage to stage ({remedy}): a stage overrides "
                f"{', '.join(STAGE_OPTIMIZATION[1:])}."
            )


def split_epochs(shares: Sequence[float], epochs: int) -> list[int]:
    """Whole epochs for each stage, at least one, that add up to `epochs` and follow the shares as closely as possible.

    Raises:
        UserError: there are fewer epochs than stages, or `epochs` is no whole number.
    """
    if not isinstance(epochs, int):
        raise UserError(f"optimization.epochs={epochs}: give a whole number.")
    if epochs < len(shares):
        raise UserError(f"optimization.epochs={epochs} is too few for {len(shares)} stages: give each at least one.")
    ends = [round(total * epochs) for total in accumulate(shares)]
    parts = [end - start for start, end in pairwise([0, *ends])]
    while min(parts) < 1:
        parts[parts.index(max(parts))] -= 1
        parts[parts.index(min(parts))] += 1
    return parts


def _resolve_stage(number: int, stage: Mapping, epochs: int, config: Mapping) -> Stage:
    groups = {name: _merged(config[name], stage.get(name, {})) for name in GROUPS}
    optimization = groups["optimization"]
    masked = stage["faces"] == "masked"
    return Stage(
        name=f"{number}_masked_{groups['mask']['name']}" if masked else f"{number}_cropped",
        faces=stage["faces"],
        epochs=epochs,
        mask=groups["mask"] if masked else None,
        augmentation=ordered(groups["augmentation"]),
        loss=groups["loss"],
        optimizer=optimization["optimizer"],
        schedule=optimization["schedule"],
        batch_size=optimization["batch_size"],
        freeze=_names(stage.get("freeze", optimization.get("freeze", ()))),
        carry=stage.get("carry", config["curriculum"]["carry"]),
        gradient_clip=optimization.get("gradient_clip"),
    )


def _merged(settings: Mapping, overrides: Mapping) -> dict:
    """`settings` with `overrides` merged in; a mapping with a `name` is another choice and replaces the old one."""
    if "name" in overrides:
        return dict(overrides)
    merged = dict(settings)
    for key, value in overrides.items():
        both = isinstance(value, Mapping) and isinstance(settings.get(key), Mapping)
        merged[key] = _merged(settings[key], value) if both else value
    return merged


def _check_clipping(clip: Mapping) -> None:
    key = "optimization.gradient_clip"
    if unknown := [name for name in clip if name not in CLIPPING]:
        raise UserError(f"{key}.{unknown[0]} is unknown: choose from {', '.join(CLIPPING)}.")
    limits = {name: limit for name, limit in clip.items() if limit is not None}
    if len(limits) > 1:
        raise UserError(f"{key} has a norm and a value: set one of them to null.")
    for name, limit in limits.items():
        if not (isinstance(limit, int | float) and limit > 0):
            raise UserError(f"{key}.{name}={limit}: give a positive number, or null for no clipping.")


def _names(freeze: str | Sequence[str]) -> tuple[str, ...]:
    return (freeze,) if isinstance(freeze, str) else tuple(freeze)
