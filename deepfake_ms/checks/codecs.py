"""The video codecs of PyAV's FFmpeg, each tried on a few frames."""

import os
from collections.abc import Iterator
from fractions import Fraction
from io import BytesIO

from deepfake_ms.checks.finding import FAILED, OK, WARNING, Finding

TRIED = {"H.264": ("h264", "libx264"), "HEVC": ("hevc", "libx265"), "VP9": ("vp9", "libvpx-vp9")} | {
    "AV1": ("libdav1d", "libsvtav1")
}
"""Format -> its decoder and encoder in FFmpeg. FFmpeg's own AV1 decoder works with a GPU only."""

_REINSTALL = "pip install --force-reinstall av (the wheels on PyPI contain a suitable FFmpeg)"
_GREYS = (40, 120, 200)


def check_codecs() -> Iterator[Finding]:
    """Encode and decode three grey frames per format.

    H.264 must work in both directions: all corpora are decoded from it, drawn corpora and perturbations are encoded.
    The others occur in videos from phones and from the web.
    """
    import av

    os.environ.setdefault("SVT_LOG", "0")  # the AV1 encoder prints its settings
    working, problems = [], []
    for title, (decoder, encoder) in TRIED.items():
        if reason := _try(decoder, encoder):
            essential = title == "H.264"
            remedy = _REINSTALL if essential else f"{_REINSTALL}; until then, {title} videos are reported as unreadable"
            problems.append(Finding(title, FAILED if essential else WARNING, reason, remedy))
        else:
            working.append(title)
    yield Finding("codecs", OK, f"PyAV {av.__version__}, FFmpeg {av.ffmpeg_version_info}: {', '.join(working)}")
    yield from problems


def _try(decoder: str, encoder: str) -> str | None:
    """Why the format does not work; None if it works.

    Without the encoder there is nothing to decode, and only the decoder's presence is checked; H.264 needs both.
    """
    import av

    for name, mode in ((decoder, "r"), (encoder, "w")):
        try:
            av.Codec(name, mode)
        except (av.FFmpegError, ValueError):
            if mode == "r" or encoder == "libx264":
                return f"this FFmpeg has no {'decoder' if mode == 'r' else 'encoder'} {name}"
            return None
    try:
        greys = list(_round_trip(encoder))
    except av.FFmpegError as error:
        return f"encoding and decoding fails ({error.strerror})"
    if len(greys) != len(_GREYS) or any(abs(got - sent) > 8 for got, sent in zip(greys, _GREYS, strict=True)):
        return f"frames with grey values {_GREYS} are decoded as {[round(grey) for grey in greys]}"
    return None


def _round_trip(encoder: str) -> Iterator[float]:
    """The mean grey value of each decoded frame."""
    import av
    import numpy as np

    encoded = BytesIO()
    with av.open(encoded, "w", format="matroska") as container:
        # One thread: with several, x265 rarely gives timestamps that no container takes.
        options = {"x265-params": "pools=none:frame-threads=1:bframes=0:log-level=none"} if encoder == "libx265" else {}
        stream = container.add_stream(encoder, rate=Fraction(25), options=options)
        stream.width = stream.height = 128
        stream.pix_fmt = "yuv420p"
        for grey in _GREYS:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.full((128, 128, 3), grey, np.uint8), "rgb24")))
        container.mux(stream.encode())
    encoded.seek(0)
    with av.open(encoded) as container:
        for frame in container.decode(video=0):
            yield float(frame.to_ndarray(format="rgb24").mean())
