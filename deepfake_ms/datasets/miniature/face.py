"""A lit face: static layers, eyes and mouth of the current frame, and shading."""

from dataclasses import dataclass

import numpy as np

from deepfake_ms.datasets.miniature.canvas import SIDES, spread
from deepfake_ms.datasets.miniature.features import EyeState, draw_eye, draw_mouth
from deepfake_ms.datasets.miniature.identity import Person
from deepfake_ms.datasets.miniature.paint import FaceLayers, paint_layers


@dataclass(frozen=True, eq=False)
class Moment:
    """Pose, expression and light of one frame."""

    rotation: np.ndarray  # [3, 3], yaw and pitch of the head (x right, y down, z towards the viewer)
    roll: float  # radians, in the image plane
    scale: float  # pixels per face unit
    centre: tuple[float, float]  # of the face in the frame, pixels
    blink: float  # 0 open .. 1 closed
    gaze: tuple[float, float]  # face units, to the viewer's right and down
    mouth_opening: float  # 0..1
    smile: float  # -0.2..1
    light: np.ndarray  # [3], unit vector from the turned head to the lamp, in the head's axes
    light_colour: np.ndarray  # RGB
    ambient: float  # fraction of the light that comes from all directions, 0..1


class Face:
    """A person's face, which can be drawn for any `Moment`."""

    def __init__(self, person: Person, layers: FaceLayers | None = None) -> None:
        self.person = person
        self.layers = layers or paint_layers(person)

    def eye_state(self, side: int, moment: Moment) -> EyeState:
        """State of the eye on `side` (-1: the viewer's left, 1: right)."""
        lamp_x = float(moment.light[0])
        return EyeState(
            blink=moment.blink,
            gaze=moment.gaze,
            iris=self.person.iris,
            highlight=(0.42 * float(np.sign(lamp_x)) * min(1.0, abs(lamp_x) * 2), -0.42),
        )

    def shade(self, moment: Moment) -> np.ndarray:
        """The lit face on the canonical plane, [HEIGHT, WIDTH, 3] float32 RGB, about 0..1."""
        albedo = self.layers.albedo.copy()
        for side in SIDES:
            draw_eye(albedo, self.person, side, self.eye_state(side, moment))
        draw_mouth(albedo, self.person, moment.mouth_opening, moment.smile)

        towards_lamp = self.layers.normals @ moment.light.astype(np.float32)
        # The light wraps around the face a little, like that of a window or a ceiling.
        diffuse = moment.ambient + (1 - moment.ambient) * 1.18 * np.clip((towards_lamp + 0.25) / 1.25, 0, None)
        glare = 0.16 * _specular(self.layers.normals, moment.light) * self.layers.gloss
        return albedo * spread(diffuse, moment.light_colour) + spread(glare)


def _specular(normals: np.ndarray, light: np.ndarray) -> np.ndarray:
    """Blinn-Phong with exponent 28, by multiplication: a float power would take as long as the rest of the shading."""
    halfway = light + np.array((0, 0, 1))
    cosine = np.clip(normals @ (halfway / np.linalg.norm(halfway)).astype(np.float32), 0, 1)
    power_4 = np.square(np.square(cosine))
    power_8 = np.square(power_4)
    return np.square(power_8) * power_8 * power_4
