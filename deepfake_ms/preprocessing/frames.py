"""Frames of videos, as RGB arrays, or the reason why a file gives none."""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.video.reformatter import VideoReformatter

from deepfake_ms.preprocessing.media import UnreadableMedia, check_file
from deepfake_ms.preprocessing.packets import Packet, Survey, check_duration, survey

_PLAUSIBLE_PIXEL_SHAPES = (Fraction(1, 4), Fraction(4))
"""Width : height of a pixel. Beyond, the mark is taken for garbage: real ones lie between 1:2 and 2:1."""


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
    timestamps gives one frame, not several copies. A phone's rotation mark is applied, and pixels that are not square
    are widened (or heightened) until they are. High dynamic range is brought to 8 bits without tone mapping. A cover
    picture is not taken for a video.

    The packets are read once without decoding, which tells the frames to sample and whether the end is missing. Then
    only what the sampled frames need is decoded, on one thread: groups of pictures without a sampled frame are passed
    over, and so are frames that no other refers to. The frames are the same, bit for bit, as if all were decoded, and
    all *are* decoded where the packets do not tell enough (`packets.survey`).

    Raises:
        UnreadableMedia: the file is empty, no video, damaged, or ends before its index or its duration says. Damage
            shows only where it is decoded, perhaps *after* frames were given: a caller that wants whole videos must
            drop them. Damage within a part that is passed over, or that the decoder conceals, is not seen.
    """
    check_file(path)
    with _open(path) as container:
        surveyed = survey(container, _video_stream(container))
    rate = Fraction(fps).limit_denominator(10_000)
    given = 0
    if surveyed.packets is not None:
        try:
            for frame in _decode_needed(path, rate, surveyed.packets, surveyed.can_drop_unreferenced):
                given += 1
                yield frame
            return
        except (_Unforeseen, av.FFmpegError):
            pass  # decoding all has the last word
    for number, frame in enumerate(_decode_all(path, rate, surveyed)):
        if number >= given:
            yield frame


def _open(path: Path) -> av.container.InputContainer:
    try:
        return av.open(str(path))
    except av.FFmpegError as error:
        raise UnreadableMedia(f"not a video, or cut off before its index ({error.strerror})") from error


def _video_stream(container: av.container.InputContainer) -> av.VideoStream:
    stream = container.streams.best("video")
    if stream is None or stream.disposition & av.stream.Disposition.attached_pic:
        raise UnreadableMedia("no video stream")
    stream.codec_context.thread_count = 1
    return stream


class _Sampling:
    """Which frames to give, asked in the order of presentation."""

    def __init__(self, rate: Fraction, time_base: Fraction):
        self._time_base = time_base
        self._samples_per_tick = rate * time_base
        self._first: int | None = None
        self._next = 0

    def takes(self, pts: int) -> bool:
        """Whether the frame at `pts` is the first at or after its sampling time."""
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


# --- decoding all -----------------------------------------------------------------------------------------------------


def _decode_all(path: Path, rate: Fraction, surveyed: Survey) -> Iterator[Frame]:
    with _open(path) as container:
        stream = _video_stream(container)
        sampling, to_rgb = _Sampling(rate, stream.time_base), VideoReformatter()
        times = []
        try:
            for index, frame in enumerate(container.decode(stream)):
                if frame.pts is None:
                    raise UnreadableMedia(f"frame {index} has no timestamp")
                times.append(frame.pts)
                if sampling.takes(frame.pts):
                    yield Frame(index, sampling.seconds(frame.pts), _upright(frame, stream, to_rgb))
        except av.FFmpegError as error:
            raise UnreadableMedia(f"damaged: decoding fails ({error.strerror})") from error
        if not times:
            raise UnreadableMedia("no frame can be decoded")
        if not surveyed.is_whole:
            check_duration(container, stream, sorted(times))


# --- decoding what is needed ------------------------------------------------------------------------------------------


class _Unforeseen(Exception):
    """A frame came out, or failed to, against what the packets told."""


def _decode_needed(path: Path, rate: Fraction, packets: list[Packet], can_drop: bool) -> Iterator[Frame]:
    with _open(path) as container:
        stream = _video_stream(container)
        sampling, to_rgb = _Sampling(rate, stream.time_base), VideoReformatter()
        indices = {pts: index for index, pts in enumerate(sorted(packet.pts for packet in packets if packet.is_shown))}
        awaited = [pts for pts in indices if sampling.takes(pts)]
        runs = _runs(packets, frozenset(awaited))
        droppable = frozenset(indices).difference(awaited) if can_drop else frozenset()
        given = 0
        for frame in _decode_runs(container, stream, runs, droppable):
            # Interlaced: a packet may hold one field only.
            if frame.pts not in indices or frame.pts > awaited[given] or frame.interlaced_frame:
                raise _Unforeseen
            if frame.pts == awaited[given]:
                yield Frame(indices[frame.pts], sampling.seconds(frame.pts), _upright(frame, stream, to_rgb))
                given += 1
                if given == len(awaited):
                    return
        raise _Unforeseen


def _runs(packets: list[Packet], sampled: frozenset[int]) -> list[range]:
    """Which packets to decode, as positions in the order of decoding; each run begins at an entry."""
    runs: list[range] = []
    entries: list[int] = []
    for position, packet in enumerate(packets):
        if packet.is_entry:
            entries.append(position)
        if packet.is_shown and packet.pts in sampled:
            start = next(entry for entry in reversed(entries) if packets[entry].pts <= packet.pts)
            while runs and start <= runs[-1].stop:
                start = min(start, runs.pop().start)
            runs.append(range(start, position + 1))
    return runs


def _decode_runs(
    container: av.container.InputContainer, stream: av.VideoStream, runs: list[range], droppable: frozenset[int]
) -> Iterator[av.VideoFrame]:
    """What the packets of `runs` give, less `droppable` timestamps where no other frame refers to theirs."""
    context = stream.codec_context
    remaining = iter(runs)
    run = next(remaining)
    for position, packet in enumerate(container.demux(stream)):
        if position < run.start:
            continue
        context.skip_frame = "NONREF" if packet.pts in droppable else "DEFAULT"
        yield from context.decode(packet)
        if position + 1 == run.stop:
            yield from context.decode(None)  # what the decoder still holds back
            context.flush_buffers()
            run = next(remaining, None)
            if run is None:
                return


# --- pixels -----------------------------------------------------------------------------------------------------------


def _upright(frame: av.VideoFrame, stream: av.VideoStream, to_rgb: VideoReformatter) -> np.ndarray:
    """The frame's picture; `to_rgb` belongs to the video, because setting one up takes longer than using it."""
    width, height = _square_pixels(frame.width, frame.height, stream.sample_aspect_ratio)
    image = to_rgb.reformat(frame, width, height, format="rgb24", threads=1).to_ndarray()
    quarter_turns = round(frame.rotation / 90)  # counter-clockwise, like numpy's
    return np.ascontiguousarray(np.rot90(image, quarter_turns))  # rows of odd widths come padded


def _square_pixels(width: int, height: int, pixel_shape: Fraction | None) -> tuple[int, int]:
    """The size at which pixels are square and none is lost."""
    narrowest, widest = _PLAUSIBLE_PIXEL_SHAPES
    if not pixel_shape or not narrowest <= pixel_shape <= widest:
        return width, height
    return (round(width * pixel_shape), height) if pixel_shape > 1 else (width, round(height / pixel_shape))
