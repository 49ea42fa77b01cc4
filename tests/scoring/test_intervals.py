"""Bootstrap intervals and paired differences: against scipy, by simulation, and invalid input."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn import metrics as sklearn_metrics

from deepfake_ms.errors import UserError
from deepfake_ms.randomness import key
from deepfake_ms.scoring.intervals import (
    WITHOUT_INTERVAL,
    _Table,
    bootstrap_intervals,
    difference_of_differences,
    paired_difference,
)
from deepfake_ms.scoring.metrics import DECISION_METRICS, TITLES, at_level, score_table

BOUNDED = [name for name in TITLES if name not in WITHOUT_INTERVAL]


def simulate(draw, videos=60, frames=5, per_video=1.0, per_frame=0.5, separation=1.5, shared=None, ties=False):
    """Predictions for `videos` videos, every fourth of them real, with a normal video effect of size `per_video`.

    `shared` is the video effect of another call; it correlates the two calls.
    """
    random = np.random.default_rng(key("test", draw))
    label = (np.arange(videos) % 4 > 0).astype(int)
    effect = random.normal(size=videos) * per_video if shared is None else shared
    video = np.repeat(np.arange(videos), frames)
    logit = separation * (label - 0.5)[video] + effect[video] + per_frame * random.normal(size=len(video))
    probability = 1 / (1 + np.exp(-logit))
    return pd.DataFrame(
        {
            "sample_id": [f"{v:04}_{f:02}" for v in range(videos) for f in range(frames)],
            "video_id": [f"v{v:04}" for v in video],
            "label": label[video],
            "fake_probability": (np.round(probability, 1) if ties else probability).astype(np.float32),
        }
    )


def width(table):
    return table["high"] - table["low"]


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("level", ["frame", "video"])
def test_multiplicities_equal_repeated_videos(level, ties):
    predictions = simulate(0, ties=ties)
    multiplicity = np.random.default_rng(0).integers(0, 4, 60)
    repeated = predictions.loc[predictions.index.repeat(np.repeat(multiplicity, 5))].reset_index(drop=True)
    copy = repeated.groupby("sample_id").cumcount().astype(str)
    repeated["video_id"] += "_" + copy  # copies of a video are separate videos
    table = _Table.of(at_level(predictions, level), 0.6, tuple(TITLES))
    weighted = table.score(np.stack([np.ones(60), multiplicity], axis=1))
    thresholds = {"frame": 0.6, "video": 0.6}
    for column, table in enumerate((predictions, repeated)):
        expected = score_table(table, thresholds)[level]
        assert dict(zip(TITLES, weighted[:, column], strict=True)) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("level", ["frame", "video"])
def test_interval_contains_the_mean_over_seeds(level):
    seeds = {seed: simulate(seed) for seed in (3, 1, 2)}
    table = bootstrap_intervals(seeds, level, resamples=300)
    values = pd.DataFrame({seed: score_table(rows)[level] for seed, rows in seeds.items()})
    np.testing.assert_allclose(table["mean"], values.mean(axis=1), atol=1e-6)
    np.testing.assert_allclose(table["sd"], values.std(axis=1), atol=1e-6)
    assert list(table.index) == list(TITLES)
    assert (table.loc[BOUNDED, "low"] < table.loc[BOUNDED, "mean"]).all()
    assert (table.loc[BOUNDED, "mean"] < table.loc[BOUNDED, "high"]).all()
    assert table.loc[list(WITHOUT_INTERVAL), ["low", "high"]].isna().all(axis=None)
    assert bootstrap_intervals({1: seeds[1]}, level, resamples=50)["sd"].isna().all()


def test_large_tables_are_ranked_in_parts_with_the_same_result(monkeypatch):
    table = _Table.of(simulate(0), 0.5, tuple(TITLES))
    multiplicity = np.random.default_rng(0).integers(1, 4, (60, 11)).astype(float)
    whole, ranked = table.score(multiplicity), []
    real = _Table._rank
    monkeypatch.setattr(
        _Table, "_rank", lambda self, part, *counts: (ranked.append(part.shape), real(self, part, *counts))[1]
    )
    monkeypatch.setattr("deepfake_ms.scoring.intervals.LARGEST", 4 * 300)
    assert table.score(multiplicity) == pytest.approx(whole, abs=1e-12)
    assert ranked == [(60, 4), (60, 4), (60, 3)]


def test_single_frame_videos_give_scipys_bootstrap():
    predictions = simulate(0, videos=200, frames=1)
    ours = bootstrap_intervals({0: predictions}, metrics=("auroc", "fake_error"), resamples=4000)
    parts = [predictions.loc[predictions["label"] == label, "fake_probability"].to_numpy() for label in (0, 1)]

    def auroc(reals, fakes):
        return sklearn_metrics.roc_auc_score([0] * len(reals) + [1] * len(fakes), np.concatenate([reals, fakes]))

    options = {"method": "percentile", "rng": np.random.default_rng(1)}
    theirs = {
        "auroc": stats.bootstrap(parts, auroc, n_resamples=1000, vectorized=False, **options),
        "fake_error": stats.bootstrap((parts[1] <= 0.5,), np.mean, n_resamples=4000, **options),
    }
    for name, result in theirs.items():
        bounds = ours.loc[name, ["low", "high"]].to_numpy(dtype=float)
        np.testing.assert_allclose(bounds, result.confidence_interval, atol=0.1 * width(ours)[name])


def test_95_percent_interval_covers_the_truth_in_about_95_percent():
    """Binormal scores have a known AUROC; 150 small test sets."""
    truth = stats.norm.cdf(1.5 / np.sqrt(2 * (1.0**2 + 0.5**2)))
    tables = [bootstrap_intervals({0: simulate(draw)}, metrics=("auroc",), resamples=200) for draw in range(150)]
    coverage = np.mean([table["low"]["auroc"] <= truth <= table["high"]["auroc"] for table in tables])
    assert 0.88 <= coverage <= 0.99  # percentile intervals are slightly too narrow with 15 real videos


def test_only_correlated_frames_widen_the_interval():
    as_own_videos = {"video_id": lambda table: table["sample_id"]}
    for per_video, per_frame, low, high in ((1.0, 0.3, 1.6, 2.5), (0.0, 1.0, 0.8, 1.25)):
        predictions = simulate(0, videos=100, per_video=per_video, per_frame=per_frame)
        clustered = bootstrap_intervals({0: predictions}, metrics=("auroc", "brier"), resamples=1000)
        unclustered = bootstrap_intervals(
            {0: predictions.assign(**as_own_videos)}, metrics=("auroc", "brier"), resamples=1000
        )
        assert (width(clustered) / width(unclustered)).between(low, high).all()  # five identical frames: sqrt(5) = 2.2


def test_pairing_narrows_the_interval_of_correlated_rows():
    effect = np.random.default_rng(0).normal(size=100)
    better = {seed: simulate(seed, 100, separation=1.9, shared=effect) for seed in (0, 1, 2)}
    worse = {seed: simulate(seed + 10, 100, shared=effect) for seed in (2, 0, 1)}
    paired = paired_difference(better, worse, metrics=("auroc", "brier"), resamples=500)
    alone = [bootstrap_intervals(row, metrics=("auroc", "brier"), resamples=500) for row in (better, worse)]
    np.testing.assert_allclose(paired["mean"], alone[0]["mean"] - alone[1]["mean"])
    unpaired = np.hypot(width(alone[0]), width(alone[1]))
    assert (width(paired) < 0.7 * unpaired).all()
    assert paired.loc["auroc", "low"] > 0
    assert paired.loc["auroc", "p_value"] < 0.05
    assert paired.loc["auroc", "seeds_agreeing"] == 3
    reverse = paired_difference(worse, better, metrics=("auroc", "brier"), resamples=500)
    np.testing.assert_allclose(reverse[["low", "high"]], -paired[["high", "low"]])
    np.testing.assert_allclose(reverse["p_value"], paired["p_value"])


def test_a_row_does_not_differ_from_itself():
    row = {seed: simulate(seed) for seed in (0, 1, 2)}
    table = paired_difference(row, row, resamples=100).loc[BOUNDED]
    assert (table[["mean", "sd", "low", "high"]] == 0).all(axis=None)
    assert (table["p_value"] == 1).all()


def test_p_value_is_rarely_small_without_a_difference():
    """Compares two detectors of equal quality on the same videos 100 times."""
    p_values = []
    for draw in range(100):
        effect = np.random.default_rng(draw).normal(size=60)
        rows = [{0: simulate(1000 + 2 * draw + each, shared=effect)} for each in (0, 1)]
        p_values.append(paired_difference(*rows, metrics=("auroc",), resamples=200).loc["auroc", "p_value"])
    assert np.mean(np.array(p_values) < 0.05) <= 0.12
    assert 0.3 < np.mean(p_values) < 0.7


def test_each_seed_has_its_own_threshold():
    seeds = {seed: simulate(seed) for seed in (0, 1)}
    table = bootstrap_intervals(seeds, metrics=DECISION_METRICS, thresholds={0: 0.3, 1: 0.7}, resamples=50)
    values = [
        score_table(seeds[seed], {"frame": cut, "video": cut})["frame"]["accuracy"]
        for seed, cut in ((0, 0.3), (1, 0.7))
    ]
    assert table.loc["accuracy", "mean"] == pytest.approx(np.mean(values))
    difference = paired_difference(seeds, seeds, metrics=DECISION_METRICS, thresholds={0: 0.3, 1: 0.3}, resamples=50)
    assert difference.loc["real_error", "mean"] > 0  # only the first row's threshold differs from .5
    with pytest.raises(UserError, match="no threshold for seed 1"):
        bootstrap_intervals(seeds, thresholds={0: 0.3})


def test_resampling_is_seeded_and_independent_of_row_order():
    predictions = simulate(0)
    table = bootstrap_intervals({0: predictions}, resamples=100)
    shuffled = predictions.sample(frac=1, random_state=1).reset_index(drop=True)
    pd.testing.assert_frame_equal(bootstrap_intervals({0: shuffled}, resamples=100), table)
    assert not bootstrap_intervals({0: predictions}, resamples=100, draw_seed=1)["low"].equals(table["low"])


@pytest.mark.parametrize("fakes", [0, 1])
def test_fewer_than_two_videos_of_a_class_give_no_interval(fakes):
    predictions = simulate(0)
    kept = predictions["label"].eq(0) | predictions["video_id"].isin(["v0001"][:fakes])
    table = bootstrap_intervals({0: predictions[kept].reset_index(drop=True)}, resamples=20)
    assert table[["low", "high"]].isna().all(axis=None)
    assert np.isnan(table.loc["auroc", "mean"]) == (fakes == 0)
    assert table.loc["real_error", "mean"] > 0


def test_mismatched_faces_seeds_and_unknown_names_are_rejected():
    row, other = {0: simulate(0)}, {0: simulate(1, videos=59)}
    with pytest.raises(UserError, match="row seed 0 and other seed 0 cover different test faces"):
        paired_difference(row, other)
    with pytest.raises(UserError, match="seed 0 and seed 1 cover different test faces"):
        bootstrap_intervals({0: row[0], 1: other[0]})
    with pytest.raises(UserError, match=r"different seeds, \[0\] and \[1\]"):
        paired_difference(row, {1: row[0]})
    with pytest.raises(UserError, match="level=face is unknown"):
        bootstrap_intervals(row, "face")
    with pytest.raises(UserError, match="Unknown metrics f1"):
        bootstrap_intervals(row, metrics=("f1",))
    with pytest.raises(UserError, match="no predictions"):
        bootstrap_intervals({})
    with pytest.raises(UserError, match="video v0000 has both labels"):
        bootstrap_intervals({0: row[0].assign(label=np.arange(300) % 2)})


def test_difference_of_differences():
    """The difference of two paired differences, with an interval that equal pairs shrink to nothing."""
    row, other = ({seed: simulate(seed, separation=each) for seed in (0, 1)} for each in (3.0, 1.0))
    base, base_other = ({seed: simulate(seed + 10, separation=each) for seed in (0, 1)} for each in (2.0, 1.5))
    found = difference_of_differences((row, other), (base, base_other), "video", resamples=200)
    pairs = [paired_difference(*pair, "video", resamples=50)["mean"] for pair in ((row, other), (base, base_other))]
    np.testing.assert_allclose(found["mean"], pairs[0] - pairs[1], atol=1e-9)
    assert (found.loc[BOUNDED, "low"] < found.loc[BOUNDED, "high"]).all()
    against_nothing = difference_of_differences((row, other), (base, base), "video", resamples=200)
    np.testing.assert_allclose(
        against_nothing.loc["auroc", ["mean", "low", "high"]].astype(float),
        paired_difference(row, other, "video", resamples=200).loc["auroc", ["mean", "low", "high"]].astype(float),
    )
    same = difference_of_differences((row, other), (row, other), "video", resamples=50)
    assert (same.loc[BOUNDED, ["mean", "low", "high"]].abs() < 1e-12).all(axis=None)
    with pytest.raises(UserError, match="The four sets of predictions have different seeds"):
        difference_of_differences((row, other), (base, {0: base[0]}))
