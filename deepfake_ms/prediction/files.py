"""Score one file: the same frames, faces and crops as in preparation, the same probabilities as in evaluation."""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image

from deepfake_ms.datasets.source import media_of
from deepfake_ms.errors import UserError
from deepfake_ms.prediction.detector import BATCH_SIZE, TrainedDetector
from deepfake_ms.prediction.reference import image_statistics
from deepfake_ms.prediction.tracks import Tracker
from deepfake_ms.prediction.verdict import Limits, ScoredFace, Track, Verdict, decide_file, decide_track
from deepfake_ms.preprocessing.crops import crop_face
from deepfake_ms.preprocessing.faces import Face, FaceDetector, choose_faces
from deepfake_ms.preprocessing.frames import Frame, read_frames
from deepfake_ms.preprocessing.images import read_image
from deepfake_ms.preprocessing.media import UnreadableMedia, reason_of
from deepfake_ms.preprocessing.mtcnn import MTCNNDetector
from deepfake_ms.preprocessing.settings import PreparationSettings
from deepfake_ms.preprocessing.workers import one_thread
from deepfake_ms.scoring.calibration import calibrate

FIRST_PICTURE = "of the animation, only the first picture was read"
SCORED, ABSTAINED, UNREADABLE = "scored", "abstained", "unreadable"


@dataclass(frozen=True, eq=False)
class VideoPrediction:
    """Everything that was found in a video or a still image.

    Attributes:
        path: of the file.
        media: ``video`` or ``image``.
        problem: why the file cannot be read; None if it can.
        size: width and height in pixels; None if nothing was read.
        frames: position and time in seconds of each sampled frame.
        tracks: every face over time.
        verdict: the decision.
        subject: mean P(fake), before calibration, of the faces that the preparation chooses, one per frame: the score
            that `deepfake-ms evaluate` gives the video. None without a face.
        notes: sentences about what was not read.
    """

    path: Path
    media: str
    problem: str | None = None
    size: tuple[int, int] | None = None
    frames: Sequence[tuple[int, float]] = field(default=(), repr=False)
    tracks: Sequence[Track] = field(default=(), repr=False)
    verdict: Verdict = field(default_factory=lambda: Verdict(None, None))
    subject: float | None = None
    notes: Sequence[str] = ()

    @property
    def status(self) -> str:
        """``scored``, ``abstained`` or ``unreadable``."""
        return UNREADABLE if self.problem else ABSTAINED if self.verdict.reason else SCORED

    @property
    def level(self) -> str:
        """Whose thresholds count: those of a ``video``, or those of a ``frame`` for a still image."""
        return "video" if self.media == "video" else "frame"


def predict_file(
    detector: TrainedDetector,
    path: Path,
    limits: Limits | None = None,
    face_detector: FaceDetector | None = None,
) -> VideoPrediction:
    """Score every face in a video or a still image.

    A file that cannot be read to its end, or that causes any other exception, gives a prediction with a `problem`.

    Args:
        detector: to score with.
        path: of the file. By its suffix it is an image or a video; without a known suffix, what can be read decides.
        limits: what is scored, and how much is read; None takes the defaults.
        face_detector: None for MTCNN, as in preparation.

    Raises:
        UserError: the detector cannot score the faces.
    """
    limits, path = limits or Limits(), Path(path)
    media = media_of(path) or _media_by_content(path)
    try:
        return _predict(detector, path, media, limits, face_detector or _mtcnn())
    except UserError:
        raise
    except Exception as error:
        return VideoPrediction(path, media, problem=reason_of(error))


def frames_of(path: Path, media: str, settings: PreparationSettings, max_frames: int | None) -> Iterator[Frame]:
    """The sampled frames of a video, or the one of a still image; `max_frames` in addition to that of the settings.

    Raises:
        UnreadableMedia: the file cannot be read, perhaps after some frames were given.
    """
    if media == "image":
        yield Frame(0, 0.0, read_image(path))
        return
    most = min((each for each in (settings.max_frames, max_frames) if each is not None), default=None)
    yield from read_frames(path, settings.fps, settings.frames, most)


@cache
def _mtcnn() -> MTCNNDetector:
    return MTCNNDetector()


def _media_by_content(path: Path) -> str:
    try:
        read_image(path)
    except UnreadableMedia:
        return "video"
    return "image"


def _predict(
    detector: TrainedDetector, path: Path, media: str, limits: Limits, face_detector: FaceDetector
) -> VideoPrediction:
    settings, scorer, tracker = detector.preparation, _Scorer(detector), Tracker()
    frames: list[tuple[int, float]] = []
    numbers: list[int] = []
    found: list[list[Face]] = []
    size = None
    for frame, faces in _detect(frames_of(path, media, settings, limits.max_frames), face_detector):
        probable = [face for face in faces if face.probability >= settings.min_probability]
        for face in probable:
            scorer.add(frame, face, crop_face(frame.image, face, settings)[0])
        numbers += tracker.update(probable)
        frames.append((frame.index, frame.time_s))
        found.append(probable)
        size = frame.image.shape[1::-1]
    scored = scorer.finish()
    level = "video" if media == "video" else "frame"
    by_track: dict[int, list[ScoredFace]] = {}
    for number, face in zip(numbers, scored, strict=True):
        by_track.setdefault(number, []).append(face)
    tracks = [decide_track(number, faces, level, detector, limits) for number, faces in sorted(by_track.items())]
    chosen = {id(face) for face in choose_faces(found, settings.face)}
    subject = [each.raw for each in scored if id(each.face) in chosen]
    return VideoPrediction(
        path,
        media,
        None,
        size,
        frames,
        tracks,
        decide_file(tracks),
        float(np.mean(subject)) if subject else None,
        _notes(path, media, len(frames), limits),
    )


def _detect(frames: Iterator[Frame], face_detector: FaceDetector) -> Iterator[tuple[Frame, list[Face]]]:
    """Each frame with its faces, found on one thread, as in preparation; one frame at a time is in memory."""
    current: list[Frame] = []

    def images() -> Iterator[np.ndarray]:
        for frame in frames:
            current.append(frame)
            yield frame.image

    detections = face_detector.detect(images())
    while True:
        with one_thread():
            faces = next(detections, None)
        if faces is None:
            return
        yield current.pop(), faces


class _Scorer:
    """Scores faces in batches, so that few crops are in memory.

    Args:
        detector: to score with.
    """

    def __init__(self, detector: TrainedDetector) -> None:
        self._detector = detector
        self._waiting: list[tuple[Frame, Face, np.ndarray]] = []
        self._scored: list[ScoredFace] = []

    def add(self, frame: Frame, face: Face, crop: np.ndarray) -> None:
        """Add a face with its crop, uint8 [S, S, 3]."""
        light = Frame(frame.index, frame.time_s, np.empty(0))  # without the pixels
        self._waiting.append((light, face, crop.transpose(2, 0, 1)))
        if len(self._waiting) == BATCH_SIZE:
            self._score()

    def finish(self) -> list[ScoredFace]:
        """All faces, in the order in which they were added."""
        self._score()
        return self._scored

    def _score(self) -> None:
        if not self._waiting:
            return
        crops = np.stack([crop for _, _, crop in self._waiting])
        raw = self._detector.probabilities(crops)
        probabilities = calibrate(raw, self._detector.temperatures["frame"])
        distances = self._detector.reference.distances(image_statistics(crops))
        self._scored += [
            ScoredFace(frame.index, frame.time_s, face, float(raw[i]), float(probabilities[i]), float(distances[i]))
            for i, (frame, face, _) in enumerate(self._waiting)
        ]
        self._waiting.clear()


def _notes(path: Path, media: str, frames: int, limits: Limits) -> list[str]:
    if media == "image":
        with suppress(Exception), Image.open(path) as image:
            return [FIRST_PICTURE] if getattr(image, "n_frames", 1) > 1 else []
    return [f"only the first {frames} sampled frames were read"] if frames == limits.max_frames else []
