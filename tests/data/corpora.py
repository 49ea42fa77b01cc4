"""Manifests without pictures, for what only looks at who is in which video."""

import hashlib

import numpy as np
import pandas as pd

from deepfake_ms.data.splits import SUBSETS


def manifest_of(videos: dict[str, list[str]], frames: int = 4) -> pd.DataFrame:
    """Faces of `videos` (id: persons; the id's first word, ``real`` or ``fake``, is the label), none like another."""
    rows = [
        {
            "sample_id": f"{video}#{frame}",
            "video_id": video,
            "label": video.split("/")[0],
            "identities": np.array(persons, dtype=object),
            "official_subset": None,
            "frame_index": frame,
            "perceptual_hash": hashlib.sha256(f"{video}#{frame}".encode()).hexdigest(),
        }
        for video, persons in videos.items()
        for frame in range(frames)
    ]
    return pd.DataFrame(rows).sort_values(["video_id", "frame_index"], ignore_index=True)


def corpus(persons: int, cast: int, real_each: int = 3, anonymous: int = 0, frames: int = 4) -> pd.DataFrame:
    """Videos of `persons` in casts of `cast`, all swapped with all of the cast, and real ones of strangers.

    The corpus's own test list names the real videos and fakes of the first person, and two strangers.
    """
    videos = {f"real/id{i}_{k}": [f"id{i}"] for i in range(persons) for k in range(real_each)}
    videos |= {
        f"fake/id{i}_id{j}": [f"id{i}", f"id{j}"]
        for i in range(persons)
        for j in range(persons)
        if i != j and i // cast == j // cast
    }
    videos |= {f"real/stranger{i}": [] for i in range(anonymous)}
    manifest = manifest_of(videos, frames)
    tested = (manifest["identities"].str[0] == "id0") | manifest["video_id"].isin(["real/stranger0", "real/stranger1"])
    return manifest.assign(official_subset=manifest["official_subset"].mask(tested, "test"))


def shares(manifest: pd.DataFrame, subsets: pd.Series, label: str) -> list[float]:
    """Of the faces with `label`, on each of the three subsets."""
    of_label = subsets[manifest["label"] == label]
    return [(of_label == subset).mean() for subset in SUBSETS]


def persons_on(manifest: pd.DataFrame, subsets: pd.Series, subset: str) -> set[str]:
    """Who is on `subset`."""
    return {person for persons in manifest.loc[subsets == subset, "identities"] for person in persons}
