"""Stages that several runs have in common are trained once.

A stage is identified by a hash of everything that determines its weights: the model, the stage's settings, split, seed,
precision, data fingerprint, the package's code, and the previous stage. When a run is finished,
``RUNS_ROOT/.stages/HASH.json`` records where each of its stages is; other runs reuse stages with the same hash.
"""

import json
import os
from dataclasses import asdict
from pathlib import Path

import pandas as pd
from lightning.pytorch.utilities.rank_zero import rank_zero_only
from rich.console import Console

from deepfake_ms.errors import UserError
from deepfake_ms.files import link_or_copy, remove_abandoned, write_atomically, write_json
from deepfake_ms.provenance import code_digest
from deepfake_ms.training.metrics_table import METRICS_NAME, read_metrics
from deepfake_ms.training.run import Run
from deepfake_ms.training.run_folder import config_hash, read_record
from deepfake_ms.training.stage_chain import CHAIN_NAME, LAST, Handoff, checkpoint_sha256, read_chain
from deepfake_ms.training.trainer import TrainerSettings, starts_other_processes

FOLDER = ".stages"
CHOICES = ("mask", "augmentation", "loss")
"""Settings of a stage whose name is only a label; an optimizer and a schedule are what their names say."""


def hash_stages(config: dict, code: str) -> list[str]:
    """The hashes of a run's stages, 64 hexadecimal digits each.

    Args:
        config: the run's configuration (`deepfake_ms.assembly.run_config`).
        code: digest of the package's code.
    """
    hashes: list[str] = []
    for stage in config["curriculum"]["stages"]:
        # The name of a choice changes nothing: `weighted` with weight 1 is `cross_entropy`. That of an optimizer does.
        settings = {key: _without_name(value) if key in CHOICES else value for key, value in stage.items()}
        decisive = {
            **{key: config[key] for key in ("split", "seed", "trainer")},
            "model": _without_name(config["model"]),
            "monitor": [config["optimization"][key] for key in ("monitor", "mode")],
            "data": config["data"]["fingerprint"],
            "stage": settings,
            "previous": hashes[-1] if hashes else None,
            "code": code,
            "starting_weights": config.get("starting_weights"),
        }
        hashes.append(config_hash(decisive))
    return hashes


def publish_stages(run: Run, runs_root: Path) -> None:
    """Note where the finished stages of `run` are, for runs with equal stages; only rank 0 writes."""
    if rank_zero_only.rank != 0 or not _is_by_this_code(run):
        return
    remove_abandoned(runs_root / FOLDER)
    for name, handoff in zip(hash_stages(run.config, code_digest()), read_chain(run.folder), strict=False):
        note = runs_root / FOLDER / f"{name}.json"
        if find_stage(runs_root, name) is None:  # none yet, or its run was deleted or trained anew
            write_json(note, {"run": os.path.relpath(run.folder, runs_root), "handoff": asdict(handoff)})


def adopt_stages(run: Run, runs_root: Path, settings: TrainerSettings, console: Console) -> dict[str, str]:
    """Reuse finished stages of other runs, from the first unfinished stage of `run` on.

    Checkpoints are linked (copied where links are impossible), so that either run can be deleted. Only stages whose
    checkpoint is unchanged are reused, and none that `run` has already begun. Nothing is done if other processes may
    already be reading the folder.

    Returns:
        Stage -> folder of the run it was reused from, for the stages reused now.
    """
    adopted: dict[str, str] = {}
    if not (starts_other_processes(settings) and _is_by_this_code(run)):
        return adopted
    for name in hash_stages(run.config, code_digest())[len(read_chain(run.folder)) :]:
        found = find_stage(runs_root, name)
        if found is None:
            break
        other, handoff = found
        begun = run.folder / handoff.stage / f"{LAST}.ckpt"
        theirs = other / handoff.stage / begun.name
        if begun.is_file() and checkpoint_sha256(begun) != checkpoint_sha256(theirs):
            break
        for checkpoint in sorted((other / handoff.stage).glob("*.ckpt")):
            link_or_copy(checkpoint, run.folder / handoff.stage / checkpoint.name)
        _take_over_metrics(run.folder, other, handoff.stage)
        if weights := _downloaded_weights(other):
            run.note_downloads(weights)
        chain = [*read_chain(run.folder), handoff]
        write_json(run.folder / CHAIN_NAME, {"stages": [asdict(entry) for entry in chain]})
        adopted[handoff.stage] = str(other)
        console.print(f"Stage {handoff.stage} is reused from {other}, which trained the same stage.", highlight=False)
    return adopted


def find_stage(runs_root: Path, name: str) -> tuple[Path, Handoff] | None:
    """The run that has finished the stage with this hash, unchanged since, and its handoff; None if there is none."""
    note = runs_root / FOLDER / f"{name}.json"
    if not note.is_file():
        return None
    try:
        found = json.loads(note.read_text())
        other, handoff = runs_root / found["run"], Handoff(**found["handoff"])
    except (ValueError, KeyError, TypeError):  # damaged
        return None
    path = other / handoff.checkpoint
    whole = path.is_file() and path.with_name(f"{LAST}.ckpt").is_file() and (other / METRICS_NAME).is_file()
    return (other, handoff) if whole and checkpoint_sha256(path) == handoff.sha256 else None


def _is_by_this_code(run: Run) -> bool:
    """Whether the current code started the run and trained all its finished stages."""
    trained = [each["code_sha256"] for handoff in read_chain(run.folder) for each in handoff.trained_by]
    return {run.record["code_sha256"], *trained} == {code_digest()}


def _downloaded_weights(folder: Path) -> dict[str, str]:
    try:
        return read_record(folder).get("downloaded_weights", {})
    except UserError:  # the stage is whole, but the record is not
        return {}


def _without_name(settings: dict | None) -> dict | None:
    return {key: value for key, value in settings.items() if key != "name"} if settings else settings


def _take_over_metrics(folder: Path, other: Path, stage: str) -> None:
    theirs = read_metrics(other / METRICS_NAME)
    rows = theirs[theirs["stage"] == stage]
    path = folder / METRICS_NAME
    if path.is_file():
        ours = read_metrics(path)
        rows = pd.concat([ours[ours["stage"] != stage], rows], ignore_index=True)
    write_atomically(path, rows.to_csv(index=False))
