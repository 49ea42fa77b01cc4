"""A small prepared folder: ten people in five pairs, swapped within the pair; two faces per video."""

from pathlib import Path

import cv2
import pandas as pd
import pytest
from formulas import formula_image

from deepfake_ms.manifest import LANDMARK_COLUMNS, read_manifest, write_manifest

EYES = {"left_eye_x": 22.0, "left_eye_y": 26.0, "right_eye_x": 42.0, "right_eye_y": 26.0}


def _videos() -> list[tuple[str, str, list[str]]]:
    videos = []
    for first in range(0, 10, 2):
        one, other = f"id{first}", f"id{first + 1}"
        videos += [(f"real/{one}", "real", [one]), (f"real/{other}", "real", [other])]
        videos += [(f"fake/{a}_{b}", "fake", [a, b]) for a, b in ((one, other), (other, one))]
    return videos


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder: 20 real and 20 fake faces of 64 px."""
    folder = tmp_path_factory.mktemp("prepared")
    rows = []
    for number, (video_id, label, identities) in enumerate(_videos()):
        for frame in range(2):
            crop = folder / "crops" / video_id / f"{frame:06d}.png"
            crop.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(crop), cv2.cvtColor(formula_image(2 * number + frame), cv2.COLOR_RGB2BGR))
            rows.append(
                {
                    "sample_id": f"{video_id}#{frame}",
                    "source": f"{video_id}.mp4",
                    "video_id": video_id,
                    "label": label,
                    "method": "real" if label == "real" else "swap",
                    "identities": identities,
                    "source_video": f"real/{identities[0]}" if label == "fake" else None,
                    "official_subset": "test" if identities[0] in ("id0", "id1") else None,
                    "frame_index": frame,
                    "time_s": float(frame),
                    **dict.fromkeys(["box_left", "box_top", "box_right", "box_bottom"], 0.0),
                    **dict.fromkeys(LANDMARK_COLUMNS, 32.0),
                    **EYES,
                    "probability": 1.0,
                    "crop": crop.relative_to(folder).as_posix(),
                    "sha256": f"{number}-{frame}",
                }
            )
    write_manifest(rows, folder)
    return folder


@pytest.fixture
def manifest(prepared: Path) -> pd.DataFrame:
    return read_manifest(prepared)
