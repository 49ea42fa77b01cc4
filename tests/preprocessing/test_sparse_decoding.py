"""Sparse decoding gives the same frames, bit for bit, as decoding everything."""

from fractions import Fraction

import av
import numpy as np
import pytest
from drawn import sampled, write_video

from deepfake_ms.preprocessing import frames, sparse_decoding
from deepfake_ms.preprocessing.frames import read_frames
from deepfake_ms.preprocessing.media import UnreadableMedia
from deepfake_ms.preprocessing.sparse_decoding import CannotDecodeSparsely, survey


def moving(count):
    """Moving pictures, with a cut every 25 frames."""
    generator = np.random.default_rng(0)
    scenes = generator.integers(0, 256, (count // 25 + 1, 12, 16, 3), np.uint8).repeat(16, 1).repeat(16, 2)
    return [scenes[i // 25, i : i + 96, 2 * i : 2 * i + 96] for i in range(count)]


def x264(parameters="", **settings):
    return {"codec": "libx264", "codec_options": {"x264-params": parameters}, **settings}


def x265(parameters="", **settings):
    return {"codec": "libx265", "codec_options": {"x265-params": parameters}, **settings}


UNEVEN = np.cumsum([0, *([0.02, 0.05, 0.4, 0.1, 0.05] * 12)][:60]).tolist()
ALTREF = {"cpu-used": "6", "deadline": "realtime", "auto-alt-ref": "1", "lag-in-frames": "16"}
PREDICTABLE = {
    "x264": ("a.mp4", x264()),
    "x264 many B": ("a.mp4", x264("bframes=8:b-adapt=0:b-pyramid=normal:ref=8")),
    "x264 short groups": ("a.mp4", x264("keyint=10")),
    "x264 open groups": ("a.mp4", x264("keyint=15:open-gop=1:bframes=3")),
    "x264 open groups mkv": ("a.mkv", x264("keyint=15:open-gop=1:bframes=3:repeat-headers=1")),
    "x264 intra refresh": ("a.mp4", x264("intra-refresh=1:keyint=15")),
    "x264 intra": ("a.mov", x264("keyint=1")),
    "x264 zero latency": ("a.mkv", {"codec": "libx264", "codec_options": {"tune": "zerolatency", "g": "20"}}),
    "x264 slices": ("a.flv", x264("slices=4:keyint=20")),
    "x264 10 bits": ("a.mp4", x264("keyint=20", pixel_format="yuv420p10le")),
    "x264 4:4:4": ("a.mkv", x264("keyint=20", pixel_format="yuv444p")),
    "x264 uneven": ("a.mkv", x264("keyint=12", times=UNEVEN)),
    "x264 uneven mp4": ("a.mp4", x264("keyint=12:bframes=4", times=UNEVEN)),
    "x264 turned": ("a.mp4", x264("keyint=12", rotation=90)),
    "x264 fragments": ("a.mp4", x264("keyint=12", options={"movflags": "frag_keyframe+empty_moov"})),
    "x265": ("a.mp4", x265()),
    "x265 open groups": ("a.mp4", x265("keyint=12:min-keyint=12:bframes=4")),
    "x265 open tiny groups": ("a.mp4", x265("keyint=5:min-keyint=5:bframes=4:b-adapt=0")),
    "x265 closed groups": ("a.mkv", x265("keyint=12:min-keyint=12:open-gop=0:radl=2:bframes=4:repeat-headers=1")),
    "x265 layers": ("a.mp4", x265("temporal-layers=3:bframes=7:keyint=20")),
    "x265 10 bits": ("a.mp4", x265("keyint=15", pixel_format="yuv420p10le")),
    "mpeg4": ("a.mp4", {}),
    "mpeg4 B": ("a.mkv", {"codec_options": {"bf": "2", "g": "9"}}),
    "mpeg4 avi": ("a.avi", {}),
    "vp9": ("a.webm", {"codec": "libvpx-vp9", "codec_options": {**ALTREF, "g": "20"}}),
    "av1": ("a.mkv", {"codec": "libsvtav1", "codec_options": {"preset": "12", "g": "15"}}),
    "mjpeg": ("a.mov", {"codec": "mjpeg", "pixel_format": "yuvj444p"}),
    "prores": ("a.mov", {"codec": "prores", "pixel_format": "yuv422p10le"}),
}
UNPREDICTABLE = {
    "x264 interlaced": ("a.mp4", x264("tff=1:keyint=20")),
    "x264 stream": ("a.ts", x264("keyint=20")),
    "x264 avi": ("a.avi", x264("keyint=20:bframes=0")),
    "vp8": ("a.webm", {"codec": "libvpx", "codec_options": {**ALTREF, "g": "20"}}),
    "mpeg2": ("a.mpg", {"codec": "mpeg2video", "fps": 25}),
    "ffv1": ("a.mkv", {"codec": "ffv1"}),
}


def decode_all(path):
    """Every frame as (timestamp, RGB), decoded by PyAV's plain loop."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1
        return [
            (frame.pts * stream.time_base, np.rot90(frame.to_ndarray(format="rgb24"), round(frame.rotation / 90)))
            for frame in container.decode(stream)
        ]


def assert_sampled_from(path, all_frames, fps):
    expected, number = [], 0
    for index, (time, image) in enumerate(all_frames):
        seconds = time - all_frames[0][0]
        if seconds >= number / Fraction(fps):
            expected.append((index, float(seconds), image))
            while number / Fraction(fps) <= seconds:
                number += 1
    found = list(read_frames(path, fps))
    assert [(frame.index, frame.time_s) for frame in found] == [each[:2] for each in expected]
    for frame, (_, _, image) in zip(found, expected, strict=True):
        assert np.array_equal(frame.image, image)


def assert_evenly_spaced(path, all_frames, number, max_frames=None):
    positions = sorted(set(np.linspace(0, len(all_frames) - 1, number, dtype=int).tolist()))[:max_frames]
    found = list(read_frames(path, frames=number, max_frames=max_frames))
    assert [frame.index for frame in found] == positions
    for frame in found:
        time, image = all_frames[frame.index]
        assert frame.time_s == float(time - all_frames[0][0])
        assert np.array_equal(frame.image, image)


def forbid_decoding_all(monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("all frames are decoded")

    monkeypatch.setattr(frames, "decode_all", refuse)


@pytest.mark.parametrize("name", PREDICTABLE)
def test_sparse_decoding_changes_no_bit(tmp_path, monkeypatch, name):
    file, settings = PREDICTABLE[name]
    path = write_video(tmp_path / file, moving(60), **settings)
    all_frames = decode_all(path)
    assert len(all_frames) == 60
    forbid_decoding_all(monkeypatch)
    for fps in (0.5, 1, 2, 100):
        assert_sampled_from(path, all_frames, fps)
    for number in (1, 8, 32, 100):
        assert_evenly_spaced(path, all_frames, number)
    assert_evenly_spaced(path, all_frames, 8, max_frames=3)


@pytest.mark.parametrize("name", UNPREDICTABLE)
def test_unpredictable_videos_are_decoded_completely(tmp_path, monkeypatch, name):
    file, settings = UNPREDICTABLE[name]
    path = write_video(tmp_path / file, moving(60), **settings)
    all_frames = decode_all(path)
    assert_sampled_from(path, all_frames, 1)
    assert_evenly_spaced(path, all_frames, 8)
    forbid_decoding_all(monkeypatch)
    with pytest.raises(AssertionError, match="all frames are decoded"):
        list(read_frames(path, 1))


def test_videos_with_new_parameter_sets_are_decoded_completely(tmp_path):
    path = tmp_path / "a.mkv"
    images = moving(40)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10, options={"x264-params": "keyint=10"})
        other = av.CodecContext.create("libx264", "w")
        other.options = {"x264-params": "keyint=10:cabac=0:ref=1:repeat-headers=1", "qp": "40"}
        for encoder, start in ((stream.codec_context, 0), (other, 20)):
            encoder.height, encoder.width, encoder.pix_fmt = 96, 96, "yuv420p"
            encoder.time_base, encoder.framerate = Fraction(1, 10), Fraction(10)
            for index in range(start, start + 20):
                frame = av.VideoFrame.from_ndarray(images[index], format="rgb24")
                frame.pts, frame.time_base = index, Fraction(1, 10)
                for packet in [*encoder.encode(frame), *(encoder.encode(None) if index == start + 19 else [])]:
                    packet.stream = stream
                    container.mux(packet)
    with pytest.raises(CannotDecodeSparsely):
        survey_of(path)
    all_frames = decode_all(path)
    assert len(all_frames) == 40
    assert_sampled_from(path, all_frames, 1)


def survey_of(path):
    with av.open(str(path)) as container:
        return survey(container, container.streams.video[0])


@pytest.mark.parametrize(
    ("name", "can_drop"), [("x264", True), ("x265", True), ("x265 layers", False), ("mpeg4", True), ("vp9", False)]
)
def test_unreferenced_frames_are_dropped_only_where_it_is_safe(tmp_path, name, can_drop):
    file, settings = PREDICTABLE[name]
    assert survey_of(write_video(tmp_path / file, moving(20), **settings))[1] == can_drop


def remuxed(source_path, target_path, change):
    """A copy whose list of packets was passed through `change`."""
    with av.open(str(source_path)) as source, av.open(str(target_path), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0], opaque=True)
        packets = [packet for packet in source.demux(video=0) if packet.size]
        for packet in change(packets) or packets:
            packet.stream = stream
            target.mux(packet)
    return target_path


@pytest.mark.parametrize(("name", "seconds", "rates"), [("mjpeg", 2.85, (1, 100)), ("x264", 2.1, (0.5, 100))])
def test_videos_with_unordered_timestamps_are_decoded_completely(tmp_path, name, seconds, rates):
    def swap(packets):
        latest = -1
        forward = []  # in H.264: packets that others refer to
        for packet in packets:
            if packet.pts > latest:
                latest = packet.pts
                forward.append(packet)
        first = next(index for index, packet in enumerate(forward) if packet.pts * packet.time_base > seconds)
        forward[first].pts, forward[first + 1].pts = forward[first + 1].pts, forward[first].pts
        for packet in packets:
            packet.dts -= round(1 / packet.time_base)  # no dts may be later than its pts

    file, settings = PREDICTABLE[name]
    path = remuxed(write_video(tmp_path / file, moving(60), **settings), tmp_path / "swapped.mkv", swap)
    all_frames = decode_all(path)
    assert [time for time, _ in all_frames] != sorted(time for time, _ in all_frames)
    for fps in rates:
        assert_sampled_from(path, all_frames, fps)
    assert_evenly_spaced(path, all_frames, 32)


def test_videos_with_repeated_timestamps_are_decoded_completely(tmp_path):
    def repeat(packets):
        packets[10].pts = packets[11].pts

    path = write_video(tmp_path / "a.mkv", moving(30), codec="mjpeg", pixel_format="yuvj420p")
    path = remuxed(path, tmp_path / "repeated.mkv", repeat)
    assert_sampled_from(path, decode_all(path), 1)


def test_leading_pictures_at_the_start_of_a_cut_video_are_not_counted(tmp_path):
    def cut(packets):
        return packets[[index for index, packet in enumerate(packets) if packet.is_keyframe][1] :]

    _, settings = PREDICTABLE["x265 open groups"]
    path = remuxed(write_video(tmp_path / "a.mkv", moving(60), **settings), tmp_path / "cut.mkv", cut)
    all_frames = decode_all(path)
    assert len(all_frames) < number_of_packets(path)
    assert_sampled_from(path, all_frames, 2)
    assert_evenly_spaced(path, all_frames, 8)


def test_leading_pictures_after_a_broken_link_are_not_counted(tmp_path):
    file, settings = PREDICTABLE["x265 open groups"]
    path = write_video(tmp_path / file, moving(60), **settings)
    content = bytearray(path.read_bytes())
    with av.open(str(path)) as container:
        position = [packet.pos for packet in container.demux(video=0) if packet.is_keyframe][2]
    while content[position + 4] != 21 << 1:  # skip to the NAL unit of the clean random access picture
        position += 4 + int.from_bytes(content[position : position + 4])
    content[position + 4] = 16 << 1  # a broken link, with leading pictures that cannot be decoded
    path.write_bytes(content)
    all_frames = decode_all(path)
    assert len(all_frames) < 60
    assert_sampled_from(path, all_frames, 2)


def number_of_packets(path):
    with av.open(str(path)) as container:
        return sum(packet.size > 0 for packet in container.demux(video=0))


@pytest.mark.parametrize("name", ["av1", "mpeg4 B", "vp9", "x264"])
def test_false_key_frame_flags_do_no_harm(tmp_path, name):
    def mark(packets):
        for packet in packets[::7]:
            packet.is_keyframe = True

    file, settings = PREDICTABLE[name]
    path = remuxed(write_video(tmp_path / file, moving(60), **settings), tmp_path / "marked.mkv", mark)
    for fps in (0.5, 1, 2):
        assert_sampled_from(path, decode_all(path), fps)


def test_open_groups_without_trailing_pictures_are_no_entries(tmp_path):
    file, settings = PREDICTABLE["x265 open tiny groups"]
    path = write_video(tmp_path / file, moving(41), **settings)
    with av.open(str(path)) as container:
        assert sum(packet.is_keyframe for packet in container.demux(video=0)) > 5
    packets, _ = survey_of(path)
    assert [index for index, packet in enumerate(packets) if packet.is_entry] == [0]


@pytest.mark.parametrize("cut", [0.7, 1.2, 2.5])
def test_frames_cut_by_an_edit_list_are_not_counted(tmp_path, monkeypatch, cut):
    def shift(packets):
        for packet in packets:
            ticks = round(cut / packet.time_base)
            packet.pts, packet.dts = packet.pts - ticks, packet.dts - ticks

    whole = write_video(tmp_path / "whole.mp4", moving(60), **x264("keyint=20:bframes=3"))
    path = remuxed(whole, tmp_path / "cut.mp4", shift)
    all_frames = decode_all(path)
    assert len(all_frames) == 60 - 10 * cut
    forbid_decoding_all(monkeypatch)
    for fps in (1, 2, 100):
        assert_sampled_from(path, all_frames, fps)
    assert_evenly_spaced(path, all_frames, 8)


def test_real_videos_give_the_same_frames(shared, monkeypatch):
    forbid_decoding_all(monkeypatch)
    for path in (shared / "real-samples/videos").iterdir():
        found = iter(read_frames(path, 1))
        frame = next(found)
        with av.open(str(path)) as container:
            container.streams.video[0].codec_context.thread_count = 1
            for index, each in enumerate(container.decode(video=0)):
                if frame is not None and index == frame.index:
                    assert frame.time_s == float(each.pts * each.time_base)
                    assert np.array_equal(frame.image, each.to_ndarray(format="rgb24"))
                    frame = next(found, None)
        assert frame is None


def test_after_an_unexpected_failure_no_frame_is_given_twice(tmp_path, monkeypatch):
    path = write_video(tmp_path / "a.mp4", moving(60))
    decode_runs = sparse_decoding._decode_runs

    def fail_later(*arguments):
        for number, frame in enumerate(decode_runs(*arguments)):
            if number == 25:
                raise av.InvalidDataError(1, "as if damaged")
            yield frame

    monkeypatch.setattr(sparse_decoding, "_decode_runs", fail_later)
    assert_sampled_from(path, decode_all(path), 1)
    assert_evenly_spaced(path, decode_all(path), 8)

    # Evenly spaced among 60 frames are others than among 50.
    monkeypatch.setattr(frames, "_count_frames", lambda _: 50)
    with pytest.raises(UnreadableMedia, match="packets do not tell how many frames"):
        sampled(path, frames=8)


def test_damage_is_found_only_where_it_is_decoded(tmp_path):
    path = write_video(tmp_path / "a.mov", moving(30), codec="mjpeg", pixel_format="yuvj420p")
    with av.open(str(path)) as container:
        places = [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.size]
    intact = path.read_bytes()

    def damage(number):
        position, size = places[number]
        path.write_bytes(intact[:position] + bytes(size) + intact[position + size :])

    damage(5)
    assert [index for index, _ in sampled(path, 1)] == [0, 10, 20]
    damage(10)
    with pytest.raises(UnreadableMedia, match="damaged"):
        sampled(path, 1)
