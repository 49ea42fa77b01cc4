"""Manifests without crops, for tests that only look at which person is in which video."""

import hashlib

import numpy as np
import pandas as pd

from deepfake_ms.data.splits import SUBSETS


def manifest_of(videos: dict[str, list[str]], frames: int = 4) -> pd.DataFrame:
    """Faces of `videos` (id -> people in it), none a near-duplicate; an id's first word is its label: real or fake."""
    rows = [
        {
            "sample_id": f"{video}#{frame}",
            "video_id": video,
            "label": video.split("/")[0],
            "identities": np.array(people, dtype=object),
            "official_subset": None,
            "frame_index": frame,
            "perceptual_hash": hashlib.sha256(f"{video}#{frame}".encode()).hexdigest(),
        }
        for video, people in videos.items()
        for frame in range(frames)
    ]
    return pd.DataFrame(rows).sort_values(["video_id", "frame_index"], ignore_index=True)


def corpus(people: int, cast: int, real_each: int = 3, anonymous: int = 0, frames: int = 4) -> pd.DataFrame:
    """Real videos of `people`, fakes of all pairs within a cast of `cast` people, and real videos of strangers.

    The corpus's own test list names the real videos and fakes of the first person, and two strangers.
    """
    videos = {f"real/id{i}_{k}": [f"id{i}"] for i in range(people) for k in range(real_each)}
    videos |= {
        f"fake/id{i}_id{j}": [f"id{i}", f"id{j}"]
        for i in range(people)
        for j in range(people)
        if i != j and i // cast == j // cast
    }
    videos |= {f"real/stranger{i}": [] for i in range(anonymous)}
    manifest = manifest_of(videos, frames)
    tested = (manifest["identities"].str[0] == "id0") | manifest["video_id"].isin(["real/stranger0", "real/stranger1"])
    return manifest.assign(official_subset=manifest["official_subset"].mask(tested, "test"))


def fractions_of(manifest: pd.DataFrame, subsets: pd.Series, label: str) -> list[float]:
    """The fraction of the faces with `label` in the training, validation and test set."""
    of_label = subsets[manifest["label"] == label]
    return [(of_label == subset).mean() for subset in SUBSETS]


def people_in(manifest: pd.DataFrame, subsets: pd.Series, subset: str) -> set[str]:
    """The people whose faces are in `subset`."""
    return {person for people in manifest.loc[subsets == subset, "identities"] for person in people}
