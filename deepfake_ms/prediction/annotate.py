"""A copy of a video with a box around every face and its P(fake)."""

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.video.reformatter import VideoReformatter

from deepfake_ms.errors import UserError
from deepfake_ms.files import replacing
from deepfake_ms.prediction.drawing import draw_boxes, rgb_of
from deepfake_ms.prediction.files import VideoPrediction
from deepfake_ms.prediction.table import in_order
from deepfake_ms.prediction.timeline import colour_of
from deepfake_ms.prediction.verdict import Track
from deepfake_ms.preprocessing.frames import decode_all, upright
from deepfake_ms.preprocessing.media import UnreadableMedia
from deepfake_ms.preprocessing.video_file import open_video

CODEC, QUALITY = "libx264", {"crf": "20", "preset": "veryfast"}
_TIME_BASE = Fraction(1, 90_000)


def annotate_video(path: Path, prediction: VideoPrediction) -> None:
    """Write the copy as H.264 in MP4, without sound.

    Between two sampled frames, boxes move evenly; the number is that of the last sampled frame. Half a sampling step
    after its last face a box disappears, because nothing is known about where the face goes. If only the first frames
    of the video were read, the copy ends with them.

    Args:
        path: of the copy.
        prediction: of a video that can be read.

    Raises:
        UserError: the video cannot be decoded.
    """
    boxes = MovingBoxes(prediction)
    last = prediction.frames[-1][0] if prediction.notes else None
    try:
        with replacing(path) as part, av.open(str(part), "w", format="mp4") as output:
            encoder = None
            for index, time_s, image in _decode(prediction.path):
                if last is not None and index > last:
                    break
                drawn = draw_boxes(image, boxes.at(index))
                drawn = drawn[: len(drawn) // 2 * 2, : drawn.shape[1] // 2 * 2]  # the codec needs even sides
                encoder = encoder or _add_stream(output, drawn)
                frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(drawn), format="rgb24")
                frame.pts, frame.time_base = round(time_s / _TIME_BASE), _TIME_BASE
                output.mux(encoder.encode(frame))
            if encoder is not None:
                output.mux(encoder.encode(None))
    except (UnreadableMedia, av.FFmpegError) as error:
        raise UserError(f"{prediction.path} cannot be annotated ({error}): leave out --video.") from error


def _decode(path: Path) -> Iterator[tuple[int, float, np.ndarray]]:
    """Position, time in seconds after the first frame, and upright RGB of every frame."""
    with open_video(path) as (container, stream):
        to_rgb, first = VideoReformatter(), None
        for index, frame in decode_all(container, stream, lambda index, pts: True, is_complete=True):
            first = frame.pts if first is None else first
            yield index, float((frame.pts - first) * stream.time_base), upright(frame, stream, to_rgb)


def _add_stream(output: av.container.OutputContainer, image: np.ndarray) -> av.VideoStream:
    stream = output.add_stream(CODEC, options=QUALITY)
    stream.height, stream.width = image.shape[:2]
    stream.pix_fmt = "yuv420p"
    stream.codec_context.time_base = _TIME_BASE
    return stream


class MovingBoxes:
    """Where the faces are in every frame, by linear interpolation between the sampled ones."""

    def __init__(self, prediction: VideoPrediction) -> None:
        self._tracks = in_order(prediction)
        indices = [index for index, _ in prediction.frames]
        self._gap = int(np.median(np.diff(indices))) if len(indices) > 1 else 0

    def at(self, index: int) -> list[tuple[np.ndarray, str, tuple[int, int, int]]]:
        """Box, label and colour of each face in the frame at a position."""
        return [
            (*shown, rgb_of(colour_of(position)))
            for position, track in enumerate(self._tracks)
            if (shown := self._of(track, index)) is not None
        ]

    def _of(self, track: Track, index: int) -> tuple[np.ndarray, str] | None:
        frames = np.array([face.frame for face in track.faces])
        if not frames[0] <= index <= frames[-1] + self._gap // 2:
            return None
        before = int(np.searchsorted(frames, index, side="right")) - 1
        boxes = np.stack([face.face.box for face in track.faces])
        box = np.array([np.interp(index, frames, side) for side in boxes.T])
        return box, f"{track.number}: P(fake) {track.faces[before].probability:.2f}"
