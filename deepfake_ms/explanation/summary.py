"""Region shares and reliance as tables with intervals."""

from collections.abc import Iterator, Mapping

import numpy as np
import pandas as pd

from deepfake_ms.explanation.page import TextTable
from deepfake_ms.explanation.regions import REGIONS
from deepfake_ms.explanation.reliance import RANDOM
from deepfake_ms.labels import FAKE
from deepfake_ms.scoring.clustered_means import clustered_mean
from deepfake_ms.scoring.intervals import bootstrap_intervals, paired_difference

Seeds = Mapping[int, pd.DataFrame]


def summarise_shares(detectors: Mapping[str, Seeds], resamples: int = 2000) -> pd.DataFrame:
    """Mean share and density of every region per detector and view, and paired differences from the first detector.

    Args:
        detectors: name → seed → `Explained.shares`, all of the same faces.
        resamples: of the videos, per interval.

    Returns:
        One row per detector, view, region and measure (``share`` or ``density``), and for all but the first detector
        another one whose `minus` is the name of the first, paired by face; the other columns are those of
        `clustered_mean`. Faces whose map is empty do not count.
    """
    lines = []
    first, *_ = detectors
    for name, seeds in detectors.items():
        for view in next(iter(seeds.values()))["view"].unique():
            for region in REGIONS:
                for measure in ("share", "density"):
                    about = {"detector": name, "view": view, "region": region, "measure": measure}
                    ours = {seed: _of(table, view, region) for seed, table in seeds.items()}
                    lines.append({**about, "minus": "", **clustered_mean(ours, measure, resamples)})
                    if name == first:
                        continue
                    theirs = {seed: _of(table, view, region) for seed, table in detectors[first].items()}
                    pairs = {
                        seed: ours[seed].assign(**{measure: ours[seed][measure] - theirs[seed][measure]})
                        for seed in ours
                        if seed in theirs and len(theirs[seed])  # the first detector may lack this view
                    }
                    if pairs:
                        lines.append({**about, "minus": first, **clustered_mean(pairs, measure, resamples)})
    return pd.DataFrame(lines)


def _of(shares: pd.DataFrame, view: str, region: str) -> pd.DataFrame:
    return shares[(shares["view"] == view) & (shares["region"] == region)].set_index("sample_id")


Occluded = Mapping[tuple[str, str, str], pd.DataFrame]
"""(region, place, fill) → predictions, as `deepfake_ms.explanation.reliance.occlude` yields them."""


def summarise_reliance(seeds: Mapping[int, Occluded], level: str = "frame", resamples: int = 2000) -> pd.DataFrame:
    """What a detector loses when a region is covered, and how much of it is due to the region.

    Args:
        seeds: training seed → predictions under every occlusion.
        level: ``frame`` or ``video``, of the AUROC.
        resamples: of the videos, per interval.

    Returns:
        One row per measure, region, fill and comparison, with `mean`, `sd`, `low` and `high`. Measures:
        ``auroc``, and ``fake_probability`` of the fakes. Comparisons: ``covered`` minus unchanged, ``random`` places
        minus unchanged, and ``excess``, covered minus random places: the part due to the region itself. If its interval
        lies below zero, the detector needs the region.
    """
    return pd.DataFrame(_reliance_lines(seeds, level, resamples))


def _reliance_lines(seeds: Mapping[int, Occluded], level: str, resamples: int) -> Iterator[dict]:
    some = next(iter(seeds.values()))
    whole = {seed: each["", "", ""] for seed, each in seeds.items()}
    yield {
        **{"measure": "auroc", "region": "", "fill": "", "comparison": "unchanged"},
        **bootstrap_intervals(whole, level, ("auroc",), resamples=resamples).loc["auroc"],
    }
    regions = dict.fromkeys((region, fill) for region, place, fill in some if place == "landmarks")
    for region, fill in regions:
        covered, scattered = (
            {seed: each[region, place, fill] for seed, each in seeds.items()} for place in ("landmarks", RANDOM)
        )
        for comparison, ours, theirs in (
            ("covered", covered, whole),
            ("random", scattered, whole),
            ("excess", covered, scattered),
        ):
            about = {"region": region, "fill": fill, "comparison": comparison}
            difference = paired_difference(ours, theirs, level, ("auroc",), resamples=resamples).loc["auroc"]
            yield {"measure": "auroc", **about, **difference}
            falls = {
                seed: table[table["label"] == FAKE].assign(
                    change=lambda fakes, other=theirs[seed]: (
                        fakes["fake_probability"] - other.loc[fakes.index, "fake_probability"]
                    )
                )
                for seed, table in ours.items()
            }
            yield {"measure": "fake_probability", **about, **clustered_mean(falls, "change", resamples)}


def share_tables(summary: pd.DataFrame) -> list[TextTable]:
    """One table per view: share [interval] and density of each region per detector, and differences from the first."""
    tables = []
    for view, lines in summary.groupby("view", sort=False):
        texts = lines.set_index(["detector", "minus", "region", "measure"])
        names = list(dict.fromkeys(zip(lines["detector"], lines["minus"], strict=True)))
        header = ["region", *(f"{name} − {minus}" if minus else name for name, minus in names)]
        rows = []
        for region in REGIONS:
            row = [region]
            for name, minus in names:
                share = texts.loc[(name, minus, region, "share")]
                density = texts.loc[(name, minus, region, "density"), "mean"]
                sign = "+" if minus else ""
                row.append(f"{_text(share, bool(minus))}, density {density:{sign}.2f}" if share["faces"] else "–")
            rows.append(row)
        counts = [int(texts.loc[(*name, REGIONS[0], "share"), "faces"]) for name in names]
        rows.append(["faces with a map", *map(str, counts)])
        tables.append(TextTable(f"Share of the attribution per region: {view}", header, rows))
    return tables


def reliance_table(name: str, summary: pd.DataFrame) -> TextTable:
    """AUROC and P(fake) of fakes: change when a region is covered, at random places, and their difference."""
    rows = []
    for (region, fill), lines in summary[summary["region"] != ""].groupby(["region", "fill"], sort=False):
        texts = lines.set_index(["measure", "comparison"])
        cells = [
            _text(texts.loc[(measure, comparison)], True)
            for measure in ("auroc", "fake_probability")
            for comparison in ("covered", "random", "excess")
        ]
        rows.append([f"{region}, {fill}", *cells])
    header = ["covered", "AUROC", "at random places", "due to the region"]
    header += ["P(fake) of fakes", "at random places", "due to the region"]
    unchanged = _text(summary[summary["comparison"] == "unchanged"].iloc[0], False)
    title = f"{name}: change when a region is covered; AUROC on unchanged faces {unchanged}"
    return TextTable(title, header, rows)


def _text(line: pd.Series, signed: bool) -> str:
    if np.isnan(line["mean"]):
        return "–"
    sign = "+" if signed else ""
    interval = "" if np.isnan(line["low"]) else f" [{line['low']:{sign}.3f}, {line['high']:{sign}.3f}]"
    return f"{line['mean']:{sign}.3f}{interval}"
