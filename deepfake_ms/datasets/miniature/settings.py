"""What a miniature corpus is drawn from: everything that decides a pixel, in plain values."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields

from deepfake_ms.errors import UserError


@dataclass(frozen=True)
class ArtefactStrengths:
    """How strongly each trace of forgery shows in a fake: 0 not at all .. 1 glaring.

    Detection grows steeply with them, from chance at 0; see `fakes` for what each one does. With the defaults a small
    network of convolutions and BatchNorm trained on it reaches a test AUC of about 0.9 a frame; with 0.15 each, 0.98.
    """

    eyes: float = 0.15
    seam: float = 0.15
    mouth: float = 0.08
    resample: float = 0.03

    def __post_init__(self) -> None:
        for name, strength in asdict(self).items():
            if not 0 <= strength <= 1:
                raise UserError(f"Artefact strength {name} is {strength}: choose a value from 0 to 1.")
            object.__setattr__(self, name, float(strength))  # 1 and 1.0 are one settings, also in corpus.json


NO_ARTEFACTS = ArtefactStrengths(eyes=0.0, seam=0.0, mouth=0.0, resample=0.0)


@dataclass(frozen=True)
class MiniatureSettings:
    """Size, seed and difficulty of a drawn corpus; equal settings give equal corpora.

    `artefacts` may be given as a mapping of names to strengths.

    Raises:
        UserError: a value is out of range, or there are not as many face swaps as `fakes` asks for.
    """

    seed: int = 0
    identities: int = 28
    """People with several videos, who are swapped with each other (Celeb-real and Celeb-synthesis)."""
    cast_size: int = 4
    """People are swapped only within their cast, so that a split by identity tears no fake apart."""
    videos_per_identity: int = 3
    youtube_people: int = 14
    """Further real people with one video each (YouTube-real)."""
    fakes: int = 130
    seconds: float = 3.0
    fps: int = 8
    size: int = 256
    """Side of the square frames in pixels."""
    crf: int = 23
    """Quality of the H.264 encoding: 0 lossless .. 51 worst."""
    artefacts: ArtefactStrengths = field(default_factory=ArtefactStrengths)
    quality_spread: float = 0.0
    """How unequal the fakes are: each one's strengths are multiplied by a factor of its own, evenly drawn from
    1 - quality_spread to 1. At 0 all are alike, and a detector finds either all of them or none."""
    eye_share_training: float = 1.0
    """Share of the fakes outside the test list that carry the eye artefact at all."""
    eye_share_test: float = 1.0
    """The same in the test list. A smaller share than in training makes the eyes a shortcut that misleads."""

    def __post_init__(self) -> None:
        if isinstance(self.artefacts, Mapping):
            known = [each.name for each in fields(ArtefactStrengths)]
            if unknown := sorted(set(self.artefacts) - set(known)):
                raise UserError(f"Unknown artefact {', '.join(unknown)}: the miniature has {', '.join(known)}.")
            object.__setattr__(self, "artefacts", ArtefactStrengths(**self.artefacts))
        least = {"cast_size": 2, "videos_per_identity": 1, "youtube_people": 0, "fakes": 0, "fps": 1, "size": 64}
        for name, smallest in least.items():
            if getattr(self, name) < smallest:
                raise UserError(f"Miniature {name} is {getattr(self, name)}: it must be at least {smallest}.")
        if self.identities % self.cast_size or self.identities < 2 * self.cast_size:
            raise UserError(
                f"Miniature identities is {self.identities}: choose two or more whole casts of {self.cast_size}, "
                "one of them for the test list."
            )
        if self.size % 2:
            raise UserError(f"Miniature size is {self.size}: H.264 needs an even number of pixels.")
        if not 0 <= self.crf <= 51:
            raise UserError(f"Miniature crf is {self.crf}: choose a value from 0 to 51.")
        if self.frames < 1:
            raise UserError(f"Miniature seconds is {self.seconds}: at {self.fps} fps that is not even one frame.")
        for name in ("seconds", "quality_spread", "eye_share_training", "eye_share_test"):
            object.__setattr__(self, name, float(getattr(self, name)))
        for name in ("quality_spread", "eye_share_training", "eye_share_test"):
            if not 0 <= getattr(self, name) <= 1:
                raise UserError(f"Miniature {name} is {getattr(self, name)}: choose a share from 0 to 1.")
        swaps = self.identities * (self.cast_size - 1) * self.videos_per_identity
        if self.fakes > swaps:
            raise UserError(f"Miniature fakes is {self.fakes}, but these casts allow only {swaps} different swaps.")

    @property
    def frames(self) -> int:
        """Frames in every video."""
        return round(self.seconds * self.fps)
