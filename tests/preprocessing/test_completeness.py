"""Truncated videos are found before anything is decoded, whichever way the frames are then decoded."""

from fractions import Fraction

import av
import numpy as np
import pytest
from drawn import picture, sampled, shades, write_video

from deepfake_ms.preprocessing import frames
from deepfake_ms.preprocessing.frames import read_frames
from deepfake_ms.preprocessing.media import UnreadableMedia
from deepfake_ms.preprocessing.sparse_decoding import CannotDecodeSparsely


@pytest.fixture(autouse=True, params=["sparse", "plain"])
def decoding(request, monkeypatch):
    """Every test runs with sparse decoding and with plain decoding only."""
    if request.param == "plain":

        def refuse(*_):
            raise CannotDecodeSparsely

        monkeypatch.setattr(frames, "decode_sparsely", refuse)


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
    times = [0, 0.1, 0.2, 0.5, 0.6, 0.7, 1.1, 1.2]  # FFmpeg fills the gaps with empty chunks that count as frames
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
