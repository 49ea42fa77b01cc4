"""A prediction as one line of JSON. `FIELDS` documents the lines."""

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from deepfake_ms.prediction.detector import TrainedDetector
from deepfake_ms.prediction.files import VideoPrediction
from deepfake_ms.prediction.verdict import CONFIDENCE, ScoredFace, Track, calibrated_thresholds

FIELDS = {
    "file": "path as given; bytes that are not UTF-8 are written as \\udcXX",
    "media": "video or image",
    "status": "scored, abstained or unreadable",
    "reason": "why the file is not scored; null if it is",
    "decision": "fake or real; null if the file is not scored or the detector has no threshold",
    "fake_probability": "calibrated P(fake) of the deciding track; null without a face",
    "interval": f"{100 * CONFIDENCE:g} % interval of fake_probability by bootstrap over the frames of the track; null "
    "for one frame",
    "threshold": "the validation threshold on the same scale",
    "track": "number of the deciding track",
    "subject_fake_probability": "mean uncalibrated P(fake) over the face that the preparation chooses in each frame, "
    "which is the score of `deepfake-ms evaluate`",
    "width, height": "of the frames in pixels",
    "frames": "each sampled frame: frame (position in the video), time_s, faces (number)",
    "tracks": "each face over time: track, reason, decision, fake_probability, interval, uncalibrated, distance (mean) "
    "and faces: frame, time_s, box (left, top, right, bottom in pixels), detection_probability, fake_probability "
    "(calibrated per frame), decision, uncalibrated, distance (from the training faces)",
    "notes": "sentences about what was not read",
    "synthetic": "whether the detector was trained on drawn faces",
    "detector": "name, thresholds, temperatures and what every number depends on",
}


def as_record(prediction: VideoPrediction, detector: TrainedDetector) -> dict[str, Any]:
    """The prediction in plain values, as `FIELDS` documents them."""
    verdict, track = prediction.verdict, prediction.verdict.track
    thresholds = calibrated_thresholds(detector)
    counts: dict[int, int] = {}
    for face in (face for each in prediction.tracks for face in each.faces):
        counts[face.frame] = counts.get(face.frame, 0) + 1
    width, height = prediction.size or (None, None)
    return {
        "file": str(prediction.path),
        "media": prediction.media,
        "status": prediction.status,
        "reason": prediction.problem or verdict.reason,
        "decision": verdict.decision,
        "fake_probability": track and track.probability,
        "interval": track and track.interval,
        "threshold": _finite(thresholds[prediction.level]),
        "track": track and track.number,
        "subject_fake_probability": prediction.subject,
        "width": width,
        "height": height,
        "frames": [
            {"frame": frame, "time_s": time_s, "faces": counts.get(frame, 0)} for frame, time_s in prediction.frames
        ],
        "tracks": [_track(each, detector) for each in prediction.tracks],
        "notes": list(prediction.notes),
        "synthetic": detector.synthetic,
        "detector": {
            "name": detector.name,
            "thresholds": {level: _finite(value) for level, value in detector.thresholds.items()},
            "temperatures": {level: _finite(value) for level, value in detector.temperatures.items()},
            **detector.about,
        },
    }


def as_line(record: Mapping[str, Any]) -> str:
    """The record as one line of ASCII, without its end."""
    return json.dumps(record, allow_nan=False)


def shown(path: Path) -> str:
    """The path for people, on one line: control characters and bytes that are not UTF-8 are written as ``%XX``."""
    return "".join(
        char if char.isprintable() else "".join(f"%{byte:02X}" for byte in os.fsencode(char)) for char in str(path)
    )


def _track(track: Track, detector: TrainedDetector) -> dict[str, Any]:
    return {
        "track": track.number,
        "reason": track.reason,
        "decision": None if track.reason or track.is_fake is None else ("real", "fake")[track.is_fake],
        "fake_probability": track.probability,
        "interval": track.interval,
        "uncalibrated": track.raw,
        "distance": sum(each.distance for each in track.faces) / len(track.faces),
        "faces": [_face(each, detector) for each in track.faces],
    }


def _face(face: ScoredFace, detector: TrainedDetector) -> dict[str, Any]:
    threshold = detector.thresholds["frame"]
    return {
        "frame": face.frame,
        "time_s": face.time_s,
        "box": [round(float(each), 2) for each in face.face.box],
        "detection_probability": face.face.probability,
        "fake_probability": face.probability,
        "decision": None if math.isnan(threshold) else ("real", "fake")[face.raw > threshold],
        "uncalibrated": face.raw,
        "distance": face.distance,
    }


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
