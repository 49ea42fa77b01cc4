"""The settings of a miniature corpus: plain values that determine every pixel."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from numbers import Integral, Real

from deepfake_ms.errors import UserError


@dataclass(frozen=True)
class ArtefactStrengths:
    """Strength of each kind of artefact in a fake, from 0 (absent) to 1 (obvious); see `fakes` for what each does.

    Detection improves steeply with them, from chance level at 0. With the defaults, a small network of convolutions and
    BatchNorm that is trained on the corpus reaches a frame-level test AUC of about 0.9; with 0.15 each, 0.98.
    """

    eyes: float = 0.15
    seam: float = 0.15
    mouth: float = 0.08
    resample: float = 0.03

    def __post_init__(self) -> None:
        for name, strength in asdict(self).items():
            if isinstance(strength, bool) or not isinstance(strength, Real) or not 0 <= strength <= 1:
                raise UserError(f"Artefact strength {name} is {strength}: choose a value from 0 to 1.")
            object.__setattr__(self, name, float(strength))  # 1 and 1.0 must give the same corpus.json


NO_ARTEFACTS = ArtefactStrengths(eyes=0.0, seam=0.0, mouth=0.0, resample=0.0)


@dataclass(frozen=True)
class MiniatureSettings:
    """Size, seed and difficulty of a drawn corpus; equal settings give equal corpora.

    `artefacts` may be given as a mapping from names to strengths.

    Raises:
        UserError: a value is out of range, or `fakes` exceeds the number of possible face swaps.
    """

    seed: int = 0
    identities: int = 28
    """Number of people with several videos, who are swapped with each other (Celeb-real and Celeb-synthesis)."""
    cast_size: int = 4
    """People are swapped only within their cast, so that a split by identity can keep target and donor together."""
    videos_per_identity: int = 3
    youtube_people: int = 14
    """Number of further real people with one video each (YouTube-real)."""
    fakes: int = 130
    seconds: float = 3.0
    fps: int = 8
    size: int = 256
    """Side of the square frames in pixels."""
    crf: int = 23
    """H.264 constant rate factor, from 0 (lossless) to 51 (worst quality)."""
    artefacts: ArtefactStrengths = field(default_factory=ArtefactStrengths)
    quality_spread: float = 0.0
    """How much the fakes differ in quality: each fake's strengths are multiplied by its own factor, uniform from
    1 - quality_spread to 1. At 0 all are equally strong, and a detector finds either all of them or none."""
    eye_share_training: float = 1.0
    """Fraction of the fakes outside the test list that have the eye artefact."""
    eye_share_test: float = 1.0
    """The same in the test list. If it is smaller than in training, the eyes are a misleading shortcut."""

    def __post_init__(self) -> None:
        if isinstance(self.artefacts, Mapping):
            known = [each.name for each in fields(ArtefactStrengths)]
            if unknown := sorted(set(self.artefacts) - set(known)):
                raise UserError(f"Unknown artefact {', '.join(unknown)}: the miniature has {', '.join(known)}.")
            object.__setattr__(self, "artefacts", ArtefactStrengths(**self.artefacts))
        for each in fields(self):
            value = getattr(self, each.name)
            kind = {int: Integral, float: Real}.get(each.type)
            if kind and (isinstance(value, bool) or not isinstance(value, kind)):
                raise UserError(
                    f"Miniature {each.name} is {value}: it must be a {'whole ' * (kind is Integral)}number."
                )
        minimum = {"cast_size": 2, "videos_per_identity": 1, "youtube_people": 0, "fakes": 0, "fps": 1, "size": 64}
        for name, smallest in minimum.items():
            if getattr(self, name) < smallest:
                raise UserError(f"Miniature {name} is {getattr(self, name)}: it must be at least {smallest}.")
        if self.identities % self.cast_size or self.identities < 2 * self.cast_size:
            raise UserError(
                f"Miniature identities is {self.identities}: choose a multiple of cast_size={self.cast_size}, at least "
                "two casts, because one is needed for the test list."
            )
        if self.size % 2:
            raise UserError(f"Miniature size is {self.size}: H.264 needs an even number of pixels.")
        if not 0 <= self.crf <= 51:
            raise UserError(f"Miniature crf is {self.crf}: choose a value from 0 to 51.")
        if self.frames < 1:
            raise UserError(f"Miniature seconds is {self.seconds}: at {self.fps} fps this is less than one frame.")
        for name in ("seconds", "quality_spread", "eye_share_training", "eye_share_test"):
            object.__setattr__(self, name, float(getattr(self, name)))
        for name in ("quality_spread", "eye_share_training", "eye_share_test"):
            if not 0 <= getattr(self, name) <= 1:
                raise UserError(f"Miniature {name} is {getattr(self, name)}: choose a fraction from 0 to 1.")
        swaps = self.identities * (self.cast_size - 1) * self.videos_per_identity
        if self.fakes > swaps:
            raise UserError(
                f"Miniature fakes is {self.fakes}, but these casts allow only {swaps} different swaps: choose fewer."
            )

    @property
    def frames(self) -> int:
        """Number of frames in every video."""
        return round(self.seconds * self.fps)
