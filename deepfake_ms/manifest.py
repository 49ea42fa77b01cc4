"""The manifest: one row per prepared face, as a Parquet file beside the crops."""

from collections.abc import Iterable
from itertools import islice
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from deepfake_ms.errors import UserError
from deepfake_ms.files import replacing
from deepfake_ms.labels import CLASS_NAMES, UNLABELLED

MANIFEST_NAME = "manifest.parquet"
ROW_GROUP_SIZE = 4096

LANDMARKS = ("left_eye", "right_eye", "nose", "left_mouth", "right_mouth")
"""MTCNN's five points; left and right are sides of the image."""

LANDMARK_COLUMNS = [f"{name}_{axis}" for name in LANDMARKS for axis in "xy"]
BOX_COLUMNS = ["box_left", "box_top", "box_right", "box_bottom"]

REQUIRED = ("sample_id", "video_id", "label", "method", "crop", "frame_index")
"""Columns without missing values."""

LABELS = (*CLASS_NAMES, UNLABELLED)
SUBSETS = ("train", "validation", "test")

SCHEMA = pa.schema(
    [
        ("sample_id", pa.string()),  # video_id#frame_index; unique
        ("source", pa.string()),  # video or image file, relative to the corpus root
        ("video_id", pa.string()),  # unique in the corpus; scores are averaged over it
        ("label", pa.string()),  # real | fake | unlabelled
        ("method", pa.string()),  # how the fake was made; "real" for real videos
        ("identities", pa.list_(pa.string())),  # people: one in a real video, target and donor in a fake
        ("source_video", pa.string()),  # video_id of the real video that a fake was made from; null: none or unknown
        ("official_subset", pa.string()),  # train | validation | test in the corpus's own lists; null: not listed
        ("frame_index", pa.int32()),  # position among all frames of the video
        ("time_s", pa.float64()),  # presentation time in seconds; 0 for a still image
        *[(name, pa.float32()) for name in BOX_COLUMNS],  # detected box in pixels of the frame
        *[(name, pa.float32()) for name in LANDMARK_COLUMNS],  # in pixels of the crop
        ("probability", pa.float32()),  # the detector's confidence, 0..1
        ("crop", pa.string()),  # lossless image, relative to the manifest's folder
        ("sha256", pa.string()),  # of the crop file
        ("perceptual_hash", pa.string()),  # hexadecimal; near-duplicate crops differ in few bits
    ]
)


def write_manifest(rows: Iterable[dict], folder: Path) -> int:
    """Write `rows`, one dict per face with the keys of `SCHEMA`, in the given order; equal rows give equal bytes.

    At most `ROW_GROUP_SIZE` rows are in memory at a time. The file replaces an older one only when it is complete.

    Returns:
        The number of rows.
    """
    remaining, count = iter(rows), 0
    with (
        replacing(folder / MANIFEST_NAME) as part,
        part.open("wb") as stream,  # ours, because Arrow's own errors lack the number of the system's error
        pq.ParquetWriter(stream, SCHEMA, compression="zstd") as writer,
    ):
        while chunk := list(islice(remaining, ROW_GROUP_SIZE)):
            writer.write_table(pa.Table.from_pylist(chunk, schema=SCHEMA))
            count += len(chunk)
    return count


def read_manifest(folder: Path) -> pd.DataFrame:
    """The faces prepared in `folder`, one row each, sorted by video id and frame.

    Raises:
        UserError: there is no manifest, it cannot be read, or it is not one of this version: columns are missing or of
            another type, there are no rows, or a row breaks a rule of `SCHEMA`.
    """
    path = folder / MANIFEST_NAME
    if not path.is_file():
        raise UserError(f"{path} is missing: run `deepfake-ms prepare` for this corpus first.")
    try:
        table = pq.read_table(path)
    except (pa.ArrowException, OSError) as error:  # Arrow reports damaged pages as an error of the system
        raise UserError(f"{path} is not a readable Parquet file ({error}): delete it and prepare again.") from error
    if missing := [name for name in SCHEMA.names if name not in table.column_names]:
        raise UserError(f"{path} lacks the columns {', '.join(missing)}: prepare the corpus again with this version.")
    for field in SCHEMA:
        if not _can_hold(field.type, table.schema.field(field.name).type):
            raise UserError(
                f"{path}: the column {field.name} has another type ({table.schema.field(field.name).type} instead of "
                f"{field.type}): delete it and prepare again."
            )
    manifest = table.select(SCHEMA.names).to_pandas()
    if problem := _find_problem(manifest):
        raise UserError(f"{path} {problem}: delete it and prepare again.")
    return manifest


def _can_hold(wanted: pa.DataType, found: pa.DataType) -> bool:
    """Whether a column of the type `found` can stand for one of the type `wanted`, as pandas may have written it."""
    if pa.types.is_list(wanted):
        return pa.types.is_null(found) or (pa.types.is_list(found) and _can_hold(wanted.value_type, found.value_type))
    if pa.types.is_string(wanted):
        return pa.types.is_string(found) or pa.types.is_large_string(found) or pa.types.is_null(found)
    return pa.types.is_integer(found) or pa.types.is_floating(found) or pa.types.is_null(found)


def _find_problem(manifest: pd.DataFrame) -> str | None:
    """What makes a manifest unusable, as the end of a sentence; None if nothing does."""
    if manifest.empty:
        return "lists no face"
    for name in REQUIRED:
        if manifest[name].isna().any():
            return f"has a face without {name}"
    if (repeated := manifest["sample_id"].duplicated()).any():
        return f"names the face {manifest['sample_id'][repeated.idxmax()]} twice"
    for name, known in (("label", LABELS), ("official_subset", SUBSETS)):
        if (unknown := ~manifest[name].isin(known) & manifest[name].notna()).any():
            return f"has the unknown {name} {manifest[name][unknown.idxmax()]}"
    crop = manifest["crop"]
    within = crop.str.replace(r"^\.\./(?=[^/]+/crops/)", "", regex=True)  # a union names crops of the folders beside it
    if (outside := within.str.startswith("/") | within.str.contains(r"(?:^|/)\.\.(?:/|$)|\\|^[A-Za-z]:")).any():
        return f"names a crop outside its folder ({crop[outside.idxmax()]})"
    if manifest["perceptual_hash"].str.len().nunique() > 1:
        return "has values of perceptual_hash of different lengths"
    return None
