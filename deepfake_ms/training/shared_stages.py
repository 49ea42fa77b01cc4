"""Stages that several runs have in common are trained once.

A stage is named by a hash of all that decides about its weights: model, optimization, augmentation, loss, eye mask (if
it masks), split, seed, precision, data fingerprint, the package's code, and the name of the stage before. When a run is
finished, ``RUNS_ROOT/.stages/NAME.json`` says where each of its stages lies; a run that comes to a stage of the same
name takes it over.
"""

import json
import os
import shutil
from dataclasses import asdict
from pathlib import Path

import pandas as pd

from deepfake_ms.files import sha256_of, write_atomically, write_json
from deepfake_ms.training.curriculum import Curriculum
from deepfake_ms.training.metrics_table import METRICS_NAME
from deepfake_ms.training.run_folder import config_hash
from deepfake_ms.training.stage_chain import CHAIN_NAME, LAST, Handoff, read_chain

FOLDER = ".stages"


def name_stages(config: dict, curriculum: Curriculum, code: str) -> list[str]:
    """The names of a run's stages, 64 hexadecimal digits each.

    Args:
        config: what decides about the run's numbers, in plain containers (`deepfake_ms.assembly.deciding_config`).
        curriculum: its stages.
        code: digest of the package's code.
    """
    names: list[str] = []
    for stage in curriculum.stages:
        masks = {"eye_mask": config["eye_mask"]} if stage.faces == "masked_eyes" else {}
        deciding = {
            **{key: config[key] for key in ("split", "seed", "precision")},
            **{key: _without_name(config[key]) for key in ("model", "loss")},
            "augmentation": config["augmentation"],
            "optimization": {**_without_name(config["optimization"]), "epochs": stage.epochs},
            "data": config["data"]["fingerprint"],
            "carry": curriculum.carry,
            "stage": asdict(stage),
            "before": names[-1] if names else None,
            "code": code,
            "starting_weights": config.get("starting_weights"),
            **masks,
        }
        names.append(config_hash(deciding))
    return names


def publish_stages(run: Path, runs_root: Path, names: list[str]) -> None:
    """Note where the finished stages of `run` lie, for runs that have stages of the same name."""
    for name, handoff in zip(names, read_chain(run), strict=False):
        note = runs_root / FOLDER / f"{name}.json"
        if not note.is_file():
            write_json(note, {"run": os.path.relpath(run, runs_root), "handoff": asdict(handoff)})


def adopt_stages(run: Path, runs_root: Path, names: list[str]) -> dict[str, str]:
    """Take over the stages that `run` lacks and another run has, from the first unfinished one on.

    Checkpoints are linked (copied where links are impossible), so that either run can be deleted. Only finished stages
    whose checkpoint is unchanged are taken over; one that `run` has begun itself is left to it.

    Returns:
        Stage → the run it was taken from, for those taken over now.
    """
    adopted = {}
    for name in names[len(read_chain(run)) :]:
        found = find_stage(runs_root, name)
        if found is None:
            break
        other, handoff = found
        begun = run / handoff.stage / f"{LAST}.ckpt"
        if begun.is_file() and sha256_of(begun) != sha256_of(other / handoff.stage / begun.name):
            break
        for checkpoint in sorted((other / handoff.stage).glob("*.ckpt")):
            _link(checkpoint, run / handoff.stage / checkpoint.name)
        _take_over_metrics(run, other, handoff.stage)
        chain = [*read_chain(run), handoff]
        write_json(run / CHAIN_NAME, {"stages": [asdict(entry) for entry in chain]})
        adopted[handoff.stage] = str(other)
    return adopted


def _without_name(settings: dict) -> dict:
    """A group's name decides about nothing: `weighted` with weight 1 is `cross_entropy`."""
    return {key: value for key, value in settings.items() if key != "name"}


def find_stage(runs_root: Path, name: str) -> tuple[Path, Handoff] | None:
    """The run that has finished the stage of this name, unchanged since, and its handoff; None if there is none."""
    note = runs_root / FOLDER / f"{name}.json"
    if not note.is_file():
        return None
    found = json.loads(note.read_text())
    other, handoff = runs_root / found["run"], Handoff(**found["handoff"])
    path = other / handoff.checkpoint
    whole = path.is_file() and path.with_name(f"{LAST}.ckpt").is_file() and (other / METRICS_NAME).is_file()
    return (other, handoff) if whole and sha256_of(path) == handoff.sha256 else None


def _link(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)
    try:
        target.hardlink_to(source)
    except OSError:
        shutil.copyfile(source, target)


def _take_over_metrics(run: Path, other: Path, stage: str) -> None:
    theirs = pd.read_csv(other / METRICS_NAME)
    rows = theirs[theirs["stage"] == stage]
    path = run / METRICS_NAME
    if path.is_file():
        ours = pd.read_csv(path)
        rows = pd.concat([ours[ours["stage"] != stage], rows], ignore_index=True)
    write_atomically(path, rows.to_csv(index=False))
