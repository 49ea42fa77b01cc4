"""``python -m deepfake_ms.train``: train a curriculum stage by stage, then score it on the test set."""

from pathlib import Path

import pandas as pd
import torch
from lightning.pytorch.utilities.rank_zero import rank_zero_only
from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from rich.table import Table

from deepfake_ms.assembly import (
    build_curriculum,
    build_data,
    build_detector,
    build_recipe,
    build_split_policy,
    build_trainer_settings,
    deciding_config,
)
from deepfake_ms.cli import entry_point
from deepfake_ms.data.splits import audit, split_manifest
from deepfake_ms.evaluation import evaluate_run, print_scores
from deepfake_ms.files import sha256_of
from deepfake_ms.loggers import wandb_logger
from deepfake_ms.manifest import MANIFEST_NAME, read_manifest
from deepfake_ms.preprocessing.prepare import find_prepared, read_prepared
from deepfake_ms.provenance import code_version, library_versions
from deepfake_ms.randomness import key
from deepfake_ms.run_folder import claim_run_folder, write_split
from deepfake_ms.stage_chain import read_chain
from deepfake_ms.training import run_curriculum


@entry_point("train")
def main(cfg: DictConfig) -> None:
    console = Console(quiet=rank_zero_only.rank != 0, soft_wrap=True)
    settings = build_trainer_settings(cfg.trainer)
    prepared = find_prepared(Path(cfg.prepared_root), cfg.data.name, Path(cfg.data.root), build_recipe(cfg))
    about_faces = read_prepared(prepared)
    manifest = read_manifest(prepared)
    sides = split_manifest(manifest, build_split_policy(cfg))

    run = Path(cfg.run_folder)
    record = claim_run_folder(
        run,
        deciding_config(cfg, about_faces["fingerprint"]),
        about={
            "prepared": str(prepared.resolve()),
            "manifest_sha256": sha256_of(prepared / MANIFEST_NAME),
            "synthetic": about_faces["synthetic"],
            "code": code_version(),
            "libraries": library_versions(),
        },
    )
    config = OmegaConf.create(record["config"])
    write_split(run, manifest["sample_id"], sides)
    print_split(audit(manifest, sides), about_faces, cfg.split.policy, console)

    curriculum = build_curriculum(config)
    finished = len(read_chain(run))
    if finished:
        console.print(f"{run}: {finished} of {len(curriculum.stages)} stages are finished and kept.")
    torch.manual_seed(key("weights", cfg.seed))
    detector = build_detector(config)
    workers = cfg.trainer.num_workers
    run_curriculum(
        run,
        curriculum,
        detector,
        lambda stage: build_data(config, prepared, sides, stage, detector.model, settings.processes, workers),
        settings,
        cfg.seed,
        record["config_sha256"],
        console,
        logger=wandb_logger(run, cfg.logger, record["config"]) if cfg.logger.wandb else None,
    )
    if cfg.evaluate:
        scores = evaluate_run(run, settings, workers, console)
        if scores:
            print_scores(scores, run, console)
    console.print(f"Run folder: {run}")


def print_split(table: pd.DataFrame, about_faces: dict, policy: str, console: Console) -> None:
    """Print what stands on each side and what two sides share, before the first epoch."""
    kind = " · SYNTHETIC DATA" if about_faces["synthetic"] else ""
    title = f"Split by {policy} · {about_faces['data_name']} {about_faces['fingerprint']}{kind}"
    shown = Table("side", title=title, title_justify="left")
    for column in table.columns:
        shown.add_column(column, justify="right")
    for side, *counts in table.itertuples():
        shown.add_row(side.replace(" & ", " and ") + (" share" if "&" in side else ""), *map(str, counts))
    console.print(shown)


if __name__ == "__main__":
    main()
