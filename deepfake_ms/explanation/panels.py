"""Pictures of attributions, as in the paper's Figure 2."""

from pathlib import Path

import cv2
import numpy as np

from deepfake_ms.files import write_atomically

TILE = 160  # pixels
TEXT_HEIGHT = 22


def overlay(pixels: np.ndarray, heat: np.ndarray) -> np.ndarray:
    """A face with an attribution map on it: dark blue 0, red 1.

    Args:
        pixels: RGB uint8 [S, S, 3].
        heat: 0..1, float [S, S].

    Returns:
        RGB uint8 [S, S, 3].
    """
    colours = cv2.cvtColor(
        cv2.applyColorMap((heat * 255).round().astype(np.uint8), cv2.COLORMAP_JET), cv2.COLOR_BGR2RGB
    )
    return (0.55 * pixels + 0.45 * colours).round().astype(np.uint8)


def tile(pixels: np.ndarray) -> np.ndarray:
    """The image in the size of the page's pictures, RGB uint8 [TILE, TILE, 3]."""
    return cv2.resize(pixels, (TILE, TILE), interpolation=cv2.INTER_AREA if len(pixels) > TILE else cv2.INTER_LINEAR)


def strip(tiles: dict[str, np.ndarray], title: str) -> np.ndarray:
    """One face as a picture: a title, and tiles side by side with their captions above them.

    Args:
        tiles: caption → RGB uint8 [TILE, TILE, 3].
        title: above them.

    Returns:
        RGB uint8 [H, W, 3].
    """
    columns = [
        np.vstack([*(_text(line, TILE, 0.36) for line in _two_lines(caption)), image])
        for caption, image in tiles.items()
    ]
    row = np.hstack(columns)
    return np.vstack([_text(title, row.shape[1], 0.42), row])


def write_image(path: Path, pixels: np.ndarray) -> None:
    """Write RGB uint8 [H, W, 3] as PNG."""
    write_atomically(path, cv2.imencode(".png", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR))[1].tobytes())


def _two_lines(caption: str) -> tuple[str, str]:
    detector, _, what = caption.rpartition(": ")
    return detector, what


def _text(text: str, width: int, scale: float) -> np.ndarray:
    """A white line of text, smaller if it would be too wide."""
    band = np.full((TEXT_HEIGHT, width, 3), 255, np.uint8)
    needed = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, 1)[0][0]
    scale *= min(1, (width - 8) / max(needed, 1))
    return cv2.putText(band, text, (4, 15), cv2.FONT_HERSHEY_SIMPLEX, scale, (0, 0, 0), 1, cv2.LINE_AA)
