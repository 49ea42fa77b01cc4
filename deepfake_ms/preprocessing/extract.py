"""One video, or the images of one video, to face crops and a record of what became of every frame."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from deepfake_ms.datasets import Source
from deepfake_ms.files import write_atomically, write_json
from deepfake_ms.manifest import BOX_COLUMNS, LANDMARK_COLUMNS
from deepfake_ms.preprocessing.crops import crop_face, encode_png
from deepfake_ms.preprocessing.faces import Face, FaceDetector, follow_subject
from deepfake_ms.preprocessing.frames import Frame, UnreadableMedia, read_frames, read_image
from deepfake_ms.preprocessing.perceptual_hash import perceptual_hash
from deepfake_ms.preprocessing.recipe import PrepareRecipe

_FRAMES_AT_ONCE = 8
"""Decoded frames that the detector gets together, which bounds the memory: 50 MB at 1080p."""


@dataclass(frozen=True, eq=False)
class _ExaminedFrame:
    """What is kept of a frame once its pixels are let go."""

    source: Source
    index: int
    time_s: float
    faces: list[Face]
    crops: list[tuple[np.ndarray, np.ndarray]]
    """Per face its crop [S, S, 3] and the landmarks in it [5, 2]: the subject is known only after the last frame."""
    any_detection: bool
    """Whether there was any face before the improbable ones were dropped."""


def record_path(folder: Path, video_id: str) -> Path:
    """Where a video's record lies; it exists only once all its crops do."""
    return folder / "records" / f"{video_id}.json"


def extract_faces(sources: Sequence[Source], folder: Path, recipe: PrepareRecipe, detector: FaceDetector) -> None:
    """Write the crops of one video to ``crops/VIDEO_ID/FRAME.png`` under `folder`, then its record.

    A file that cannot be read to its end is quarantined: nothing of it is kept. The record holds the manifest rows
    and the counts for the report, and is written last, so a video without a record is to be done again.

    Args:
        sources: one video file, or images, all of the same `video_id`.
        folder: the prepared folder.
        recipe: sampling, crop and confidence settings.
        detector: finds the faces.
    """
    quarantined: list[dict[str, str]] = []
    examined: list[_ExaminedFrame] = []
    pairs = _read(sorted(sources, key=lambda source: source.frame_index), recipe.fps, quarantined)
    while chunk := list(islice(pairs, _FRAMES_AT_ONCE)):
        detections = detector.detect([frame.image for _, frame in chunk])
        examined += [
            _examine(source, frame, faces, recipe) for (source, frame), faces in zip(chunk, detections, strict=True)
        ]
    unreadable = {entry["source"] for entry in quarantined}
    examined = [frame for frame in examined if frame.source.name not in unreadable]
    subjects = follow_subject([frame.faces for frame in examined])
    record = {
        "video_id": sources[0].video_id,
        "label": sources[0].label,
        "files": len(sources),
        "quarantined": quarantined,
        "frames_read": len(examined),
        "dropped_no_face": sum(not frame.any_detection for frame in examined),
        "dropped_low_probability": sum(frame.any_detection and not frame.faces for frame in examined),
        "several_faces": sum(len(frame.faces) > 1 for frame in examined),
        "rows": [
            _keep(frame, subject, folder)
            for frame, subject in zip(examined, subjects, strict=True)
            if subject is not None
        ],
    }
    write_json(record_path(folder, sources[0].video_id), record)


def _read(sources: Sequence[Source], fps: float, quarantined: list[dict[str, str]]) -> Iterator[tuple[Source, Frame]]:
    """Frames of all the files; a file that turns out unreadable is added to `quarantined`, perhaps after frames."""
    for source in sources:
        try:
            if source.media == "video":
                for frame in read_frames(source.path, fps):
                    yield source, frame
            else:
                yield source, Frame(source.frame_index, 0.0, read_image(source.path))
        except UnreadableMedia as reason:
            quarantined.append({"source": source.name, "label": source.label, "reason": str(reason)})


def _examine(source: Source, frame: Frame, detections: list[Face], recipe: PrepareRecipe) -> _ExaminedFrame:
    faces = [face for face in detections if face.probability >= recipe.min_probability]
    crops = [crop_face(frame.image, face, recipe.crop_size, recipe.margin) for face in faces]
    return _ExaminedFrame(source, frame.index, frame.time_s, faces, crops, any_detection=bool(detections))


def _keep(frame: _ExaminedFrame, subject: Face, folder: Path) -> dict[str, Any]:
    """Write the subject's crop; returns its manifest row."""
    crop, landmarks = frame.crops[frame.faces.index(subject)]
    content = encode_png(crop)
    source = frame.source
    name = f"crops/{source.video_id}/{frame.index:06d}.png"
    write_atomically(folder / name, content)
    return {
        "sample_id": f"{source.video_id}#{frame.index}",
        "source": source.name,
        "video_id": source.video_id,
        "label": source.label,
        "method": source.method,
        "identities": list(source.identities),
        "official_side": source.official_side,
        "frame_index": frame.index,
        "time_s": frame.time_s,
        **dict(zip(BOX_COLUMNS, subject.box.tolist(), strict=True)),
        **dict(zip(LANDMARK_COLUMNS, landmarks.ravel().tolist(), strict=True)),
        "probability": subject.probability,
        "crop": name,
        "sha256": hashlib.sha256(content).hexdigest(),
        "perceptual_hash": perceptual_hash(crop),
    }
