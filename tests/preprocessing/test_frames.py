"""Sampling by time, and a reason for every file that cannot be read."""

import os
from fractions import Fraction

import av
import numpy as np
import pytest
from av.stream import Disposition
from av.video.reformatter import ColorRange
from drawn import picture, write_video

from deepfake_ms.preprocessing import frames
from deepfake_ms.preprocessing.frames import read_frames
from deepfake_ms.preprocessing.media import UnreadableMedia
from deepfake_ms.preprocessing.packets import survey

HTML = b"<!DOCTYPE html><html><body>404: video not found</body></html>" * 40


def shades(count):
    return [np.full((64, 96, 3), 4 * i + 20, np.uint8) for i in range(count)]


def sampled(path, fps):
    return [(frame.index, round(frame.time_s, 3)) for frame in read_frames(path, fps)]


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".avi", ".mov"])
def test_a_constant_rate_is_sampled_evenly(tmp_path, suffix):
    path = write_video(tmp_path / f"clip{suffix}", shades(31))
    assert sampled(path, 1) == [(0, 0), (10, 1), (20, 2), (30, 3)]
    assert sampled(path, 2) == [(0, 0), (5, 0.5), (10, 1), (15, 1.5), (20, 2), (25, 2.5), (30, 3)]
    frames = list(read_frames(path, 1))
    assert [frame.image.shape for frame in frames] == [(64, 96, 3)] * 4
    assert np.allclose([frame.image.mean() for frame in frames], [20, 60, 100, 140], atol=6)


def test_more_than_the_video_has_gives_each_frame_once(tmp_path):
    assert [index for index, _ in sampled(write_video(tmp_path / "a.mp4", shades(5)), 100)] == [0, 1, 2, 3, 4]


def test_a_variable_rate_is_sampled_by_time(tmp_path):
    times = [0, 0.1, 0.2, 0.9, 1.05, 1.1, 1.99, 2.0, 4.3, 4.4, 4.9, 5.0]
    path = write_video(tmp_path / "a.mkv", shades(len(times)), times)
    # Nothing lies at or after 3 s before 4.3 s: that one frame stands for 3 s and 4 s.
    assert sampled(path, 1) == [(0, 0), (4, 1.05), (7, 2.0), (8, 4.3), (11, 5.0)]


def test_time_counts_from_the_first_frame(tmp_path):
    path = write_video(tmp_path / "a.mkv", shades(4), [7.5, 8.0, 8.5, 9.0])
    assert sampled(path, 1) == [(0, 0), (2, 1)]


@pytest.mark.parametrize(("rotation", "quarter_turns"), [(90, 1), (-90, -1), (180, 2)])
def test_rotation_marks_are_applied(tmp_path, rotation, quarter_turns):
    image = picture((20, 20, 24))
    path = write_video(tmp_path / "a.mp4", [image] * 3, rotation=rotation)
    (frame,) = read_frames(path, 1)
    difference = np.abs(frame.image.astype(int) - np.rot90(image, quarter_turns))
    assert difference.mean() < 5


@pytest.mark.parametrize(
    ("pixel_shape", "size"),
    [((16, 11), (96, 186)), ((8, 9), (108, 128)), ((1, 1), (96, 128)), ((50, 1), (96, 128))],
)
def test_pixels_become_square_without_losing_any(tmp_path, pixel_shape, size):
    def set_shape(stream):
        stream.codec_context.sample_aspect_ratio = Fraction(*pixel_shape)

    image = picture((64, 48, 40))
    (frame,) = read_frames(write_video(tmp_path / "a.mp4", [image] * 3, set_stream=set_shape), 1)
    assert frame.image.shape == (*size, 3)
    red = frame.image[..., 0].astype(int) - frame.image[..., 1] > 90
    height, width = red.any(axis=1).sum(), red.any(axis=0).sum()
    assert height == pytest.approx(40 * size[0] / 96, abs=2)
    assert width == pytest.approx(40 * size[1] / 128, abs=2)


@pytest.mark.parametrize(
    ("codec", "pixel_format", "suffix", "size"),
    [
        ("libx264", "yuv420p10le", ".mp4", (62, 98)),
        ("libx264", "yuv444p", ".mp4", (61, 97)),
        ("libx265", "gbrp", ".mkv", (61, 97)),
        ("libvpx-vp9", "yuva420p", ".webm", (61, 97)),
        ("mjpeg", "yuvj420p", ".mkv", (61, 97)),
        ("ffv1", "yuv444p16le", ".mkv", (61, 97)),
        ("rawvideo", "yuv411p", ".mkv", (61, 97)),
        ("png", "rgba", ".mov", (61, 97)),
    ],
)
def test_every_pixel_format_and_size_becomes_rgb(tmp_path, codec, pixel_format, suffix, size):
    image = picture((40, 40, 40), height=size[0], width=size[1])
    path = write_video(tmp_path / f"a{suffix}", [image] * 2, codec=codec, pixel_format=pixel_format)
    (frame,) = read_frames(path, 1)
    assert frame.image.shape == image.shape
    assert frame.image.dtype == np.uint8
    assert frame.image.flags.c_contiguous
    assert np.abs(frame.image.astype(int) - image).mean() < 4


def test_a_palette_is_resolved(tmp_path):
    image = picture((64, 48, 40))
    indices = (image[..., 0] > 100).astype(np.uint8)
    palette = np.zeros((256, 4), np.uint8)  # alpha, red, green, blue
    palette[:2] = (255, 40, 40, 40), (255, 220, 30, 30)
    with av.open(str(tmp_path / "a.mov"), "w") as container:
        stream = container.add_stream("png", rate=10)
        stream.height, stream.width = indices.shape
        stream.pix_fmt = "pal8"
        container.mux(stream.encode(av.VideoFrame.from_ndarray((indices, palette), format="pal8")))
        container.mux(stream.encode())
    (frame,) = read_frames(tmp_path / "a.mov", 1)
    assert (frame.image == image).all()


@pytest.mark.parametrize(
    ("codec", "pixel_format", "color_range"),
    [
        ("libx264", "yuv420p", ColorRange.MPEG),
        ("libx264", "yuvj420p", ColorRange.JPEG),
        ("libx264", "gray", ColorRange.JPEG),
        ("libx265", "gray", ColorRange.JPEG),
    ],
)
def test_limited_and_full_range_give_the_same_shades(tmp_path, codec, pixel_format, color_range):
    def set_range(stream):
        stream.codec_context.color_range = color_range

    shades = np.array([0, 16, 64, 128, 192, 235, 255], np.uint8)
    image = np.broadcast_to(shades.repeat(16)[None, :, None], (64, 112, 3)).copy()
    path = write_video(tmp_path / "a.mkv", [image] * 2, codec=codec, pixel_format=pixel_format, set_stream=set_range)
    (frame,) = read_frames(path, 1)
    assert np.allclose(frame.image[32, 8::16, 0], shades, atol=3)


def test_a_cover_picture_is_no_video(tmp_path):
    def write(path, with_video):
        with av.open(str(path), "w") as container:
            cover = container.add_stream("mjpeg", rate=1)
            cover.height, cover.width, cover.pix_fmt = 200, 300, "yuvj420p"
            cover.disposition = Disposition.attached_pic
            streams = [cover]
            if with_video:
                streams.append(container.add_stream("mpeg4", rate=10))
                streams[1].height, streams[1].width, streams[1].pix_fmt = 96, 128, "yuv420p"
            else:
                streams.append(container.add_stream("aac", rate=16000))
            container.mux(cover.encode(av.VideoFrame.from_ndarray(picture(height=200, width=300), format="rgb24")))
            if with_video:
                frame = av.VideoFrame.from_ndarray(picture(), format="rgb24")
            else:
                frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
                frame.sample_rate = 16000
            container.mux(streams[1].encode(frame))
            for stream in streams:
                container.mux(stream.encode())
        return path

    assert [frame.image.shape for frame in read_frames(write(tmp_path / "a.mp4", True), 1)] == [(96, 128, 3)]
    with pytest.raises(UnreadableMedia, match="no video stream"):
        list(read_frames(write(tmp_path / "b.mp4", False), 1))


def test_a_folder_and_a_forbidden_or_missing_file_give_their_reasons(tmp_path, monkeypatch):
    (tmp_path / "a.mp4").mkdir()
    with pytest.raises(UnreadableMedia, match="folder"):
        list(read_frames(tmp_path / "a.mp4", 1))
    with pytest.raises(UnreadableMedia, match="No such file"):
        list(read_frames(tmp_path / "b.mp4", 1))
    path = write_video(tmp_path / "c.mp4", shades(2))
    path.chmod(0)
    if os.access(path, os.R_OK):
        pytest.skip("this user may read everything")
    with pytest.raises(UnreadableMedia, match="Permission denied"):
        list(read_frames(path, 1))


@pytest.mark.parametrize(
    ("content", "reason"), [(b"", "zero bytes"), (HTML, "not a video"), (b"\x00\x01" * 500, "not a video")]
)
def test_what_is_no_video_gives_its_reason(tmp_path, content, reason):
    path = tmp_path / "a.mp4"
    path.write_bytes(content)
    with pytest.raises(UnreadableMedia, match=reason):
        list(read_frames(path, 1))


@pytest.mark.parametrize(
    ("suffix", "options"), [(".mp4", {"movflags": "faststart"}), (".mp4", {}), (".mkv", {}), (".avi", {})]
)
def test_a_truncated_video_is_unreadable(tmp_path, suffix, options):
    generator = np.random.default_rng(0)
    noise = [generator.integers(0, 255, (64, 96, 3), np.uint8) for _ in range(60)]
    path = write_video(tmp_path / f"a{suffix}", noise, options=options)
    assert len(sampled(path, 1)) == 6
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(UnreadableMedia, match=r"truncated|damaged|cut off"):
        list(read_frames(path, 1))


@pytest.mark.parametrize(
    ("suffix", "options"),
    [
        (".mp4", {"movflags": "faststart"}),
        (".mp4", {"movflags": "frag_keyframe+empty_moov"}),
        (".mkv", {}),
        (".webm", {}),
        (".avi", {}),
    ],
)
@pytest.mark.parametrize("missing", [1, 2])
def test_a_missing_tail_is_found_before_anything_is_decoded(tmp_path, suffix, options, missing):
    codec = "libvpx-vp9" if suffix == ".webm" else "mpeg4"
    images = [picture((20 + i, 40, 30)) for i in range(30)]
    path = write_video(tmp_path / f"a{suffix}", images, options=options, codec=codec)
    assert len(sampled(path, 1)) == 3
    with av.open(str(path)) as container:
        position = [packet.pos for packet in container.demux(video=0) if packet.size][-missing]
    path.write_bytes(path.read_bytes()[: position + 2])
    reader = read_frames(path, 1)
    with pytest.raises(UnreadableMedia, match="truncated"):
        next(reader)


def test_an_avi_with_dropped_frames_is_not_taken_for_truncated(tmp_path):
    times = [0, 0.1, 0.2, 0.5, 0.6, 0.7, 1.1, 1.2]  # FFmpeg fills the gaps with empty chunks, which count as frames
    path = tmp_path / "a.avi"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.height, stream.width, stream.pix_fmt = 64, 96, "yuv420p"
        for time, image in zip(times, shades(len(times)), strict=True):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = round(10 * time), Fraction(1, 10)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    with av.open(str(path)) as container:
        assert container.streams.video[0].frames == 13
    assert sampled(path, 2) == [(0, 0), (3, 0.5), (6, 1.1)]


def test_a_slide_show_is_not_taken_for_truncated(tmp_path):
    times = [0, 4, 8, 12]
    assert len(sampled(write_video(tmp_path / "a.mkv", shades(4), times), 1)) == 4
    assert len(sampled(write_video(tmp_path / "a.mp4", shades(4), times), 1)) == 4


def test_sound_alone_is_no_video(tmp_path):
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=16000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 16000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    with pytest.raises(UnreadableMedia, match="no video stream"):
        list(read_frames(path, 1))


# --- only what is needed is decoded, and nothing differs from decoding all --------------------------------------------


def moving(count):
    """Pictures that move and, every 25, change altogether."""
    generator = np.random.default_rng(0)
    scenes = generator.integers(0, 256, (count // 25 + 1, 12, 16, 3), np.uint8).repeat(16, 1).repeat(16, 2)
    return [scenes[i // 25, i : i + 96, 2 * i : 2 * i + 96] for i in range(count)]


def x264(parameters="", **settings):
    return {"codec": "libx264", "codec_options": {"x264-params": parameters}, **settings}


def x265(parameters="", **settings):
    return {"codec": "libx265", "codec_options": {"x265-params": f"log-level=0:{parameters}"}, **settings}


UNEVEN = np.cumsum([0, *([0.02, 0.05, 0.4, 0.1, 0.05] * 12)][:60]).tolist()
ALTREF = {"cpu-used": "6", "deadline": "realtime", "auto-alt-ref": "1", "lag-in-frames": "16"}
FORETOLD = {
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
NOT_FORETOLD = {
    "x264 interlaced": ("a.mp4", x264("tff=1:keyint=20")),
    "x264 stream": ("a.ts", x264("keyint=20")),
    "x264 avi": ("a.avi", x264("keyint=20:bframes=0")),
    "vp8": ("a.webm", {"codec": "libvpx", "codec_options": {**ALTREF, "g": "20"}}),
    "mpeg2": ("a.mpg", {"codec": "mpeg2video", "fps": 25}),
    "ffv1": ("a.mkv", {"codec": "ffv1"}),
}


def decoded_whole(path):
    """Every frame as (timestamp, RGB), by PyAV's plain loop."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1
        return [
            (frame.pts * stream.time_base, np.rot90(frame.to_ndarray(format="rgb24"), round(frame.rotation / 90)))
            for frame in container.decode(stream)
        ]


def assert_as_decoded_whole(path, all_frames, fps):
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


def forbid_decoding_all(monkeypatch):
    def refuse(*_):
        raise AssertionError("all frames are decoded")

    monkeypatch.setattr(frames, "_decode_all", refuse)


@pytest.mark.parametrize("name", FORETOLD)
def test_decoding_what_is_needed_changes_nothing(tmp_path, monkeypatch, name):
    file, settings = FORETOLD[name]
    path = write_video(tmp_path / file, moving(60), **settings)
    all_frames = decoded_whole(path)
    assert len(all_frames) == 60
    forbid_decoding_all(monkeypatch)
    for fps in (0.5, 1, 2, 100):
        assert_as_decoded_whole(path, all_frames, fps)


@pytest.mark.parametrize("name", NOT_FORETOLD)
def test_what_packets_do_not_foretell_is_decoded_whole(tmp_path, monkeypatch, name):
    file, settings = NOT_FORETOLD[name]
    path = write_video(tmp_path / file, moving(60), **settings)
    assert_as_decoded_whole(path, decoded_whole(path), 1)
    forbid_decoding_all(monkeypatch)
    with pytest.raises(AssertionError, match="all frames are decoded"):
        list(read_frames(path, 1))


def test_new_parameters_in_the_stream_are_decoded_whole(tmp_path):
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
    assert surveyed(path).packets is None
    all_frames = decoded_whole(path)
    assert len(all_frames) == 40
    assert_as_decoded_whole(path, all_frames, 1)


def surveyed(path):
    with av.open(str(path)) as container:
        return survey(container, container.streams.video[0])


@pytest.mark.parametrize(
    ("name", "can_drop"), [("x264", True), ("x265", True), ("x265 layers", False), ("mpeg4", True), ("vp9", False)]
)
def test_where_unreferenced_frames_may_be_left_out(tmp_path, name, can_drop):
    file, settings = FORETOLD[name]
    assert surveyed(write_video(tmp_path / file, moving(20), **settings)).can_drop_unreferenced == can_drop


def remuxed(source_path, target_path, change):
    """A copy in which `change` has been at the packets, given as a list."""
    with av.open(str(source_path)) as source, av.open(str(target_path), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0], opaque=True)
        packets = [packet for packet in source.demux(video=0) if packet.size]
        for packet in change(packets) or packets:
            packet.stream = stream
            target.mux(packet)
    return target_path


@pytest.mark.parametrize(("name", "seconds", "rates"), [("mjpeg", 2.85, (1, 100)), ("x264", 2.1, (0.5, 100))])
def test_timestamps_out_of_order_are_decoded_whole(tmp_path, name, seconds, rates):
    def swap(packets):
        latest = -1
        forward = []  # in H.264: those that others refer to
        for packet in packets:
            if packet.pts > latest:
                latest = packet.pts
                forward.append(packet)
        first = next(index for index, packet in enumerate(forward) if packet.pts * packet.time_base > seconds)
        forward[first].pts, forward[first + 1].pts = forward[first + 1].pts, forward[first].pts
        for packet in packets:
            packet.dts -= round(1 / packet.time_base)  # none may be later than its pts

    file, settings = FORETOLD[name]
    path = remuxed(write_video(tmp_path / file, moving(60), **settings), tmp_path / "swapped.mkv", swap)
    all_frames = decoded_whole(path)
    assert [time for time, _ in all_frames] != sorted(time for time, _ in all_frames)
    for fps in rates:
        assert_as_decoded_whole(path, all_frames, fps)


def test_repeated_timestamps_are_decoded_whole(tmp_path):
    def repeat(packets):
        packets[10].pts = packets[11].pts

    path = write_video(tmp_path / "a.mkv", moving(30), codec="mjpeg", pixel_format="yuvj420p")
    path = remuxed(path, tmp_path / "repeated.mkv", repeat)
    assert_as_decoded_whole(path, decoded_whole(path), 1)


def test_leading_pictures_that_a_start_lacks_do_not_count(tmp_path):
    def cut(packets):
        return packets[[index for index, packet in enumerate(packets) if packet.is_keyframe][1] :]

    _, settings = FORETOLD["x265 open groups"]
    path = remuxed(write_video(tmp_path / "a.mkv", moving(60), **settings), tmp_path / "cut.mkv", cut)
    all_frames = decoded_whole(path)
    assert len(all_frames) < len(surveyed_times(path))
    assert_as_decoded_whole(path, all_frames, 2)


def test_leading_pictures_after_a_broken_link_do_not_count(tmp_path):
    file, settings = FORETOLD["x265 open groups"]
    path = write_video(tmp_path / file, moving(60), **settings)
    content = bytearray(path.read_bytes())
    with av.open(str(path)) as container:
        position = [packet.pos for packet in container.demux(video=0) if packet.is_keyframe][2]
    while content[position + 4] != 21 << 1:  # on to the NAL unit of the clean random access picture
        position += 4 + int.from_bytes(content[position : position + 4])
    content[position + 4] = 16 << 1  # a broken link, with leading pictures that cannot be decoded
    path.write_bytes(content)
    all_frames = decoded_whole(path)
    assert len(all_frames) < 60
    assert_as_decoded_whole(path, all_frames, 2)


def surveyed_times(path):
    with av.open(str(path)) as container:
        return [packet.pts for packet in container.demux(video=0) if packet.size]


@pytest.mark.parametrize("name", ["av1", "mpeg4 B", "vp9", "x264"])
def test_false_key_frame_marks_mislead_nobody(tmp_path, name):
    def mark(packets):
        for packet in packets[::7]:
            packet.is_keyframe = True

    file, settings = FORETOLD[name]
    path = remuxed(write_video(tmp_path / file, moving(60), **settings), tmp_path / "marked.mkv", mark)
    for fps in (0.5, 1, 2):
        assert_as_decoded_whole(path, decoded_whole(path), fps)


def test_open_groups_without_trailing_pictures_are_no_entries(tmp_path):
    file, settings = FORETOLD["x265 open tiny groups"]
    path = write_video(tmp_path / file, moving(41), **settings)
    with av.open(str(path)) as container:
        assert sum(packet.is_keyframe for packet in container.demux(video=0)) > 5
    assert [index for index, packet in enumerate(surveyed(path).packets) if packet.is_entry] == [0]


@pytest.mark.parametrize("cut", [0.7, 1.2, 2.5])
def test_frames_before_an_edit_list_do_not_count(tmp_path, monkeypatch, cut):
    def shift(packets):
        for packet in packets:
            ticks = round(cut / packet.time_base)
            packet.pts, packet.dts = packet.pts - ticks, packet.dts - ticks

    whole = write_video(tmp_path / "whole.mp4", moving(60), **x264("keyint=20:bframes=3"))
    path = remuxed(whole, tmp_path / "cut.mp4", shift)
    all_frames = decoded_whole(path)
    assert len(all_frames) == 60 - 10 * cut
    forbid_decoding_all(monkeypatch)
    for fps in (1, 2, 100):
        assert_as_decoded_whole(path, all_frames, fps)


def test_real_videos_are_read_as_when_decoded_whole(shared, monkeypatch):
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


def test_when_decoding_surprises_all_is_decoded_and_nothing_given_twice(tmp_path, monkeypatch):
    path = write_video(tmp_path / "a.mp4", moving(60))
    decode_runs = frames._decode_runs

    def surprising(*arguments):
        for number, frame in enumerate(decode_runs(*arguments)):
            if number == 25:
                raise av.InvalidDataError(1, "as if damaged")
            yield frame

    monkeypatch.setattr(frames, "_decode_runs", surprising)
    assert_as_decoded_whole(path, decoded_whole(path), 1)


def test_damage_shows_where_it_is_decoded(tmp_path):
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
