"""Still images as RGB arrays."""

import warnings
from contextlib import suppress
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image

from deepfake_ms.preprocessing.media import UnreadableMedia, check_file

_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""EXIF orientation -> how to turn the image upright."""


def read_image(path: Path) -> np.ndarray:
    """A still image as upright RGB, uint8 [H, W, 3].

    EXIF orientation is applied; all other metadata, which may be damaged, is ignored. Grey is repeated in all channels,
    16-bit grey is scaled by 1/257, alpha is dropped. An animation gives its first frame. The format is determined by
    the content, not by the suffix. CMYK is converted without its colour profile, and profiles of RGB images are
    ignored.

    Raises:
        UnreadableMedia: the file is empty, not an image, truncated, of a depth with unknown range (32-bit and floating
            point grey), or has more pixels than PIL considers safe (twice ``PIL.Image.MAX_IMAGE_PIXELS``).
    """
    check_file(path)
    try:
        # PIL warns about harmless irregularities and large images, which the user of a corpus cannot change.
        with warnings.catch_warnings(action="ignore"), Image.open(path) as image:
            return _as_rgb(_upright(image), image.format)
    except Image.UnidentifiedImageError as error:
        raise UnreadableMedia("not an image") from error
    except Image.DecompressionBombError as error:
        raise UnreadableMedia(f"too large: {str(error).partition(',')[0]}") from error
    except UnreadableMedia:
        raise
    except Exception as error:  # PIL's plugins raise errors of many kinds for damaged files
        raise UnreadableMedia(f"damaged: {error or type(error).__name__}") from error


def _upright(image: Image.Image) -> Image.Image:
    image.load()  # before the EXIF data, which some formats have behind the pixels
    turn = None
    with suppress(Exception):  # damaged metadata must not cost a good image
        turn = _UPRIGHT.get(image.getexif().get(ExifTags.Base.Orientation))
    return image if turn is None else image.transpose(turn)


def _as_rgb(image: Image.Image, file_format: str | None) -> np.ndarray:
    if image.mode.startswith("I;16") or (image.mode == "I" and file_format == "PPM"):
        grey = np.rint(np.asarray(image) / 257).astype(np.uint8)  # PIL's own conversion would clip at 255
        return np.repeat(grey[..., None], 3, axis=2)
    if image.mode in ("I", "F"):
        raise UnreadableMedia(f"grey of {'32 bits' if image.mode == 'I' else 'floating point'}, whose range is unknown")
    return np.asarray(image.convert("RGB"))
