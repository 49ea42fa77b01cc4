"""Still images as RGB arrays."""

import struct
import warnings
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from deepfake_ms.preprocessing.media import UnreadableMedia, check_file

_WORDS_FOR_DAMAGE = (OSError, SyntaxError, ValueError, EOFError, struct.error)
"""What PIL's plugins raise for a file that begins well and goes on badly."""


def read_image(path: Path) -> np.ndarray:
    """A still image as upright RGB, uint8 [H, W, 3].

    EXIF orientation is applied, grey repeated, 16-bit grey scaled by 1/257, alpha dropped. Of an animation it is the
    first frame. The content decides the format, not the suffix. CMYK is converted without its colour profile, and
    profiles of RGB images are ignored.

    Raises:
        UnreadableMedia: the file is empty, no image, truncated, of a depth whose range is unknown (32-bit and floating
            point grey), or has more pixels than PIL takes for safe (twice ``PIL.Image.MAX_IMAGE_PIXELS``).
    """
    check_file(path)
    try:
        # PIL warns of harmless oddities and of large images, which no user of a corpus can do anything about.
        with warnings.catch_warnings(action="ignore"), Image.open(path) as image:
            return _as_rgb(ImageOps.exif_transpose(image), image.format)
    except Image.UnidentifiedImageError as error:
        raise UnreadableMedia("not an image") from error
    except Image.DecompressionBombError as error:
        raise UnreadableMedia(f"too large: {str(error).partition(',')[0]}") from error
    except _WORDS_FOR_DAMAGE as error:
        raise UnreadableMedia(f"damaged: {error}") from error


def _as_rgb(image: Image.Image, file_format: str | None) -> np.ndarray:
    if image.mode.startswith("I;16") or (image.mode == "I" and file_format == "PPM"):
        grey = np.rint(np.asarray(image) / 257).astype(np.uint8)  # PIL's own conversion would cut at 255
        return np.repeat(grey[..., None], 3, axis=2)
    if image.mode in ("I", "F"):
        raise UnreadableMedia(f"grey of {'32 bits' if image.mode == 'I' else 'floating point'}, whose range is unknown")
    return np.asarray(image.convert("RGB"))
