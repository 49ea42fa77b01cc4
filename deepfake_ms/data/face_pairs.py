"""Which real face a fake one was made from: the same moment of the video that the fake's file name gives away."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from deepfake_ms.labels import CLASS_NAMES, FAKE, REAL
from deepfake_ms.manifest import LANDMARK_COLUMNS

NO_PARTNER = -1


def find_partners(manifest: pd.DataFrame, rows: np.ndarray, among: np.ndarray) -> np.ndarray:
    """The manifest row of each face's source: the real face at the nearest time, at most half a sampling step away.

    Faces pair only if both have all five landmarks. Time is that of presentation or, where no face has any (still
    images), the frame's number; the sampling step is the median distance between neighbouring real faces of a video.

    Args:
        manifest: as `read_manifest` gives it.
        rows: positions of the faces to find partners for, int [N].
        among: positions of the faces that may be partners; those of the training set, so that nothing leaks.

    Returns:
        int64 [N]; `NO_PARTNER` for real faces and for fakes whose source is unknown, or not `among` the others.
    """
    faces = pd.DataFrame(
        {
            "row": np.arange(len(manifest)),
            "video": manifest["video_id"].astype(object),
            "identities": manifest["identities"],
            "label": manifest["label"],
            "time": manifest["time_s" if (manifest["time_s"] > 0).any() else "frame_index"].astype(float),
            "placed": np.isfinite(manifest[LANDMARK_COLUMNS].astype(float)).all(axis=1),
        }
    )
    asking, real = faces.iloc[rows], faces.iloc[among]
    asking = asking.assign(place=np.arange(len(rows)))
    asking = asking[(asking["label"] == CLASS_NAMES[FAKE]) & asking["placed"]]
    real = real[(real["label"] == CLASS_NAMES[REAL]) & real["placed"]].sort_values(["video", "time"])

    sources = _sources(asking, real["video"].unique())
    asking = asking.assign(source=asking["video"].map(sources).astype(object)).dropna(subset="source")
    steps = real.groupby("video")["time"].diff()
    pairs = pd.merge_asof(
        asking[["place", "source", "time"]].sort_values("time"),
        real[["row", "video", "time"]].rename(columns={"video": "source"}).sort_values("time"),
        on="time",
        by="source",
        direction="nearest",
        tolerance=float(np.nan_to_num(steps[steps > 0].median())) / 2,
    ).dropna(subset="row")
    partners = np.full(len(rows), NO_PARTNER, dtype=np.int64)
    partners[pairs["place"]] = pairs["row"]
    return partners


def _sources(fakes: pd.DataFrame, real_videos: Sequence[str]) -> dict[str, str]:
    """Fake video id → the real video's; a file name that several real videos share names none of them."""
    names = pd.Series(real_videos, index=[_name(video) for video in real_videos], dtype=object)
    by_name = names[~names.index.duplicated(keep=False)].to_dict()
    sources = {}
    for video, identities in fakes.drop_duplicates("video")[["video", "identities"]].itertuples(index=False):
        known = [name for name in _source_names(_name(video), list(identities)) if name in by_name]
        if known:
            sources[video] = by_name[known[0]]
    return sources


def _source_names(fake: str, identities: list[str]) -> list[str]:
    """What the real video of a fake can be called, the likeliest first.

    Celeb-DF: ``id0_id1_0003`` is made from ``id0_0003``. FaceForensics++: ``000_003`` from ``000``. DeepFakeDetection:
    ``01_02__SCENE__ID`` from ``01__SCENE``. DFDC: the one identity is the real clip's name.
    """
    if len(identities) == 1:
        return identities
    pair = "_".join(identities)
    if len(identities) != 2 or not fake.startswith(pair):
        return []
    name = identities[0] + fake.removeprefix(pair)
    return [name, name.rpartition("__")[0]]


def _name(video: str) -> str:
    return video.rpartition("/")[2]
