"""Which scores of several files can be compared: those of the same videos, and at frame level of the same frames."""

from collections.abc import Mapping

import pandas as pd

from deepfake_ms.errors import UserError
from deepfake_ms.labels import CLASS_NAMES
from deepfake_ms.score_files.contract import PER_VIDEO
from deepfake_ms.scoring.metrics import video_scores

Tables = dict[str, pd.DataFrame]


def align(files: Mapping[str, pd.DataFrame], level: str, common: bool = False) -> tuple[dict[str, Tables], list[str]]:
    """The scores of several files per test set, each test set with the same videos or frames of every file.

    Args:
        files: scores per file, as `contract.validated` returns them.
        level: ``frame`` or ``video``; a video's score is the mean over the file's own frames.
        common: leave out test sets, videos and, at frame level, frames that a file lacks; otherwise a difference is an
            error. At video level it also allows that files score different frames of a video.

    Returns:
        Predictions per test set and file, in the form that `deepfake_ms.scoring` takes, one row per frame or video,
        and a sentence for everything that was left out or differs.

    Raises:
        UserError: the files differ in coverage or label a video differently, they have no test set or no video of a
            class in common, or a file without frames is to be compared at frame level.
    """
    notes: list[str] = []
    aligned = {}
    for test_set in _shared_test_sets(files, common, notes):
        tables = {name: table[table["test_set"] == test_set] for name, table in files.items()}
        _refuse_other_labels(tables, test_set)
        tables = _restrict(tables, "video", test_set, common, notes)
        tables = {name: table.assign(sample=table["video"] + "#" + table["frame"]) for name, table in tables.items()}
        framed = {name: table for name, table in tables.items() if (table["frame"] != PER_VIDEO).all()}
        without = ", ".join(name for name in tables if name not in framed)
        if level == "frame":
            if without:
                raise UserError(f"{without} has one score per video of test set {test_set}: compare at video level.")
            tables = _restrict(tables, "sample", test_set, common, notes)
        elif framed and (difference := _difference(framed, "sample", test_set)):
            if not common:
                raise UserError(f"{difference}. --common compares the means over each file's own frames.")
            notes.append(f"{difference}. A video's score is the mean over the file's own frames.")
        if framed and without:
            notes.append(f"{without} has one score per video of test set {test_set}: its frames are unknown.")
        aligned[test_set] = {name: _predictions(table, level) for name, table in tables.items()}
    return aligned, notes


def _shared_test_sets(files: Mapping[str, pd.DataFrame], common: bool, notes: list[str]) -> list[str]:
    """Test sets that all files have, in the order of the first."""
    has = {name: list(table["test_set"].unique()) for name, table in files.items()}
    everywhere = [test_set for test_set in next(iter(has.values())) if all(test_set in sets for sets in has.values())]
    listed = "; ".join(f"{name}: {', '.join(sets)}" for name, sets in has.items())
    if not everywhere:
        raise UserError(
            f"The files have no test set in common ({listed}): if it is the same, give it the same name with "
            "`deepfake-ms scores FILE NEW_FILE --test-set NAME`."
        )
    if any(len(sets) > len(everywhere) for sets in has.values()):
        if not common:
            raise UserError(f"The files have different test sets ({listed}): --common compares those that all have.")
        notes.append(f"Test sets that a file lacks are left out ({listed}).")
    return everywhere


def _refuse_other_labels(tables: Tables, test_set: str) -> None:
    labels = pd.DataFrame({name: table.groupby("video")["label"].first() for name, table in tables.items()})
    for video, row in labels[labels.nunique(axis=1) > 1].iloc[:1].iterrows():
        said = ", ".join(f"{CLASS_NAMES[int(label)]} in {name}" for name, label in row.dropna().items())
        raise UserError(f"Video {video} of test set {test_set} is {said}: correct the labels of one file.")


def _restrict(tables: Tables, column: str, test_set: str, common: bool, notes: list[str]) -> Tables:
    """The rows whose value of `column`, video or sample (a frame of a video), is in all tables."""
    difference = _difference(tables, column, test_set)
    if difference is None:
        return tables
    if not common:
        raise UserError(f"{difference}. --common compares on those that all files have.")
    shared = set.intersection(*(set(table[column]) for table in tables.values()))
    restricted = {name: table[table[column].isin(shared)] for name, table in tables.items()}
    labels = next(iter(restricted.values())).groupby("video")["label"].first()
    if labels.nunique() < len(CLASS_NAMES):
        raise UserError(f"{difference}. Those in all files do not cover both classes: name videos and frames alike.")
    counts = ", ".join(f"{(labels == label).sum()} {name}" for label, name in enumerate(CLASS_NAMES))
    notes.append(f"{difference}. Compared on the {len(shared)} that all files have ({counts} videos).")
    return restricted


def _difference(tables: Tables, column: str, test_set: str) -> str | None:
    """How the first table that differs from the first one in its values of `column` does so; None if none does."""
    first, *others = tables
    what = "videos" if column == "video" else "frames"
    for other in others:
        own, its = (set(tables[name][column]) for name in (first, other))
        only = [
            f"{len(rest)} of {len(whole)} only in {name} (such as {min(rest)})"
            for name, whole, rest in ((first, own, own - its), (other, its, its - own))
            if rest
        ]
        if only:
            return f"{first} and {other} score different {what} of test set {test_set}: {', '.join(only)}"
    return None


def _predictions(table: pd.DataFrame, level: str) -> pd.DataFrame:
    named = table.rename(columns={"sample": "sample_id", "video": "video_id", "score": "fake_probability"})
    if level == "video":
        return video_scores(named).assign(sample_id=lambda videos: videos["video_id"])
    return named.sort_values("sample_id", ignore_index=True)
