"""``python -m deepfake_ms.train``: train a curriculum stage by stage, then score it on the test set."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch
from lightning.pytorch.plugins.environments import LightningEnvironment, SLURMEnvironment
from lightning.pytorch.utilities.rank_zero import rank_zero_only
from omegaconf import DictConfig, OmegaConf
from rich.console import Console

from deepfake_ms.assembly import (
    build_curriculum,
    build_data,
    build_detector,
    build_split_policy,
    build_trainer_settings,
    deciding_config,
    has_corpus_changed,
    locate_faces,
)
from deepfake_ms.cli import entry_point
from deepfake_ms.data.splits import balance
from deepfake_ms.evaluation.scores import PREDICTIONS_NAME, evaluate_run, print_scores
from deepfake_ms.files import sha256_of
from deepfake_ms.manifest import MANIFEST_NAME, read_manifest
from deepfake_ms.preprocessing.prepared import read_prepared
from deepfake_ms.provenance import code_digest, code_version, library_versions
from deepfake_ms.randomness import key
from deepfake_ms.training.run_folder import claim_run_folder, refuse_other_run, write_split
from deepfake_ms.training.run_split import settle_split
from deepfake_ms.training.shared_stages import adopt_stages, name_stages, publish_stages
from deepfake_ms.training.stage_chain import read_chain
from deepfake_ms.training.trainer import run_curriculum

if TYPE_CHECKING:
    from deepfake_ms.training.wandb_run import WandbRun


@entry_point("train")
def main(cfg: DictConfig) -> None:
    console = Console(quiet=rank_zero_only.rank != 0, soft_wrap=True)
    settings = build_trainer_settings(cfg.trainer)
    prepared = locate_faces(cfg)
    about_faces = read_prepared(prepared)
    if has_corpus_changed(cfg, prepared):
        console.print(
            f"{cfg.data.root} has changed since it was prepared: prepare it again to train on what it is now."
        )
    manifest = read_manifest(prepared)

    run = Path(cfg.run_folder)
    asked = deciding_config(cfg, about_faces["fingerprint"])
    refuse_other_run(run, asked)
    subsets = settle_split(run, manifest, build_split_policy(cfg), about_faces, console)
    balanced = balance(manifest, np.flatnonzero(subsets == "train"), cfg.split.per_class, cfg.seed)
    record = claim_run_folder(
        run,
        asked,
        about={
            "prepared": str(prepared.resolve()),
            "manifest_sha256": sha256_of(prepared / MANIFEST_NAME),
            "synthetic": about_faces["synthetic"],
            "code": code_version(),
            "code_sha256": code_digest(),
            "libraries": library_versions(),
        },
    )
    config = OmegaConf.create(record["config"])
    write_split(run, manifest["sample_id"], subsets, balanced)
    console.print(f"To train on: {len(balanced) // 2:,} real and as many fake faces, drawn from the training set.")

    curriculum = build_curriculum(config)
    names = name_stages(record["config"], curriculum, code_digest())
    shares = record.get("code_sha256") == code_digest()  # else its stages may be of several codes
    log = open_wandb_run(run, cfg, record) if cfg.logger.wandb and rank_zero_only.rank == 0 else None
    if shares and starts_other_processes() and (adopted := adopt_stages(run, Path(cfg.runs_root), names)):
        for stage, other in adopted.items():
            console.print(f"{run}: stage {stage} is taken over from {other}, which trained the same.")
        if log:
            log.note_taken_over(adopted)
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
        lambda stage: build_data(config, prepared, subsets, stage, detector.model, settings.processes, workers),
        settings,
        cfg.seed,
        record["config_sha256"],
        console,
        report=log.catch_up if log else None,
    )
    if shares and rank_zero_only.rank == 0:
        publish_stages(run, Path(cfg.runs_root), names)
    if cfg.evaluate:
        scores = evaluate_run(run, settings, workers, console)
        if scores:
            print_scores(scores, run, console)
            if log:
                folders = {subset: run / "evaluation" / f"{subset}_handoff" for subset in ("validation", "test")}
                tables = {subset: pd.read_parquet(folder / PREDICTIONS_NAME) for subset, folder in folders.items()}
                log.log_scores(scores, tables)
    if log:
        log.finish()
    console.print(f"Run folder: {run}")


def open_wandb_run(run: Path, cfg: DictConfig, record: dict) -> "WandbRun":
    """The W&B run that follows `run`."""
    from deepfake_ms.training.wandb_run import (  # half a second that only those pay who use it
        WandbRun,
        describe_hardware,
    )

    return WandbRun(run, cfg.logger, record, describe_hardware(OmegaConf.to_container(cfg.trainer)))


def starts_other_processes() -> bool:
    """Whether this process starts the others, if any: then none of them can yet be reading the run's folder."""
    return not (LightningEnvironment().creates_processes_externally or SLURMEnvironment.detect())


if __name__ == "__main__":
    main()
