"""From the scores of faces to decisions: per face, per track and per file, or the reason why there is none.

A track is decided by the mean P(fake) of its faces, as the suite's evaluation decides a video by the mean over its
frames, and a still image by its face. A file is fake if one of its scored tracks is (the worst track decides), and real
if none is and its main track is scored; otherwise it abstains for the reason of its main track.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from deepfake_ms.labels import CLASS_NAMES, FAKE, REAL
from deepfake_ms.prediction.detector import TrainedDetector
from deepfake_ms.preprocessing.faces import Face
from deepfake_ms.randomness import key
from deepfake_ms.scoring.calibration import calibrate

NO_FACE = "no face"
RESAMPLES, CONFIDENCE = 2000, 0.95


@dataclass(frozen=True)
class Limits:
    """What is scored, and how much of a file is read.

    Attributes:
        min_frames: frames that the face of a video must be in.
        min_face: longer side of a face's box in pixels, as the median over its track; None takes that of the training
            data (`Reference.smallest_face`).
        any_face: also score faces that are unlike the training data.
        max_frames: read at most so many sampled frames, from the start; None reads all.
    """

    min_frames: int = 3
    min_face: float | None = None
    any_face: bool = False
    max_frames: int | None = None


@dataclass(frozen=True, eq=False)
class ScoredFace:
    """A face in a frame.

    Attributes:
        frame: position of the frame among all frames of the video.
        time_s: after the first frame.
        face: in pixels of the frame.
        raw: P(fake) before calibration.
        probability: P(fake), calibrated per frame.
        distance: from the training faces, see `Reference.distances`.
    """

    frame: int
    time_s: float
    face: Face
    raw: float
    probability: float
    distance: float


@dataclass(frozen=True, eq=False)
class Track:
    """A face over time.

    Attributes:
        number: counted from 1.
        faces: in time order.
        raw: mean P(fake) before calibration.
        probability: the same, calibrated.
        interval: of `probability`: percentiles of the means of resampled frames (bootstrap). It shows how far the
            frames agree, not whether the detector is right. None for a single frame.
        is_fake: whether `raw` is above the validation threshold; None if the detector has none.
        reason: why the track is not scored; None if it is.
    """

    number: int
    faces: Sequence[ScoredFace] = field(repr=False)
    raw: float
    probability: float
    interval: tuple[float, float] | None
    is_fake: bool | None
    reason: str | None

    @property
    def side(self) -> float:
        """Median of the longer side of the box, in pixels."""
        return float(np.median([each.face.side for each in self.faces]))

    @property
    def weight(self) -> float:
        """How much of the video it is: the sum of its sides."""
        return float(sum(each.face.side for each in self.faces))


@dataclass(frozen=True, eq=False)
class Verdict:
    """The decision on a file.

    Attributes:
        track: that decides, or whose reason to abstain counts; None without a face.
        reason: why there is no decision; None if there is one.
    """

    track: Track | None
    reason: str | None

    @property
    def decision(self) -> str | None:
        """``fake`` or ``real``; None if the file abstains, or if the detector has no threshold."""
        if self.reason or self.track is None or self.track.is_fake is None:
            return None
        return CLASS_NAMES[FAKE if self.track.is_fake else REAL]


def decide_track(
    number: int, faces: Sequence[ScoredFace], level: str, detector: TrainedDetector, limits: Limits
) -> Track:
    """Score and decide the faces of one track.

    Args:
        number: of the track.
        faces: in time order.
        level: ``video``, or ``frame`` for a still image.
        detector: its thresholds and temperatures.
        limits: what is scored.
    """
    raw = np.array([each.raw for each in faces], dtype=np.float64)
    mean, threshold, temperature = raw.mean(), detector.thresholds[level], detector.temperatures[level]
    interval = None
    if len(raw) > 1:
        random = np.random.default_rng(key("frames", number))
        means = raw[random.integers(0, len(raw), (RESAMPLES, len(raw)))].mean(axis=1)
        tail = (1 - CONFIDENCE) / 2
        low, high = calibrate(np.quantile(means, (tail, 1 - tail)), temperature)
        interval = float(low), float(high)
    return Track(
        number,
        faces,
        float(mean),
        float(calibrate(mean, temperature)),
        interval,
        None if np.isnan(threshold) else bool(mean > threshold),
        _reason(faces, level, detector, limits),
    )


def decide_file(tracks: Sequence[Track]) -> Verdict:
    """The decision on a file by its tracks."""
    if not tracks:
        return Verdict(None, NO_FACE)
    main = max(tracks, key=lambda track: track.weight)
    worst = max((each for each in tracks if each.reason is None), key=lambda track: track.raw, default=main)
    decides = worst if worst.is_fake or main.reason is None else main
    return Verdict(decides, decides.reason)


def calibrated_thresholds(detector: TrainedDetector) -> Mapping[str, float]:
    """Per level, the validation threshold on the scale of calibrated probabilities; NaN if there is none."""
    return {
        level: float(calibrate(np.float64(threshold), detector.temperatures[level]))
        for level, threshold in detector.thresholds.items()
    }


def _reason(faces: Sequence[ScoredFace], level: str, detector: TrainedDetector, limits: Limits) -> str | None:
    """Why a track is not scored."""
    if level == "video" and len(faces) < limits.min_frames:
        return f"only {len(faces)} frame{'s' if len(faces) > 1 else ''}"
    side = float(np.median([each.face.side for each in faces]))
    smallest = detector.reference.smallest_face if limits.min_face is None else limits.min_face
    if side < smallest:
        return f"face too small ({side:.0f} px, at least {smallest:.0f})"
    distance, limit = float(np.mean([each.distance for each in faces])), detector.reference.limits[level]
    if distance > limit and not limits.any_face:
        return f"unlike the training data (distance {distance:.1f}, limit {limit:.1f})"
    return None
