"""How sure a row's scores are, and its difference to another row: bootstrap over the test videos, spread over seeds.

The frames of a video are alike, so whole videos are drawn, with replacement and real and fake ones apart: both
classes keep their number of videos. All seeds, and both rows of a difference, are scored on the same draws. An
interval says how the scores of *these* trained models would vary with other test videos; how they vary with the
training is the spread over seeds (`sd`), and is not in the interval.

A draw is a vector of multiplicities, one per video; metrics are computed from weighted counts for many draws at once.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from scipy import stats

from deepfake_ms.errors import UserError
from deepfake_ms.labels import FAKE, REAL
from deepfake_ms.randomness import key
from deepfake_ms.scoring.metrics import CALIBRATION_BINS, LEVELS, LOW_FPR, TITLES, at_level

WITHOUT_INTERVAL = ("calibration_error",)
"""A draw adds noise, and this metric counts noise as miscalibration: its percentiles lie above what they should bound.
The Brier score, which has an interval, covers calibration too."""

RANKING_METRICS = ("auroc", "eer", "average_precision", "tpr_at_1_fpr")
BATCH = 50  # draws at once: a table of 15,000 frames takes 6 MB per intermediate array


def bootstrap_intervals(
    seeds: Mapping[int, pd.DataFrame],
    level: str = "frame",
    metrics: Sequence[str] = tuple(TITLES),
    thresholds: Mapping[int, float] | None = None,
    resamples: int = 2000,
    confidence: float = 0.95,
    draw_seed: int = 0,
) -> pd.DataFrame:
    """Mean over seeds, spread over seeds and percentile interval of one row.

    Args:
        seeds: per training seed the predictions of the same test faces; one row per face with `sample_id`,
            `video_id`, `label` (0 real, 1 fake) and `fake_probability`.
        level: ``frame`` or ``video`` (mean P(fake) over a video's frames).
        metrics: names from `deepfake_ms.scoring.metrics.TITLES`.
        thresholds: of the decisions, per seed, at this level; .5 if not given.
        resamples: how many draws of the test videos.
        confidence: of the interval.
        draw_seed: keys the draws.

    Returns:
        One row per metric with `mean`, `sd` (over seeds, n - 1; NaN for one seed), `low` and `high`. The bounds are NaN
        for `WITHOUT_INTERVAL` and, for all, where a class has fewer than two videos.

    Raises:
        UserError: the seeds were not scored on the same faces, or a video has two labels or an argument is unknown.
    """
    tables = _prepare({"": seeds}, level, metrics, {"": thresholds})[""]
    estimates = pd.DataFrame({seed: table.estimate() for seed, table in tables.items()})
    draws = _bootstrap([(table, None) for table in tables.values()], resamples, confidence, draw_seed)
    return _summary(estimates, draws).drop(columns=["p_value", "seeds_agreeing"])


def paired_difference(
    row: Mapping[int, pd.DataFrame],
    other: Mapping[int, pd.DataFrame],
    level: str = "frame",
    metrics: Sequence[str] = tuple(TITLES),
    thresholds: Mapping[int, float] | None = None,
    other_thresholds: Mapping[int, float] | None = None,
    resamples: int = 2000,
    confidence: float = 0.95,
    draw_seed: int = 0,
) -> pd.DataFrame:
    """`row` minus `other`, paired by seed and by test video; arguments as for `bootstrap_intervals`.

    Returns:
        One row per metric with the columns of `bootstrap_intervals`, about the difference, and

        - `p_value`: two-sided, of no difference between these trained models on other test videos: twice the smaller
          share of draws on one side of zero, zero counted to both. It does not know how training again would turn
          out: without the next column it says nothing about the recipes.
        - `seeds_agreeing`: in how many seeds the difference has the sign of the mean. All of n seeds agree by chance
          with probability 2^(1-n), .25 for three.

    Raises:
        UserError: as there; also if the rows have different seeds or test faces.
    """
    if set(row) != set(other):
        raise UserError(
            f"The rows have different seeds, {sorted(row)} and {sorted(other)}: pair seeds that both were trained with."
        )
    tables = _prepare({"row": row, "other": other}, level, metrics, {"row": thresholds, "other": other_thresholds})
    ours, theirs = tables["row"], tables["other"]
    estimates = pd.DataFrame({seed: ours[seed].estimate() - theirs[seed].estimate() for seed in ours})
    pairs = [(ours[seed], theirs[seed]) for seed in ours]
    return _summary(estimates, _bootstrap(pairs, resamples, confidence, draw_seed))


@dataclass(frozen=True)
class _Draws:
    """What the draws came to: bounds [metrics] and distribution [metrics, resamples]; NaN where there is none."""

    low: np.ndarray
    high: np.ndarray
    distribution: np.ndarray


@dataclass(frozen=True)
class _Table:
    """One seed's predictions at one level, ready to be scored under multiplicities of the videos.

    Attributes:
        metrics: which, in order.
        is_fake: bool [videos].
        sums: what is linear in the multiplicities, [sums, videos]: real and fake units, wrong real and wrong fake
            units, summed squared error, and per calibration bin the summed P(fake) minus label.
        ranked_video: int [units], the video of each unit, by descending P(fake).
        ranked_fake: bool [units, 1], in that order.
        ends: int [cuts], the last unit of each group of equal P(fake).
    """

    metrics: tuple[str, ...]
    is_fake: np.ndarray
    sums: np.ndarray = field(repr=False)
    ranked_video: np.ndarray = field(repr=False)
    ranked_fake: np.ndarray = field(repr=False)
    ends: np.ndarray = field(repr=False)

    @classmethod
    def of(cls, units: pd.DataFrame, threshold: float, metrics: tuple[str, ...]) -> "_Table":
        """From faces or videos with `video_id`, `label` and `fake_probability`."""
        names, video = np.unique(units["video_id"].to_numpy(dtype=str), return_inverse=True)
        fake = units["label"].to_numpy() == FAKE
        score = units["fake_probability"].to_numpy(dtype=np.float64)
        decided = score > threshold
        edges = np.linspace(0, 1, CALIBRATION_BINS + 1)
        place = np.searchsorted(edges, score, side="right") - 1  # P(fake) = 1 has a bin of its own, as in torchmetrics
        bins = (place == np.arange(len(edges))[:, None]) * (score - fake)
        columns = np.stack([~fake, fake, decided & ~fake, ~decided & fake, (score - fake) ** 2, *bins])
        order = np.argsort(-score, kind="stable")
        return cls(
            metrics=metrics,
            is_fake=np.bincount(video, weights=fake) > 0,
            sums=np.stack([np.bincount(video, weights=column, minlength=len(names)) for column in columns]),
            ranked_video=video[order],
            ranked_fake=fake[order, None],
            ends=np.flatnonzero(np.diff(score[order], append=-1)),
        )

    def estimate(self) -> pd.Series:
        """The metrics of the test set as it is."""
        return pd.Series(self.score(np.ones((len(self.is_fake), 1)))[:, 0], index=list(self.metrics))

    def score(self, multiplicity: np.ndarray) -> np.ndarray:
        """The metrics [metrics, draws] of videos that occur `multiplicity` [videos, draws] times.

        As `deepfake_ms.scoring.metrics.score` defines them; NaN where a class is missing.
        """
        reals, fakes, wrong_reals, wrong_fakes, squares, *bins = self.sums @ multiplicity
        every = reals + fakes
        with np.errstate(invalid="ignore", divide="ignore"):
            real_error, fake_error = wrong_reals / reals, wrong_fakes / fakes
            wrong = wrong_reals + wrong_fakes
            f1 = [2 * right / (2 * right + wrong) for right in (reals - wrong_reals, fakes - wrong_fakes)]
            values = {
                "accuracy": 1 - wrong / every,
                "macro_f1": np.where(reals * fakes > 0, np.mean(f1, axis=0), np.nan),
                "balanced_accuracy": 1 - (real_error + fake_error) / 2,
                "real_error": real_error,
                "fake_error": fake_error,
                "brier": squares / every,
                "calibration_error": np.abs(bins).sum(axis=0) / every,
            }
        if set(self.metrics) & set(RANKING_METRICS):
            values |= self._rank(multiplicity, reals, fakes)
        return np.stack([values[name] for name in self.metrics])

    def _rank(self, multiplicity: np.ndarray, reals: np.ndarray, fakes: np.ndarray) -> dict[str, np.ndarray]:
        """`RANKING_METRICS` from the ROC curves [cuts, draws]."""
        if not (reals.all() and fakes.all()):
            return dict.fromkeys(RANKING_METRICS, np.full(len(reals), np.nan))
        weight = multiplicity[self.ranked_video]
        called = np.cumsum(weight, axis=0)[self.ends]
        weight *= self.ranked_fake
        caught = np.cumsum(weight, axis=0)[self.ends]
        gained = np.diff(caught, axis=0, prepend=0)
        precision = np.divide(caught, called, out=np.zeros_like(caught), where=called > 0)
        average_precision = (gained * precision).sum(axis=0) / fakes

        start = np.zeros((1, len(reals)))
        tpr = np.concatenate([start, caught / fakes])
        fpr = np.concatenate([start, (called - caught) / reals])
        below = np.count_nonzero(fpr <= LOW_FPR, axis=0) - 1
        draw = np.arange(len(reals))
        excess = tpr + fpr - 1  # rises from -1 to 1; both errors are equal at 0
        after = np.count_nonzero(excess < 0, axis=0)
        before = after - 1
        part = excess[before, draw] / (excess[before, draw] - excess[after, draw])
        return {
            "auroc": np.trapezoid(tpr, fpr, axis=0),
            "eer": fpr[before, draw] + part * (fpr[after, draw] - fpr[before, draw]),
            "average_precision": average_precision,
            "tpr_at_1_fpr": tpr[below, draw],
        }


def _prepare(
    rows: dict[str, Mapping[int, pd.DataFrame]],
    level: str,
    metrics: Sequence[str],
    thresholds: dict[str, Mapping[int, float] | None],
) -> dict[str, dict[int, _Table]]:
    """The tables per row and seed, once it is sure that all are about the same faces."""
    if level not in LEVELS:
        raise UserError(f"level={level} is unknown; choose from {', '.join(LEVELS)}.")
    if unknown := set(metrics) - set(TITLES):
        raise UserError(f"metrics: {', '.join(sorted(unknown))} unknown; choose from {', '.join(TITLES)}.")
    named = {f"{row} seed {seed}".strip(): table for row, seeds in rows.items() for seed, table in seeds.items()}
    if not named:
        raise UserError("There are no predictions to compare: score at least one seed first.")
    faces = {
        name: table[["sample_id", "video_id", "label"]].sort_values("sample_id", ignore_index=True)
        for name, table in named.items()
    }
    first = next(iter(faces))
    for name, these in faces.items():
        if not these.equals(faces[first]):
            raise UserError(
                f"The predictions of {first} and {name} are of different test faces: "
                "score both on the same subset of the same split."
            )
    labels = faces[first].groupby("video_id")["label"].nunique()
    if (labels > 1).any():
        raise UserError(f"video {labels.index[labels > 1][0]} has both labels: correct the corpus's labels.")
    prepared = {}
    for row, seeds in rows.items():
        chosen = thresholds[row] or dict.fromkeys(seeds, 0.5)
        if without := set(seeds) - set(chosen):
            raise UserError(f"There is no threshold for seed {min(without)}: give one for every seed.")
        prepared[row] = {
            seed: _Table.of(at_level(seeds[seed], level), chosen[seed], tuple(metrics)) for seed in sorted(seeds)
        }
    return prepared


def _bootstrap(pairs: list[tuple[_Table, _Table | None]], resamples: int, confidence: float, draw_seed: int) -> _Draws:
    """Of the mean over `pairs` of the first table's metrics (minus the second's), over draws of their videos."""
    table = pairs[0][0]
    videos = [np.flatnonzero(table.is_fake == (label == FAKE)) for label in (REAL, FAKE)]
    if min(map(len, videos)) < 2:
        nothing = np.full(len(table.metrics), np.nan)
        return _Draws(nothing, nothing, np.full((len(table.metrics), resamples), np.nan))

    def statistic(reals: np.ndarray, fakes: np.ndarray, axis: int) -> np.ndarray:
        drawn = np.concatenate([reals, fakes], axis=axis)  # [draws, videos]
        draws, count = drawn.shape
        place = drawn + count * np.arange(draws)[:, None]
        multiplicity = np.bincount(place.ravel(), minlength=draws * count).reshape(draws, count)
        columns = np.ascontiguousarray(multiplicity.T, dtype=np.float64)
        values = [one.score(columns) - (two.score(columns) if two else 0) for one, two in pairs]
        return np.mean(values, axis=0)

    result = stats.bootstrap(
        videos,
        statistic,
        n_resamples=resamples,
        batch=BATCH,
        vectorized=True,
        axis=-1,
        confidence_level=confidence,
        method="percentile",
        rng=np.random.default_rng(key("bootstrap", draw_seed)),
    )
    return _Draws(result.confidence_interval.low, result.confidence_interval.high, result.bootstrap_distribution)


def _summary(estimates: pd.DataFrame, draws: _Draws) -> pd.DataFrame:
    """One row per metric, from `estimates` (index: metric, columns: seeds)."""
    mean = estimates.mean(axis=1, skipna=False)
    share = [(np.count_nonzero(tail, axis=1) + 1) for tail in (draws.distribution <= 0, draws.distribution >= 0)]
    summary = pd.DataFrame(
        {
            "mean": mean,
            "sd": estimates.std(axis=1, skipna=False),
            "low": draws.low,
            "high": draws.high,
            "p_value": np.minimum(1, 2 * np.minimum(*share) / (draws.distribution.shape[1] + 1)),
            "seeds_agreeing": np.sign(estimates).eq(np.sign(mean), axis=0).sum(axis=1),
        }
    )
    summary.loc[summary.index.isin(WITHOUT_INTERVAL) | summary["low"].isna(), ["low", "high", "p_value"]] = np.nan
    return summary.rename_axis("metric")
