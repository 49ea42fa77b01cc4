"""Decode only what the sampled frames of a video depend on. No other module parses bitstreams.

A video is a sequence of groups of pictures. Groups without a sampled frame are skipped, and so are frames that no other
frame refers to. The result is bit-identical to that of decoding everything. If the decoder's output cannot be predicted
from the packets, `CannotDecodeSparsely` is raised and everything has to be decoded.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import av

from deepfake_ms.preprocessing.sampling import Sampling
from deepfake_ms.preprocessing.video_file import open_video, read_packets

_INTRA_CODECS = frozenset({"dnxhd", "mjpeg", "prores"})
"""Codecs in which each packet is a complete picture."""


class CannotDecodeSparsely(Exception):
    """The packets do not determine the decoder's output, or the output differs from the prediction."""


@dataclass(frozen=True, slots=True)
class Packet:
    """The properties of a packet that determine which frames to decode."""

    pts: int
    """Presentation timestamp in the stream's time base."""
    is_shown: bool
    """False if an edit list cuts the frame away: it is decoded as a reference for others, but never output."""
    is_entry: bool
    """Decoding can start here: no frame that is both decoded and shown later than this one needs anything earlier."""


@dataclass(frozen=True, slots=True)
class _Content:
    """The properties of a packet that require parsing its bytes."""

    is_entry: bool
    is_open: bool = False
    """An entry whose leading pictures, which are shown before it, refer to frames before it."""
    new_parameter_sets: frozenset[bytes] = frozenset()
    """Parameter sets that the container's header lacks; all later packets may depend on them."""
    has_sublayers: bool = False
    """Frames that are marked as unreferenced may still be referred to by frames of a higher temporal layer."""


def decode_sparsely(
    container: av.container.InputContainer, stream: av.VideoStream, sampling: Sampling
) -> Iterator[tuple[int, av.VideoFrame]]:
    """Decode the sampled frames of a video; all others only as far as necessary.

    Args:
        container: the file, just opened.
        stream: its video stream.
        sampling: selects the frames; not used before.

    Yields:
        The position of a sampled frame among all frames, and the frame.

    Raises:
        CannotDecodeSparsely: everything has to be decoded. This may happen after some frames were given; those are
            correct.
    """
    try:
        with open_video(Path(container.name)) as opened:
            packets, can_drop = survey(*opened)
        indices = {pts: index for index, pts in enumerate(sorted(packet.pts for packet in packets if packet.is_shown))}
        takes = sampling.start(lambda: len(indices))
        sampled = [pts for pts, index in indices.items() if takes(index, pts)]
        droppable = frozenset(indices).difference(sampled) if can_drop else frozenset()
        given = 0
        for frame in _decode_runs(container, stream, _runs(packets, frozenset(sampled)), droppable):
            # A packet of an interlaced video may contain a single field.
            if frame.pts not in indices or frame.pts > sampled[given] or frame.interlaced_frame:
                raise CannotDecodeSparsely
            if frame.pts == sampled[given]:
                yield indices[frame.pts], frame
                given += 1
                if given == len(sampled):
                    return
    except av.FFmpegError as error:
        raise CannotDecodeSparsely from error
    raise CannotDecodeSparsely


def _runs(packets: list[Packet], sampled: frozenset[int]) -> list[range]:
    """The packets to decode, as ranges of positions in decoding order; each range begins at an entry."""
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
    """The frames of the packets in `runs`, without those at `droppable` timestamps that no other frame refers to."""
    context = stream.codec_context
    remaining = iter(runs)
    run = next(remaining)
    for position, packet in enumerate(container.demux(stream)):
        if position < run.start:
            continue
        context.skip_frame = "NONREF" if packet.pts in droppable else "DEFAULT"
        yield from context.decode(packet)
        if position + 1 == run.stop:
            yield from context.decode(None)  # frames that the decoder still holds back
            context.flush_buffers()
            run = next(remaining, None)
            if run is None:
                return


# --- reading packets --------------------------------------------------------------------------------------------------


def survey(container: av.container.InputContainer, stream: av.VideoStream) -> tuple[list[Packet], bool]:
    """Read the whole file without decoding it.

    The decoder's output is predictable for H.264 and HEVC in MP4, MOV and Matroska, MPEG-4 part 2, VP9, AV1, MJPEG,
    ProRes and DNxHD, if every packet has its own timestamp and contains exactly one shown picture. The packets are
    parsed by the syntax of their codec (ITU-T H.264 and H.265, 7.3; ISO/IEC 14496-2, 6.2; the VP9 bitstream
    specification, 6.2), because containers mark more packets as key frames than decoding can really start from.

    Args:
        container: the file, just opened; it is read to its end.
        stream: its video stream.

    Returns:
        The packets in decoding order; and whether the decoder may drop frames that no other frame refers to without
        changing any other.

    Raises:
        CannotDecodeSparsely: the decoder's output is not predictable.
    """
    parse = _parser(stream)
    packets: list[Packet] = []
    contents: list[_Content] = []
    for packet in read_packets(container, stream):
        if packet.size == 0 or packet.pts is None or packet.has_sidedata("new_extradata"):
            raise CannotDecodeSparsely
        contents.append(parse(packet))
        packets.append(Packet(packet.pts, not packet.is_discard, contents[-1].is_entry))
    drops = stream.codec_context.codec.canonical_name in ("h264", "hevc", "mpeg4")
    can_drop = drops and not any(content.has_sublayers for content in contents)
    return _check_packets(packets, contents, bool(stream.codec_context.has_b_frames)), can_drop


def _check_packets(packets: list[Packet], contents: list[_Content], reorders: bool) -> list[Packet]:
    """The packets with their usable entries only. `reorders`: presentation order may differ from decoding order."""
    shown = [packet.pts for packet in packets if packet.is_shown]
    if not reorders and shown != sorted(shown):
        raise CannotDecodeSparsely
    if not shown or len(set(shown)) < len(shown) or not packets[0].is_entry or min(shown) < packets[0].pts:
        raise CannotDecodeSparsely
    if frozenset().union(*(content.new_parameter_sets for content in contents)) != contents[0].new_parameter_sets:
        raise CannotDecodeSparsely
    # The leading pictures of an open entry are lost if decoding starts there. If no trailing picture pushes them out of
    # the decoder's buffer, the leading pictures of the next entry may still refer to them.
    entries = [index for index, packet in enumerate(packets) if packet.is_entry]
    for entry, next_entry in pairwise([*entries, len(packets)]):
        group = packets[entry:next_entry]
        if contents[entry].is_open and all(packet.pts <= group[0].pts for packet in group):
            packets[entry] = replace(packets[entry], is_entry=False)
    if not packets[0].is_entry:
        raise CannotDecodeSparsely
    return packets


# --- parsing the bytes of a packet ------------------------------------------------------------------------------------


def _parser(stream: av.VideoStream) -> Callable[[av.Packet], _Content]:
    codec = stream.codec_context.codec.canonical_name
    header = stream.codec_context.extradata or b""
    if codec == "h264" and len(header) > 4 and header[0] == 1:
        return lambda packet: _parse_h264(memoryview(packet), header)
    if codec == "hevc" and len(header) > 21 and header[0] == 1:
        return lambda packet: _parse_hevc(memoryview(packet), header)
    if codec == "mpeg4":
        return _parse_mpeg4
    if codec == "vp9":
        return _parse_vp9
    if codec == "av1":
        return lambda packet: _Content(packet.is_keyframe)
    if codec in _INTRA_CODECS:
        return lambda packet: _Content(is_entry=True)
    raise CannotDecodeSparsely


def _nal_units(data: memoryview, length_size: int) -> Iterator[memoryview]:
    position = 0
    while position + length_size < len(data):
        end = position + length_size + int.from_bytes(data[position : position + length_size])
        yield data[position + length_size : end]
        position = end


def _parse_h264(data: memoryview, header: bytes) -> _Content:
    units = [unit for unit in _nal_units(data, (header[4] & 3) + 1) if unit]
    types = [unit[0] & 31 for unit in units]
    if not {1, 5}.intersection(types):
        raise CannotDecodeSparsely  # no picture
    parameter_sets = (unit for unit, kind in zip(units, types, strict=True) if kind in (7, 8))
    return _Content(is_entry=5 in types, new_parameter_sets=_missing_in(header, parameter_sets))


def _parse_hevc(data: memoryview, header: bytes) -> _Content:
    units = [unit for unit in _nal_units(data, (header[21] & 3) + 1) if len(unit) > 1]
    types = [unit[0] >> 1 & 63 for unit in units]
    pictures = [kind for kind in types if kind < 32]
    # After a broken link or an end of sequence, the decoder drops leading pictures.
    if not pictures or {16, 17, 18, 36, 37}.intersection(types):
        raise CannotDecodeSparsely
    parameter_sets = (unit for unit, kind in zip(units, types, strict=True) if kind in (32, 33, 34))
    return _Content(
        is_entry=pictures[0] in (19, 20, 21),
        is_open=pictures[0] == 21,
        new_parameter_sets=_missing_in(header, parameter_sets),
        has_sublayers=any(unit[1] & 7 > 1 for unit in units),
    )


def _missing_in(header: bytes, parameter_sets: Iterable[memoryview]) -> frozenset[bytes]:
    return frozenset(unit for unit in map(bytes, parameter_sets) if unit not in header)


def _parse_mpeg4(packet: av.Packet) -> _Content:
    data = bytes(packet)
    start = data.find(b"\0\0\1\xb6")
    # Rejected: two pictures in one packet, and packets that only repeat the last picture and give no frame.
    if start < 0 or data.find(b"\0\0\1\xb6", start + 4) >= 0 or len(data) - start <= 8:
        raise CannotDecodeSparsely
    return _Content(is_entry=data[start + 4] >> 6 == 0)


def _parse_vp9(packet: av.Packet) -> _Content:
    header = memoryview(packet)[0]
    if header & 0xF0 == 0xB0:
        raise CannotDecodeSparsely  # profile 3, whose header is one bit longer
    shows_existing, is_predicted = header & 8, header & 4
    return _Content(is_entry=not shows_existing and not is_predicted)
