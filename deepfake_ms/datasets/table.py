"""Files listed in a CSV table, in any folder: for corpora that no other layout fits::

    path,label,video,identity,source,method,subset
    clips/a.mp4,real,,anna,,,train
    frames/b/0001.png,fake,b,anna;ben,clips/a,faceswap,train

- path: a video or image, relative to the table's folder, or absolute.
- label: ``real``, ``fake``, or empty if unknown; unlabelled files can be prepared, but not used for training.
- video: optional; id of the video. The images of one video share it, in the table's order. By default it is derived
  from the path, see `deepfake_ms.datasets.grouping`.
- identity: optional; the people in it, separated by ``;``.
- source: optional; id of the real video that a fake was made from. It must be in the table.
- method: optional; how a fake was made.
- subset: optional; ``train``, ``validation`` or ``test``, the subset in the official split.
"""

import os
from pathlib import Path, PurePosixPath
from typing import Any

import pandas as pd

from deepfake_ms.datasets.grouping import group_images
from deepfake_ms.datasets.source import Corpus, Source, file_id, media_of, refuse_shared_ids
from deepfake_ms.errors import UserError
from deepfake_ms.labels import CLASS_NAMES, FAKE, REAL, UNLABELLED

REQUIRED = ("path", "label")
OPTIONAL = ("video", "identity", "source", "method", "subset")

_COLUMNS = ", ".join((*REQUIRED, *(f"[{name}]" for name in OPTIONAL)))
_SUBSETS = ("train", "validation", "test")


def find_corpus(path: Path, video_pattern: str | None = None) -> Corpus:
    """The files listed in the table `path`.

    A file outside the table's folder gets its absolute path as its name and, by default, as its video id.

    Args:
        path: the table.
        video_pattern: how the images of a video are named, where the table gives no video; see `group_images`.

    Raises:
        UserError: the table is missing or unreadable, lacks a required column or has an unknown one; or a row has an
            unknown label or subset, names a file that is missing, hidden, listed twice or of an unknown type,
            contradicts another row of its video, or has a source that is not a real video of the table.
    """
    table = _read(path)
    folder = path.absolute().parent
    files = [Path(os.path.normpath(folder / cell)) for cell in table["path"]]
    table["file"] = files
    table["name"] = [_relative(file, folder).as_posix() for file in files]
    table["media"] = [media_of(file) for file in files]
    _check_files(path, table)
    _check_one_of(path, table, "label", CLASS_NAMES)
    _check_one_of(path, table, "subset", _SUBSETS)
    grouping = _name_videos(table, folder, video_pattern)
    _check_videos(path, table)
    _check_source_videos(path, table)
    sources = [_source(row) for row in table.itertuples()]
    refuse_shared_ids(sources, "in the table, give another video to one of")
    return Corpus(path, tuple(sources), grouping=grouping)


def _read(path: Path) -> pd.DataFrame:
    """The table as strings, without blank rows; the index counts rows from 2, as spreadsheets show them."""
    if not path.is_file():
        raise UserError(f"The corpus table {path} does not exist; give a CSV file with the columns {_COLUMNS}.")
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False, skip_blank_lines=False, encoding="utf-8-sig")
    except ValueError as error:  # pandas' errors and a wrong encoding are all ValueErrors
        raise UserError(f"{path} cannot be read as a table in CSV format and UTF-8: {str(error).strip()}.") from error
    if not isinstance(table.index, pd.RangeIndex):  # pandas takes surplus first cells as row names
        raise UserError(f"{path} has rows with more cells than its header: put cells that contain commas in quotes.")
    if lacking := [name for name in REQUIRED if name not in table.columns]:
        raise UserError(
            f"{path} has no column {' and '.join(lacking)} but {', '.join(map(str, table.columns))}; the columns of a "
            f"table, separated by commas, are {_COLUMNS}."
        )
    # If a misspelt identity column were ignored, one person could end up in two subsets.
    if unknown := [str(name) for name in table.columns if name not in REQUIRED + OPTIONAL]:
        raise UserError(f"{path}: remove or rename the columns {', '.join(unknown)}; a table has {_COLUMNS}.")
    table = (
        table.reindex(columns=[*REQUIRED, *OPTIONAL], fill_value="").fillna("").apply(lambda cells: cells.str.strip())
    )
    table["label"] = table["label"].str.lower()
    table.index += 2
    table = table[(table != "").any(axis=1)].copy()
    if table.empty:
        raise UserError(f"{path} lists no file.")
    return table


def _relative(file: Path, folder: Path) -> Path:
    return file.relative_to(folder) if file.is_relative_to(folder) else file


def _name_videos(table: pd.DataFrame, folder: Path, video_pattern: str | None) -> list[dict[str, Any]]:
    """Add `video_id` and `frame_index`; images with the same given video are numbered in the table's order.

    Returns:
        How the other images were grouped, see `group_images`.
    """
    relative = [_relative(file, folder) for file in table["file"]]
    relative = pd.Series([path.relative_to(path.anchor) for path in relative], index=table.index, dtype=object)
    given, is_image = table["video"] != "", table["media"] == "image"
    table["video_id"] = table["video"].where(given, relative.map(file_id))
    table["frame_index"] = table.groupby("video").cumcount().where(given & is_image, 0)
    unnamed = table.index[is_image & ~given]
    numbered, grouping = group_images([PurePosixPath(path) for path in relative[unnamed]], video_pattern)
    table.loc[unnamed, "video_id"] = [video_id for video_id, _ in numbered]
    table.loc[unnamed, "frame_index"] = [frame for _, frame in numbered]
    if named := int((is_image & given).sum()):
        videos = table["video"][is_image & given]
        rule = {"rule": "images whose video the table names", "images": named, "videos": videos.nunique()}
        grouping.insert(0, rule | {"example": f"{table['name'][videos.index[0]]} belongs to {videos.iloc[0]}"})
    return grouping


def _check_files(path: Path, table: pd.DataFrame) -> None:
    _refuse(path, table, "path", table["path"] == "", "is empty")
    _refuse(path, table, "path", table["media"].isna(), "is neither a video nor an image")
    hidden = pd.Series([file.name.startswith(".") for file in table["file"]], index=table.index)
    _refuse(path, table, "path", hidden, "is a hidden file: remove the row")
    _refuse(path, table, "path", table["name"].duplicated(), "is listed a second time: remove the row")
    missing = pd.Series([not file.is_file() for file in table["file"]], index=table.index)
    _refuse(path, table, "path", missing, "does not exist: paths are relative to the table's folder")


def _check_one_of(path: Path, table: pd.DataFrame, column: str, values: tuple[str, ...]) -> None:
    wrong = ~table[column].isin(("", *values))
    _refuse(path, table, column, wrong, f"is unknown: write {', '.join(values)} or nothing")


def _check_videos(path: Path, table: pd.DataFrame) -> None:
    """Check that all rows of a video agree."""
    for column in ("label", "identity", "source", "method", "subset"):
        first = table.groupby("video_id")[column].transform("first")
        wrong = table[column] != first
        if wrong.any():
            row = table.index[wrong][0]
            problem = f"contradicts {first[row]!r} in another row of the same video {table['video_id'][row]}"
            _refuse(path, table, column, wrong, problem)


def _check_source_videos(path: Path, table: pd.DataFrame) -> None:
    given = table["source"] != ""
    not_fake = given & (table["label"] != CLASS_NAMES[FAKE])
    _refuse(path, table, "source", not_fake, "belongs to a row that is not labelled fake: leave it empty there")
    real = table.loc[table["label"] == CLASS_NAMES[REAL], "video_id"]
    unknown = given & ~table["source"].isin(real)
    _refuse(
        path,
        table,
        "source",
        unknown,
        "is not a real video of the table: write its id (by default its path without suffix)",
    )


def _refuse(path: Path, table: pd.DataFrame, column: str, wrong: pd.Series, problem: str) -> None:
    if wrong.any():
        row = table.index[wrong][0]
        more = f" ({wrong.sum()} such rows)" if wrong.sum() > 1 else ""
        raise UserError(f"{path}, row {row}: {column} {table[column][row]!r} {problem}{more}.")


def _source(row) -> Source:
    label = row.label or UNLABELLED
    return Source(
        path=row.file,
        name=row.name,
        video_id=row.video_id,
        label=label,
        method=(row.method or label) if label == CLASS_NAMES[FAKE] else label,
        identities=tuple(name.strip() for name in row.identity.split(";") if name.strip()),
        source_video=row.source or None,
        official_subset=row.subset or None,
        media=row.media,
        frame_index=int(row.frame_index),
    )
