"""Sampling by time, and a reason for every file that cannot be read."""

import av
import numpy as np
import pytest
from drawn import picture, write_video
from PIL import Image

from deepfake_ms.preprocessing.frames import UnreadableMedia, read_frames, read_image

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


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "P", "CMYK"])
def test_every_kind_of_image_becomes_rgb(tmp_path, mode):
    path = tmp_path / ("a.jpg" if mode == "CMYK" else "a.png")
    Image.new("RGB", (30, 20), (153, 153, 153)).convert(mode).save(path)
    image = read_image(path)
    assert image.shape == (20, 30, 3)
    assert image.dtype == np.uint8
    assert np.allclose(image, 153, atol=4)


def test_exif_orientation_is_applied(tmp_path):
    upright = picture((20, 20, 24))
    exif = Image.Exif()
    exif[0x0112] = 6  # shown turned a quarter clockwise
    Image.fromarray(np.rot90(upright)).save(tmp_path / "a.png", exif=exif)
    assert (read_image(tmp_path / "a.png") == upright).all()


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".bmp"])
def test_unreadable_images_give_their_reason(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    Image.fromarray(noise).save(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(UnreadableMedia, match=r"damaged|not an image"):
        read_image(path)
    path.write_bytes(b"")
    with pytest.raises(UnreadableMedia, match="zero bytes"):
        read_image(path)
    path.write_bytes(HTML)
    with pytest.raises(UnreadableMedia, match="not an image"):
        read_image(path)
