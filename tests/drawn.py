"""Small videos with coloured squares for faces, and a detector that finds them; shared by several tests."""

import time
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np

from deepfake_ms.preprocessing.faces import Face
from deepfake_ms.preprocessing.frames import read_frames


def write_video(
    path: Path,
    images,
    times=None,
    fps=10,
    codec="mpeg4",
    rotation=0,
    options=None,
    codec_options=None,
    pixel_format="yuv420p",
    set_stream=lambda stream: None,
) -> Path:
    """Encode RGB `images`; with `times` (seconds), the frame rate is variable.

    `options` are options of the container; `set_stream` is called with the stream before anything is encoded.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if codec == "libx265":  # with several threads, timestamps were out of order once in thousands of runs
        parameters = (codec_options or {}).get("x265-params", "bframes=0")
        codec_options = {"x265-params": f"pools=none:frame-threads=1:log-level=none:{parameters}"}
    with av.open(str(path), "w", options=options or {}) as container:
        stream = container.add_stream(codec, rate=fps, options=codec_options or {})
        stream.height, stream.width = images[0].shape[:2]
        stream.pix_fmt = pixel_format
        stream.bit_rate = 4_000_000
        if times is not None:
            stream.codec_context.time_base = Fraction(1, 1000)
        if rotation:
            stream.set_display_rotation(rotation)
        set_stream(stream)
        for index, image in enumerate(images):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts = index if times is None else round(times[index] * 1000)
            frame.time_base = Fraction(1, fps) if times is None else Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def write_sound(path: Path) -> Path:
    """A file with sound and no picture."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=16000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 16000), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 16000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def picture(*faces, height=96, width=128, shade=40) -> np.ndarray:
    """A grey picture with a red square for each (centre x, centre y, side)."""
    image = np.full((height, width, 3), shade, np.uint8)
    for x, y, side in faces:
        cv2.rectangle(image, (x - side // 2, y - side // 2), (x + side // 2 - 1, y + side // 2 - 1), (220, 30, 30), -1)
    return image


def shades(count) -> list[np.ndarray]:
    """Uniform pictures, each lighter than the one before."""
    return [np.full((64, 96, 3), 4 * i + 20, np.uint8) for i in range(count)]


def sampled(path, fps=None, **sampling) -> list[tuple[int, float]]:
    """Index and time of each frame that `read_frames` gives."""
    return [(frame.index, round(frame.time_s, 3)) for frame in read_frames(path, fps, **sampling)]


def face(x, y, side, probability=1.0) -> Face:
    """A face centred at (x, y)."""
    box = np.array([x - side / 2, y - side / 2, x + side / 2, y + side / 2], float)
    points = np.array([(-0.2, -0.15), (0.2, -0.15), (0, 0), (-0.15, 0.25), (0.15, 0.25)]) * side + (x, y)
    return Face(box, points, probability)


class SquareDetector:
    """Detects red squares, largest first. Dull red squares, which `picture` never draws, are improbable faces."""

    def detect(self, images):
        for image in images:
            yield self._detect(image.astype(np.int16))

    def _detect(self, image):
        red = image[..., 0] - image[..., 1]
        count, _, stats, centres = cv2.connectedComponentsWithStats((red > 40).astype(np.uint8))
        faces = []
        for index in range(1, count):
            side = int(stats[index, [cv2.CC_STAT_WIDTH, cv2.CC_STAT_HEIGHT]].max())
            if side >= 8:
                x, y = centres[index] + 0.5
                dull = red[round(y), round(x)] < 120
                faces.append(face(x, y, side, 0.75 if dull else 0.99))
        return sorted(faces, key=lambda each: -each.side)


class WholeSquareDetector(SquareDetector):
    """Detects a square of 30 pixels completely even if the left edge of the picture cuts it."""

    def detect(self, images):
        for faces in super().detect(images):
            yield [face(min(each.centre[0], 2 * each.centre[0] - 15), each.centre[1], 30) for each in faces]


class SlowSquareDetector(SquareDetector):
    """A slow detector, so that a run can be killed in the middle."""

    def detect(self, images):
        for faces in super().detect(images):
            time.sleep(0.05)
            yield faces


def draw_corpus(root: Path, videos=6) -> Path:
    """A corpus in class folders: `videos` valid videos of 2 s in both classes, and images."""
    for number in range(videos):
        images = [picture((40 + 2 * i, 50, 30), shade=30 + 5 * number) for i in range(21)]
        write_video(root / ("real", "fake")[number % 2] / f"video{number}.mp4", images)
    for number in range(3):
        cv2.imwrite(str(root / "real" / f"shots_{number}.png"), picture((60, 40, 36 + number))[..., ::-1])
    return root
