"""Frames of videos and still images, as RGB arrays, or the reason why a file gives none."""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from PIL import Image, ImageOps

_MISSING_TAIL_S = 0.5
"""What a container may announce beyond the last frame, e.g. sound that runs on, before a video counts as truncated."""


class UnreadableMedia(Exception):
    """A video or image that cannot be read, or not to its end; the message is the reason."""


@dataclass(frozen=True, eq=False)
class Frame:
    """One frame of a video."""

    index: int
    """Position among all the frames of the video."""
    time_s: float
    """Presentation time in seconds after the first frame; 0 for a still image."""
    image: np.ndarray
    """Upright RGB, uint8 [H, W, 3]."""


def read_frames(path: Path, fps: float) -> Iterator[Frame]:
    """Sample a video at `fps` by presentation time: the first frame at or after each k/fps seconds.

    Counting from the first frame's timestamp, so a variable frame rate is sampled evenly in time; a gap in the
    timestamps gives one frame, not several copies. A phone's rotation mark is applied. Decodes on one thread.

    Raises:
        UnreadableMedia: the file is empty, no video, damaged, or ends before the duration that it announces. The
            last two show only at the end, *after* frames were given: a caller that wants whole videos must drop them.
    """
    if path.stat().st_size == 0:
        raise UnreadableMedia("zero bytes")
    try:
        container = av.open(str(path))
    except av.FFmpegError as error:
        raise UnreadableMedia(f"not a video, or cut off before its index ({error.strerror})") from error
    with container:
        if not container.streams.video:
            raise UnreadableMedia("no video stream")
        yield from _sample(container, container.streams.video[0], Fraction(fps).limit_denominator(10_000))


def _sample(container: av.container.InputContainer, stream: av.VideoStream, fps: Fraction) -> Iterator[Frame]:
    stream.codec_context.thread_count = 1
    first = last = None
    longest_gap = 0.0
    next_sample = 0
    for index, frame in enumerate(_decode(container, stream)):
        if frame.pts is None:
            raise UnreadableMedia(f"frame {index} has no timestamp")
        timestamp = frame.pts * frame.time_base
        first = timestamp if first is None else first
        longest_gap = max(longest_gap, float(timestamp - last)) if last is not None else 0.0
        last = timestamp
        if (timestamp - first) * fps >= next_sample:
            next_sample = (timestamp - first) * fps // 1 + 1
            yield Frame(index, float(timestamp - first), _upright(frame))
    if first is None:
        raise UnreadableMedia("no frame can be decoded")
    announced, decoded = _announced_seconds(container, stream, first), float(last - first)
    # The last frame is shown for about as long as any other, which in a slide show is many seconds.
    if announced is not None and announced - decoded > longest_gap + _MISSING_TAIL_S:
        raise UnreadableMedia(f"truncated: frames up to {decoded:.1f} s of {announced:.1f} s")


def _decode(container: av.container.InputContainer, stream: av.VideoStream) -> Iterator[av.VideoFrame]:
    try:
        yield from container.decode(stream)
    except av.FFmpegError as error:
        raise UnreadableMedia(f"damaged: decoding fails ({error.strerror})") from error


def _announced_seconds(container: av.container.InputContainer, stream: av.VideoStream, first: Fraction) -> float | None:
    """How long after the `first` timestamp the video ends, by the file's header."""
    if container.format.name == "avi" and stream.frames and stream.average_rate:
        return float(stream.frames / stream.average_rate)  # FFmpeg shortens an AVI's duration to the bytes present
    if stream.duration is not None:
        return float(stream.duration * stream.time_base)
    if container.duration is not None:  # Matroska and WebM keep only the file's, counted from 0
        return container.duration / av.time_base - max(0.0, float(first))
    return None


def _upright(frame: av.VideoFrame) -> np.ndarray:
    image = frame.to_ndarray(format="rgb24")
    quarter_turns = round(frame.rotation / 90)  # counter-clockwise, like numpy's
    return np.ascontiguousarray(np.rot90(image, quarter_turns)) if quarter_turns else image


def read_image(path: Path) -> np.ndarray:
    """A still image as upright RGB, uint8 [H, W, 3]: EXIF orientation applied, grey repeated, alpha dropped.

    Raises:
        UnreadableMedia: the file is empty, no image, or truncated.
    """
    if path.stat().st_size == 0:
        raise UnreadableMedia("zero bytes")
    try:
        with Image.open(path) as image:
            return np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    except Image.UnidentifiedImageError as error:
        raise UnreadableMedia("not an image") from error
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:  # PIL's words for damage
        raise UnreadableMedia(f"damaged: {error}") from error
