"""Means over faces with confidence intervals: bootstrap over the videos, as the faces of a video are correlated."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from deepfake_ms.errors import UserError
from deepfake_ms.randomness import key


def clustered_mean(
    seeds: Mapping[int, pd.DataFrame], value: str, resamples: int = 2000, confidence: float = 0.95, draw_seed: int = 0
) -> dict[str, float]:
    """Mean over seeds of the mean over faces, with an interval over videos.

    For a paired difference, give the difference per face as the value.

    Args:
        seeds: a table per training seed, one row per face with `video_id` and `value`; the same videos in all. Faces
            whose value is NaN do not count.
        value: name of the column.
        resamples: number of resamples of the videos.
        confidence: of the interval.
        draw_seed: of the resampling.

    Returns:
        `mean` (NaN if a seed has no value); `sd` over seeds (NaN for one seed); percentile interval from `low` to
        `high` (NaN for fewer than two videos with values); `seeds_agreeing`, the number of seeds whose mean has the
        sign of the mean; `faces`, the number of values over all seeds.

    Raises:
        UserError: the seeds cover different videos.
    """
    if len({frozenset(table["video_id"]) for table in seeds.values()}) > 1:
        raise UserError("The seeds cover different videos: explain the same faces for every seed.")
    by_video = {seed: table.dropna(subset=[value]).groupby("video_id")[value] for seed, table in seeds.items()}
    videos = sorted(set().union(*(groups.groups for groups in by_video.values())))
    sums = np.stack([groups.sum().reindex(videos, fill_value=0).to_numpy() for groups in by_video.values()])
    counts = np.stack([groups.count().reindex(videos, fill_value=0).to_numpy() for groups in by_video.values()])
    found = {"mean": np.nan, "sd": np.nan, "low": np.nan, "high": np.nan, "seeds_agreeing": 0}
    found["faces"] = int(counts.sum())
    if not counts.sum(axis=1).all():  # a seed without a value
        return found
    means = sums.sum(axis=1) / counts.sum(axis=1)
    found["mean"] = float(means.mean())
    found["seeds_agreeing"] = int((np.sign(means) == np.sign(means.mean())).sum())
    if len(means) > 1:
        found["sd"] = float(means.std(ddof=1))
    if len(videos) > 1:
        random = np.random.default_rng(key("clustered mean", draw_seed))
        drawn = random.multinomial(len(videos), np.full(len(videos), 1 / len(videos)), size=resamples)
        with np.errstate(invalid="ignore"):
            draws = np.mean((drawn @ sums.T) / (drawn @ counts.T), axis=1)
        tail = (1 - confidence) / 2
        found["low"], found["high"] = map(float, np.nanquantile(draws, [tail, 1 - tail]))
    return found
