"""A run's folder: one configuration, its stages, checkpoints and results. No timestamps: a rerun continues.

run.json                configuration, its hash, data fingerprint, code and library versions
split.parquet           subset of every face, and which faces are trained on
split_audit.json        what the subsets contain and share, and what is excluded
metrics.csv             learning curves over all stages
chain.json              finished stages and the checkpoint that each hands on
1_masked_eyes/          best.ckpt, last.ckpt; previous.ckpt until the stage is finished
non_finite_loss.json    faces of the batch whose loss was NaN or infinite, if there was one
evaluation/             per test set and checkpoint: predictions and scores
test_evaluations.jsonl  every prediction on a test set
"""

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout
from lightning.pytorch.utilities.rank_zero import rank_zero_only

from deepfake_ms.errors import UserError
from deepfake_ms.files import remove_abandoned

RECORD_NAME = "run.json"
SPLIT_NAME = "split.parquet"
AUDIT_NAME = "split_audit.json"
LOCK_NAME = ".lock"
KINDS = {
    **{"config": dict, "config_sha256": str, "prepared": str, "manifest_sha256": str, "synthetic": bool},
    **{"code": str, "code_sha256": str, "libraries": dict},
}
"""What the record holds besides `format`."""
FORMAT = 2
"""Version of the record. 1 had no `format`, the run's own subsets as ``sides``, and no settings per stage."""


def config_hash(config: dict) -> str:
    """Sha256 of a configuration in plain containers, independent of the order of its keys."""
    return hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()


def new_record(config: dict, about: dict) -> dict:
    """The record of a new run: ``{"format": 2, "config": ..., "config_sha256": ..., **about}``.

    Args:
        config: everything that determines the results, in plain containers.
        about: the other facts of `KINDS`, which are not compared on a rerun.
    """
    record = {"format": FORMAT, "config": config, "config_sha256": config_hash(config), **about}
    return json.loads(json.dumps(record, sort_keys=True))  # as read back from the file


def find_record(folder: Path, config: dict) -> dict | None:
    """The record of the run in `folder`, if there is one with this configuration.

    Raises:
        UserError: the folder holds a run with another configuration; the message names the keys that differ.
    """
    if not (folder / RECORD_NAME).is_file():
        return None
    record = read_record(folder)
    if record["config_sha256"] != config_hash(config):
        changed = ", ".join(differences(record["config"], config))
        raise UserError(
            f"{folder} contains a run with another configuration ({changed}): "
            "give this run its own name with name=..., or delete that folder."
        )
    return record


@contextmanager
def only_start(folder: Path) -> Iterator[None]:
    """Hold the lock of a run's folder on rank 0; it is released when the process ends, however that happens.

    Partial files of killed starts are removed.

    Raises:
        UserError: another process is training this run.
    """
    if rank_zero_only.rank != 0:
        yield
        return
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(folder / LOCK_NAME, timeout=0):
            remove_abandoned(folder)
            yield
    except Timeout as error:
        raise UserError(f"{folder} is being trained by another process: wait for it, or stop it first.") from error


def read_record(folder: Path) -> dict:
    """The record of the run in `folder`.

    Raises:
        UserError: there is none, it is damaged or was changed, or an earlier version wrote it.
    """
    path = folder / RECORD_NAME
    if not path.is_file():
        raise UserError(f"{path} is missing: give the folder of a run, as `deepfake-ms train` prints it.")
    try:
        record = json.loads(path.read_text())
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is not valid JSON ({error}): delete the run's folder and train again.") from error
    if not isinstance(record, dict):
        raise UserError(f"{path} does not describe a run: delete the run's folder and train again.")
    if record.get("format") != FORMAT:
        raise UserError(
            f"{path} was written by an earlier version ({record.get('code', 'unknown')}), and this one can neither "
            "continue nor score its run: use that version, or train again under another name with name=..."
        )
    if wrong := [name for name, kind in KINDS.items() if type(record.get(name)) is not kind]:
        raise UserError(
            f"{path} lacks {', '.join(wrong)}, or has values of another kind: restore it from a copy, or delete the "
            "run's folder and train again."
        )
    if config_hash(record["config"]) != record["config_sha256"]:
        raise UserError(
            f"{path} was changed after the run started (config does not match config_sha256): restore it from a copy, "
            "or delete the run's folder and train again."
        )
    return record


def differences(recorded: object, asked: object, key: str = "") -> Iterator[str]:
    """``key: recorded -> asked`` for every value that differs; keys as on the command line."""
    if isinstance(recorded, dict) and isinstance(asked, dict):
        for name in sorted(recorded.keys() | asked.keys()):
            yield from differences(recorded.get(name), asked.get(name), f"{key}.{name}" if key else name)
    elif isinstance(recorded, list) and isinstance(asked, list) and len(recorded) == len(asked):
        for number, pair in enumerate(zip(recorded, asked, strict=True)):
            yield from differences(*pair, f"{key}.{number}")
    elif recorded != asked:
        yield f"{key}: {recorded} -> {asked}"
