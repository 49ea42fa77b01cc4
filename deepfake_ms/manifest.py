"""The manifest: one row per prepared face, as a Parquet file beside the crops."""

from collections.abc import Iterable
from itertools import islice
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from deepfake_ms.errors import UserError
from deepfake_ms.files import replacing

MANIFEST_NAME = "manifest.parquet"
ROW_GROUP_SIZE = 4096

LANDMARKS = ("left_eye", "right_eye", "nose", "left_mouth", "right_mouth")
"""MTCNN's five points; left and right are sides of the image."""

LANDMARK_COLUMNS = [f"{name}_{axis}" for name in LANDMARKS for axis in "xy"]
BOX_COLUMNS = ["box_left", "box_top", "box_right", "box_bottom"]

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
        UserError: there is no manifest, it cannot be read, or it lacks columns of this version.
    """
    path = folder / MANIFEST_NAME
    if not path.is_file():
        raise UserError(f"{path} is missing: run `deepfake-ms prepare` for this corpus first.")
    try:
        table = pq.read_table(path)
    except pa.ArrowInvalid as error:
        raise UserError(f"{path} is not a readable Parquet file ({error}): delete it and prepare again.") from error
    if missing := [name for name in SCHEMA.names if name not in table.column_names]:
        raise UserError(f"{path} lacks the columns {', '.join(missing)}: prepare the corpus again with this version.")
    return table.select(SCHEMA.names).to_pandas()
