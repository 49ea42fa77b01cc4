"""What a video's packets tell before anything is decoded: the time of every frame, and whether the end is there."""

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import pairwise

import av

from deepfake_ms.preprocessing.media import UnreadableMedia

_MISSING_TAIL_S = 0.5
"""What a container may announce beyond the last frame, e.g. sound that runs on, before a video counts as truncated."""

_INTRA_CODECS = frozenset({"dnxhd", "mjpeg", "prores"})
"""Each packet is a whole picture."""


@dataclass(frozen=True, slots=True)
class Packet:
    """What is kept of a packet, in the order of decoding."""

    pts: int | None
    """Presentation timestamp in the stream's time base."""
    is_shown: bool
    """False where an edit list cuts the frame away: it is decoded for others to refer to, and never given."""
    is_entry: bool
    """Decoding can start here: this frame, and all that are decoded later and shown later, need nothing earlier."""


@dataclass(frozen=True)
class Survey:
    """What the packets of a video tell."""

    packets: list[Packet] | None
    """None where the frames that decoding gives cannot be foretold from the packets: all must be decoded."""
    can_drop_unreferenced: bool
    """Whether the decoder may leave out frames that no other refers to without changing any other."""
    is_whole: bool
    """The container's own index proves that no frame is missing."""


@dataclass(frozen=True, slots=True)
class _Content:
    """What the bytes of a packet say, as far as they matter here."""

    is_entry: bool
    is_open: bool = False
    """An entry whose leading pictures, shown before it, refer to what comes before it."""
    parameters: frozenset[bytes] = frozenset()
    """Parameter sets that the container's header lacks; all later packets may depend on them."""
    has_sublayers: bool = False
    """A frame that is marked as unreferenced may still serve frames of a higher temporal layer."""


class _Unforeseeable(Exception):
    """The frames that decoding gives cannot be foretold from the packets."""


def survey(container: av.container.InputContainer, stream: av.VideoStream) -> Survey:
    """Read the whole file once without decoding; of every packet only `Packet` is kept.

    The frames can be foretold for H.264 and HEVC in MP4, MOV and Matroska, MPEG-4 part 2, VP9, AV1, MJPEG, ProRes and
    DNxHD, where every packet has a timestamp of its own and holds exactly one shown picture. Packets are read by the
    syntax of their codec (ITU-T H.264 and H.265, 7.3; ISO/IEC 14496-2, 6.2; the VP9 bitstream specification, 6.2),
    because containers mark more packets as key frames than decoding can really start from.

    Args:
        container: open, and read to its end here.
        stream: its video.

    Raises:
        UnreadableMedia: the file ends before its index or its duration says, or cannot be read.
    """
    read = _reader(stream)
    packets: list[Packet] | None = None if read is None else []
    contents: list[_Content] = []
    places, times, last_duration = [], [], 0
    try:
        for packet in container.demux(stream):
            if packet.size == 0 and packet.pts is None and packet.dts is None:
                continue  # PyAV's mark for the end
            if not packet.is_corrupt:  # FFmpeg's mark for one that the file ends within
                places.append(packet.dts)
            last_duration = packet.duration or 0
            times.append(packet.pts)
            if packets is None or read is None:
                continue
            try:
                contents.append(_content(packet, read))
                packets.append(Packet(packet.pts, not packet.is_discard, contents[-1].is_entry))
            except _Unforeseeable:
                packets = None
    except av.FFmpegError as error:
        raise UnreadableMedia(f"damaged: reading fails ({error.strerror})") from error
    is_whole = _check_index(container, stream, places)
    if not is_whole and times and None not in times:
        check_duration(container, stream, sorted(times), last_duration)
    if packets is not None:
        packets = _foreseeable(packets, contents, bool(stream.codec_context.has_b_frames))
    drops = stream.codec_context.codec.canonical_name in ("h264", "hevc", "mpeg4")
    return Survey(packets, drops and not any(content.has_sublayers for content in contents), is_whole)


def _content(packet: av.Packet, read: Callable[[av.Packet], _Content]) -> _Content:
    if packet.size == 0 or packet.pts is None or packet.has_sidedata("new_extradata"):
        raise _Unforeseeable
    return read(packet)


def _foreseeable(packets: list[Packet], contents: list[_Content], reorders: bool) -> list[Packet] | None:
    """The packets, with those entries that hold, or None; `reorders`: decoding may change the order."""
    shown = [packet.pts for packet in packets if packet.is_shown]
    if not reorders and shown != sorted(shown):
        return None
    if not shown or len(set(shown)) < len(shown) or not packets[0].is_entry or min(shown) < packets[0].pts:
        return None
    if frozenset().union(*(content.parameters for content in contents)) != contents[0].parameters:
        return None
    # Without a trailing picture to push them out, the leading pictures of an open entry, which are lost to who starts
    # there, may serve those of the next.
    entries = [index for index, packet in enumerate(packets) if packet.is_entry]
    for entry, next_entry in pairwise([*entries, len(packets)]):
        group = packets[entry:next_entry]
        if contents[entry].is_open and all(packet.pts <= group[0].pts for packet in group):
            packets[entry] = replace(packets[entry], is_entry=False)
    return packets if packets[0].is_entry else None


# --- what is missing at the end ---------------------------------------------------------------------------------------


def _check_index(container: av.container.InputContainer, stream: av.VideoStream, places: list[int | None]) -> bool:
    """Whether the index proves the video whole; raises if it proves the opposite. `places`: where packets are (DTS)."""
    if "mp4" in container.format.name:
        entries = len(stream.index_entries)  # by now with those of all fragments, and without what edit lists cut
        present = len(places)
    elif container.format.name == "avi" and places and None not in places:
        entries = stream.frames
        present = places[-1] - places[0] + 1  # with dropped frames, which leave an empty place
    else:
        return False
    if present < entries:
        raise UnreadableMedia(f"truncated: {present} of {entries} frames")
    return stream.frames > 0  # the index of a fragmented file, which has 0, knows only the fragments that are there


def check_duration(
    container: av.container.InputContainer, stream: av.VideoStream, times: list[int], last_duration: int = 0
) -> None:
    """Compare the last frame with the duration in the header.

    Args:
        container: the file.
        stream: its video.
        times: presentation timestamps of all frames, rising.
        last_duration: of the last frame, or 0 if unknown.

    Raises:
        UnreadableMedia: the video ends too early. The last frame is shown for about as long as any other, which in a
            slide show is many seconds.
    """
    first, last = times[0] * stream.time_base, times[-1] * stream.time_base
    shown_for = max([last_duration, *(after - before for before, after in pairwise(times))]) * stream.time_base
    announced, slack = _announced_end(container, stream, first)
    if announced is not None and announced - last > shown_for + slack:
        raise UnreadableMedia(
            f"truncated: frames up to {float(last - first):.1f} s of {float(announced - first):.1f} s"
        )


def _announced_end(
    container: av.container.InputContainer, stream: av.VideoStream, first: Fraction
) -> tuple[Fraction | None, Fraction]:
    """When the video ends by its header (in seconds, on the clock of its timestamps), and how far that may be off."""
    slack = Fraction(_MISSING_TAIL_S)
    if stream.duration is not None:
        return first + stream.duration * stream.time_base, slack
    if container.duration is None:
        return None, slack
    whole = Fraction(container.duration, av.time_base)  # Matroska and WebM count from 0
    tag = re.fullmatch(r"(\d+):(\d\d):(\d\d\.\d+)\0*", stream.metadata.get("DURATION", ""))
    if tag:  # of this stream alone; FFmpeg writes it to the millisecond
        hours, minutes, seconds = (Fraction(part) for part in tag.groups())
        own = 3600 * hours + 60 * minutes + seconds
        if own <= whole:  # else copied from a longer video
            return own, Fraction(1, 500)
    return whole, slack


# --- what the bytes of a packet say -----------------------------------------------------------------------------------


def _reader(stream: av.VideoStream) -> Callable[[av.Packet], _Content] | None:
    codec = stream.codec_context.codec.canonical_name
    header = stream.codec_context.extradata or b""
    if codec == "h264" and len(header) > 4 and header[0] == 1:
        return lambda packet: _read_h264(memoryview(packet), header)
    if codec == "hevc" and len(header) > 21 and header[0] == 1:
        return lambda packet: _read_hevc(memoryview(packet), header)
    readers = {"mpeg4": _read_mpeg4, "vp9": _read_vp9, "av1": lambda packet: _Content(packet.is_keyframe)}
    if codec in _INTRA_CODECS:
        return lambda packet: _Content(is_entry=True)
    return readers.get(codec)


def _nal_units(data: memoryview, length_size: int) -> Iterator[memoryview]:
    position = 0
    while position + length_size < len(data):
        end = position + length_size + int.from_bytes(data[position : position + length_size])
        yield data[position + length_size : end]
        position = end


def _read_h264(data: memoryview, header: bytes) -> _Content:
    units = [unit for unit in _nal_units(data, (header[4] & 3) + 1) if unit]
    types = [unit[0] & 31 for unit in units]
    if not {1, 5}.intersection(types):
        raise _Unforeseeable  # no picture
    return _Content(
        is_entry=5 in types,
        parameters=_news(header, (unit for unit, kind in zip(units, types, strict=True) if kind in (7, 8))),
    )


def _read_hevc(data: memoryview, header: bytes) -> _Content:
    units = [unit for unit in _nal_units(data, (header[21] & 3) + 1) if len(unit) > 1]
    types = [unit[0] >> 1 & 63 for unit in units]
    pictures = [kind for kind in types if kind < 32]
    # After a broken link or an end of sequence, leading pictures are dropped.
    if not pictures or {16, 17, 18, 36, 37}.intersection(types):
        raise _Unforeseeable
    return _Content(
        is_entry=pictures[0] in (19, 20, 21),
        is_open=pictures[0] == 21,
        parameters=_news(header, (unit for unit, kind in zip(units, types, strict=True) if kind in (32, 33, 34))),
        has_sublayers=any(unit[1] & 7 > 1 for unit in units),
    )


def _news(header: bytes, parameters: Iterable[memoryview]) -> frozenset[bytes]:
    return frozenset(unit for unit in map(bytes, parameters) if unit not in header)


def _read_mpeg4(packet: av.Packet) -> _Content:
    data = bytes(packet)
    start = data.find(b"\0\0\1\xb6")
    # Two pictures in one packet, or a few bytes that only repeat the last picture and give no frame.
    if start < 0 or data.find(b"\0\0\1\xb6", start + 4) >= 0 or len(data) - start <= 8:
        raise _Unforeseeable
    return _Content(is_entry=data[start + 4] >> 6 == 0)


def _read_vp9(packet: av.Packet) -> _Content:
    header = memoryview(packet)[0]
    if header & 0xF0 == 0xB0:
        raise _Unforeseeable  # profile 3, whose header is one bit longer
    shows_existing, is_predicted = header & 8, header & 4
    return _Content(is_entry=not shows_existing and not is_predicted)
