"""The split of a run: dealt once, written down, shown, and only then checked."""

import json
from pathlib import Path

import pandas as pd
from rich.console import Console
from rich.table import Table

from deepfake_ms.data.audit import PAIRS, audit_split, check_split, notes
from deepfake_ms.data.splits import DISJOINT, SUBSETS, UNUSED, SplitPolicy, split_manifest
from deepfake_ms.files import write_json
from deepfake_ms.labels import CLASS_NAMES
from deepfake_ms.training.run_folder import AUDIT_NAME, read_split


def settle_split(
    run: Path, manifest: pd.DataFrame, policy: SplitPolicy, about_faces: dict, console: Console
) -> pd.Series:
    """The subset of every face: as an earlier start of this run recorded it, else dealt now.

    What the subsets hold, share and leave out is written into the run's folder and printed, and only then checked.

    Raises:
        UserError: the split cannot be trained on or leaks what the policy forbids; see `check_split`.
    """
    recorded = read_split(run, manifest["sample_id"])
    subsets = split_manifest(manifest, policy) if recorded is None else recorded["subset"]
    path = run / AUDIT_NAME
    if recorded is not None and path.is_file():
        audit = json.loads(path.read_text())
    else:
        audit = audit_split(manifest, subsets, policy)
        write_json(path, audit)
    print_split(audit, about_faces, console)
    check_split(audit)
    return subsets


def print_split(audit: dict, about_faces: dict, console: Console) -> None:
    """Print what stands on each subset, what two subsets share and what is left out."""
    kind = " · SYNTHETIC DATA" if about_faces["synthetic"] else ""
    title = f"Split by {audit['split']['policy']} · {about_faces['data_name']} {about_faces['fingerprint']}{kind}"
    table = Table("faces on", title=title, title_justify="left")
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
        console.print(note, highlight=False)
