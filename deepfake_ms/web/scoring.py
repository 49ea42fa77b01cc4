"""What the worker does: load a detector, then turn a file into a report."""

import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from deepfake_ms.errors import UserError
from deepfake_ms.evaluation.protocol_card import titled
from deepfake_ms.prediction.detector import TrainedDetector, load_detector
from deepfake_ms.prediction.files import predict_file
from deepfake_ms.prediction.record import shown
from deepfake_ms.prediction.report import report_html
from deepfake_ms.prediction.source import usable_device
from deepfake_ms.prediction.verdict import Limits
from deepfake_ms.preprocessing.faces import FaceDetector
from deepfake_ms.quiet import hush
from deepfake_ms.web.bounds import Bounds, check_media
from deepfake_ms.web.worker import FAILED

_UNFORESEEN = re.compile(r"\w*(Error|Exception)\b")
"""Begins the reason of an error that is not about the file (`reason_of`)."""
_PATH = re.compile(r"(?:[A-Za-z]:)?[\\/][^\s'\"]*[\\/][^\s'\"]*")


def load_scorer(
    source: Path, device: str, bounds: Bounds, prepared: Path | None
) -> tuple[Mapping[str, Any], Callable[[Path], str]]:
    """The facts of a detector, and the function that turns a file into a report.

    Args:
        source: folder of the detector.
        device: as torch names it, or ``auto``.
        bounds: of the files.
        prepared: folder of the run's faces, if they were moved.

    Raises:
        UserError: there is no such detector or device.
    """
    hush()
    return scorer(load_detector(source, usable_device(device), prepared), bounds)


def scorer(
    detector: TrainedDetector, bounds: Bounds, face_detector: FaceDetector | None = None
) -> tuple[Mapping[str, Any], Callable[[Path], str]]:
    """As `load_scorer`, of a loaded detector; `face_detector` as in `predict_file`."""
    fps = detector.preparation.fps
    # The duration in a file's headers can be wrong.
    limits = Limits(max_frames=None if fps is None else int(bounds.seconds * fps) + 1)

    def answer(path: Path) -> str:
        try:
            check_media(path, bounds)
            prediction = predict_file(detector, path, limits, face_detector)
            if _UNFORESEEN.match(prediction.problem or ""):
                print(f"an upload of {path.suffix or 'no suffix'}: {prediction.problem}", file=sys.stderr)
                raise UserError(FAILED)
            if prediction.problem:
                raise UserError(f"This file cannot be read: {prediction.problem}.")
            return report_html(prediction, detector, limits)
        except UserError as error:
            raise UserError(_without_paths(str(error), path)) from error

    return _facts(detector, limits), answer


def _facts(detector: TrainedDetector, limits: Limits) -> dict[str, Any]:
    smallest = detector.reference.smallest_face
    return {
        "name": detector.name,
        "synthetic": detector.synthetic,
        "card": titled(detector.about.get("protocol_card", {})),
        "abstains": [
            f"a video shows its face in fewer than {limits.min_frames} sampled frames",
            *([f"the face is smaller than {smallest:.0f} pixels"] if smallest else []),
            "the face is unlike the training data in colour or detail",
            "there is no face",
        ],
    }


def _without_paths(sentence: str, path: Path) -> str:
    """The sentence with the visitor's own file name in place of its path, and no path of this machine."""
    return _PATH.sub("…", sentence.replace(str(path), shown(Path(path.name))))
