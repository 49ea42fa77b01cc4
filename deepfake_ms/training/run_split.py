"""The split of a run: assigned once, recorded, printed, then validated."""

import hashlib
import io
import json
from contextlib import suppress
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
from filelock import FileLock
from rich.console import Console
from rich.table import Table

from deepfake_ms.data.audit import PAIRS, audit_split, check_split, notes
from deepfake_ms.data.prepared_faces import PreparedFaces
from deepfake_ms.data.splits import DISJOINT, SUBSETS, UNUSED, SplitPolicy, balance, split_manifest
from deepfake_ms.errors import UserError
from deepfake_ms.files import write_atomically, write_json
from deepfake_ms.labels import CLASS_NAMES
from deepfake_ms.training.run_folder import AUDIT_NAME, SPLIT_NAME, config_hash


def assign_split(folder: Path, faces: PreparedFaces, settings: dict, seed: int, console: Console) -> pd.DataFrame:
    """The subset of every face, and which training faces are used: as recorded in `folder`, else assigned now.

    The audit of the split is written into the folder and printed; only then is the split checked.

    Args:
        folder: of the run.
        faces: of the corpus.
        settings: of ``conf/split``.
        seed: of the run; keys the choice of the balanced training faces.
        console: where to print.

    Returns:
        One row per face of the manifest, in its order: `sample_id`, `subset` (train, validation, test or unused) and
        `balanced`, whether it belongs to the balanced training set.

    Raises:
        UserError: the split lacks a class or violates `require_disjoint`; see `check_split`.
    """
    policy = split_policy(settings)
    split = read_split(folder, faces)
    subsets = split_manifest(faces.manifest, policy) if split is None else split["subset"]
    audit = audit_once(faces, subsets, policy)
    write_json(folder / AUDIT_NAME, audit)
    print_split(audit, faces.about, console)
    check_split(audit)
    if split is None:
        chosen = balance(faces.manifest, np.flatnonzero(subsets == "train"), settings["per_class"], seed)
        balanced = np.isin(np.arange(len(subsets)), chosen)
        split = pd.DataFrame({"sample_id": faces.manifest["sample_id"], "subset": subsets, "balanced": balanced})
    count = int(split["balanced"].sum()) // 2
    console.print(f"Balanced training set: {count:,} real and {count:,} fake faces.", highlight=False)
    return split


def audit_once(faces: PreparedFaces, subsets: pd.Series, policy: SplitPolicy) -> dict:
    """The audit of a split, cached in the prepared folder for the other runs of a sweep and their processes."""
    digest = hashlib.sha256("\n".join(subsets).encode()).hexdigest()
    name = config_hash({"manifest": faces.manifest_sha256, "policy": repr(policy), "subsets": digest})[:16]
    path = faces.folder / "audits" / f"{name}.json"
    try:
        path.parent.mkdir(exist_ok=True)
        with FileLock(path.with_suffix(".lock")):
            with suppress(OSError, ValueError):  # none yet, or a damaged one
                if isinstance(audit := json.loads(path.read_text()), dict):
                    return audit
            write_json(path, audit := audit_split(faces.manifest, subsets, policy))
            return audit
    except OSError:  # read-only folder
        return audit_split(faces.manifest, subsets, policy)


def split_policy(settings: dict) -> SplitPolicy:
    """The policy with the settings of a file in ``conf/split``.

    Raises:
        UserError: a value is unknown or not allowed.
    """
    return SplitPolicy(
        policy=settings["policy"],
        fractions=tuple(settings["fractions"]),
        seed=settings["seed"],
        held_out_methods=tuple(settings["held_out_methods"]),
        require_disjoint=tuple(settings["require_disjoint"]),
    )


def write_split(folder: Path, split: pd.DataFrame) -> None:
    """Record the split of a run, unless it is recorded already."""
    if not (folder / SPLIT_NAME).is_file():
        buffer = io.BytesIO()
        split.to_parquet(buffer, index=False)
        write_atomically(folder / SPLIT_NAME, buffer.getvalue())


def read_split(folder: Path, faces: PreparedFaces) -> pd.DataFrame | None:
    """The split recorded by `write_split`; None if there is none yet.

    Raises:
        UserError: it was recorded for other faces, or is damaged.
    """
    path = folder / SPLIT_NAME
    if not path.is_file():
        return None
    try:
        split = pd.read_parquet(path, columns=["sample_id", "subset", "balanced"])
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"{path} is damaged ({error}): delete the run's folder and train again.") from error
    if split["sample_id"].tolist() != faces.manifest["sample_id"].tolist():
        raise UserError(
            f"{path} was recorded for other faces than those in {faces.folder}: give this run its own name with "
            "name=..., or delete its folder."
        )
    return split


def print_split(audit: dict, about_faces: dict, console: Console) -> None:
    """Print what each subset contains, what two subsets share and what is excluded."""
    kind = " · SYNTHETIC DATA" if about_faces["synthetic"] else ""
    title = f"Split by {audit['split']['policy']} · {about_faces['data_name']} {about_faces['fingerprint']}{kind}"
    table = Table("subset, or shared by", title=title, title_justify="left")
    for heading in (*CLASS_NAMES, "videos", "identities", "near-duplicates"):
        table.add_column(heading, justify="right")
    for subset in (*SUBSETS, UNUSED):
        counts = audit["subsets"][subset]
        table.add_row(subset, *(f"{counts[name]:,}" for name in (*CLASS_NAMES, "videos", "identities")), "")
    table.add_section()
    for pair in PAIRS:
        counts = audit["shared"][pair]
        table.add_row(pair.replace("and", "&"), "", "", *(f"{counts[name]:,}" for name in DISJOINT))
    console.print(table)
    for note in notes(audit):
        console.print(note, highlight=False, markup=False)
