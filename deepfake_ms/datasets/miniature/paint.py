"""The static parts of a face, painted without light: skin, beard, nose, brows, ears and hair."""

from dataclasses import dataclass

import cv2
import numpy as np

from deepfake_ms.datasets.miniature.canvas import (
    HEIGHT,
    SIDES,
    WIDTH,
    X,
    Y,
    blend,
    bump,
    darken,
    soft_step,
    spread,
    stroke,
    value_noise,
)
from deepfake_ms.datasets.miniature.identity import Features, Look, Person
from deepfake_ms.datasets.miniature.relief import height_field, outline_depth, surface_normals

ACROSS = np.abs(X)
"""Distance from the face's axis of symmetry."""


@dataclass(frozen=True, eq=False)
class FaceLayers:
    """The layers of a frontal face that do not depend on the expression; see `canvas` for shapes and units."""

    depth: np.ndarray  # inside the outline: 1 at the centre, 0 on the outline
    height: np.ndarray
    normals: np.ndarray  # [HEIGHT, WIDTH, 3]
    albedo: np.ndarray  # [HEIGHT, WIDTH, 3], without eyes and mouth
    opacity: np.ndarray  # of the whole head including hair
    gloss: np.ndarray  # 1 where skin can shine


def paint_layers(person: Person) -> FaceLayers:
    """Paint the static layers of `person`. All randomness comes from the look, none from the features."""
    look, features = person.look, person.features
    random = np.random.default_rng(look.texture_seed)
    depth = outline_depth(look)
    face = soft_step(depth, 0.035)

    albedo = _skin(look, random)
    _shade_features(albedo, features)
    if look.beard:
        _beard(albedo, look, features, random)
    _nose(albedo, look, features)
    _brows(albedo, look, features, random)
    darken(albedo, 1 - (0.55 + 0.45 * soft_step(depth, 0.22)) ** 0.6)  # skin turns away from the viewer

    ears = soft_step(1 - ((ACROSS - look.half_width - 0.015) / 0.085) ** 2 - ((Y - 0.02) / 0.19) ** 2, 0.15)
    head = np.empty_like(albedo)
    head[:] = look.skin * 0.80
    darken(head, 0.35 * bump(ACROSS - look.half_width - 0.03, Y - 0.02, 0.04, 0.12))
    blend(head, albedo, face)

    hair = _hair_cover(look, depth, random)
    # soft shadow of the hair on the forehead
    darken(head, 0.30 * cv2.GaussianBlur(hair, (0, 0), 5) * (1 - hair))
    blend(head, _hair_colour(look, random), hair)

    height = height_field(person)
    return FaceLayers(
        depth=depth,
        height=height,
        normals=surface_normals(height),
        albedo=head,
        opacity=np.maximum.reduce([face, ears, hair]).astype(np.float32),
        gloss=(face * (1 - hair)).astype(np.float32),
    )


def _skin(look: Look, random: np.random.Generator) -> np.ndarray:
    skin = np.empty((HEIGHT, WIDTH, 3), np.float32)
    skin[:] = look.skin
    skin *= spread(1 + 0.025 * value_noise(random, 26) + 0.012 * value_noise(random, 3))
    if random.random() < 0.35:
        for _ in range(random.integers(10, 40)):
            x, y = random.normal(0, 0.3), random.normal(0.15, 0.13)
            blend(skin, look.skin * 0.72, 0.35 * bump(X - x, Y - y, 0.011, 0.011))  # freckle
    for _ in range(random.integers(0, 3)):
        x, y = random.uniform(-0.5, 0.5), random.uniform(-0.5, 0.8)
        blend(skin, look.skin * 0.4, 0.8 * bump(X - x, Y - y, 0.014, 0.014))  # mole
    return skin


def _shade_features(albedo: np.ndarray, features: Features) -> None:
    """Paint blush and the soft shadows of sockets, folds and lips, without which a face detector sees a flat mask."""
    eye_x, eye_y, tip, mouth_y = features.eye_x, features.eye_y, features.nose_tip, features.mouth_y
    for side in SIDES:
        across = X * side
        darken(albedo, 0.16 * bump(across - 0.42, Y - 0.24, 0.22, 0.17), (0.15, 1, 0.9))
        darken(
            albedo, 0.30 * bump(across - eye_x, Y - eye_y + 0.005, features.eye_half_width * 1.35, 0.105), (0.8, 1, 1)
        )
        darken(albedo, 0.22 * bump(across - 0.09, Y - eye_y - 0.01, 0.045, 0.10))  # root of the nose
        darken(albedo, 0.16 * bump(across - eye_x + 0.02, Y - eye_y - 0.115, features.eye_half_width * 0.9, 0.028))
        fold = across - (features.nose_half_width + 0.06 + 0.42 * (Y - tip))
        fold_ends = soft_step(Y - tip + 0.02, 0.05) * soft_step(mouth_y - 0.02 - Y, 0.08)
        darken(albedo, 0.18 * stroke(fold, 0.026) * fold_ends)
        crease = eye_y - features.eye_height - 0.045 - 0.02 * (1 - ((across - eye_x) / features.eye_half_width) ** 2)
        crease_ends = soft_step(1 - ((across - eye_x) / (features.eye_half_width * 1.05)) ** 2, 0.3)
        darken(albedo, 0.30 * stroke(Y - crease, 0.014) * crease_ends)
    darken(albedo, 0.14 * bump(X, Y - (tip + mouth_y - features.upper_lip) / 2 - 0.02, 0.022, 0.05))  # philtrum
    darken(albedo, 0.25 * bump(X, Y - mouth_y - features.lower_lip - 0.055, 0.13, 0.026))


def _beard(albedo: np.ndarray, look: Look, features: Features, random: np.random.Generator) -> None:
    mouth_y, tip = features.mouth_y, features.nose_tip
    # The edge runs from the sideburns down the cheek to the corners of the mouth and below the lips.
    cheek_edge = mouth_y - 0.10 - 0.62 * np.clip(ACROSS - features.mouth_half_width - 0.05, 0, None) ** 1.3
    jaw = soft_step(Y - cheek_edge, 0.07) * soft_step(ACROSS - features.mouth_half_width + 0.02, 0.07)
    chin = soft_step(Y - mouth_y - features.lower_lip - 0.03, 0.06)
    lip_top = mouth_y - features.upper_lip
    moustache = soft_step(1 - np.abs(Y - (tip + 0.09 + lip_top) / 2) / (0.55 * (lip_top - tip - 0.05)), 0.5)
    moustache *= soft_step(features.mouth_half_width + 0.04 - ACROSS, 0.08)
    stubble = np.clip(0.92 + 0.13 * value_noise(random, 1.6), 0, 1.25)
    cover = np.maximum.reduce([jaw, chin, moustache]) * stubble * look.beard
    blend(albedo, look.hair * 0.6 + look.skin * 0.15, np.clip(cover, 0, 0.9))


def _nose(albedo: np.ndarray, look: Look, features: Features) -> None:
    half_width, tip = features.nose_half_width, features.nose_tip
    darken(albedo, 0.38 * bump(X, Y - tip - 0.065, half_width * 1.1, 0.035), (0.85, 1, 1))
    for side in SIDES:
        across = X * side
        nostril = 1 - ((across - half_width * 0.52) / (half_width * 0.30)) ** 2 - ((Y - tip - 0.05) / 0.021) ** 2
        blend(albedo, look.skin * 0.22, 0.88 * soft_step(nostril, 0.55))
        wing = np.hypot((across - half_width * 0.62) / (half_width * 0.52), (Y - tip - 0.005) / 0.075)
        darken(albedo, 0.30 * stroke(wing - 1, 0.16) * soft_step(across - half_width * 0.75, 0.04))


def _brows(albedo: np.ndarray, look: Look, features: Features, random: np.random.Generator) -> None:
    strands = 0.86 + 0.22 * value_noise(random, 2.2, 1.5)
    for side in SIDES:
        along = (X * side - features.eye_x * 1.03) / features.brow_half_width  # -1 at the nose, 1 at the temple
        arch = features.brow_arch * (1 - (along - 0.12) ** 2) - features.brow_tilt * along
        middle = features.eye_y - features.brow_height - arch + 0.02
        half_thickness = features.brow_thickness * np.clip(1.15 - 0.45 * np.clip(along, -1, 1), 0.2, 1.4)
        cover = soft_step(1 - np.abs(Y - middle) / half_thickness, 0.55) * soft_step(1 - along * along, 0.25)
        blend(albedo, look.hair * 0.55 + look.skin * 0.06, np.clip(cover * strands, 0, 0.97))


def _hair_cover(look: Look, depth: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Opacity of the hair over and around the face."""
    if look.hair_style == "bald":
        return np.zeros_like(X)
    skull = soft_step(1 - (X / (look.half_width + 0.13)) ** 2 - ((Y + 0.12) / 1.16) ** 2, 0.10)
    if look.hair_style == "fringe":
        line = look.hairline + 0.30 + 0.10 * np.cos(5 * X + 3 * look.parting) + 0.35 * ACROSS**3
    else:
        line = look.hairline + 0.88 * ACROSS**2.4 - 0.10 * stroke(X - look.parting, 0.12)
    front = soft_step(line + 0.02 * value_noise(random, 5) - Y, 0.05)
    sides = soft_step(0.10 - 0.06 * np.clip(Y + 0.3, 0, 1) - depth, 0.08)
    sides *= soft_step(0.06 + 0.02 * value_noise(random, 4) - Y, 0.12)
    cover = skull * np.maximum(front, sides)
    if look.hair_style == "long":
        reach = look.half_width + 0.16 + 0.05 * np.sin(3 * Y + 9 * look.parting)
        curtain = soft_step(reach - ACROSS, 0.05) * soft_step(0.06 + 0.04 * np.sin(5 * Y + 2) - depth, 0.08)
        curtain *= soft_step(1.12 - Y, 0.30) * soft_step(Y + 0.5, 0.2)
        curtain *= soft_step(ACROSS - 0.42 - 0.2 * np.clip(1 - Y, 0, 1), 0.10)
        cover = np.maximum(cover, curtain)
    return cover.astype(np.float32)


def _hair_colour(look: Look, random: np.random.Generator) -> np.ndarray:
    strands = 1 + 0.15 * value_noise(random, 4, 36) + 0.08 * value_noise(random, 1.6, 19)
    sheen = 1 + 0.5 * bump(X - 0.2, Y + 0.95, 0.45, 0.12)
    return spread(np.clip(strands, 0.4, 1.7) * sheen, look.hair)
