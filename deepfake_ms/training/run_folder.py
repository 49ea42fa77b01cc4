"""A run's folder: one configuration, its stages, its checkpoints and its results. No timestamps: a rerun continues.

run.json               what was asked for, and its hash
split.parquet          which face is on which subset, and which are trained on
split_audit.json       what the subsets hold and share, and what is left out
metrics.csv            learning curves over all stages
chain.json             which stages are finished and what each hands over
1_masked_eyes/         best.ckpt, last.ckpt
evaluation/            predictions of validation and test set, and scores
test_openings.jsonl    every time the test set was predicted
"""

import hashlib
import io
import json
from pathlib import Path

import numpy as np
import pandas as pd

from deepfake_ms.errors import UserError
from deepfake_ms.files import write_atomically, write_json

RECORD_NAME = "run.json"
SPLIT_NAME = "split.parquet"
AUDIT_NAME = "split_audit.json"


def config_hash(config: dict) -> str:
    """Sha256 of a configuration in plain containers, independent of the order of its keys."""
    return hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()


def claim_run_folder(folder: Path, config: dict, about: dict) -> dict:
    """Record `config` in `folder`, or check that the folder already records the same.

    Args:
        folder: of the run.
        config: what decides about the numbers, in plain containers.
        about: further facts for the record (versions, code), not compared.

    Returns:
        The record: ``{"config": ..., "config_sha256": ..., **about}``; on a rerun the one on disk.

    Raises:
        UserError: the folder records another configuration; the message names the keys that differ.
    """
    refuse_other_run(folder, config)
    path = folder / RECORD_NAME
    if path.is_file():
        return read_run(folder)
    record = {"config": config, "config_sha256": config_hash(config), **about}
    write_json(path, record)
    return record


def refuse_other_run(folder: Path, config: dict) -> None:
    """Check, before anything is written into `folder`, that no run with another configuration is in it.

    Raises:
        UserError: there is one; the message names the keys that differ.
    """
    if not (folder / RECORD_NAME).is_file():
        return
    record = read_run(folder)
    if record["config_sha256"] != config_hash(config):
        changed = ", ".join(_differences(record["config"], config))
        raise UserError(
            f"{folder} holds a run with another configuration ({changed}): "
            "give this one a name of its own with name=..., or delete that folder."
        )


def write_split(folder: Path, sample_ids: pd.Series, subsets: pd.Series, balanced: np.ndarray) -> None:
    """Record for every face (by sample id, in the manifest's order) its subset and whether it is trained on.

    Does nothing on a rerun: `read_split` has found what is recorded.

    Args:
        folder: of the run.
        sample_ids, subsets: of every row of the manifest.
        balanced: positions of the training faces that `balance` chose.
    """
    if (folder / SPLIT_NAME).is_file():
        return
    chosen = np.zeros(len(subsets), dtype=bool)
    chosen[balanced] = True
    buffer = io.BytesIO()
    table = pd.DataFrame({"sample_id": sample_ids.to_numpy(), "subset": subsets.to_numpy(), "balanced": chosen})
    table.to_parquet(buffer, index=False)
    write_atomically(folder / SPLIT_NAME, buffer.getvalue())


def read_split(folder: Path, sample_ids: pd.Series) -> pd.DataFrame | None:
    """What `write_split` recorded, aligned with the manifest's rows; None before the run's first start.

    Raises:
        UserError: it was recorded for other faces than `sample_ids`.
    """
    path = folder / SPLIT_NAME
    if not path.is_file():
        return None
    split = pd.read_parquet(path)
    if split["sample_id"].tolist() != sample_ids.tolist():
        raise UserError(
            f"{path} is about other faces than those prepared now: give this run a name of its own with name=..., "
            "or delete its folder."
        )
    return split


def read_run(folder: Path) -> dict:
    """The record of the run in `folder`.

    Raises:
        UserError: there is none, or it is damaged.
    """
    path = folder / RECORD_NAME
    if not path.is_file():
        raise UserError(f"{path} is missing: give the folder of a run, as `python -m deepfake_ms.train` prints it.")
    try:
        return json.loads(path.read_text())
    except json.JSONDecodeError as error:
        raise UserError(f"{path} is not valid JSON ({error}): delete the run's folder and train again.") from error


def _differences(recorded: dict, asked: dict, prefix: str = "") -> list[str]:
    """``key: recorded -> asked`` for every leaf that differs."""
    found = []
    for key in sorted(recorded.keys() | asked.keys()):
        old, new = recorded.get(key), asked.get(key)
        if isinstance(old, dict) and isinstance(new, dict):
            found += _differences(old, new, f"{prefix}{key}.")
        elif old != new:
            found.append(f"{prefix}{key}: {old} -> {new}")
    return found
