"""A drawn person: a look, which a face swap keeps, and features, which it replaces."""

from dataclasses import dataclass

import numpy as np

from deepfake_ms.randomness import key

SKIN_TONES = np.array(
    [
        (0.95, 0.79, 0.70),
        (0.91, 0.72, 0.60),
        (0.85, 0.65, 0.52),
        (0.76, 0.56, 0.43),
        (0.64, 0.45, 0.34),
        (0.50, 0.35, 0.26),
    ]
)
HAIR_COLOURS = np.array(
    [
        (0.10, 0.08, 0.07),
        (0.22, 0.14, 0.09),
        (0.38, 0.25, 0.15),
        (0.62, 0.46, 0.26),
        (0.48, 0.20, 0.10),
        (0.62, 0.61, 0.60),
    ]
)
IRIS_COLOURS = np.array(
    [
        (0.20, 0.12, 0.07),
        (0.28, 0.16, 0.08),
        (0.42, 0.30, 0.14),
        (0.30, 0.42, 0.26),
        (0.28, 0.45, 0.60),
        (0.42, 0.50, 0.54),
    ]
)
DARK_COLOURS = 2
"""The first so many hair and iris colours occur with dark skin."""

HAIR_STYLES = ("short", "short", "long", "long", "fringe", "bald")


@dataclass(frozen=True, eq=False)
class Look:
    """Palette, outline, hair and skin texture of a person. Lengths are in face units, colours are RGB 0..1."""

    skin: np.ndarray
    darkness: float  # of the skin, 0..1
    hair: np.ndarray
    shirt: np.ndarray
    half_width: float  # of the head at the eyes
    jaw_power: float  # exponent of the superellipse below the eyes: 2 pointed, 3 square
    chin: float  # y of the chin
    hair_style: str
    hairline: float  # y at the forehead
    parting: float  # x
    beard: float  # opacity
    texture_seed: int  # of skin grain, freckles and hair strands


@dataclass(frozen=True, eq=False)
class Features:
    """Eyes, brows, nose and mouth of a person. Lengths are in face units unless noted otherwise."""

    eye_x: float  # distance of an eye's centre from the midline
    eye_y: float
    eye_half_width: float
    eye_height: float  # of the upper lid's arc above the eye's centre
    eye_tilt: float  # slope of the eye's axis; positive: outer corner up
    iris_radius: float
    iris_choice: float  # 0..1, position among the colours that occur with the skin tone
    iris_brightness: float
    brow_height: float  # above the eye's centre
    brow_thickness: float
    brow_arch: float
    brow_tilt: float
    brow_half_width: float
    nose_length: float
    nose_half_width: float
    nose_depth: float
    mouth_y: float
    mouth_half_width: float
    upper_lip: float
    lower_lip: float
    lipstick: bool
    lip_brightness: float

    @property
    def nose_tip(self) -> float:
        """y of the tip of the nose."""
        return self.eye_y + self.nose_length + 0.08


@dataclass(frozen=True, eq=False)
class Person:
    """Features with a look: their own or, in a face swap, the target's."""

    look: Look
    features: Features

    @property
    def iris(self) -> np.ndarray:
        """RGB of the irises."""
        usable = DARK_COLOURS if self.look.darkness > 0.6 else len(IRIS_COLOURS)
        return IRIS_COLOURS[int(self.features.iris_choice * usable)] * self.features.iris_brightness

    @property
    def lips(self) -> np.ndarray:
        """RGB of the lips."""
        painted = self.features.lipstick and not self.look.beard
        colour = np.array((0.70, 0.26, 0.28)) if painted else self.look.skin * (0.86, 0.60, 0.60)
        return colour * self.features.lip_brightness


def invent_look(random: np.random.Generator) -> Look:
    """Sample a look."""
    tone = random.uniform(0, len(SKIN_TONES) - 1.001)
    lighter, share = int(tone), tone % 1
    skin = SKIN_TONES[lighter] * (1 - share) + SKIN_TONES[lighter + 1] * share + random.normal(0, 0.012, 3)
    darkness = tone / (len(SKIN_TONES) - 1)
    hair = HAIR_COLOURS[random.integers(DARK_COLOURS if darkness > 0.55 else len(HAIR_COLOURS))]
    style = HAIR_STYLES[random.integers(len(HAIR_STYLES))]
    bearded = style in ("short", "bald") and random.random() < 0.45
    shirt = random.uniform(0.08, 0.85, 3)
    return Look(
        skin=skin,
        darkness=darkness,
        hair=hair * random.uniform(0.8, 1.15),
        shirt=shirt.mean() + 0.6 * (shirt - shirt.mean()),
        half_width=random.uniform(0.72, 0.82),
        jaw_power=random.uniform(2.0, 2.7),
        chin=random.uniform(0.96, 1.06),
        hair_style=style,
        hairline=random.uniform(-0.80, -0.66),
        parting=random.uniform(-0.4, 0.4),
        beard=random.uniform(0.45, 0.85) if bearded else 0.0,
        texture_seed=int(random.integers(2**62)),
    )


def invent_features(random: np.random.Generator) -> Features:
    """Sample features."""
    return Features(
        eye_x=random.uniform(0.305, 0.355),
        eye_y=random.uniform(-0.15, -0.07),
        eye_half_width=random.uniform(0.135, 0.165),
        eye_height=random.uniform(0.050, 0.075),
        eye_tilt=random.uniform(-0.10, 0.16),
        iris_radius=random.uniform(0.056, 0.066),
        iris_choice=random.random(),
        iris_brightness=random.uniform(0.85, 1.2),
        brow_height=random.uniform(0.175, 0.235),
        brow_thickness=random.uniform(0.018, 0.038),
        brow_arch=random.uniform(0.02, 0.06),
        brow_tilt=random.uniform(-0.025, 0.05),
        brow_half_width=random.uniform(0.19, 0.24),
        nose_length=random.uniform(0.26, 0.36),
        nose_half_width=random.uniform(0.10, 0.155),
        nose_depth=random.uniform(0.20, 0.32),
        mouth_y=random.uniform(0.52, 0.60),
        mouth_half_width=random.uniform(0.20, 0.28),
        upper_lip=random.uniform(0.035, 0.065),
        lower_lip=random.uniform(0.055, 0.09),
        lipstick=bool(random.random() < 0.35),
        lip_brightness=random.uniform(0.85, 1.08),
    )


def invent_person(seed: int, name: str) -> Person:
    """The person called `name` in the corpus with this seed; independent of all other people."""
    return Person(
        look=invent_look(np.random.default_rng(key("miniature look", seed, name))),
        features=invent_features(np.random.default_rng(key("miniature features", seed, name))),
    )
