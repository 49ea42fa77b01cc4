"""Folders as train and evaluate leave them, without training, and the report on them."""

import importlib
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

REPOSITORY = Path(__file__).parents[2]
STAGES = ("1_masked_eyes", "2_cropped", "3_masked_eyes")
THRESHOLD = {"frame": 0.62, "video": 0.55}


def module(name):
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(REPOSITORY)
        return importlib.import_module(f"experiments.report.{name}")


def make_predictions(skill, seed, videos=12, frames=3):
    """Faces of real and fake videos in turn; the larger `skill`, the further apart their scores."""
    rng = np.random.default_rng(seed)
    video = np.repeat(np.arange(videos), frames)
    label = video % 2
    scores = 1 / (1 + np.exp(-(skill * (2 * label - 1) + rng.normal(size=len(video)))))
    return pd.DataFrame(
        {
            "sample_id": [f"v{each:02}#{number % frames}" for number, each in enumerate(video)],
            "video_id": [f"v{each:02}" for each in video],
            "label": label,
            "method": np.where(label == 1, "swap", "real"),
            "fake_probability": scores.astype("float32"),
        }
    )


def make_run(
    runs, row, seed, *, table=2, skill=1.0, stages=1, done=None, synthetic=True, thresholds=THRESHOLD, **changes
):
    """A run's folder as train and evaluate leave it; `changes` go into the configuration, dots as ``__``."""
    done = stages if done is None else done
    config = {
        "seed": seed,
        "data": {"name": "drawn", "fingerprint": "abc123"},
        "split": {"policy": "official", "fractions": [0.6, 0.2, 0.2], "seed": 0},
        "model": {"name": "tiny", "swin": "live"},
        "loss": {"name": "weighted" if row == "wl" else "cross_entropy"},
        "augmentation": {"name": "standard"},
        "curriculum": {"name": "c", "carry": "best", "stages": [{"share": 1 / stages}] * stages},
        "optimization": {
            "epochs": 6,
            "batch_size": 8,
            "monitor": "validation/loss",
            "optimizer": {"name": "SGD", "lr": 1},
        },
        "precision": "32-true",
    }
    about = {"code": "deepfake_ms 0.1.0 (aaaa)", "code_sha256": "1", "manifest_sha256": "2" * 64}
    for key, value in changes.items():
        if key in about:
            about[key] = value
            continue
        *parents, last = key.split("__")
        place = config
        for parent in parents:
            place = place[parent]
        place[last] = value
    folder = runs / f"table{table}_{row}" / f"seed_{seed}"
    scored = folder / "evaluation" / "test_handoff"
    scored.mkdir(parents=True)
    record = {"config": config, "config_sha256": "3" * 64, "libraries": {"torch": "2"}, "prepared": "/secret/place"}
    (folder / "run.json").write_text(json.dumps(record | about | {"synthetic": synthetic}))
    names = STAGES[:stages] if stages > 1 else ("1_cropped",)
    (folder / "chain.json").write_text(json.dumps({"stages": [{"stage": name} for name in names[:done]]}))
    rows = [{"stage": name, "epoch": epoch} for name in names for epoch in (1, 2)]
    curves = pd.DataFrame(rows).assign(**{"train/loss": 0.5, "validation/loss": 0.6, "validation/auroc": 0.7})
    curves.to_csv(folder / "metrics.csv", index=False)
    counts = {"real": 9, "fake": 9, "videos": 6, "identities": 4}
    audit = {
        "split": config["split"],
        "near_duplicate_bits": 40,
        "subsets": dict.fromkeys(("train", "validation", "test", "unused"), counts),
        "shared": {"train and test": {"videos": 0, "identities": 0, "near_duplicates": 2}},
        "left_out": [],
        "unknown_identities": 0,
    }
    (folder / "split_audit.json").write_text(json.dumps(audit))
    if done == stages:
        scores = {"checkpoint_sha256": "4" * 64, "test_openings": 1}
        scores |= {"validation_thresholds": thresholds} if thresholds else {}
        (scored / "scores.json").write_text(json.dumps(scores))
        make_predictions(skill, 10 * seed + len(row)).to_parquet(scored / "predictions.parquet")
    return folder


def run_report(runs, output, *arguments):
    module("__main__").main(["--runs", str(runs), "--output", str(output), "--resamples", "100", *arguments])
