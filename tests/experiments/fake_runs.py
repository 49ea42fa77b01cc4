"""Run folders as train and evaluate leave them, without training, and the report on them."""

import json
from pathlib import Path

import numpy as np
import pandas as pd

from deepfake_ms.data.audit import PAIRS
from deepfake_ms.training.run_folder import FORMAT
from experiments.report.__main__ import main
from experiments.report.cells import SCORED

REPOSITORY = Path(__file__).parents[2]
PUBLISHED = pd.read_csv(REPOSITORY / "experiments" / "published.csv", dtype=str, keep_default_na=False)
STAGES = ("1_masked_eyes", "2_cropped", "3_masked_eyes")
THRESHOLD = {"frame": 0.62, "video": 0.55}


def make_predictions(skill, seed, videos=12, frames=3):
    """Faces of alternately real and fake videos; the larger `skill`, the further apart their scores."""
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


def make_config(row, seed, stages, **changes):
    """The configuration in a run's record, with `changes` to single keys, ``__`` for dots (``loss__name``).

    A change to the run's settings does not change those of its stages (``curriculum__stages__0__loss``).
    """
    names = STAGES[:stages] if stages > 1 else ("1_cropped",)
    loss = {"name": "weighted" if row == "wl" else "cross_entropy", "class_weights": {"real": 1.0, "fake": 1.0}}
    optimization = {"batch_size": 8, "optimizer": {"name": "SGD", "lr": 0.1}, "schedule": {"name": "StepLR"}}
    shared = {"augmentation": {"name": "standard", "transforms": []}, "loss": loss, **optimization, "freeze": []}
    shared |= {"carry": "best", "gradient_clip": None}
    resolved = [
        {"name": name, "faces": "masked", "mask": {"name": "eyes"}, "epochs": 2, **shared}
        if "masked" in name
        else {"name": name, "faces": "cropped", "mask": None, "epochs": 2, **shared}
        for name in names
    ]
    config = {
        "seed": seed,
        "data": {"name": "drawn", "fingerprint": "abc123"},
        "split": {"policy": "official", "fractions": [0.6, 0.2, 0.2], "seed": 0},
        "model": {"name": "tiny", "swin": "live"},
        "loss": loss,
        "augmentation": {"name": "standard"},
        "mask": {"name": "eyes"},
        "curriculum": {"name": "c", "carry": "best", "stages": resolved},
        "optimization": {"epochs": 6, "monitor": "validation/loss", **optimization},
        "trainer": {"precision": "32-true"},
    }
    config = json.loads(json.dumps(config))  # no part is shared
    for key, value in changes.items():
        *parents, last = (int(name) if name.isdigit() else name for name in key.split("__"))
        place = config
        for parent in parents:
            place = place[parent]
        place[last] = value
    return config


def make_run(
    runs, row, seed, *, table=2, skill=1.0, stages=1, done=None, synthetic=True, thresholds=THRESHOLD, **changes
):
    """A run's folder as train and evaluate leave it, with `changes` to its record or (see `make_config`) its config."""
    done = stages if done is None else done
    about = {"code": "deepfake_ms 0.1.0 (aaaa)", "code_sha256": "1", "manifest_sha256": "2" * 64, "format": FORMAT}
    about = {key: changes.pop(key, value) for key, value in about.items()}
    config = make_config(row, seed, stages, **changes)
    folder = runs / f"table{table}_{row}" / f"seed_{seed}"
    scored = folder / SCORED
    scored.mkdir(parents=True)
    record = {"config": config, "config_sha256": "3" * 64, "libraries": {"torch": "2"}, "prepared": "/secret/place"}
    (folder / "run.json").write_text(json.dumps(record | about | {"synthetic": synthetic}))
    names = [stage["name"] for stage in config["curriculum"]["stages"]]
    origin = {key: about[key] for key in ("code", "code_sha256")} | {"libraries": {"torch": "2"}}
    origin |= {"device": "cpu", "processes": 1}
    chain = [{"stage": name, "trained_by": [origin]} for name in names[:done]]
    (folder / "chain.json").write_text(json.dumps({"stages": chain}))
    rows = [{"stage": name, "epoch": epoch} for name in names for epoch in (1, 2)]
    curves = pd.DataFrame(rows).assign(**{"train/loss": 0.5, "validation/loss": 0.6, "validation/auroc": 0.7})
    curves.to_csv(folder / "metrics.csv", index=False)
    counts = {"real": 9, "fake": 9, "videos": 6, "identities": 4}
    audit = {
        "split": config["split"],
        "near_duplicate_bits": 40,
        "subsets": dict.fromkeys(("train", "validation", "test", "unused"), counts),
        "shared": {pair: {"videos": 0, "identities": 0, "near_duplicates": 2} for pair in PAIRS},
        "left_out": [],
        "unknown_identities": 0,
    }
    (folder / "split_audit.json").write_text(json.dumps(audit))
    if done == stages:
        scores = {"checkpoint_sha256": "4" * 64, "test_evaluations": 1, "validation_thresholds": thresholds}
        (scored / "scores.json").write_text(json.dumps(scores))
        make_predictions(skill, 10 * seed + len(row)).to_parquet(scored / "predictions.parquet")
    return folder


def run_report(runs, output, *arguments):
    main(["--runs", str(runs), "--output", str(output), "--resamples", "100", *arguments])


def scores_of(written, row, seed):
    """Labels, P(fake) and the whole table of predictions of a run in the report of `conftest.py`."""
    folder = written / "runs" / "drawn" / "tiny" / f"table2_{row}" / f"seed_{seed}"
    table = pd.read_parquet(folder / SCORED / "predictions.parquet")
    return table["label"], table["fake_probability"], table
