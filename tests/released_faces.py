"""What the released cropping and masking give on real frames, beside the faces that our detector finds there."""

import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from deepfake_ms.preprocessing.faces import Face, choose_faces
from deepfake_ms.preprocessing.frames import read_frames
from deepfake_ms.preprocessing.mtcnn import MTCNNDetector

CROP_SIZE = 224


@dataclass(frozen=True, eq=False)
class ReleasedFace:
    """One frame in which the release finds a face.

    Attributes:
        video: name of the sample video.
        frame_size: width and height of the frame.
        ours: the largest face that MTCNN finds.
        crop_box: left, top, right, bottom of the released crop, in pixels of the frame.
        eye_masks: [2, 4] the released masks in pixels of the released crop; None where the release misses the face.
        eyes: [2, 2] the centres of the eyes according to dlib, in pixels of the frame.
    """

    video: str
    frame_size: tuple[int, int]
    ours: Face
    crop_box: np.ndarray
    eye_masks: np.ndarray | None
    eyes: np.ndarray

    def in_crop(self, points: np.ndarray) -> np.ndarray:
        """Points [N, 2] of the frame in pixels of the released crop."""
        return (points - self.crop_box[:2] + 0.5) * (CROP_SIZE / (self.crop_box[2:] - self.crop_box[:2])) - 0.5


@lru_cache
def released_faces(shared: Path) -> list[ReleasedFace]:
    """All frames of the sample videos at 1 fps in which the release finds a face."""
    found = []
    recorded = json.loads((shared / "fixtures/released_faces.json").read_text())["videos"]
    for video, entries in recorded.items():
        frames = list(read_frames(shared / f"real-samples/videos/{video}.mp4", fps=1))
        assert [frame.index for frame in frames] == [entry["frame_index"] for entry in entries]
        detections = list(MTCNNDetector().detect(frame.image for frame in frames))
        for entry, face in zip(entries, choose_faces(detections, "largest"), strict=True):
            if entry["crop_box"] is not None:
                masks = entry["eye_masks"]
                found.append(
                    ReleasedFace(
                        video,
                        tuple(entry["frame_size"]),
                        face,
                        np.array(entry["crop_box"], float),
                        None if masks is None else np.array(masks),
                        np.array(entry["eyes_in_frame"]),
                    )
                )
    return found
