"""What became of every video of a prepared corpus, also of those without a face."""

import json
from pathlib import Path

import pandas as pd

UNREADABLE, NO_FACE = "unreadable", "no face"
NOT_RECORDED = "not recorded"
"""Official subset of a video without a face that an earlier version prepared."""
COLUMNS = ("video_id", "label", "official_subset", "frames", "faces", "frames_with_several_faces", "problem")


def read_videos(folder: Path) -> pd.DataFrame:
    """One row per video in the records of a prepared folder.

    Args:
        folder: as `deepfake_ms.preprocessing.prepare.prepare_corpus` wrote it.

    Returns:
        A table sorted by `video_id`: `label`; `official_subset` (train, validation, test, None or `NOT_RECORDED`);
        `frames` and `faces`, the numbers of
        sampled frames and of kept faces; `frames_with_several_faces`, the number of frames whose second face has at
        least half the size of the largest; `problem`, "unreadable", "no face" or None.
    """
    rows = [_row(json.loads(path.read_text(encoding="utf-8"))) for path in sorted((folder / "records").rglob("*.json"))]
    return pd.DataFrame(rows, columns=list(COLUMNS)).sort_values("video_id", ignore_index=True)


def _row(record: dict) -> tuple:
    faces = record["rows"]
    unreadable = len(record["quarantined"]) == record["files"]
    problem = UNREADABLE if unreadable else None if faces else NO_FACE
    subset = faces[0]["official_subset"] if faces else record.get("official_subset", NOT_RECORDED)
    counts = record["frames_read"], len(faces), record["several_faces"]
    return record["video_id"], record["label"], subset, *counts, problem
