"""The contract of a score file, CSV or Parquet: one row per frame or per video.

- ``test_set``: name of the test set; a file may have several.
- ``video``: name of the video, unique in its test set; a video's score is the mean over its frames.
- ``frame``: name or number of the frame, unique in its video; missing or empty: the score is per video.
- ``label``: ``real`` or ``fake``, or 0 (real) or 1 (fake).
- ``score``: P(fake), 0..1.

Other columns are ignored. Frames are compared without leading zeros: ``007`` and ``7`` are the same frame.
"""

from pathlib import Path

import pandas as pd
import pyarrow as pa

from deepfake_ms.errors import UserError
from deepfake_ms.files import replacing
from deepfake_ms.labels import CLASS_NAMES, FAKE, REAL

COLUMNS = ("test_set", "video", "frame", "label", "score")
OPTIONAL = "frame"
PER_VIDEO = ""
"""The frame of a score per video."""


def read_table(path: Path) -> pd.DataFrame:
    """The rows of a CSV or Parquet file with any columns. Values of a CSV file are text; blank lines are left out.

    The index counts rows from 0, in a CSV file blank lines too, as `place` expects.

    Raises:
        UserError: the file cannot be read as what its name says.
    """
    try:
        if path.suffix == ".parquet":
            return pd.read_parquet(path).reset_index(drop=True)
        if path.suffix == ".csv":
            text = {"dtype": str, "keep_default_na": False, "encoding": "utf-8-sig"}
            table = pd.read_csv(path, skip_blank_lines=False, index_col=False, **text).fillna("")
            return table[(table != "").any(axis=1)]
    except pd.errors.EmptyDataError as error:
        raise UserError(f"{path} is empty: it needs the header {','.join(COLUMNS)} and one row per score.") from error
    except (pd.errors.ParserError, UnicodeDecodeError, pa.ArrowInvalid) as error:
        raise UserError(f"{path} is not a readable {path.suffix[1:]} file ({error}): write it again.") from error
    raise UserError(f"{path} is neither .csv nor .parquet: convert it, or give it the suffix of its format.")


def place(path: Path, row: int) -> str:
    """Where a row is: the line of a CSV file, whose header is line 1, or the row of another file, counted from 1."""
    return f"{path}, line {row + 2}" if path.suffix == ".csv" else f"{path}, row {row + 1}"


def validated(table: pd.DataFrame, path: Path) -> pd.DataFrame:
    """The scores in a table with the columns of the contract.

    Args:
        table: indexed as by `read_table`.
        path: of the file it was read from, for the sentences.

    Returns:
        `COLUMNS` as text, text, text (`PER_VIDEO` for a score per video), int (0 real, 1 fake) and float64.

    Raises:
        UserError: a column or value is missing, a label is unknown, a score is outside 0..1, a frame or video has two
            scores, a video has two labels, a test set mixes scores per frame and per video or has one class only, or
            there are no rows.
    """
    if missing := [name for name in COLUMNS if name not in table and name != OPTIONAL]:
        raise UserError(
            f"{path} lacks the column {missing[0]}: name its columns {', '.join(COLUMNS)} ({OPTIONAL} may be left out)."
        )
    if table.empty:
        raise UserError(f"{path} has no scores: it needs one row per frame or per video.")
    scores = pd.DataFrame({name: _text(table, name) for name in COLUMNS})
    given = scores.copy()
    scores["frame"] = scores["frame"].str.replace(r"^0*(\d+?)(\.0+)?$", r"\1", regex=True)
    classes = {name: str(label) for label, name in enumerate(CLASS_NAMES)}
    scores["label"] = pd.to_numeric(scores["label"].str.lower().replace(classes), errors="coerce")
    scores["score"] = pd.to_numeric(scores["score"], errors="coerce").astype("float64")

    def refuse(wrong: pd.Series, problem: str) -> None:
        if wrong.any():
            row = wrong.idxmax()
            raise UserError(f"{place(path, row)}: {problem.format(**given.loc[row])}.")

    for name in ("test_set", "video"):
        refuse(scores[name] == "", f"{name} is empty: name the {name.replace('_', ' ')} of every score")
    refuse(~scores["label"].isin([REAL, FAKE]), "the label is {label!r}: write real or fake, or 0 (real) or 1 (fake)")
    refuse(scores["score"].isna(), "the score is {score!r}: give P(fake) as a number, or leave out the row")
    refuse(~scores["score"].between(0, 1), "the score {score} is outside 0..1: give P(fake), not a logit or percentage")
    per_video = scores["frame"] == PER_VIDEO
    refuse(
        scores.duplicated(["test_set", "video", "frame"]) & per_video,
        "video {video} of test set {test_set} has a second score: number its frames in the column frame, or keep one",
    )
    refuse(
        scores.duplicated(["test_set", "video", "frame"]),
        "frame {frame} of video {video} of test set {test_set} has a second score: keep one",
    )
    refuse(
        per_video != per_video.groupby(scores["test_set"]).transform("first"),
        "test set {test_set} has scores with and without a frame: give every score its frame, or none",
    )
    refuse(
        scores["label"] != scores.groupby(["test_set", "video"])["label"].transform("first"),
        "video {video} of test set {test_set} has both labels: correct one, or give its two parts different names",
    )
    for test_set, labels in scores.groupby("test_set")["label"]:
        if labels.nunique() == 1:
            only = int(labels.iloc[0])
            other = REAL + FAKE - only
            raise UserError(
                f"{path}: test set {test_set} has only {CLASS_NAMES[only]} videos: add the {CLASS_NAMES[other]} ones."
            )
    return scores.astype({"label": "int64"}).reset_index(drop=True)


def _text(table: pd.DataFrame, name: str) -> pd.Series:
    """A column as text without spaces around it; empty where it or a value is missing."""
    if name not in table:
        return pd.Series("", index=table.index)
    return table[name].astype(object).where(table[name].notna(), "").map(str).str.strip()


def write_scores(scores: pd.DataFrame, path: Path) -> None:
    """Write scores as `validated` returns them to a CSV or Parquet file; reading it gives the same scores.

    Raises:
        UserError: the file's name ends in neither ``.csv`` nor ``.parquet``.
    """
    if path.suffix not in (".csv", ".parquet"):
        raise UserError(f"{path} is neither .csv nor .parquet: name the file after one of these formats.")
    named = scores.assign(label=scores["label"].map(dict(enumerate(CLASS_NAMES))))
    with replacing(path) as part:
        if path.suffix == ".csv":
            named.to_csv(part, index=False)
        else:
            named.to_parquet(part, index=False)
