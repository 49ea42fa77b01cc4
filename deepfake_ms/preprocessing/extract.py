"""Extract the face crops of one video, or of the images of one video, and record what was kept and dropped."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import tee
from pathlib import Path
from typing import Any

import numpy as np

from deepfake_ms.datasets import Source
from deepfake_ms.errors import UserError
from deepfake_ms.files import limit_name, write_atomically
from deepfake_ms.manifest import BOX_COLUMNS, LANDMARK_COLUMNS
from deepfake_ms.preprocessing.crops import CROP_SUFFIX, crop_face, encode_crop
from deepfake_ms.preprocessing.disk import explain_disk_errors
from deepfake_ms.preprocessing.faces import Face, FaceDetector, choose_faces
from deepfake_ms.preprocessing.frames import Frame, read_frames
from deepfake_ms.preprocessing.images import read_image
from deepfake_ms.preprocessing.media import reason_of
from deepfake_ms.preprocessing.perceptual_hash import perceptual_hash
from deepfake_ms.preprocessing.perturbed_frames import perturb
from deepfake_ms.preprocessing.recompression import recompressed
from deepfake_ms.preprocessing.sampling import evenly_spaced
from deepfake_ms.preprocessing.settings import PreparationSettings

_CANDIDATE = ".candidate"
"""Suffix of a crop file until its face is chosen."""

_LONGEST_PART, _LONGEST_ID = 200, 1000
"""Bytes of a video id's parts, and of the whole id, that become names of files and folders unchanged."""


@dataclass(frozen=True, eq=False)
class _Candidate:
    """A probable face whose crop is already written. Which one is kept may depend on the last frame."""

    face: Face
    path: Path
    columns: dict[str, Any]
    """The columns of its manifest row that depend on the pixels."""


@dataclass(frozen=True, eq=False)
class _ExaminedFrame:
    """A frame without its pixels, which are freed after the crops are written."""

    source: Source
    index: int
    time_s: float
    size: tuple[int, int]
    """Width and height in pixels."""
    candidates: list[_Candidate]
    any_detection: bool
    """Whether any face was detected, improbable ones included."""

    @property
    def several_faces(self) -> bool:
        """Whether a second face has at least half the size of the largest; smaller ones cannot be the subject."""
        sides = sorted((candidate.face.side for candidate in self.candidates), reverse=True)
        return len(sides) > 1 and sides[1] >= sides[0] / 2


def record_path(folder: Path, video_id: str) -> Path:
    """Path of a video's record. The record exists only if all crops of the video do."""
    return folder / "records" / f"{_stored_name(video_id)}.json"


def read_record(folder: Path, video_id: str) -> dict[str, Any]:
    """The record that `extract_faces` wrote."""
    return json.loads(record_path(folder, video_id).read_text(encoding="utf-8"))


def extract_faces(
    sources: Sequence[Source], folder: Path, settings: PreparationSettings, detector: FaceDetector
) -> dict[str, Any]:
    """Write the crops of one video to ``crops/VIDEO_ID/FRAME.bmp`` under `folder`, then its record.

    A file that cannot be read to its end, or that causes any other exception, is quarantined: none of its faces is
    kept, and the other files of the video are extracted without it. The record contains the manifest rows and the
    counts for the report. It is written last, so a video without a record must be extracted again.

    Of several images, those that `frames` and `max_frames` leave out are not read, and the record does not count them.

    One face per frame is kept, see `choose_faces`. Faces that extend beyond the frame, even with an eye, are kept and
    counted.

    Args:
        sources: one video file, or images, all with the same `video_id`.
        folder: the prepared folder.
        settings: preparation settings.
        detector: face detector.

    Returns:
        The record.

    Raises:
        UserError: a crop or the record cannot be written.
    """
    video = _Video(_sampled(sorted(sources, key=lambda source: source.frame_index), settings), settings)
    while True:
        try:
            return _extract(video, folder, settings, detector)
        except UserError:
            raise
        except Exception as error:
            if video.current.name in video.quarantined:
                raise  # not caused by this file
            video.quarantine(error)


def _sampled(sources: Sequence[Source], settings: PreparationSettings) -> Sequence[Source]:
    """The sampled images of a video that consists of images, or the one file whose frames are sampled."""
    if settings.frames is not None:
        sources = [sources[position] for position in evenly_spaced(len(sources), settings.frames)]
    return sources[: settings.max_frames]


class _Video:
    """Reads the frames of a video's files and records which files failed, and why."""

    def __init__(self, sources: Sequence[Source], settings: PreparationSettings) -> None:
        self.sources = sources
        self.video_id, self.label, self.media = sources[0].video_id, sources[0].label, sources[0].media
        self.quarantined: dict[str, str] = {}
        """Name of a file -> reason."""
        self.current = sources[0]
        """The file that was read last."""
        self.frames_unchanged = 0
        """Frames that the perturbation did not change. Frames of a compressed video are not compared."""
        self._sampling = settings.fps, settings.frames, settings.max_frames
        self._perturbation = settings.perturbation

    def frames(self) -> Iterator[tuple[Source, Frame]]:
        """The frames of all files that are not quarantined, perturbed. A file may be quarantined after some frames."""
        self.frames_unchanged = 0
        for source in self.sources:
            if source.name in self.quarantined:
                continue
            self.current = source
            try:
                for frame in self._read(source):
                    yield source, frame
            except Exception as error:
                self.quarantine(error)

    def _read(self, source: Source) -> Iterator[Frame]:
        if source.media != "video":
            yield self._perturbed(Frame(source.frame_index, 0.0, read_image(source.path)))
        elif self._perturbation is not None and self._perturbation.crf is not None:
            with recompressed(source.path, self._perturbation.crf) as path:
                yield from read_frames(path, *self._sampling)
        else:
            yield from map(self._perturbed, read_frames(source.path, *self._sampling))

    def _perturbed(self, frame: Frame) -> Frame:
        if self._perturbation is None:
            return frame
        changed = perturb(frame, self._perturbation, self.video_id)
        self.frames_unchanged += np.array_equal(changed.image, frame.image)
        return changed

    def quarantine(self, error: Exception) -> None:
        """Quarantine the current file."""
        self.quarantined[self.current.name] = reason_of(error)


def _extract(video: _Video, folder: Path, settings: PreparationSettings, detector: FaceDetector) -> dict[str, Any]:
    with explain_disk_errors(folder):
        _clear(folder, video.video_id)
    frames, seen = tee(video.frames())
    detections = detector.detect(frame.image for _, frame in seen)
    examined = [
        _examine(source, frame, faces, settings, folder)
        for (source, frame), faces in zip(frames, detections, strict=True)
    ]
    examined = [frame for frame in examined if frame.source.name not in video.quarantined]
    chosen = choose_faces([[candidate.face for candidate in frame.candidates] for frame in examined], settings.face)
    kept = [
        (frame, next(candidate for candidate in frame.candidates if candidate.face is face))
        for frame, face in zip(examined, chosen, strict=True)
        if face is not None
    ]
    with explain_disk_errors(folder):
        record = {
            "video_id": video.video_id,
            "label": video.label,
            "official_subset": video.sources[0].official_subset,
            "media": video.media,
            "files": len(video.sources),
            "quarantined": [
                {"source": name, "label": video.label, "reason": reason} for name, reason in video.quarantined.items()
            ],
            "frames_read": len(examined),
            "dropped_no_face": sum(not frame.any_detection for frame in examined),
            "dropped_low_probability": sum(frame.any_detection and not frame.candidates for frame in examined),
            "several_faces": sum(frame.several_faces for frame in examined),
            "faces_over_edge": sum(_reaches_outside(face.face.box.reshape(2, 2), frame.size) for frame, face in kept),
            "eyes_outside": sum(_reaches_outside(face.face.landmarks[:2], frame.size) for frame, face in kept),
            "rows": [_keep_crop(frame, face, folder) for frame, face in kept],
        }
        if settings.perturbation is not None:
            record["frames_unchanged"] = video.frames_unchanged
        crops = _crop_folder(folder, video.video_id)
        for path in crops.glob(f"*{_CANDIDATE}"):
            path.unlink()
        if crops.is_dir() and not any(crops.iterdir()):
            crops.rmdir()
        write_atomically(record_path(folder, video.video_id), json.dumps(record))
    return record


def _stored_name(video_id: str) -> str:
    """The id as a relative path whose parts leave room for suffixes; ids of unusual length are shortened."""
    return limit_name("/".join(limit_name(part, _LONGEST_PART) for part in video_id.split("/")), _LONGEST_ID)


def _crop_folder(folder: Path, video_id: str) -> Path:
    return folder / "crops" / _stored_name(video_id)


def _clear(folder: Path, video_id: str) -> None:
    """Remove files of this video that a killed run left behind; subfolders may belong to other videos."""
    for path in _crop_folder(folder, video_id).glob("*"):
        if path.is_file():
            path.unlink()


def _examine(
    source: Source, frame: Frame, detections: list[Face], settings: PreparationSettings, folder: Path
) -> _ExaminedFrame:
    probable = [face for face in detections if face.probability >= settings.min_probability]
    return _ExaminedFrame(
        source,
        frame.index,
        frame.time_s,
        size=frame.image.shape[1::-1],
        candidates=[
            _crop(
                frame,
                face,
                settings,
                _crop_folder(folder, source.video_id) / f"{frame.index:06d}_{number}{_CANDIDATE}",
            )
            for number, face in enumerate(probable)
        ],
        any_detection=bool(detections),
    )


def _crop(frame: Frame, face: Face, settings: PreparationSettings, path: Path) -> _Candidate:
    crop, landmarks = crop_face(frame.image, face, settings)
    content = encode_crop(crop)
    with explain_disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)  # need not be atomic: `_clear` removes partial files before a new attempt
    return _Candidate(
        face,
        path,
        {
            **dict(zip(BOX_COLUMNS, face.box.tolist(), strict=True)),
            **dict(zip(LANDMARK_COLUMNS, landmarks.ravel().tolist(), strict=True)),
            "probability": face.probability,
            "sha256": hashlib.sha256(content).hexdigest(),
            "perceptual_hash": perceptual_hash(crop),
        },
    )


def _reaches_outside(points: np.ndarray, size: tuple[int, int]) -> bool:
    """Whether any of the points [N, 2] lies outside a frame of this size."""
    return bool((points < 0).any() or (points > size).any())


def _keep_crop(frame: _ExaminedFrame, chosen: _Candidate, folder: Path) -> dict[str, Any]:
    """Give the chosen face's crop its final name and return its manifest row."""
    source = frame.source
    crop = chosen.path.with_name(f"{frame.index:06d}{CROP_SUFFIX}")
    chosen.path.rename(crop)
    return {
        "sample_id": f"{source.video_id}#{frame.index}",
        "source": source.name,
        "video_id": source.video_id,
        "label": source.label,
        "method": source.method,
        "identities": list(source.identities),
        "source_video": source.source_video,
        "official_subset": source.official_subset,
        "frame_index": frame.index,
        "time_s": frame.time_s,
        "crop": crop.relative_to(folder).as_posix(),
        **chosen.columns,
    }
