"""How large, long and slow an upload may be. The page shows these values."""

import warnings
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import av
from PIL import Image

from deepfake_ms.errors import UserError
from deepfake_ms.preprocessing.media import UnreadableMedia
from deepfake_ms.preprocessing.video_file import open_video

MEGA = 1_000_000


@dataclass(frozen=True)
class Bounds:
    """What the page accepts.

    Attributes:
        megabytes: largest file.
        seconds: longest video.
        megapixels: largest image, and largest frame of a video; 8K has 33.2.
        upload_s: longest time for the upload.
        answer_s: longest time for the answer, without the time in the queue.
        visitors: files that are uploaded, queued or scored at the same time.
    """

    megabytes: float = 200
    seconds: float = 300
    megapixels: float = 34
    upload_s: float = 120
    answer_s: float = 300
    visitors: int = 8

    @property
    def bytes(self) -> int:
        """Largest file in bytes."""
        return round(self.megabytes * MEGA)

    @property
    def too_large(self) -> str:
        """The sentence for a file with too many bytes."""
        return f"The file is larger than {self.megabytes:g} MB: cut out a part."

    def sentences(self) -> list[str]:
        """The bounds for people."""
        return [
            f"At most {self.megabytes:g} MB per file, {self.seconds:g} s per video, and {self.megapixels:g} megapixels "
            "per image or frame.",
            f"At most {self.upload_s:g} s for the upload, and {self.answer_s:g} s for the answer.",
            f"One file is scored at a time; up to {self.visitors - 1} more wait in a queue, first come, first served.",
        ]


def check_media(path: Path, bounds: Bounds) -> None:
    """Check the duration and the pixels that the headers of a file state. A file without such headers passes.

    Raises:
        UserError: the video is too long, or the pictures are too large.
    """
    _check_pixels(_pixels_of_image(path), bounds)
    with suppress(UnreadableMedia), open_video(path) as (container, stream):
        _check_pixels(stream.width * stream.height, bounds)
        seconds = _seconds(container, stream)
        if seconds > bounds.seconds:
            raise UserError(f"The video lasts {seconds:.0f} s, and {bounds.seconds:g} s are accepted: cut out a part.")


def _check_pixels(pixels: int, bounds: Bounds) -> None:
    if pixels > bounds.megapixels * MEGA:
        raise UserError(
            f"The picture has {pixels / MEGA:.1f} megapixels, and {bounds.megapixels:g} are accepted: make it smaller."
        )


def _pixels_of_image(path: Path) -> int:
    """Width × height; 0 if the file is no image. Nothing is decoded."""
    with warnings.catch_warnings(action="ignore"):
        try:
            with Image.open(path) as image:
                return image.width * image.height
        except Image.DecompressionBombError as error:
            raise UserError("The picture has too many megapixels to be opened: make it smaller.") from error
        except Exception:  # PIL's plugins raise errors of many kinds; the scoring says what is wrong
            return 0


def _seconds(container: av.container.InputContainer, stream: av.VideoStream) -> float:
    durations = [container.duration and container.duration / av.time_base]
    durations += [stream.duration and float(stream.duration * stream.time_base)]
    return max((each for each in durations if each), default=0.0)
