"""H.264 compression at a constant rate factor (CRF): of single images in memory, and of whole videos."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.video.frame import PictureType

from deepfake_ms.preprocessing.completeness import check_packets
from deepfake_ms.preprocessing.frames import decode_all
from deepfake_ms.preprocessing.media import UnreadableMedia, check_file
from deepfake_ms.preprocessing.video_file import open_video

_CODEC = "libx264"


def recompress_image(image: np.ndarray, crf: float) -> np.ndarray:
    """The image as the only frame of a video (yuv420p), encoded and decoded again.

    Args:
        image: RGB uint8 [H, W, 3]. Odd sides are extended by a mirrored row or column while it is encoded.
        crf: constant rate factor, 0 (best) to 51.

    Returns:
        RGB uint8 [H, W, 3].
    """
    height, width = image.shape[:2]
    even = np.pad(image, ((0, height % 2), (0, width % 2), (0, 0)), mode="symmetric")
    encoder, decoder = av.CodecContext.create(_CODEC, "w"), av.CodecContext.create("h264", "r")
    encoder.height, encoder.width, encoder.pix_fmt = *even.shape[:2], "yuv420p"
    encoder.time_base = Fraction(1, 25)
    encoder.options = {"crf": str(crf)}
    encoder.thread_count = decoder.thread_count = 1  # the result must not depend on the number of cores
    packets = encoder.encode(av.VideoFrame.from_ndarray(even, format="rgb24")) + encoder.encode(None)
    (frame,) = [frame for packet in [*packets, None] for frame in decoder.decode(packet)]
    return frame.to_ndarray(format="rgb24")[:height, :width]


@contextmanager
def recompressed(path: Path, crf: float) -> Iterator[Path]:
    """The video `path` encoded again, in a temporary file, as ``ffmpeg -i PATH -crf CRF`` does it.

    Timestamps, rotation, pixel format (yuv420p if libx264 lacks it), pixel shape and colour description are kept; odd
    sides become a pixel shorter.

    Raises:
        UnreadableMedia: as `deepfake_ms.preprocessing.frames.read_frames`, for damage anywhere in the video.
    """
    with tempfile.TemporaryDirectory(prefix="deepfake_ms_") as folder:
        target = Path(folder) / "video.mp4"
        _recompress(path, crf, target)
        yield target


def _recompress(path: Path, crf: float, target: Path) -> None:
    check_file(path)
    with open_video(path) as (container, stream):
        is_complete = check_packets(container, stream)
    encoded = None
    with open_video(path) as (container, stream), av.open(str(target), "w") as output:
        try:
            for _, frame in decode_all(container, stream, lambda index, pts: True, is_complete):
                encoded = encoded or _add_stream(output, stream, frame, crf)
                context = encoded.codec_context
                frame = frame.reformat(context.width, context.height, context.pix_fmt)
                frame.pict_type = PictureType.NONE  # else the encoder repeats the frame types of the original
                output.mux(encoded.encode(frame))
            output.mux(encoded.encode(None))
        except av.FFmpegError as error:
            raise UnreadableMedia(f"damaged: decoding fails ({error.strerror})") from error


def _add_stream(
    output: av.container.OutputContainer, stream: av.VideoStream, first: av.VideoFrame, crf: float
) -> av.VideoStream:
    encoded = output.add_stream(_CODEC, rate=stream.average_rate or 25, options={"crf": str(crf)})
    encoded.set_display_rotation(first.rotation)
    context = encoded.codec_context
    context.thread_count = 1
    context.width, context.height = first.width - first.width % 2, first.height - first.height % 2
    known = {each.name for each in context.codec.video_formats}
    context.pix_fmt = first.format.name if first.format.name in known else "yuv420p"
    context.time_base = stream.time_base
    if stream.sample_aspect_ratio:
        context.sample_aspect_ratio = stream.sample_aspect_ratio
    for name in ("color_range", "color_primaries", "color_trc", "colorspace"):
        setattr(context, name, getattr(stream.codec_context, name))
    return encoded
