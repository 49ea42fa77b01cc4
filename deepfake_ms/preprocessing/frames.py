"""Sample frames from videos, as RGB arrays."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from itertools import islice
from pathlib import Path

import av
import numpy as np
from av.video.reformatter import VideoReformatter

from deepfake_ms.preprocessing.completeness import check_duration, check_packets
from deepfake_ms.preprocessing.media import UnreadableMedia, check_file
from deepfake_ms.preprocessing.sparse_decoding import CannotDecodeSparsely, decode_sparsely
from deepfake_ms.preprocessing.video_file import open_video

_PLAUSIBLE_PIXEL_ASPECTS = (Fraction(1, 4), Fraction(4))
"""Width : height of a pixel. Real aspect ratios lie between 1:2 and 2:1; any beyond these limits are ignored."""


@dataclass(frozen=True, eq=False)
class Frame:
    """One frame of a video."""

    index: int
    """Position among all frames of the video."""
    time_s: float
    """Presentation time in seconds after the first frame; 0 for a still image."""
    image: np.ndarray
    """Upright RGB, uint8 [H, W, 3]."""


def read_frames(path: Path, fps: float) -> Iterator[Frame]:
    """Sample a video at `fps` by presentation time: the first frame at or after each k/fps seconds.

    Time counts from the first frame, so a variable frame rate is sampled evenly in time; a gap in the timestamps gives
    one frame, not several copies. Rotation metadata, as phones write it, is applied. Non-square pixels are enlarged in
    one direction to make them square. High dynamic range is reduced to 8 bits without tone mapping.

    The packets are first read without decoding, to find out whether the end of the video is missing. Decoding runs on
    one thread and is sparse where possible: it skips frames that no sampled frame depends on, with the same result, bit
    for bit (`sparse_decoding`). Otherwise all frames are decoded.

    Raises:
        UnreadableMedia: the file is empty, not a video, damaged, or ends before its index or its duration says. Damage
            is found when it is decoded, perhaps *after* some frames were given: a caller that wants complete videos
            must drop them. Damage in a skipped part, or damage that the decoder conceals, is not found.
    """
    check_file(path)
    with open_video(path) as (container, stream):
        is_complete = check_packets(container, stream)
    rate = Fraction(fps).limit_denominator(10_000)
    given = 0
    with suppress(CannotDecodeSparsely):
        for frame in _sample(path, rate, decode_sparsely):
            yield frame
            given += 1
        return
    yield from islice(_sample(path, rate, partial(decode_all, is_complete=is_complete)), given, None)


def _sample(path: Path, rate: Fraction, decode: Callable[..., Iterator[tuple[int, av.VideoFrame]]]) -> Iterator[Frame]:
    """Sample with `decode_sparsely` or `decode_all`."""
    with open_video(path) as (container, stream):
        sampling, to_rgb = _Sampling(rate, stream.time_base), VideoReformatter()
        try:
            for index, frame in decode(container, stream, sampling.takes):
                yield Frame(index, sampling.seconds(frame.pts), _upright(frame, stream, to_rgb))
        except av.FFmpegError as error:
            raise UnreadableMedia(f"damaged: decoding fails ({error.strerror})") from error


class _Sampling:
    """Selects the frames to sample; call it in presentation order."""

    def __init__(self, rate: Fraction, time_base: Fraction):
        self._time_base = time_base
        self._samples_per_tick = rate * time_base
        self._first: int | None = None
        self._next = 0

    def takes(self, pts: int) -> bool:
        """Whether the frame at `pts` is the first at or after the next sampling time."""
        if self._first is None:
            self._first = pts
        position = (pts - self._first) * self._samples_per_tick
        if position < self._next:
            return False
        self._next = position // 1 + 1
        return True

    def seconds(self, pts: int) -> float:
        """Time after the first frame."""
        return float((pts - self._first) * self._time_base)


def decode_all(
    container: av.container.InputContainer, stream: av.VideoStream, takes: Callable[[int], bool], is_complete: bool
) -> Iterator[tuple[int, av.VideoFrame]]:
    """Decode every frame of a video.

    Args:
        container: the file, just opened.
        stream: its video stream.
        takes: whether to yield the frame at a presentation timestamp.
        is_complete: from `check_packets`.

    Yields:
        The position of a frame among all frames, and the frame.

    Raises:
        UnreadableMedia: a frame has no timestamp, there is none, or the end of the video is missing.
        av.FFmpegError: decoding fails.
    """
    times = []
    for index, frame in enumerate(container.decode(stream)):
        if frame.pts is None:
            raise UnreadableMedia(f"frame {index} has no timestamp")
        times.append(frame.pts)
        if takes(frame.pts):
            yield index, frame
    if not times:
        raise UnreadableMedia("no frame can be decoded")
    if not is_complete:
        check_duration(container, stream, sorted(times))


def _upright(frame: av.VideoFrame, stream: av.VideoStream, to_rgb: VideoReformatter) -> np.ndarray:
    """The frame as RGB. `to_rgb` serves all frames of a video, because setting it up takes longer than using it."""
    width, height = _square_pixels(frame.width, frame.height, stream.sample_aspect_ratio)
    image = to_rgb.reformat(frame, width, height, format="rgb24", threads=1).to_ndarray()
    quarter_turns = round(frame.rotation / 90)  # counter-clockwise, as in numpy
    return np.ascontiguousarray(np.rot90(image, quarter_turns))  # rows of odd widths are padded


def _square_pixels(width: int, height: int, pixel_aspect: Fraction | None) -> tuple[int, int]:
    """Width and height with square pixels, without reducing either side."""
    narrowest, widest = _PLAUSIBLE_PIXEL_ASPECTS
    if not pixel_aspect or not narrowest <= pixel_aspect <= widest:
        return width, height
    return (round(width * pixel_aspect), height) if pixel_aspect > 1 else (width, round(height / pixel_aspect))
