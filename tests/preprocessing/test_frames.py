"""Sampling by time, conversion to RGB, and the reasons given for unreadable files."""

import os
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.stream import Disposition
from av.video.reformatter import ColorRange
from drawn import picture, sampled, shades, write_sound, write_video
from PIL import Image

from deepfake_ms.preprocessing.frames import read_frames
from deepfake_ms.preprocessing.media import UnreadableMedia

HTML = b"<!DOCTYPE html><html><body>404: video not found</body></html>" * 40


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".avi", ".mov"])
def test_a_constant_rate_is_sampled_evenly(tmp_path, suffix):
    path = write_video(tmp_path / f"clip{suffix}", shades(31))
    assert sampled(path, 1) == [(0, 0), (10, 1), (20, 2), (30, 3)]
    assert sampled(path, 2) == [(0, 0), (5, 0.5), (10, 1), (15, 1.5), (20, 2), (25, 2.5), (30, 3)]
    frames = list(read_frames(path, 1))
    assert [frame.image.shape for frame in frames] == [(64, 96, 3)] * 4
    assert np.allclose([frame.image.mean() for frame in frames], [20, 60, 100, 140], atol=6)


def test_a_rate_above_the_videos_gives_each_frame_once(tmp_path):
    assert [index for index, _ in sampled(write_video(tmp_path / "a.mp4", shades(5)), 100)] == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(("suffix", "fps"), [(".mp4", 10), (".mkv", 10), (".avi", 10), (".mpg", 25), (".gif", 10)])
def test_evenly_spaced_frames_reach_from_the_first_to_the_last(tmp_path, suffix, fps):
    path = tmp_path / f"clip{suffix}"
    if suffix == ".gif":
        pictures = [Image.fromarray(image) for image in shades(31)]
        pictures[0].save(path, save_all=True, append_images=pictures[1:], duration=100)
    else:
        write_video(path, shades(31), fps=fps, codec="mpeg1video" if suffix == ".mpg" else "mpeg4")
    for number in (1, 2, 4, 7, 30, 31, 32, 100):
        positions = sorted(set(np.linspace(0, 30, number, endpoint=True, dtype=int).tolist()))
        assert sampled(path, frames=number) == [(index, round(index / fps, 3)) for index in positions]


def test_evenly_spaced_frames_are_counted_not_timed(tmp_path):
    times = [0, 0.1, 0.2, 0.3, 0.4, 5, 9]
    path = write_video(tmp_path / "a.mkv", shades(len(times)), times)
    assert sampled(path, frames=4) == [(0, 0), (2, 0.2), (4, 0.4), (6, 9)]


@pytest.mark.parametrize("suffix", [".mp4", ".mpg"])
def test_at_most_so_many_samples_are_taken_from_the_start(tmp_path, suffix):
    path = write_video(tmp_path / f"a{suffix}", shades(51), fps=25, codec="mpeg4" if suffix == ".mp4" else "mpeg1video")
    assert [index for index, _ in sampled(path, 5, max_frames=3)] == [0, 5, 10]
    assert [index for index, _ in sampled(path, frames=6, max_frames=3)] == [0, 10, 20]
    assert sampled(path, 5, max_frames=100) == sampled(path, 5)


def test_a_variable_rate_is_sampled_by_time(tmp_path):
    times = [0, 0.1, 0.2, 0.9, 1.05, 1.1, 1.99, 2.0, 4.3, 4.4, 4.9, 5.0]
    path = write_video(tmp_path / "a.mkv", shades(len(times)), times)
    # The first frame at or after 3 s is at 4.3 s, which is also the first at or after 4 s.
    assert sampled(path, 1) == [(0, 0), (4, 1.05), (7, 2.0), (8, 4.3), (11, 5.0)]


def test_time_counts_from_the_first_frame(tmp_path):
    path = write_video(tmp_path / "a.mkv", shades(4), [7.5, 8.0, 8.5, 9.0])
    assert sampled(path, 1) == [(0, 0), (2, 1)]


@pytest.mark.parametrize(("rotation", "quarter_turns"), [(90, 1), (-90, -1), (180, 2)])
def test_rotation_metadata_is_applied(tmp_path, rotation, quarter_turns):
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

    levels = np.array([0, 16, 64, 128, 192, 235, 255], np.uint8)
    image = np.broadcast_to(levels.repeat(16)[None, :, None], (64, 112, 3)).copy()
    path = write_video(tmp_path / "a.mkv", [image] * 2, codec=codec, pixel_format=pixel_format, set_stream=set_range)
    (frame,) = read_frames(path, 1)
    assert np.allclose(frame.image[32, 8::16, 0], levels, atol=3)


def test_a_cover_picture_is_not_a_video(tmp_path):
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


def test_folders_and_missing_or_forbidden_files_are_unreadable(tmp_path):
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
def test_files_that_are_not_videos_are_unreadable(tmp_path, content, reason):
    path = tmp_path / "a.mp4"
    path.write_bytes(content)
    with pytest.raises(UnreadableMedia, match=reason):
        list(read_frames(path, 1))


def test_an_audio_file_is_not_a_video(tmp_path):
    with pytest.raises(UnreadableMedia, match="no video stream"):
        list(read_frames(write_sound(tmp_path / "a.mp4"), 1))


@pytest.mark.parametrize(
    ("suffix", "codec"),
    [
        *((".m4v", "mpeg4"), (".wmv", "wmv2"), (".mpg", "mpeg1video"), (".mpeg", "mpeg1video"), (".flv", "flv")),
        *((".ts", "mpeg2video"), (".3gp", "mpeg4"), (".asf", "wmv2"), (".vob", "mpeg2video"), (".m2ts", "mpeg2video")),
    ],
)
def test_common_containers_are_read(tmp_path, suffix, codec):
    path = write_video(tmp_path / f"a{suffix}", shades(26), fps=25, codec=codec)
    assert [index for index, _ in sampled(path, 5)] == [0, 5, 10, 15, 20, 25]


@pytest.mark.parametrize("frames", [1, 12])
def test_a_gif_is_a_video_even_if_it_is_a_still(tmp_path, frames):
    pictures = [Image.fromarray(image) for image in shades(frames)]
    pictures[0].save(tmp_path / "a.gif", save_all=True, append_images=pictures[1:], duration=100)
    assert sampled(tmp_path / "a.gif", 5) == [(2 * i, round(0.2 * i, 3)) for i in range((frames + 1) // 2)]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("list.mp4", b"ffconcat version 1.0\nfile other.mp4\n"),
        ("playlist.mp4", b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nother.ts\n#EXT-X-ENDLIST\n"),
        ("notes.txt", b"text that FFmpeg would draw\n" * 50),
    ],
)
def test_files_that_lead_elsewhere_are_no_videos(tmp_path, name, content):
    write_video(tmp_path / "other.mp4", shades(5))
    write_video(tmp_path / "other.ts", shades(5), fps=25, codec="mpeg2video")
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UnreadableMedia, match="not a video"):
        list(read_frames(tmp_path / name, 1))


def test_a_colon_in_a_relative_path_is_no_protocol(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_video(tmp_path / "12:30.mp4", shades(5))
    assert len(list(read_frames(Path("12:30.mp4"), 100))) == 5


def test_videos_without_a_decoder_are_named(tmp_path):
    (tmp_path / "a.mp4").write_bytes(b"<svg xmlns='http://www.w3.org/2000/svg'/>")
    with pytest.raises(UnreadableMedia, match="not a video"):
        list(read_frames(tmp_path / "a.mp4", 1))


def test_pipes_are_not_opened(tmp_path):
    os.mkfifo(tmp_path / "a.mp4")
    with pytest.raises(UnreadableMedia, match="not a regular file"):
        list(read_frames(tmp_path / "a.mp4", 1))
