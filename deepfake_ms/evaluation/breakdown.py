"""Groups of a test set's fakes, each against the same real videos, to find where a detector fails."""

from collections.abc import Mapping
from itertools import pairwise

import numpy as np
import pandas as pd

from deepfake_ms.evaluation.test_set import TestSet
from deepfake_ms.labels import CLASS_NAMES, FAKE, REAL
from deepfake_ms.manifest import BOX_COLUMNS
from deepfake_ms.scoring.intervals import bootstrap_intervals
from deepfake_ms.scoring.metrics import video_scores

SIZES = (64, 128, 256)
"""Limits between groups of face sizes: the longer side of the detected box, in pixels of the frame."""
RESAMPLES = 1000


def group_videos(test_set: TestSet) -> pd.DataFrame:
    """The groups of every video with a face.

    Returns:
        Index: `video_id`. Columns: `method`; `corpus`, where several were joined; `face size` (median over the video's
        faces, in pixels); `faces in the video` ("one" or "several": whether a second face of at least half the size
        of the largest appears in half of the frames).
    """
    faces = test_set.faces.manifest.iloc[test_set.rows]
    left, top, right, bottom = (faces[column].to_numpy() for column in BOX_COLUMNS)
    sizes = pd.Series(np.maximum(right - left, bottom - top), index=faces["video_id"]).groupby(level=0).median()
    edges = [0, *SIZES, np.inf]
    names = [
        f"below {SIZES[0]}",
        *(f"{low} to {high}" for low, high in pairwise(SIZES)),
        f"from {SIZES[-1]}",
    ]
    groups = faces.drop_duplicates("video_id").set_index("video_id")[["method"]]
    groups["face size"] = pd.cut(sizes, edges, right=False, labels=names).astype(object).reindex(groups.index)
    if test_set.faces.about.get("parts"):
        groups["corpus"] = groups.index.str.partition("/").get_level_values(0)
    videos = test_set.faces.videos.set_index("video_id")
    several = videos["frames_with_several_faces"] * 2 >= videos["frames"]
    groups["faces in the video"] = several.map({True: "several", False: "one"}).reindex(groups.index)
    return groups


def break_down(
    seeds: Mapping[int, pd.DataFrame],
    groups: pd.DataFrame,
    thresholds: Mapping[int, float] | None = None,
    resamples: int = RESAMPLES,
) -> pd.DataFrame:
    """AUROC and error rates per video of every group of fakes.

    Args:
        seeds: training seed → predictions of the same test faces.
        groups: from `group_videos`.
        thresholds: decision threshold per seed and video; default .5.
        resamples: bootstrap samples of the videos per interval.

    Returns:
        One row per group with fakes: `by` and `group`; `fakes` and `reals`, the numbers of its videos; `auroc` of its
        fakes against all real videos, with `sd` over seeds and the interval from `low` to `high`; `fake_error`, the
        share of its fakes that is classified as real; `real_error`, the share of its own real videos that is
        classified as fake (NaN without any). A kind of groups with a single group says nothing and is left out. Within
        a kind, the lowest AUROC comes first.
    """
    first = next(iter(seeds.values()))
    is_real = first["label"] == REAL
    lines = []
    for by in groups.columns:
        group_of = first["video_id"].map(groups[by])
        names = [name for name in group_of[~is_real].dropna().unique() if ((group_of == name) & ~is_real).any()]
        if group_of.dropna().nunique() < 2 or (by == "method" and len(names) < 2):
            continue
        for name in names:
            chosen = is_real | (group_of == name)
            summary = bootstrap_intervals(
                {seed: table[chosen.to_numpy()] for seed, table in seeds.items()},
                "video",
                ("auroc",),
                resamples=resamples,
            ).loc["auroc"]
            errors = [
                _errors(table[(group_of == name).to_numpy()], (thresholds or {}).get(seed, 0.5))
                for seed, table in seeds.items()
            ]
            lines.append(
                {
                    "by": by,
                    "group": name,
                    **_counts(first[group_of == name]),
                    **summary.rename({"mean": "auroc"}),
                    **pd.DataFrame(errors).mean().to_dict(),
                }
            )
    columns = ["by", "group", "fakes", "reals", "auroc", "sd", "low", "high", "fake_error", "real_error"]
    return pd.DataFrame(lines, columns=columns).sort_values(["by", "auroc"], ignore_index=True)


def _counts(predictions: pd.DataFrame) -> dict[str, int]:
    labels = predictions.drop_duplicates("video_id")["label"]
    return {f"{name}s": int((labels == label).sum()) for label, name in enumerate(CLASS_NAMES)}


def _errors(predictions: pd.DataFrame, threshold: float) -> dict[str, float]:
    videos = video_scores(predictions)
    decided = videos["fake_probability"] > threshold
    return {
        "fake_error": (~decided[videos["label"] == FAKE]).mean(),
        "real_error": decided[videos["label"] == REAL].mean(),
    }
