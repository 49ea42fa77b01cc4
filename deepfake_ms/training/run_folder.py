"""A run's folder: one configuration, its stages, checkpoints and results. No timestamps: a rerun continues.

run.json                configuration, its hash, data fingerprint, code and library versions
split.parquet           subset of every face, and which faces are trained on
split_audit.json        what the subsets contain and share, and what is excluded
metrics.csv             learning curves over all stages
chain.json              finished stages and the checkpoint that each hands on
1_masked_eyes/          best.ckpt, last.ckpt
evaluation/             per test set and checkpoint: predictions and scores
test_evaluations.jsonl  every prediction on a test set
"""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

from deepfake_ms.errors import UserError
from deepfake_ms.files import write_json

RECORD_NAME = "run.json"
SPLIT_NAME = "split.parquet"
AUDIT_NAME = "split_audit.json"
FORMAT = 2
"""Version of the record. 1 had no `format`, the run's own subsets as ``sides``, and no settings per stage."""


def config_hash(config: dict) -> str:
    """Sha256 of a configuration in plain containers, independent of the order of its keys."""
    return hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()


def claim_run_folder(folder: Path, config: dict, about: dict) -> dict:
    """Record `config` in `folder`, or check that the folder already records the same.

    Args:
        folder: of the run.
        config: everything that determines the results, in plain containers.
        about: further facts for the record (versions, code), not compared.

    Returns:
        The record: ``{"format": 2, "config": ..., "config_sha256": ..., **about}``; on a rerun the one on disk.

    Raises:
        UserError: the folder records another configuration; the message names the keys that differ.
    """
    refuse_other_run(folder, config)
    path = folder / RECORD_NAME
    if path.is_file():
        return read_record(folder)
    record = {"format": FORMAT, "config": config, "config_sha256": config_hash(config), **about}
    write_json(path, record)
    return read_record(folder)


def refuse_other_run(folder: Path, config: dict) -> None:
    """Check, before anything is written into `folder`, that it holds no run with another configuration.

    Raises:
        UserError: there is one; the message names the keys that differ.
    """
    if not (folder / RECORD_NAME).is_file():
        return
    record = read_record(folder)
    if record["config_sha256"] != config_hash(config):
        changed = ", ".join(differences(record["config"], config))
        raise UserError(
            f"{folder} contains a run with another configuration ({changed}): "
            "give this run its own name with name=..., or delete that folder."
        )


def read_record(folder: Path) -> dict:
    """The record of the run in `folder`.

    Raises:
        UserError: there is none, it is damaged, or an earlier version wrote it.
    """
    path = folder / RECORD_NAME
    if not path.is_file():
        raise UserError(f"{path} is missing: give the folder of a run, as `deepfake-ms train` prints it.")
    try:
        record = json.loads(path.read_text())
    except json.JSONDecodeError as error:
        raise UserError(f"{path} is not valid JSON ({error}): delete the run's folder and train again.") from error
    if record.get("format") != FORMAT:
        raise UserError(
            f"{path} was written by an earlier version ({record.get('code', 'unknown')}), and this one can neither "
            "continue nor score its run: use that version, or train again under another name with name=..."
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
