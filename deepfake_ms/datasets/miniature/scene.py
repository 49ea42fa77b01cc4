"""The recording conditions of a video: motion, light and background, all derived from one seed."""

import math
from dataclasses import dataclass

import cv2
import numpy as np

from deepfake_ms.datasets.miniature.canvas import blend
from deepfake_ms.datasets.miniature.face import Moment


@dataclass(frozen=True)
class Sway:
    """A slow sine wave around an offset."""

    amplitude: float
    frequency: float  # Hz
    phase: float
    offset: float

    def at(self, time: float) -> float:
        """Value `time` seconds into the video."""
        return self.amplitude * math.sin(2 * math.pi * self.frequency * time + self.phase) + self.offset


def invent_sway(random: np.random.Generator, reach: float) -> Sway:
    """Sample a sway whose absolute value is at most 1.4 times `reach`."""
    return Sway(
        amplitude=reach * random.uniform(0.4, 1),
        frequency=random.uniform(0.12, 0.45),
        phase=random.uniform(0, 2 * math.pi),
        offset=reach * random.uniform(-0.4, 0.4),
    )


@dataclass(frozen=True, eq=False)
class Passer:
    """A blurred person or object that crosses the background; lengths in frame sides."""

    start: float
    speed: float  # per second
    height: float
    colour: np.ndarray


class Scene:
    """Head motion, expression, light and background of one video.

    Lengths scale with `size`, the side of the frame in pixels, so that corpora of different frame sizes show the same
    scenes.
    """

    def __init__(self, seed: int, size: int) -> None:
        self.seed, self.size = seed, size
        random = np.random.default_rng(seed)
        self.yaw, self.pitch, self.roll = (invent_sway(random, reach) for reach in (0.36, 0.15, 0.14))
        self.shift_x, self.shift_y, self.approach = (invent_sway(random, reach) for reach in (0.055, 0.03, 0.05))
        self.face_scale = random.uniform(0.250, 0.310) * size
        self.seat = size * (0.5 + random.uniform(-0.06, 0.06)), size * (0.5 + random.uniform(-0.03, 0.05))

        self.gaze_x, self.gaze_y = invent_sway(random, 0.030), invent_sway(random, 0.012)
        self.blink_times = np.cumsum(random.uniform(1.0, 3.2, 100)) - random.uniform(0, 1.5)
        self.talk, self.smile = random.uniform(0, 1), random.uniform(-0.2, 1)
        self.syllables = Sway(1.0, random.uniform(0.8, 2.2), random.uniform(0, 2 * math.pi), 0.0)

        lamp = np.array((random.uniform(-0.65, 0.65), random.uniform(-0.65, -0.15), 1.0))
        self.lamp = lamp / np.linalg.norm(lamp)
        self.ambient = random.uniform(0.38, 0.58)
        warmth = random.uniform(-0.05, 0.05)
        self.light_colour = np.array((1 + warmth, 1, 1 - warmth)) * random.uniform(0.94, 1.08)
        self.flicker = Sway(random.uniform(-0.05, 0.05), random.uniform(0.2, 0.6), 0.0, 0.0)
        self.sensor_noise = random.uniform(0.004, 0.014)

        self.pan_x, self.pan_y = invent_sway(random, 0.12 * size), invent_sway(random, 0.05 * size)
        self.passer = Passer(
            random.uniform(0.2, 0.8), random.uniform(-0.25, 0.25), random.uniform(0.1, 0.9), random.uniform(0.1, 0.9, 3)
        )
        self.wall = _invent_wall(random, round(1.4 * size))

    def moment(self, time: float) -> Moment:
        """Pose, expression and light `time` seconds into the video."""
        yaw, pitch = self.yaw.at(time), self.pitch.at(time)
        turn = np.array([[math.cos(yaw), 0, math.sin(yaw)], [0, 1, 0], [-math.sin(yaw), 0, math.cos(yaw)]])
        nod = np.array([[1, 0, 0], [0, math.cos(pitch), -math.sin(pitch)], [0, math.sin(pitch), math.cos(pitch)]])
        rotation = nod @ turn
        since_blink = float(np.abs(self.blink_times - time).min())
        return Moment(
            rotation=rotation,
            roll=self.roll.at(time),
            scale=self.face_scale * (1 + self.approach.at(time)),
            centre=(
                self.seat[0] + self.size * self.shift_x.at(time),
                self.seat[1] + self.size * self.shift_y.at(time),
            ),
            blink=min(1.0, 1.5 * max(0.0, 1 - since_blink / 0.14)),
            gaze=(self.gaze_x.at(time), self.gaze_y.at(time)),
            mouth_opening=self.talk * max(0.0, self.syllables.at(time)) ** 1.3,
            smile=self.smile,
            light=rotation.T @ self.lamp,
            light_colour=self.light_colour,
            ambient=self.ambient,
        )

    def background(self, time: float) -> np.ndarray:
        """The frame without the person, float32 [size, size, 3]."""
        middle = 0.7 * self.size + self.pan_x.at(time), 0.7 * self.size + self.pan_y.at(time)
        image = cv2.getRectSubPix(self.wall, (self.size, self.size), middle)
        along = (np.arange(self.size, dtype=np.float32) + 0.5) / self.size
        position = (self.passer.start + self.passer.speed * time) % 1.3 - 0.15
        columns = np.exp(-(((along - position) / 0.12) ** 2))
        rows = np.exp(-(((along - self.passer.height) / 0.16) ** 2))
        blend(image, self.passer.colour, 0.5 * np.outer(rows, columns))
        return image

    def sensor_grain(self, frame: int) -> np.ndarray:
        """Sensor noise of frame number `frame`, float32 [size, size]."""
        random = np.random.default_rng((self.seed, frame))
        return self.sensor_noise * random.standard_normal((self.size, self.size), dtype=np.float32)


def _invent_wall(random: np.random.Generator, size: int) -> np.ndarray:
    """A blurred room, a gradient with boxes and discs, float32 [size, size, 3]; painted at a quarter of the size."""
    side = size // 4
    fade = np.linspace(0, 1, side)[:, None, None]
    top, bottom = random.uniform(0.10, 0.75, 3), random.uniform(0.10, 0.75, 3)
    wall = np.empty((side, side, 3), np.float32)
    wall[:] = top * (1 - fade) + bottom * fade
    for _ in range(random.integers(4, 12)):
        corner = (random.uniform(0, 1, 2) * side).astype(int)
        extent = (random.uniform(0.06, 0.5, 2) * side).astype(int)
        colour = random.uniform(0.05, 0.9, 3).tolist()
        if random.random() < 0.6:
            cv2.rectangle(wall, corner.tolist(), (corner + extent).tolist(), colour, -1)
        else:
            cv2.circle(wall, corner.tolist(), int(extent[0]), colour, -1)
    grey = wall.mean(axis=2, keepdims=True)
    wall = grey + random.uniform(0.15, 0.6) * (wall - grey)
    wall = cv2.GaussianBlur(wall, (0, 0), random.uniform(0.8, 3.0))
    return cv2.resize(wall, (size, size), interpolation=cv2.INTER_CUBIC)
