"""The curriculum (MEP, paper section 3.4): which faces a detector is trained on, in which order and how long."""

from collections.abc import Sequence
from dataclasses import dataclass

from deepfake_ms.data.dataset import FACES
from deepfake_ms.errors import UserError

CARRY = ("best", "last")


@dataclass(frozen=True)
class Stage:
    """One training phase.

    Attributes:
        name: folder of the stage, e.g. ``1_masked_eyes``.
        faces: ``cropped`` or ``masked_eyes`` (training faces only; validation and test are never masked).
        epochs: passes over the balanced training set, at least 1.
    """

    name: str
    faces: str
    epochs: int

    def __post_init__(self):
        if self.faces not in FACES:
            raise UserError(f"curriculum: faces={self.faces!r} is unknown; choose from {', '.join(FACES)}.")
        if self.epochs < 1:
            raise UserError(f"curriculum: stage {self.name} has {self.epochs} epochs; give it at least 1.")


@dataclass(frozen=True)
class Curriculum:
    """Stages in order and what is carried from one to the next: weights only, never the optimizer.

    Attributes:
        stages: at least one.
        carry: hand over the ``best`` checkpoint by `monitor` (as released) or the ``last`` one.
        monitor: a validation metric, e.g. ``validation/accuracy``.
        mode: whether a good `monitor` is ``max`` or ``min``.
    """

    stages: tuple[Stage, ...]
    carry: str
    monitor: str
    mode: str

    def __post_init__(self):
        if not self.stages:
            raise UserError("curriculum.stages is empty: name at least one stage.")
        if self.carry not in CARRY:
            raise UserError(f"curriculum.carry={self.carry!r} is unknown; choose from {', '.join(CARRY)}.")
        if self.mode not in ("max", "min"):
            raise UserError(f"curriculum.mode={self.mode!r} is unknown; choose max or min.")

    @classmethod
    def from_shares(cls, stages: Sequence[dict], epochs: int, carry: str, monitor: str, mode: str) -> "Curriculum":
        """Deal out `epochs` over `stages`, each ``{"faces": ..., "share": 0..1}``, at least one epoch a stage.

        Shares let rows with one stage and rows with three train equally long: the paper's 20 + 15 + 15 epochs are
        shares .4 .3 .3 of 50.

        Raises:
            UserError: the shares do not add up to 1.
        """
        total = sum(stage["share"] for stage in stages)
        if stages and abs(total - 1) > 1e-6:
            raise UserError(f"curriculum.stages: the shares add up to {total:g}; they must add up to 1.")
        dealt = tuple(
            Stage(f"{number}_{stage['faces']}", stage["faces"], max(1, round(stage["share"] * epochs)))
            for number, stage in enumerate(stages, start=1)
        )
        return cls(dealt, carry, monitor, mode)
