"""Sample frames from videos, as RGB arrays."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from pathlib import Path

import av
import numpy as np
from av.video.reformatter import VideoReformatter

from deepfake_ms.preprocessing.completeness import check_duration, check_packets
from deepfake_ms.preprocessing.media import UnreadableMedia, check_file
from deepfake_ms.preprocessing.sampling import Sampling
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


def read_frames(
    path: Path, fps: float | None = None, frames: int | None = None, max_frames: int | None = None
) -> Iterator[Frame]:
    """Sample a video by time or by number.

    By time, the first frame at or after each k/fps seconds is taken. Time counts from the first frame, so a variable
    frame rate is sampled evenly in time; a gap in the timestamps gives one frame, not several copies. By number, frames
    are taken at evenly spaced positions, see `sampling.evenly_spaced`.

    Rotation metadata, as phones write it, is applied. Non-square pixels are enlarged in one direction to make them
    square. High dynamic range is reduced to 8 bits without tone mapping.

    The packets are first read without decoding, to find out whether the end of the video is missing. Decoding runs on
    one thread and is sparse where possible: it skips frames that no sampled frame depends on, with the same result, bit
    for bit (`sparse_decoding`). Otherwise all frames are decoded, and to sample by number, they are decoded once
    more to count them.

    Args:
        path: the video.
        fps: samples per second; None if `frames` is given.
        frames: number of samples; None if `fps` is given. A video with fewer frames gives each of them once.
        max_frames: give at most so many samples, from the start of the video.

    Raises:
        UnreadableMedia: the file is empty, not a video, damaged, or ends before its index or its duration says. Damage
            is found when it is decoded, perhaps *after* some frames were given: a caller that wants complete videos
            must drop them. Damage in a skipped part, or damage that the decoder conceals, is not found.
    """
    check_file(path)
    with open_video(path) as (container, stream):
        is_complete = check_packets(container, stream)
    make_sampling = partial(Sampling, fps=fps, frames=frames, max_frames=max_frames)
    given: list[int] = []
    with suppress(CannotDecodeSparsely):
        for frame in _sample(path, make_sampling, decode_sparsely):
            yield frame
            given.append(frame.index)
        return
    for number, frame in enumerate(_sample(path, make_sampling, partial(_decode_sampled, is_complete=is_complete))):
        if number >= len(given):
            yield frame
        elif frame.index != given[number]:  # the positions of evenly spaced frames depend on the number of all frames
            raise UnreadableMedia("damaged: its packets do not tell how many frames it has")


def _sample(
    path: Path,
    make_sampling: Callable[[Fraction], Sampling],
    decode: Callable[..., Iterator[tuple[int, av.VideoFrame]]],
) -> Iterator[Frame]:
    """Sample with `decode_sparsely` or `_decode_sampled`."""
    with open_video(path) as (container, stream):
        sampling, to_rgb = make_sampling(stream.time_base), VideoReformatter()
        try:
            for index, frame in decode(container, stream, sampling):
                yield Frame(index, sampling.seconds(frame.pts), upright(frame, stream, to_rgb))
        except av.FFmpegError as error:
            raise UnreadableMedia(f"damaged: decoding fails ({error.strerror})") from error


def _decode_sampled(
    container: av.container.InputContainer, stream: av.VideoStream, sampling: Sampling, is_complete: bool
) -> Iterator[tuple[int, av.VideoFrame]]:
    takes = sampling.start(partial(_count_frames, Path(container.name)))
    return decode_all(container, stream, takes, is_complete)


def decode_all(
    container: av.container.InputContainer,
    stream: av.VideoStream,
    takes: Callable[[int, int], bool],
    is_complete: bool,
) -> Iterator[tuple[int, av.VideoFrame]]:
    """Decode every frame of a video.

    Args:
        container: the file, just opened.
        stream: its video stream.
        takes: whether to yield the frame at a position with a presentation timestamp.
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
        if takes(index, frame.pts):
            yield index, frame
    if not times:
        raise UnreadableMedia("no frame can be decoded")
    if not is_complete:
        check_duration(container, stream, sorted(times))


def _count_frames(path: Path) -> int:
    with open_video(path) as (container, stream):
        return sum(1 for _ in container.decode(stream))


def upright(frame: av.VideoFrame, stream: av.VideoStream, to_rgb: VideoReformatter) -> np.ndarray:
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
