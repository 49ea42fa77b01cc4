"""A report on one file: decision, timeline, faces with boxes, attribution; a single HTML file without a network."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from deepfake_ms.errors import UserError
from deepfake_ms.evaluation.protocol_card import titled
from deepfake_ms.explanation.attribution import attribute
from deepfake_ms.explanation.page import inline_image
from deepfake_ms.explanation.panels import overlay, tile
from deepfake_ms.explanation.views import IMAGE, View, views_of
from deepfake_ms.files import write_atomically
from deepfake_ms.labels import FAKE
from deepfake_ms.prediction.detector import TrainedDetector, normalise
from deepfake_ms.prediction.drawing import draw_boxes, reduced, rgb_of
from deepfake_ms.prediction.files import VideoPrediction, frames_of
from deepfake_ms.prediction.record import shown
from deepfake_ms.prediction.table import decision_of, describe, in_order
from deepfake_ms.prediction.timeline import colour_of, draw_timeline
from deepfake_ms.prediction.verdict import CONFIDENCE, Limits, ScoredFace, Track, calibrated_thresholds
from deepfake_ms.preprocessing.crops import crop_face
from deepfake_ms.preprocessing.frames import Frame
from deepfake_ms.preprocessing.media import UnreadableMedia

MOST_TRACKS, FACES_PER_TRACK, MOST_FRAMES = 5, 6, 6
"""What the report shows pictures of; its timeline shows every face."""
FRAME_SIZE = 640
"""Longer side of a frame's picture in pixels."""
ENLARGED = 1.8
"""Labels in these pictures, which are shown at half their size beside each other."""


@dataclass
class _Pictures:
    """What is cut out of the frames while they are read again.

    Attributes:
        frames: caption and picture of each frame.
        crops: track → its faces with their crops, uint8 [S, S, 3].
    """

    frames: list[tuple[str, np.ndarray]] = field(default_factory=list)
    crops: dict[int, list[tuple[ScoredFace, np.ndarray]]] = field(default_factory=dict)


def write_report(path: Path, prediction: VideoPrediction, detector: TrainedDetector, limits: Limits) -> None:
    """Write `report_html` to a path."""
    write_atomically(path, report_html(prediction, detector, limits).encode("utf-8", "replace"))


def report_html(prediction: VideoPrediction, detector: TrainedDetector, limits: Limits) -> str:
    """The report as one HTML file that needs no other file. The video or image is read again for its pictures.

    Args:
        prediction: of a file that can be read.
        detector: that made it.
        limits: with which it was made.

    Raises:
        UserError: the file can no longer be read.
    """
    tracks = in_order(prediction)
    pictures = _read_pictures(prediction, tracks[:MOST_TRACKS], detector, limits)
    thresholds, view = calibrated_thresholds(detector), _view(detector)
    verdict = prediction.verdict
    template = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    ).get_template("report.html.j2")
    return template.render(
        title=shown(Path(prediction.path.name)),
        synthetic=detector.synthetic,
        decision=verdict.decision,
        reason=verdict.reason,
        probability=verdict.track and describe(verdict.track.probability, verdict.track.interval),
        threshold=_number(thresholds[prediction.level]),
        confidence=f"{100 * CONFIDENCE:g}",
        prediction=prediction,
        timeline=draw_timeline(tracks, prediction.frames, _finite(thresholds["frame"])),
        tracks=[_row(track, position) for position, track in enumerate(tracks)],
        frames=[{"caption": caption, "source": inline_image(image)} for caption, image in pictures.frames],
        faces=[_faces(track, pictures.crops.get(track.number, []), detector, view) for track in tracks[:MOST_TRACKS]],
        attribution=view is not None,
        facts={
            "Detector": detector.name,
            **titled(detector.about.get("protocol_card", {})),
            "Checkpoint (sha256)": detector.about.get("checkpoint_sha256", "unknown"),
            "Trained by": detector.about.get("code", "unknown"),
        },
    )


def _read_pictures(
    prediction: VideoPrediction, tracks: Sequence[Track], detector: TrainedDetector, limits: Limits
) -> _Pictures:
    wanted = {track.number: {id(face) for face in _spread(track.faces, FACES_PER_TRACK)} for track in tracks}
    overview = {index for index, _ in _spread(prediction.frames, MOST_FRAMES)}
    found = _Pictures()
    frames = frames_of(prediction.path, prediction.media, detector.preparation, limits.max_frames)
    try:
        for frame in frames:
            here = [(position, track, face) for position, track in enumerate(tracks) for face in track.faces]
            here = [each for each in here if each[2].frame == frame.index]
            if frame.index in overview:
                found.frames.append((f"{frame.time_s:.2f} s", _with_boxes(frame, here)))
            for _, track, face in here:
                if id(face) in wanted[track.number]:
                    crop = crop_face(frame.image, face.face, detector.preparation)[0]
                    found.crops.setdefault(track.number, []).append((face, crop))
    except UnreadableMedia as error:
        raise UserError(f"{prediction.path} has changed since it was scored ({error}): score it again.") from error
    return found


def _with_boxes(frame: Frame, faces: Sequence[tuple[int, Track, ScoredFace]]) -> np.ndarray:
    image = reduced(frame.image, FRAME_SIZE)
    scale = image.shape[1] / frame.image.shape[1]
    boxes = [
        (face.face.box * scale, f"{track.number}: {face.probability:.2f}", rgb_of(colour_of(position)))
        for position, track, face in faces
    ]
    return draw_boxes(image, boxes, ENLARGED)


def _spread(items: Sequence, number: int) -> list:
    """At most `number` evenly spaced items, the first and the last among them."""
    return [items[position] for position in np.unique(np.linspace(0, len(items) - 1, number, dtype=int)) if len(items)]


def _view(detector: TrainedDetector) -> View | None:
    """The detector's view of the image; None if it has no feature map to explain."""
    try:
        return next(view for view in views_of(detector.model) if view.name.endswith(IMAGE))
    except UserError:
        return None


def _faces(
    track: Track, crops: Sequence[tuple[ScoredFace, np.ndarray]], detector: TrainedDetector, view: View | None
) -> dict:
    """The faces of a track that the report shows, with what speaks for fake in each (Grad-CAM)."""
    pixels = [crop for _, crop in crops]
    pictures = [[tile(each)] for each in pixels]
    if view is not None and pixels:
        images = normalise(detector.model, np.stack(pixels).transpose(0, 3, 1, 2))
        heat = attribute(view, images, torch.full((len(pixels),), FAKE, device=images.device), "gradcam")
        for each, shown_as, of in zip(pictures, pixels, heat, strict=True):
            small = tile(shown_as)
            each.append(overlay(small, tile(of)))
    return {
        "number": track.number,
        "pictures": [
            {
                "caption": f"{face.time_s:.2f} s: P(fake) {face.probability:.2f}",
                "sources": [inline_image(each) for each in images],
            }
            for (face, _), images in zip(crops, pictures, strict=True)
        ],
    }


def _row(track: Track, position: int) -> dict:
    return {
        "number": track.number,
        "colour": colour_of(position),
        "frames": len(track.faces),
        "time": f"{track.faces[0].time_s:.2f} to {track.faces[-1].time_s:.2f} s",
        "side": f"{track.side:.0f} px",
        "probability": describe(track.probability, track.interval),
        "decision": decision_of(track).plain,
    }


def _finite(value: float) -> float | None:
    return value if np.isfinite(value) else None


def _number(value: float) -> str:
    return f"{value:.3f}" if np.isfinite(value) else "none"
