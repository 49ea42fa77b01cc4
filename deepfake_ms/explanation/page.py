"""The page of an explanation: tables of region shares or reliance, and faces with their attributions, in one file."""

import base64
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from deepfake_ms.files import write_atomically
from deepfake_ms.labels import CLASS_NAMES


@dataclass(frozen=True)
class TextTable:
    """A table of texts; the first column names the row."""

    title: str
    header: Sequence[str]
    rows: Iterable[Sequence[str]]


@dataclass(frozen=True)
class FacePictures:
    """A face of the page.

    Attributes:
        name: its sample id.
        label: 0 real, 1 fake.
        probabilities: name of a detector → its P(fake).
        tiles: caption → RGB uint8 [H, W, 3].
    """

    name: str
    label: int
    probabilities: Mapping[str, float]
    tiles: Mapping[str, np.ndarray]

    def verdicts(self) -> list[dict]:
        """Per detector: its P(fake), and whether it is wrong at .5."""
        return [
            {"text": f"{name}: P(fake) {value:.2f}", "wrong": (value > 0.5) != bool(self.label)}
            for name, value in self.probabilities.items()
        ]

    def pictures(self) -> list[dict]:
        """The tiles as inline JPEG files with a description each."""
        about = f"{CLASS_NAMES[self.label]} face {self.name}"
        return [
            {"source": inline_image(pixels), "caption": f"{about}: {caption}"} for caption, pixels in self.tiles.items()
        ]


def write_page(
    path: Path,
    title: str,
    synthetic: bool,
    sentences: Sequence[str],
    tables: Sequence[TextTable],
    faces: Sequence[FacePictures] = (),
    figure: str | None = None,
) -> None:
    """Write the page.

    Args:
        path: of the HTML file, which needs no other file.
        title: heading.
        synthetic: whether the faces are drawn.
        sentences: paragraphs: protocol and how to read the page.
        tables: before the faces.
        faces: all with the same captions.
        figure: an SVG element, before the tables.
    """
    folder = Path(__file__).parent
    template = Environment(
        loader=FileSystemLoader(folder), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    ).get_template("page.html.j2")
    shown = [
        {"name": f.name, "label": CLASS_NAMES[f.label], "verdicts": f.verdicts(), "pictures": f.pictures()}
        for f in faces
    ]
    columns = list(faces[0].tiles) if faces else []
    html = template.render(
        title=title,
        synthetic=synthetic,
        sentences=sentences,
        tables=tables,
        faces=shown,
        columns=columns,
        figure=figure,
    )
    write_atomically(path, html)


def inline_image(pixels: np.ndarray) -> str:
    """RGB uint8 [H, W, 3] as the address of an image in an HTML file."""
    encoded = cv2.imencode(".jpg", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 88])[1]
    return f"data:image/jpeg;base64,{base64.b64encode(encoded.tobytes()).decode()}"
