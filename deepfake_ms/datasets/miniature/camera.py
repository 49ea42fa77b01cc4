"""Render one frame: background, shoulders, the turned head, lens blur and sensor noise."""

import math

import cv2
import numpy as np

from deepfake_ms.datasets.miniature.canvas import LEFT, SIDES, TOP, UNIT, blend, darken, soft_step, spread
from deepfake_ms.datasets.miniature.face import Face, Moment
from deepfake_ms.datasets.miniature.scene import Scene

PIVOT = 0.45
"""Height (z) of the head's centre of rotation, in face units."""

LENS_BLUR = 0.55
"""Standard deviation in pixels."""


def render_frame(face: Face, scene: Scene, frame: int, fps: float) -> tuple[np.ndarray, np.ndarray]:
    """Render frame number `frame` of the video that shows `face` in `scene`.

    Returns:
        The frame, RGB uint8 [size, size, 3], and the centres of the eyes, float64 [2, 2]: one row (x, y) in pixels per
        eye, first the eye on the left of the image.
    """
    time = frame / fps
    moment = scene.moment(time)
    image = scene.background(time)
    _draw_body(image, face, scene, moment)
    _draw_head(image, face, moment)
    image *= 1 + scene.flicker.at(time)
    image = cv2.GaussianBlur(image, (0, 0), LENS_BLUR)
    image += spread(scene.sensor_grain(frame))
    if not np.isfinite(image).all():
        raise FloatingPointError(f"frame {frame} of the drawing has non-finite pixels")
    return (np.clip(image, 0, 1) * 255 + 0.5).astype(np.uint8), eye_centres(face, moment)


def eye_centres(face: Face, moment: Moment) -> np.ndarray:
    """Centres of the eyes in the frame, [2, 2] pixels (x, y), first the eye on the left of the image."""
    features, height = face.person.features, face.layers.height
    centres = []
    for side in SIDES:
        x, y = side * features.eye_x, features.eye_y
        z = height[int((y - TOP) * UNIT), int((x - LEFT) * UNIT)] - PIVOT
        turned_x, turned_y, _ = moment.rotation @ (x, y, z)
        cos, sin = math.cos(moment.roll), math.sin(moment.roll)
        centres.append((cos * turned_x - sin * turned_y, sin * turned_x + cos * turned_y))
    return np.array(moment.centre) + moment.scale * np.array(centres) - 0.5  # pixel centres have integer coordinates


def _draw_body(image: np.ndarray, face: Face, scene: Scene, moment: Moment) -> None:
    """Draw shoulders and neck, which follow the head's motion only partly."""
    look = face.person.look
    head_x, head_y = moment.centre
    first_row = min(max(0, int(head_y + 0.2 * moment.scale)), len(image))  # the body lies below this row
    part = image[first_row:]
    along = np.arange(image.shape[1], dtype=np.float32)
    body_x = ((along - 0.6 * head_x - 0.4 * scene.seat[0]) / moment.scale)[None, :]
    neck_x = body_x - 0.15 * (head_x - scene.seat[0]) / moment.scale
    y = ((np.arange(first_row, len(image), dtype=np.float32) - head_y) / moment.scale)[:, None]

    lamp = moment.light_colour * (moment.ambient + (1 - moment.ambient) * 0.8)
    shoulders = 1 - np.abs(body_x / 1.75) ** 3 - np.clip((1.75 - y) / 0.62, 0, None) ** 2
    blend(part, look.shirt * lamp, soft_step(shoulders, 0.10))

    half_width = 0.40 + 0.10 * np.clip(y - 1, 0, 1) ** 2
    neck = soft_step(half_width - np.abs(neck_x), 0.03) * soft_step(y - 0.3, 0.05) * soft_step(1.55 - y, 0.06)
    light = (0.55 + 0.30 * np.clip((y - 0.95) / 0.5, 0, 1)) * (1 - 0.30 * (body_x / half_width) ** 2)
    blend(part, spread(light, look.skin * lamp), neck)


def _draw_head(image: np.ndarray, face: Face, moment: Moment) -> None:
    """Warp the lit face into the frame and place it on the body, with a soft shadow around it."""
    layers = face.layers
    plane_x, plane_y = _plane_map(layers.height, moment, image.shape[0])
    head = cv2.remap(face.shade(moment), plane_x, plane_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    opacity = cv2.remap(layers.opacity, plane_x, plane_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)
    darken(image, 0.12 * cv2.GaussianBlur(opacity, (0, 0), 6))
    blend(image, head, opacity)


def _plane_map(height: np.ndarray, moment: Moment, size: int) -> tuple[np.ndarray, np.ndarray]:
    """For every pixel of the frame, the corresponding pixel of the canonical plane: x and y, each [size, size].

    A point (x, y, z) of the face projects to ``R2 (x, y) + r3 (z - PIVOT)``, where [R2 r3] are the first two rows of
    the rotation matrix. As z depends on (x, y), the inverse is computed by fixed-point iteration, at half the
    resolution because the map is smooth.
    """
    along = np.arange(0, size, 2, dtype=np.float32) + 0.5  # centres of pairs of pixels
    frame_x, frame_y = np.meshgrid(
        (along + 0.5 - moment.centre[0]) / moment.scale, (along + 0.5 - moment.centre[1]) / moment.scale
    )
    cos, sin = math.cos(moment.roll), math.sin(moment.roll)
    upright_x, upright_y = cos * frame_x + sin * frame_y, -sin * frame_x + cos * frame_y

    inverse = np.linalg.inv(moment.rotation[:2, :2]).astype(np.float32)
    parallax_x, parallax_y = (float(value) for value in moment.rotation[:2, 2])
    z = 0.2
    for iteration in range(4):
        flat_x, flat_y = upright_x - parallax_x * z, upright_y - parallax_y * z
        plane_x = (inverse[0, 0] * flat_x + inverse[0, 1] * flat_y - LEFT) * UNIT - 0.5
        plane_y = (inverse[1, 0] * flat_x + inverse[1, 1] * flat_y - TOP) * UNIT - 0.5
        if iteration < 3:
            z = cv2.remap(height, plane_x, plane_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE) - PIVOT
    return cv2.resize(plane_x, (size, size)), cv2.resize(plane_y, (size, size))
