"""Detect truncated videos from their packets and headers, without decoding."""

import re
from fractions import Fraction
from itertools import pairwise

import av

from deepfake_ms.preprocessing.media import UnreadableMedia
from deepfake_ms.preprocessing.video_file import read_packets

_MAX_MISSING_TAIL_S = 0.5
"""Tolerated excess of the duration in the header over the last frame, e.g. for longer sound."""


def check_packets(container: av.container.InputContainer, stream: av.VideoStream) -> bool:
    """Read the whole file and compare its packets with its index or, without one, with its duration.

    Args:
        container: the file, just opened; it is read to its end.
        stream: its video stream.

    Returns:
        Whether the index proves that no frame is missing. If not, `check_duration` can still find that frames are
        missing once the video is decoded.

    Raises:
        UnreadableMedia: the file ends before its index or its duration says, or cannot be read.
    """
    decoding_times, times, last_duration = [], [], 0
    try:
        for packet in read_packets(container, stream):
            if not packet.is_corrupt:  # FFmpeg marks a packet as corrupt if the file ends within it
                decoding_times.append(packet.dts)
            times.append(packet.pts)
            last_duration = packet.duration or 0
    except av.FFmpegError as error:
        raise UnreadableMedia(f"damaged: reading fails ({error.strerror})") from error
    is_complete = _check_index(container, stream, decoding_times)
    if not is_complete and times and None not in times:
        check_duration(container, stream, sorted(times), last_duration)
    return is_complete


def _check_index(
    container: av.container.InputContainer, stream: av.VideoStream, decoding_times: list[int | None]
) -> bool:
    """Whether the index proves that the video is complete; raises if it proves the opposite."""
    if "mp4" in container.format.name:
        entries = len(stream.index_entries)  # all fragments have been read by now; excludes what edit lists cut away
        present = len(decoding_times)
    elif container.format.name == "avi" and decoding_times and None not in decoding_times:
        entries = stream.frames
        present = decoding_times[-1] - decoding_times[0] + 1  # counts dropped frames, which leave a gap
    else:
        return False
    if present < entries:
        raise UnreadableMedia(f"truncated: {present} of {entries} frames")
    return stream.frames > 0  # 0 in a fragmented file, whose index only lists the fragments that are present


def check_duration(
    container: av.container.InputContainer, stream: av.VideoStream, times: list[int], last_duration: int = 0
) -> None:
    """Compare the time of the last frame with the duration in the header.

    The last frame is assumed to be shown for as long as the longest of the others, which in a slide show is many
    seconds.

    Args:
        container: the file.
        stream: its video stream.
        times: presentation timestamps of all frames, in increasing order.
        last_duration: duration of the last frame, or 0 if unknown.

    Raises:
        UnreadableMedia: the video ends too early.
    """
    first, last = times[0] * stream.time_base, times[-1] * stream.time_base
    shown_for = max([last_duration, *(after - before for before, after in pairwise(times))]) * stream.time_base
    announced, tolerance = _announced_end(container, stream, first)
    if announced is not None and announced - last > shown_for + tolerance:
        raise UnreadableMedia(
            f"truncated: frames up to {float(last - first):.1f} s of {float(announced - first):.1f} s"
        )


def _announced_end(
    container: av.container.InputContainer, stream: av.VideoStream, first: Fraction
) -> tuple[Fraction | None, Fraction]:
    """End of the video according to its header, in seconds on the clock of its timestamps, and its tolerance."""
    tolerance = Fraction(_MAX_MISSING_TAIL_S)
    if stream.duration is not None:
        return first + stream.duration * stream.time_base, tolerance
    if container.duration is None:
        return None, tolerance
    file_end = Fraction(container.duration, av.time_base)  # Matroska and WebM count from 0
    tag = re.fullmatch(r"(\d+):(\d\d):(\d\d\.\d+)\0*", stream.metadata.get("DURATION", ""))
    if tag:  # of this stream alone; FFmpeg writes it with a precision of one millisecond
        hours, minutes, seconds = (Fraction(part) for part in tag.groups())
        stream_end = 3600 * hours + 60 * minutes + seconds
        if stream_end <= file_end:  # otherwise the tag was copied from a longer video
            return stream_end, Fraction(1, 500)
    return file_end, tolerance
