"""A prepared folder of simple drawn faces, the same bytes everywhere: what the golden losses are trained on."""

from pathlib import Path

import cv2
import numpy as np

from deepfake_ms.files import sha256_of
from deepfake_ms.manifest import BOX_COLUMNS, LANDMARK_COLUMNS, SCHEMA, write_manifest

SIZE = 128
SUBSETS = {"train": 14, "validation": 4, "test": 4}
"""People per subset; each has a real video, and a fake with the next person's face, of two frames each."""


def draw_face(person: int, frame: int, fake: bool) -> tuple[np.ndarray, np.ndarray]:
    """RGB uint8 [SIZE, SIZE, 3] and the landmarks, float [5, 2]; fakes have a checkered cheek and another mouth."""
    random = np.random.default_rng(1000 * person + frame)
    y, x = np.mgrid[:SIZE, :SIZE].astype(np.float64)
    shift = random.uniform(-5, 5, 2)
    centre = np.array([64.0, 66.0]) + shift
    background = 90 + 40 * np.sin(x / random.uniform(9, 25) + person) + 30 * np.cos(y / random.uniform(9, 25))
    image = np.stack([background, background * 0.9, background * 1.1], axis=2)
    skin = np.array([200.0, 160.0, 135.0]) + random.uniform(-25, 25, 3)
    inside = ((x - centre[0]) / 40) ** 2 + ((y - centre[1]) / 52) ** 2 < 1
    image[inside] = skin + 12 * np.sin(x / 7 + frame)[inside, None]
    offsets = np.array([[-17, -14], [17, -14], [0, 6], [-13, 26], [13, 26]], dtype=np.float64)
    landmarks = centre + offsets + random.uniform(-1, 1, (5, 2))
    for eye_x, eye_y in landmarks[:2]:
        image[((x - eye_x) / 7) ** 2 + ((y - eye_y) / 3.5) ** 2 < 1] = (235, 235, 235)
        image[(x - eye_x) ** 2 + (y - eye_y) ** 2 < 9] = random.uniform(20, 90, 3)
    mouth = landmarks[3:].mean(axis=0)
    image[((x - mouth[0]) / 14) ** 2 + ((y - mouth[1]) / 5) ** 2 < 1] = (150, 60, 60) if not fake else (120, 60, 110)
    if fake:
        cheek = (abs(x - centre[0] - 20) < 10) & (abs(y - centre[1] - 10) < 10)
        image[cheek] += 25 * np.where((x // 3 + y // 3) % 2, 1, -1)[cheek, None]
    image += random.normal(0, 3, image.shape)
    return np.clip(image, 0, 255).astype(np.uint8), landmarks


def write_faces(folder: Path) -> list[str]:
    """Write crops and manifest into `folder`; the subset of every row of the manifest."""
    rows, subsets = [], []
    first = 0
    for subset, people in SUBSETS.items():
        for number in range(people):
            person, donor = first + number, first + (number + 1) % people
            real = f"real/id{person}_0000"
            for fake in (False, True):
                video = f"fake/id{person}_id{donor}_0000" if fake else real
                for frame in range(2):
                    image, landmarks = draw_face(person, frame, fake)
                    path = folder / "crops" / video / f"{frame:06d}.bmp"
                    path.parent.mkdir(parents=True, exist_ok=True)
                    cv2.imwrite(str(path), cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
                    known = {
                        "sample_id": f"{video}#{frame}",
                        "source": f"{video}.mp4",
                        "video_id": video,
                        "label": "fake" if fake else "real",
                        "method": "swap" if fake else "real",
                        "identities": [f"id{person}", f"id{donor}"] if fake else [f"id{person}"],
                        "source_video": real if fake else None,
                        "frame_index": frame,
                        "time_s": float(frame),
                        **dict(zip(BOX_COLUMNS, (20.0, 10.0, 110.0, 120.0), strict=True)),
                        **dict(zip(LANDMARK_COLUMNS, landmarks.ravel().tolist(), strict=True)),
                        "probability": 1.0,
                        "crop": path.relative_to(folder).as_posix(),
                        "sha256": sha256_of(path),
                    }
                    empty = dict.fromkeys(SCHEMA.names)
                    rows.append(empty | {name: value for name, value in known.items() if name in empty})
                    subsets.append(subset)
        first += people
    write_manifest(rows, folder)
    return subsets
