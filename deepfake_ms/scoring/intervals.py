"""Confidence intervals of a row's scores and of its difference from another row: bootstrap over the test videos.

The frames of a video are correlated, so whole videos are resampled with replacement, real and fake ones separately;
both classes keep their number of videos. All seeds, and both rows of a difference, are scored on the same resamples. An
interval shows how the scores of *these* trained models would vary with other test videos. The variation between
training runs is not part of the interval; it is reported as the standard deviation over seeds (`sd`).

A resample, or draw, is a vector of multiplicities, one per video; metrics are computed from weighted counts for many
draws at once.
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
"""Metrics without an interval. Resampling adds noise, which this metric counts as miscalibration, so its bootstrap
percentiles are biased upwards. The Brier score, which has an interval, covers calibration too."""

Predictions = Mapping[int, pd.DataFrame]
"""Training seed → predictions of the same test faces."""
RANKING_METRICS = ("auroc", "eer", "average_precision", "tpr_at_1_fpr")
BATCH = 50
"""Draws per batch."""
LARGEST = 750_000
"""Units times draws that are ranked at once: an intermediate array takes 6 MB. Larger ones leave the processor's cache
and are fetched from the system anew each time."""


def bootstrap_intervals(
    seeds: Mapping[int, pd.DataFrame],
    level: str = "frame",
    metrics: Sequence[str] = tuple(TITLES),
    thresholds: Mapping[int, float] | None = None,
    resamples: int = 2000,
    confidence: float = 0.95,
    draw_seed: int = 0,
) -> pd.DataFrame:
    """Mean and standard deviation over seeds, and percentile bootstrap interval, of one row.

    Args:
        seeds: predictions of the same test faces per training seed; one table row per face with `sample_id`,
            `video_id`, `label` (0 real, 1 fake) and `fake_probability`.
        level: ``frame`` or ``video`` (mean P(fake) over a video's frames).
        metrics: names from `deepfake_ms.scoring.metrics.TITLES`.
        thresholds: decision threshold per seed at this level; default .5.
        resamples: number of resamples of the test videos.
        confidence: confidence level of the interval.
        draw_seed: seed of the resampling.

    Returns:
        One row per metric with `mean`, `sd` (over seeds, n - 1; NaN for one seed), `low` and `high`. The bounds are NaN
        for `WITHOUT_INTERVAL`, and for all metrics if a class has fewer than two videos.

    Raises:
        UserError: the seeds were scored on different faces, a video has two labels, or an argument is unknown.
    """
    tables = _prepare({"": seeds}, level, metrics, {"": thresholds})[""]
    estimates = pd.DataFrame({seed: table.estimate() for seed, table in tables.items()})
    draws = _bootstrap([[(1, table)] for table in tables.values()], resamples, confidence, draw_seed)
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
    """The difference `row` minus `other`, paired by seed and test video; arguments as in `bootstrap_intervals`.

    Returns:
        One row per metric with the columns of `bootstrap_intervals` for the difference, and

        - `p_value`: two-sided p-value for no difference between these trained models on other test videos: twice the
          smaller share of resamples on one side of zero, counting zeros on both sides. It does not cover variation
          between training runs; only together with the next column does it say something about the training methods.
        - `seeds_agreeing`: number of seeds whose difference has the sign of the mean. All n seeds agree by chance with
          probability 2^(1-n), which is .25 for three seeds.

    Raises:
        UserError: as in `bootstrap_intervals`, or the rows have different seeds or test faces.
    """
    if set(row) != set(other):
        raise UserError(
            f"The rows have different seeds, {sorted(row)} and {sorted(other)}: compare seeds that both rows have."
        )
    tables = _prepare({"row": row, "other": other}, level, metrics, {"row": thresholds, "other": other_thresholds})
    signs = {"row": 1, "other": -1}
    return _combine(tables, signs, resamples, confidence, draw_seed)


def difference_of_differences(
    row: tuple[Predictions, Predictions],
    other: tuple[Predictions, Predictions],
    level: str = "frame",
    metrics: Sequence[str] = tuple(TITLES),
    resamples: int = 2000,
    confidence: float = 0.95,
    draw_seed: int = 0,
) -> pd.DataFrame:
    """How much larger the difference within `row`, its first minus its second predictions, is than that within `other`.

    All four are paired by seed and test video; thresholds are .5. Other arguments, columns and errors as in
    `paired_difference`.
    """
    named = {"row": row[0], "row minus": row[1], "other": other[0], "other minus": other[1]}
    if len({frozenset(seeds) for seeds in named.values()}) > 1:
        raise UserError("The four sets of predictions have different seeds: compare seeds that all have.")
    tables = _prepare(named, level, metrics, dict.fromkeys(named))
    signs = {"row": 1, "row minus": -1, "other": -1, "other minus": 1}
    return _combine(tables, signs, resamples, confidence, draw_seed)


def _combine(
    tables: dict[str, dict[int, "_Table"]], signs: Mapping[str, int], resamples: int, confidence: float, draw_seed: int
) -> pd.DataFrame:
    """The summary of the signed sum of several tables per seed."""
    seeds = next(iter(tables.values()))
    terms = {seed: [(sign, tables[name][seed]) for name, sign in signs.items()] for seed in seeds}
    estimates = pd.DataFrame({seed: sum(sign * table.estimate() for sign, table in terms[seed]) for seed in seeds})
    return _summary(estimates, _bootstrap(list(terms.values()), resamples, confidence, draw_seed))


@dataclass(frozen=True)
class _Draws:
    """Bootstrap results: bounds [metrics] and distribution [metrics, resamples]; NaN if undefined."""

    low: np.ndarray
    high: np.ndarray
    distribution: np.ndarray


@dataclass(frozen=True)
class _Table:
    """One seed's predictions at one level, prepared for scoring with multiplicities of the videos.

    A unit is a face at frame level and a video at video level.

    Attributes:
        metrics: names of the metrics to compute, in order.
        is_fake: bool [videos].
        sums: sums per video that are linear in the multiplicities, [sums, videos]: real and fake units, misclassified
            real and fake units, squared error, and per calibration bin P(fake) minus label.
        ranked_video: int [units], the video of each unit, by descending P(fake).
        ranked_fake: bool [units, 1], whether each unit is fake, in the same order.
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
        """Prepare faces or videos with `video_id`, `label` and `fake_probability`."""
        names, video = np.unique(units["video_id"].to_numpy(dtype=str), return_inverse=True)
        fake = units["label"].to_numpy() == FAKE
        score = units["fake_probability"].to_numpy(dtype=np.float64)
        decided = score > threshold
        edges = np.linspace(0, 1, CALIBRATION_BINS + 1)
        index = np.searchsorted(edges, score, side="right") - 1  # P(fake) = 1 has its own bin, as in torchmetrics
        bins = (index == np.arange(len(edges))[:, None]) * (score - fake)
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
        """The metrics of the original test set."""
        return pd.Series(self.score(np.ones((len(self.is_fake), 1)))[:, 0], index=list(self.metrics))

    def score(self, multiplicity: np.ndarray) -> np.ndarray:
        """The metrics [metrics, draws] if each video occurs `multiplicity` [videos, draws] times.

        Defined as in `deepfake_ms.scoring.metrics.score`; NaN if a class is missing.
        """
        step = max(1, LARGEST // max(1, len(self.ranked_video)))
        parts = (multiplicity[:, start : start + step] for start in range(0, multiplicity.shape[1], step))
        return np.concatenate([self._score(part) for part in parts], axis=1)

    def _score(self, multiplicity: np.ndarray) -> np.ndarray:
        reals, fakes, wrong_reals, wrong_fakes, squares, *bins = self.sums @ multiplicity
        units = reals + fakes
        with np.errstate(invalid="ignore", divide="ignore"):
            real_error, fake_error = wrong_reals / reals, wrong_fakes / fakes
            wrong = wrong_reals + wrong_fakes
            f1 = [2 * right / (2 * right + wrong) for right in (reals - wrong_reals, fakes - wrong_fakes)]
            values = {
                "accuracy": 1 - wrong / units,
                "macro_f1": np.where(reals * fakes > 0, np.mean(f1, axis=0), np.nan),
                "balanced_accuracy": 1 - (real_error + fake_error) / 2,
                "real_error": real_error,
                "fake_error": fake_error,
                "brier": squares / units,
                "calibration_error": np.abs(bins).sum(axis=0) / units,
            }
        if set(self.metrics) & set(RANKING_METRICS):
            values |= self._rank(multiplicity, reals, fakes)
        return np.stack([values[name] for name in self.metrics])

    def _rank(self, multiplicity: np.ndarray, reals: np.ndarray, fakes: np.ndarray) -> dict[str, np.ndarray]:
        """`RANKING_METRICS` from ROC curves [cuts, draws]."""
        if not (reals.all() and fakes.all()):
            return dict.fromkeys(RANKING_METRICS, np.full(len(reals), np.nan))
        weight = multiplicity[self.ranked_video]
        predicted_fake = np.cumsum(weight, axis=0)[self.ends]
        weight *= self.ranked_fake
        true_fake = np.cumsum(weight, axis=0)[self.ends]
        new_true_fake = np.diff(true_fake, axis=0, prepend=0)
        precision = np.divide(true_fake, predicted_fake, out=np.zeros_like(true_fake), where=predicted_fake > 0)
        average_precision = (new_true_fake * precision).sum(axis=0) / fakes

        start = np.zeros((1, len(reals)))
        tpr = np.concatenate([start, true_fake / fakes])
        fpr = np.concatenate([start, (predicted_fake - true_fake) / reals])
        below = np.count_nonzero(fpr <= LOW_FPR, axis=0) - 1
        draw = np.arange(len(reals))
        excess = tpr + fpr - 1  # rises from -1 to 1; both error rates are equal at 0
        after = np.count_nonzero(excess < 0, axis=0)
        before = after - 1
        fraction = excess[before, draw] / (excess[before, draw] - excess[after, draw])
        return {
            "auroc": np.trapezoid(tpr, fpr, axis=0),
            "eer": fpr[before, draw] + fraction * (fpr[after, draw] - fpr[before, draw]),
            "average_precision": average_precision,
            "tpr_at_1_fpr": tpr[below, draw],
        }


def _prepare(
    rows: dict[str, Mapping[int, pd.DataFrame]],
    level: str,
    metrics: Sequence[str],
    thresholds: dict[str, Mapping[int, float] | None],
) -> dict[str, dict[int, _Table]]:
    """Check that all tables cover the same faces, and prepare a `_Table` per row and seed."""
    if level not in LEVELS:
        raise UserError(f"level={level} is unknown: choose from {', '.join(LEVELS)}.")
    if unknown := set(metrics) - set(TITLES):
        raise UserError(f"Unknown metrics {', '.join(sorted(unknown))}: choose from {', '.join(TITLES)}.")
    named = {f"{row} seed {seed}".strip(): table for row, seeds in rows.items() for seed, table in seeds.items()}
    if not named:
        raise UserError("There are no predictions to compare: evaluate at least one seed first.")
    faces = {
        name: table[["sample_id", "video_id", "label"]].sort_values("sample_id", ignore_index=True)
        for name, table in named.items()
    }
    first = next(iter(faces))
    for name, table in faces.items():
        if not table.equals(faces[first]):
            raise UserError(
                f"The predictions of {first} and {name} cover different test faces: "
                "evaluate both on the same subset of the same split."
            )
    labels = faces[first].groupby("video_id")["label"].nunique()
    if (labels > 1).any():
        raise UserError(f"video {labels.index[labels > 1][0]} has both labels: correct the labels of the corpus.")
    prepared = {}
    for row, seeds in rows.items():
        chosen = thresholds[row] or dict.fromkeys(seeds, 0.5)
        if missing := set(seeds) - set(chosen):
            raise UserError(f"There is no threshold for seed {min(missing)}: give one for every seed.")
        prepared[row] = {
            seed: _Table.of(at_level(seeds[seed], level), chosen[seed], tuple(metrics)) for seed in sorted(seeds)
        }
    return prepared


def _bootstrap(sums: list[list[tuple[int, _Table]]], resamples: int, confidence: float, draw_seed: int) -> _Draws:
    """Bootstrap the mean over `sums` of the signed sum of each one's metrics by resampling videos."""
    table = sums[0][0][1]
    videos = [np.flatnonzero(table.is_fake == (label == FAKE)) for label in (REAL, FAKE)]
    if min(map(len, videos)) < 2:
        undefined = np.full(len(table.metrics), np.nan)
        return _Draws(undefined, undefined, np.full((len(table.metrics), resamples), np.nan))

    def statistic(reals: np.ndarray, fakes: np.ndarray, axis: int) -> np.ndarray:
        drawn = np.concatenate([reals, fakes], axis=axis)  # [draws, videos]
        draws, count = drawn.shape
        cell = drawn + count * np.arange(draws)[:, None]
        multiplicity = np.bincount(cell.ravel(), minlength=draws * count).reshape(draws, count)
        columns = np.ascontiguousarray(multiplicity.T, dtype=np.float64)
        return np.mean([sum(sign * each.score(columns) for sign, each in terms) for terms in sums], axis=0)

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
    """One row per metric, from `estimates` (index: metrics, columns: seeds)."""
    mean = estimates.mean(axis=1, skipna=False)
    tails = [(np.count_nonzero(tail, axis=1) + 1) for tail in (draws.distribution <= 0, draws.distribution >= 0)]
    summary = pd.DataFrame(
        {
            "mean": mean,
            "sd": estimates.std(axis=1, skipna=False),
            "low": draws.low,
            "high": draws.high,
            "p_value": np.minimum(1, 2 * np.minimum(*tails) / (draws.distribution.shape[1] + 1)),
            "seeds_agreeing": np.sign(estimates).eq(np.sign(mean), axis=0).sum(axis=1),
        }
    )
    summary.loc[summary.index.isin(WITHOUT_INTERVAL) | summary["low"].isna(), ["low", "high", "p_value"]] = np.nan
    return summary.rename_axis("metric")
