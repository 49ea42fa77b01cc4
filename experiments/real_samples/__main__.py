"""Repeated cross-validation on a handful of real faces: three stages of GenConViT (lite) against the linear probe.

    deepfake-ms prepare data=folder data.name=real_samples data.root=FACES
    python -m experiments.real_samples --prepared prepared/real_samples-FINGERPRINT

Run it from the repository's root. FACES contains real/VIDEO_FRAME.jpg and fake/FAKE_ORIGINAL_FRAME.jpg, as the sample
crops of the GenConViT repository. A fake, its original and all their frames are in the same fold. Every face is scored
once per repeat, by a model that has seen neither its video nor its original. It writes real_samples.csv and
real_samples.md to experiments/real_samples/output. A few dozen faces show that the path works on real faces, not that
a method does.
"""

import argparse
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from omegaconf import DictConfig
from rich.console import Console
from sklearn.model_selection import StratifiedGroupKFold

from deepfake_ms.assembly import run_config, trainer_settings
from deepfake_ms.composition import compose
from deepfake_ms.data.prepared_faces import PreparedFaces
from deepfake_ms.data.splits import balance
from deepfake_ms.errors import UserError
from deepfake_ms.evaluation.predictions import SELECTED, Checkpoint, predict, read_predictions
from deepfake_ms.evaluation.test_set import TestSet
from deepfake_ms.files import write_atomically
from deepfake_ms.labels import FAKE, REAL
from deepfake_ms.provenance import code_version
from deepfake_ms.quiet import hush
from deepfake_ms.scoring.intervals import bootstrap_intervals, paired_difference
from deepfake_ms.scoring.metrics import LEVELS
from deepfake_ms.training.run import Run
from deepfake_ms.training.train_stages import train_stages
from experiments.markdown import estimate, markdown_table
from experiments.program import make_parser, run_program

OUTPUT = Path(__file__).resolve().parent / "output"
METRICS = ("auroc", "accuracy", "macro_f1")
DETECTORS = {
    "WL+RF+MEP": ("experiment=table2_wl_rf_mep", "model=genconvit_ed"),
    "linear probe": ("experiment=table1_linear_probe",),
}
VALIDATION_FOLDS = 4
"""One part in four of the faces that are not tested selects the checkpoint."""


def original_of(video_id: str) -> str:
    """The video that a video shows: ``b`` for the fake ``fake/a_b``, ``b`` for the real video ``real/b``."""
    return video_id.rpartition("/")[2].rpartition("_")[2]


def assign_folds(manifest: pd.DataFrame, folds: int, seed: int) -> Iterator[pd.Series]:
    """The subset of every face (train, validation or test), once per fold; videos of one original stay together.

    Args:
        manifest: of the prepared faces.
        folds: number of parts; each is the test set once.
        seed: of the shuffling.

    Raises:
        UserError: a class has fewer originals than folds.
    """
    originals = manifest["video_id"].map(original_of)
    smallest = originals.groupby(manifest["label"]).nunique().min()
    trained = smallest - -(-smallest // folds)
    if manifest["label"].nunique() < 2 or smallest < folds or trained < VALIDATION_FOLDS:
        raise UserError(
            f"A class has {smallest} videos, too few for {folds} folds and a validation set of one video in "
            f"{VALIDATION_FOLDS}: prepare more videos."
        )
    split = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    for kept, tested in split.split(manifest, manifest["label"], originals):
        inner = StratifiedGroupKFold(VALIDATION_FOLDS, shuffle=True, random_state=seed)
        _, validation = next(inner.split(kept, manifest["label"].iloc[kept], originals.iloc[kept]))
        subsets = np.full(len(manifest), "train", dtype=object)
        subsets[tested] = "test"
        subsets[kept[validation]] = "validation"
        yield pd.Series(subsets, index=manifest.index)


def score_fold(cfg: DictConfig, faces: PreparedFaces, subsets: pd.Series, folder: Path) -> pd.DataFrame:
    """Train one detector in `folder`; its predictions on the test faces, as `read_predictions` returns them."""
    chosen = balance(faces.manifest, np.flatnonzero(subsets == "train"), len(subsets), cfg.seed)
    balanced = np.isin(np.arange(len(subsets)), chosen)
    split = pd.DataFrame({"sample_id": faces.manifest["sample_id"], "subset": subsets, "balanced": balanced})
    config = run_config(cfg, faces.about["fingerprint"])
    run = Run(folder, {"config": config, "config_sha256": "", "synthetic": faces.about["synthetic"]}, faces, split)
    settings = trainer_settings(cfg)
    train_stages(run, settings, Console(quiet=True))
    test_set = TestSet.of_run(run, "test")
    predict(run, test_set, Checkpoint.of(run, SELECTED), settings)
    return read_predictions(run, test_set, SELECTED)


def cross_validate(options: argparse.Namespace, console: Console) -> dict[str, dict[int, pd.DataFrame]]:
    """Detector → repeat → predictions of all faces, each by the model of the fold that tests it."""
    faces = PreparedFaces.read(options.prepared)
    found: dict[str, dict[int, pd.DataFrame]] = {name: {} for name in DETECTORS}
    for repeat in range(options.repeats):
        folds = list(assign_folds(faces.manifest, options.folds, repeat))
        for name, overrides in DETECTORS.items():
            cfg = compose(*overrides, "size=lite", f"seed={repeat}", f"optimization.epochs={options.epochs}")
            parts = []
            for subsets in folds:
                with tempfile.TemporaryDirectory() as folder:
                    parts.append(score_fold(cfg, faces, subsets, Path(folder)))
                console.print(f"repeat {repeat + 1}/{options.repeats}, {name}, fold {len(parts)}/{len(folds)}")
            found[name][repeat] = pd.concat(parts).sort_values("sample_id", ignore_index=True)
    return found


def summarise(found: dict[str, dict[int, pd.DataFrame]], resamples: int) -> pd.DataFrame:
    """Per detector and for their difference: mean and sd over repeats, 95 % interval over videos."""
    ours, probe = found
    summaries = {(name, ""): (bootstrap_intervals, (found[name],)) for name in found}
    summaries[ours, probe] = (paired_difference, (found[ours], found[probe]))
    lines = [
        {"detector": name, "minus": minus, "level": level, "metric": metric, **line}
        for (name, minus), (function, arguments) in summaries.items()
        for level in LEVELS
        for metric, line in function(*arguments, level, METRICS, resamples=resamples).to_dict("index").items()
    ]
    return pd.DataFrame(lines)


def as_markdown(summary: pd.DataFrame, protocol: str) -> str:
    """One line per detector and for their difference, per video."""
    rows = []
    for (name, minus), lines in summary[summary["level"] == "video"].groupby(["detector", "minus"], sort=False):
        by_metric = lines.set_index("metric").loc[list(METRICS)].to_dict("records")
        texts = [estimate(line, signed=bool(minus)) for line in by_metric]
        rows.append([f"{name} − {minus}" if minus else name, *texts])
    table = markdown_table(["per video", "AUROC", "accuracy", "macro F1"], rows)
    return f"# A few faces, by cross-validation\n\n{protocol}\n\n{table}\n"


def study(options: argparse.Namespace, console: Console) -> None:
    """Cross-validate, write both files and print the table.

    Raises:
        UserError: there are no prepared faces, or too few.
    """
    found = cross_validate(options, console)
    faces = PreparedFaces.read(options.prepared)
    summary = summarise(found, options.resamples)
    labels = next(iter(found.values()))[0]["label"]
    about = {
        "data": options.prepared.name,
        "synthetic": faces.about["synthetic"],
        "protocol": f"{options.folds}-fold cross-validation by original video, {options.repeats} repeats",
        "epochs": options.epochs,
        "code": code_version(),
    }
    kind = "SYNTHETIC. " if about["synthetic"] else ""
    protocol = (
        f"{kind}{about['data']}: {(labels == REAL).sum()} real and {(labels == FAKE).sum()} fake faces; "
        f"{about['protocol']}, {options.epochs} epochs, 32-bit on a CPU; mean ± standard deviation over "
        f"repeats [95 % interval over videos]; code: {about['code']}. So few faces "
        "show that the path works, not that a method does."
    )
    markdown = as_markdown(summary, protocol)
    mark = "_SYNTHETIC" if about["synthetic"] else ""
    write_atomically(options.output / f"real_samples{mark}.csv", summary.assign(**about).to_csv(index=False))
    write_atomically(options.output / f"real_samples{mark}.md", markdown)
    console.print(markdown)


def main(arguments: list[str] | None = None) -> None:
    hush()
    parser = make_parser("real_samples", __doc__, OUTPUT)
    parser.add_argument("--prepared", type=Path, required=True, help="folder of the prepared faces")
    parser.add_argument("--folds", type=int, default=5, help="default: %(default)s")
    parser.add_argument("--repeats", type=int, default=3, help="default: %(default)s")
    parser.add_argument("--epochs", type=int, default=28, help="over all stages (default: %(default)s)")
    run_program(parser, study, arguments)


if __name__ == "__main__":
    main()
