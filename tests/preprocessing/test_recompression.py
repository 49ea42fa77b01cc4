"""H.264 compression of single images and of whole videos."""

from fractions import Fraction

import av
import numpy as np
import pytest
from drawn import picture, sampled, shades, write_video

from deepfake_ms.preprocessing.frames import read_frames
from deepfake_ms.preprocessing.media import UnreadableMedia
from deepfake_ms.preprocessing.recompression import recompress_image, recompressed


def noisy(count: int, height: int = 96, width: int = 128) -> list[np.ndarray]:
    random = np.random.default_rng(0)
    return [random.integers(60, 200, (height, width, 3), dtype=np.uint8) for _ in range(count)]


@pytest.mark.parametrize("size", [(64, 64), (63, 64), (64, 61), (33, 35)])
def test_an_image_keeps_its_size_and_its_content(size):
    image = picture((20, 20, 24), height=size[0], width=size[1])
    found = recompress_image(image, 10)
    assert found.shape == image.shape
    assert np.abs(found.astype(int) - image).mean() < 3
    assert np.array_equal(recompress_image(image, 10), found)


def test_a_video_keeps_frames_and_times_and_loses_detail(tmp_path):
    path = write_video(tmp_path / "a.mp4", noisy(21))
    errors = []
    for crf in (20, 30, 40):
        with recompressed(path, crf) as compressed:
            assert sampled(compressed, 5) == sampled(path, 5)
            pairs = zip(read_frames(path, 5), read_frames(compressed, 5), strict=True)
            errors.append(np.mean([np.abs(one.image.astype(int) - other.image).mean() for one, other in pairs]))
        assert not compressed.exists()
    assert 0 < errors[0] < errors[1] < errors[2]


@pytest.mark.parametrize("suffix", [".mkv", ".avi", ".webm"])
def test_any_container_is_read(tmp_path, suffix):
    codec = "libvpx-vp9" if suffix == ".webm" else "mpeg4"
    path = write_video(tmp_path / f"a{suffix}", shades(12), codec=codec)
    with recompressed(path, 20) as compressed:
        assert sampled(compressed, 5) == sampled(path, 5)
        for one, other in zip(read_frames(path, 5), read_frames(compressed, 5), strict=True):
            assert np.abs(one.image.astype(int) - other.image).max() <= 3


def test_a_variable_rate_is_kept(tmp_path):
    times = [0, 0.1, 0.2, 0.9, 1.05, 1.1, 1.99, 2.0, 4.3, 4.4]
    path = write_video(tmp_path / "a.mkv", shades(len(times)), times)
    with recompressed(path, 20) as compressed:
        assert sampled(compressed, 1) == sampled(path, 1)


@pytest.mark.parametrize("rotation", [90, -90, 180])
def test_rotation_is_kept(tmp_path, rotation):
    path = write_video(tmp_path / "a.mp4", [picture((20, 20, 24))] * 3, rotation=rotation)
    with recompressed(path, 10) as compressed:
        (before,), (after,) = read_frames(path, 1), read_frames(compressed, 1)
    assert np.abs(before.image.astype(int) - after.image).mean() < 4


@pytest.mark.parametrize(
    ("codec", "pixel_format", "size", "pixels"),
    [
        ("libx264", "yuv420p10le", (64, 96), None),
        ("libx264", "yuvj420p", (64, 96), None),
        ("libx264", "yuv444p", (61, 97), None),
        ("ffv1", "yuv444p16le", (64, 96), None),
        ("mpeg4", "yuv420p", (96, 128), Fraction(16, 11)),
    ],
)
def test_pixels_keep_shape_and_colours(tmp_path, codec, pixel_format, size, pixels):
    def set_shape(stream):
        stream.codec_context.sample_aspect_ratio = pixels or Fraction(1)

    image = picture((40, 40, 40), height=size[0], width=size[1])
    path = write_video(tmp_path / "a.mkv", [image] * 3, codec=codec, pixel_format=pixel_format, set_stream=set_shape)
    with recompressed(path, 10) as compressed:
        (before,), (after,) = read_frames(path, 1), read_frames(compressed, 1)
    height, width = (side - side % 2 for side in before.image.shape[:2])
    assert after.image.shape == (height, width, 3)
    assert np.abs(before.image[:height, :width].astype(int) - after.image).mean() < 4


def test_the_frame_types_are_the_encoders_own(tmp_path):
    """A decoded frame carries its type, which would force the encoder."""
    every_frame_intra = write_video(tmp_path / "a.mp4", shades(12), codec="libx264", codec_options={"g": "1"})
    with recompressed(every_frame_intra, 30) as compressed, av.open(str(compressed)) as container:
        assert sum(packet.is_keyframe for packet in container.demux(video=0) if packet.size) == 1


def test_truncated_and_damaged_videos_are_unreadable(tmp_path):
    path = write_video(tmp_path / "a.avi", noisy(21))
    content = path.read_bytes()
    for damaged in (b"", content[:40], content[: len(content) // 2]):
        path.write_bytes(damaged)
        with pytest.raises(UnreadableMedia), recompressed(path, 30):
            pass
