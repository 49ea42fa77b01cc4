"""Pairs each fake face with the real face it was made from: the same moment of the fake's source video."""

import numpy as np
import pandas as pd

from deepfake_ms.labels import CLASS_NAMES, FAKE, REAL
from deepfake_ms.manifest import LANDMARK_COLUMNS

NO_PARTNER = -1


def find_partners(manifest: pd.DataFrame, rows: np.ndarray, among: np.ndarray) -> np.ndarray:
    """For each fake face, find the real face of its source video that is nearest in time.

    The two may be at most half a sampling step apart, and both need all five landmarks. Time is the presentation time
    or, if it is 0 for all faces (still images), the frame number. The sampling step is the median distance between
    neighbouring faces of a real video.

    Args:
        manifest: from `read_manifest`.
        rows: positions of the faces to find partners for, int [N].
        among: positions of the faces that may be partners; pass those of the training set, so that nothing leaks.

    Returns:
        Position of each face's partner in the manifest, int64 [N]; `NO_PARTNER` for real faces and for fakes whose
        source video is unknown or has no matching face in `among`.
    """
    faces = pd.DataFrame(
        {
            "row": np.arange(len(manifest)),
            "video": manifest["video_id"].astype(object),
            "source": manifest["source_video"].astype(object),
            "label": manifest["label"],
            "time": manifest["time_s" if (manifest["time_s"] > 0).any() else "frame_index"].astype(float),
            "has_landmarks": np.isfinite(manifest[LANDMARK_COLUMNS].astype(float)).all(axis=1),
        }
    )
    fake = faces.iloc[rows].assign(place=np.arange(len(rows)))
    fake = fake[(fake["label"] == CLASS_NAMES[FAKE]) & fake["has_landmarks"]].dropna(subset="source")
    real = faces.iloc[among]
    real = real[(real["label"] == CLASS_NAMES[REAL]) & real["has_landmarks"]].sort_values(["video", "time"])
    steps = real.groupby("video")["time"].diff()
    pairs = pd.merge_asof(
        fake[["place", "source", "time"]].sort_values("time"),
        real[["row", "video", "time"]].rename(columns={"video": "source"}).sort_values("time"),
        on="time",
        by="source",
        direction="nearest",
        tolerance=float(np.nan_to_num(steps[steps > 0].median())) / 2,
    ).dropna(subset="row")
    partners = np.full(len(rows), NO_PARTNER, dtype=np.int64)
    partners[pairs["place"]] = pairs["row"]
    return partners
