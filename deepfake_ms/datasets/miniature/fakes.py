"""A face swap: the target's face with the donor's features, and four kinds of artefacts typical of such forgeries.

The donor's eyes, brows, nose and mouth are painted with the target's palette and skin, and blended into the target's
face inside its outline and below its hairline. A swap without artefacts is therefore drawn like any real face: if a
detector can distinguish the two, the generator has a flaw.

- *eyes*: one iris of another colour, a squint, dull highlights on the wrong side, whiter sclera, less blinking
- *seam*: the inner face has a different colour cast, and its blending mask a harder border
- *mouth*: lips and teeth are blurred
- *resample*: the inner face is reduced to a low resolution and enlarged again
"""

import cv2
import numpy as np

from deepfake_ms.datasets.miniature.canvas import HEIGHT, SIDES, WIDTH, X, Y, soft_step, spread, window
from deepfake_ms.datasets.miniature.face import Face, Moment
from deepfake_ms.datasets.miniature.features import MOUTH_DROP, MOUTH_WINDOW, EyeState
from deepfake_ms.datasets.miniature.identity import IRIS_COLOURS, Person
from deepfake_ms.datasets.miniature.paint import FaceLayers, paint_layers
from deepfake_ms.datasets.miniature.settings import ArtefactStrengths

MASK_SOFTNESS = (0.13, 0.03)
"""Softness of the mask's border at seam strengths 0 and 1, in units of depth inside the outline."""


def inner_face_mask(layers: FaceLayers, softness: float) -> np.ndarray:
    """1 in the inner face that a swap replaces, 0 outside, float32 [HEIGHT, WIDTH].

    The mask follows the target's own outline and hairline, as any other shape would be visible even in a swap without
    artefacts. It covers all features completely, so that nothing of the target's features remains visible.
    """
    return soft_step(np.minimum(layers.depth - 0.18, 0.9 * (Y + 0.68)), softness).astype(np.float32) * layers.gloss


class SwappedFace(Face):
    """The face of `target` with the inner face of `donor`, with artefacts of the given strengths.

    `random` determines the details, such as which eye has the wrong colour.
    """

    def __init__(self, target: Face, donor: Person, strengths: ArtefactStrengths, random: np.random.Generator) -> None:
        look = target.person.look
        person = Person(look, donor.features)
        softness = float(np.interp(strengths.seam, (0, 1), MASK_SOFTNESS))
        self.mask = spread(inner_face_mask(target.layers, softness))
        super().__init__(person, _blend_layers(target.layers, paint_layers(person), self.mask))
        self.strengths = strengths

        cast = random.normal(size=3)
        cast = 0.6 * cast / np.linalg.norm(cast) + 0.6 * random.choice(SIDES)  # a tint, and lighter or darker
        self.gain = (0.16 * strengths.seam * cast).astype(np.float32)
        self.odd_eye = int(random.choice(SIDES))
        self.squint = 0.05 * float(random.choice(SIDES)), 0.018 * float(random.choice(SIDES))
        self.highlight_side = float(random.choice(SIDES))
        self.odd_iris = IRIS_COLOURS[np.argmax(np.abs(IRIS_COLOURS - person.iris).sum(axis=1))]

    def eye_state(self, side: int, moment: Moment) -> EyeState:
        """State of the eye on `side`, with the eye artefact at its strength."""
        clean, strength = super().eye_state(side, moment), self.strengths.eyes
        if not strength:
            return clean
        iris, gaze, highlight = clean.iris, clean.gaze, clean.highlight
        if side == self.odd_eye:
            iris = iris + strength * (self.odd_iris - iris)
            gaze = gaze[0] + strength * self.squint[0], gaze[1] + strength * self.squint[1]
            wrong = 0.45 * self.highlight_side, 0.42
            highlight = tuple(right + strength * (odd - right) for right, odd in zip(highlight, wrong, strict=True))
        return EyeState(
            blink=clean.blink * (1 - strength),
            gaze=gaze,
            iris=iris,
            highlight=highlight,
            highlight_strength=1 - 0.6 * strength,
            sclera=1 + 0.15 * strength,
        )

    def shade(self, moment: Moment) -> np.ndarray:
        """The lit face with its artefacts; see `Face.shade`."""
        image = super().shade(moment)
        if self.strengths.mouth:
            self._blur_mouth(image)
        if self.strengths.resample:
            factor = 1 + 2.6 * self.strengths.resample
            small = cv2.resize(image, (int(WIDTH / factor), int(HEIGHT / factor)), interpolation=cv2.INTER_AREA)
            coarse = cv2.resize(small, (WIDTH, HEIGHT), interpolation=cv2.INTER_LINEAR)
            image += self.mask * (coarse - image)
        if self.strengths.seam:
            image *= 1 + spread(self.mask[..., 0], self.gain)
        return image

    def _blur_mouth(self, image: np.ndarray) -> None:
        mouth_y = self.person.features.mouth_y
        area = window(0, mouth_y + MOUTH_DROP, *MOUTH_WINDOW)
        x, down = X[area], Y[area] - mouth_y - 0.03
        cover = soft_step(1 - (x / 0.38) ** 2 - (down / 0.18) ** 2, 0.35)
        sharp = image[area]
        sharp += spread(cover) * (cv2.GaussianBlur(sharp, (0, 0), 4.0 * self.strengths.mouth) - sharp)


def _blend_layers(target: FaceLayers, donor: FaceLayers, mask: np.ndarray) -> FaceLayers:
    normals = target.normals + mask * (donor.normals - target.normals)
    return FaceLayers(
        depth=target.depth,
        height=target.height + mask[..., 0] * (donor.height - target.height),
        normals=normals / np.linalg.norm(normals, axis=2, keepdims=True),
        albedo=target.albedo + mask * (donor.albedo - target.albedo),
        opacity=target.opacity,
        gloss=target.gloss,
    )
