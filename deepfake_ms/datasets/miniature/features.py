"""The moving parts of a face: eyes and mouth, drawn into the albedo of every frame."""

from dataclasses import dataclass

import numpy as np

from deepfake_ms.datasets.miniature.canvas import X, Y, blend, bump, darken, soft_step, spread, stroke, window
from deepfake_ms.datasets.miniature.identity import Person

EYE_WINDOW = (0.24, 0.17)
"""Half width and half height of the area affected by drawing an eye, in face units."""

MOUTH_WINDOW = (0.40, 0.26)
"""Half width and half height of the area affected by drawing a mouth, centred `MOUTH_DROP` below its line."""

MOUTH_DROP = 0.05
"""In face units."""

TEETH = (0.90, 0.87, 0.80)


@dataclass(frozen=True)
class EyeState:
    """One eye in one frame."""

    blink: float  # 0 open .. 1 closed
    gaze: tuple[float, float]  # shift of the iris to the viewer's right and down, face units
    iris: np.ndarray  # RGB
    highlight: tuple[float, float]  # centre relative to the iris, in radii, right and down
    highlight_strength: float = 1.0
    sclera: float = 1.0  # brightness of the sclera


def draw_eye(albedo: np.ndarray, person: Person, side: int, state: EyeState) -> None:
    """Draw the eye on `side` (-1 or 1) into `albedo` [HEIGHT, WIDTH, 3] in place."""
    features = person.features
    area = window(side * features.eye_x, features.eye_y, *EYE_WINDOW)
    skin = albedo[area]
    out = X[area] * side - features.eye_x  # increases towards the temple
    down = Y[area] - features.eye_y + features.eye_tilt * out

    along = np.clip(out / features.eye_half_width, -1, 1)
    arc = 1 - along * along
    lower_lid = features.eye_height * 0.62 * arc**0.9
    upper_lid = -features.eye_height * arc**0.75 * (1 - state.blink) + lower_lid * 0.9 * state.blink
    opening = soft_step(down - upper_lid, 0.016) * soft_step(lower_lid - down, 0.016)
    opening *= soft_step(features.eye_half_width - np.abs(out), 0.012)

    eyeball = _eyeball(person, side, state, out, down, along)
    darken(eyeball, 0.45 * stroke(np.clip(down - upper_lid, 0, 1), 0.022))  # shadow of the upper lid
    _highlight(eyeball, person, side, state, out, down)
    blend(skin, eyeball, opening)

    lashes = stroke(down - upper_lid + 0.004, 0.016 + 0.004 * along)
    lashes *= soft_step(features.eye_half_width * 1.06 - np.abs(out), 0.03)
    blend(skin, person.look.hair * 0.15 + 0.02, 0.88 * lashes)
    rim = stroke(down - lower_lid - 0.004, 0.010) * soft_step(features.eye_half_width - np.abs(out), 0.05)
    blend(skin, person.look.skin * 0.45, 0.50 * rim)


def _iris_offsets(side: int, state: EyeState, out: np.ndarray, down: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return out - state.gaze[0] * side, down - state.gaze[1] + 0.008


def _eyeball(
    person: Person, side: int, state: EyeState, out: np.ndarray, down: np.ndarray, along: np.ndarray
) -> np.ndarray:
    radius = person.features.iris_radius
    eyeball = np.empty((*out.shape, 3), np.float32)
    eyeball[:] = np.array((0.90, 0.88, 0.86)) * state.sclera
    darken(eyeball, 0.35 * along**4)
    inner_corner = bump(out + person.features.eye_half_width * 0.93, down - 0.004, 0.022, 0.022)
    blend(eyeball, (0.80, 0.52, 0.48), 0.8 * inner_corner)

    distance = np.hypot(*_iris_offsets(side, state, out, down))
    iris = spread(0.75 + 0.55 * np.clip(distance / radius, 0, 1) ** 2, state.iris)
    blend(eyeball, iris, soft_step(radius - distance, 0.012))
    darken(eyeball, 0.55 * stroke(distance - radius, 0.011))  # limbal ring
    blend(eyeball, (0.03, 0.025, 0.02), soft_step(radius * 0.45 - distance, 0.010))  # pupil
    return eyeball


def _highlight(
    eyeball: np.ndarray, person: Person, side: int, state: EyeState, out: np.ndarray, down: np.ndarray
) -> None:
    radius = person.features.iris_radius
    from_iris_out, from_iris_down = _iris_offsets(side, state, out, down)
    right, below = state.highlight
    glint = bump(from_iris_out - right * side * radius, from_iris_down - below * radius, 0.017, 0.017)
    blend(eyeball, (1.5, 1.5, 1.5), np.clip(1.15 * state.highlight_strength * glint, 0, 1))


def draw_mouth(albedo: np.ndarray, person: Person, opening: float, smile: float) -> None:
    """Draw the mouth into `albedo` [HEIGHT, WIDTH, 3] in place.

    Args:
        albedo: the face drawn so far.
        person: the person whose mouth is drawn.
        opening: 0 closed .. 1 wide open.
        smile: -0.2 (corners down) .. 1 (corners up).
    """
    features = person.features
    half_width = features.mouth_half_width * (1 + 0.12 * smile - 0.10 * opening)
    area = window(0, features.mouth_y + MOUTH_DROP, *MOUTH_WINDOW)
    skin = albedo[area]
    x, down = X[area], Y[area] - features.mouth_y
    along = np.clip(x / half_width, -1, 1)
    arc = 1 - along * along
    gape = 0.11 * opening

    corners = -0.055 * smile * along * along
    upper_edge, lower_edge = corners - 0.25 * gape * arc, corners + 0.9 * gape * arc  # of the gap between the lips
    cupid_bow = (1 - np.abs(along) ** 1.8) * (1 - 0.28 * stroke(along, 0.16))
    top, bottom = upper_edge - features.upper_lip * cupid_bow, lower_edge + features.lower_lip * arc**0.7
    inside = soft_step(half_width - np.abs(x), 0.02)

    lips = soft_step(down - top, 0.018) * soft_step(bottom - down, 0.022) * inside
    wrinkles = 0.03 * np.sin(70 * x + 3 * np.sin(9 * x))
    light = 1 + wrinkles + 0.12 * np.clip((down - lower_edge) / features.lower_lip, 0, 1) - 0.16 * (down < upper_edge)
    blend(skin, spread(light, person.lips), 0.88 * lips)
    gleam = bump(x, down - lower_edge - 0.45 * features.lower_lip, half_width * 0.4, 0.018)
    blend(skin, (1.1, 1.1, 1.1), 0.35 * gleam * lips)

    gap = soft_step(down - upper_edge, 0.012) * soft_step(lower_edge - down, 0.012) * inside
    cavity = np.empty_like(skin)
    cavity[:] = (0.16, 0.05, 0.05)
    teeth = soft_step(upper_edge + min(0.06, 0.65 * gape + 0.004) - down, 0.010)
    teeth *= soft_step(0.88 * half_width - np.abs(x), 0.05)
    between_teeth = stroke(np.mod(x / 0.045 + 0.5, 1) - 0.5, 0.10)
    blend(cavity, spread((1 - 0.28 * between_teeth) * (1 - 0.5 * along * along), TEETH), 0.92 * teeth)
    blend(skin, cavity, gap)

    line = stroke(down - upper_edge, 0.011) * inside * (1 - 0.5 * gap)
    blend(skin, person.lips * 0.28, 0.80 * line)
    darken(skin, 0.35 * bump(np.abs(x) - half_width, down - corners, 0.028, 0.022))
