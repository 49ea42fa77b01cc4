"""A prepared folder of another corpus, with videos without a face; tests import it."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import tiny_run

from deepfake_ms.files import sha256_of, write_json
from deepfake_ms.manifest import BOX_COLUMNS, LANDMARK_COLUMNS, SCHEMA, write_manifest
from deepfake_ms.preprocessing.prepared import PREPARED_NAME, describe_request
from deepfake_ms.preprocessing.settings import PreparationSettings


@dataclass(frozen=True)
class Video:
    """A video of the corpus with two faces, or with a problem."""

    name: str
    label: str
    method: str = "swap"
    side: int = 100
    subset: str | None = None
    several: bool = False
    problem: str | None = None
    people: tuple[str, ...] = ()


def write_corpus(folder: Path, videos: Sequence[Video], synthetic: bool = True) -> Path:
    """The prepared folder: fakes are brighter, as in `tiny_run.write_faces`."""
    random = np.random.default_rng(1)
    (folder / "crops").mkdir(parents=True)
    rows = []
    for video in sorted(videos, key=lambda each: each.name):
        of_video = [] if video.problem else [_face(folder, video, number, random) for number in range(2)]
        record = {
            "video_id": video.name,
            "label": video.label,
            "official_subset": video.subset,
            "files": 1,
            "quarantined": [{}] if video.problem == "unreadable" else [],
            "frames_read": 0 if video.problem == "unreadable" else 2,
            "several_faces": 2 * video.several,
            "rows": [{"official_subset": row["official_subset"]} for row in of_video],
        }
        path = folder / "records" / f"{video.name}.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(record))
        rows += of_video
    write_manifest(rows, folder)
    about = {"data_name": "other", "fingerprint": "ba9876543210", "synthetic": synthetic, "complete": True}
    write_json(folder / PREPARED_NAME, {**about, "preparation": PreparationSettings().as_dict()})
    return folder


def _face(folder: Path, video: Video, number: int, random: np.random.Generator) -> dict:
    image = random.integers(0, 160, (tiny_run.SIZE, tiny_run.SIZE, 3)) + 60 * (video.label == "fake")
    name = f"crops/{video.name}_{number}.png"
    cv2.imwrite(str(folder / name), image.astype(np.uint8))
    return dict.fromkeys(SCHEMA.names) | {
        "sample_id": f"{video.name}#{number}",
        "video_id": video.name,
        "label": video.label,
        "method": "real" if video.label == "real" else video.method,
        "identities": list(video.people),
        "official_subset": video.subset,
        "frame_index": number,
        "time_s": float(number),
        **dict(zip(BOX_COLUMNS, (0, 0, video.side / 2, video.side), strict=True)),
        **dict(zip(LANDMARK_COLUMNS, tiny_run.LANDMARKS, strict=True)),
        "crop": name,
        "sha256": sha256_of(folder / name),
        "perceptual_hash": sha256_of(folder / name),
    }


def add_corpus(
    prepared_root: Path,
    name: str,
    videos: Sequence[Video],
    options: Mapping | None = None,
    settings: PreparationSettings = PreparationSettings(),  # noqa: B008 frozen
) -> Path:
    """A prepared corpus that commands find by its name, by default prepared like the faces of the tiny runs."""
    folder = write_corpus(prepared_root / f"{name}-{len(list(prepared_root.glob('*')))}", videos)
    description = json.loads((folder / PREPARED_NAME).read_text())
    request = describe_request(name, options or {}, settings)
    place = {"root": "/elsewhere", "files": {}, "prepared_at": "1"}
    write_json(folder / PREPARED_NAME, {**description, **request, **place, "fingerprint": name})
    return folder
