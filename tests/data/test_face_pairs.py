"""Fake faces are paired with the face of their source video at the same moment, and with no other."""

import numpy as np
import pandas as pd

from deepfake_ms.data.face_pairs import NO_PARTNER, find_partners
from deepfake_ms.manifest import LANDMARK_COLUMNS


def manifest_of(*videos: tuple[str, str | None, list[float]]) -> pd.DataFrame:
    """Faces of videos given as (id, source video, times); the first word of the id is the label."""
    rows = [
        {
            "sample_id": f"{video}#{time}",
            "video_id": video,
            "label": video.split("/")[0],
            "source_video": source,
            "frame_index": number,
            "time_s": time,
            **dict.fromkeys(LANDMARK_COLUMNS, 30.0),
        }
        for video, source, times in videos
        for number, time in enumerate(times)
    ]
    return pd.DataFrame(rows)


def partners_of(manifest: pd.DataFrame, among: np.ndarray | None = None) -> list[str | None]:
    """The sample id of each face's partner."""
    rows = np.arange(len(manifest))
    partners = find_partners(manifest, rows, rows if among is None else among)
    return [None if row == NO_PARTNER else manifest["sample_id"].iloc[row] for row in partners]


def test_only_fakes_with_a_source_video_have_partners():
    manifest = manifest_of(
        ("fake/a", "real/a", [0.0]),
        ("fake/b", None, [0.0]),
        ("fake/c", "real/missing", [0.0]),
        ("fake/d", "fake/a", [0.0]),
        ("real/a", None, [0.0]),
        ("real/b", None, [0.0]),
    )
    assert partners_of(manifest) == ["real/a#0.0", None, None, None, None, None]


def test_without_any_source_video_nobody_has_a_partner():
    manifest = manifest_of(("fake/a", None, [0.0]), ("real/a", None, [0.0]))
    assert partners_of(manifest) == [None, None]


def test_nearest_time_within_half_a_step():
    manifest = manifest_of(("fake/a", "real/a", [0.0, 1.2, 2.6, 3.4, 4.6, 9.0]), ("real/a", None, [4.0, 0.0, 1.0, 3.0]))
    expected = ["real/a#0.0", "real/a#1.0", "real/a#3.0", "real/a#3.0", None, None]
    assert partners_of(manifest)[:6] == expected


def test_still_images_pair_by_number():
    manifest = manifest_of(("fake/a", "real/a", [0.0] * 3), ("real/a", None, [0.0] * 3)).assign(
        sample_id=lambda faces: faces["video_id"] + "#" + faces["frame_index"].astype(str)
    )
    assert partners_of(manifest)[:3] == ["real/a#0", "real/a#1", "real/a#2"]


def test_partners_are_among_the_given_faces_and_have_landmarks():
    manifest = manifest_of(("fake/a", "real/a", [0.0, 1.0, 2.0]), ("real/a", None, [0.0, 1.0, 2.0]))
    assert partners_of(manifest, among=np.array([0, 1, 2, 4]))[:3] == [None, "real/a#1.0", None]
    manifest.loc[[1, 3], "nose_x"] = np.nan
    assert partners_of(manifest)[:3] == [None, None, "real/a#2.0"]
    assert partners_of(manifest, among=np.array([0, 1]))[:3] == [None] * 3


def test_partners_come_in_the_order_of_the_rows():
    manifest = manifest_of(
        ("fake/a", "real/a", [0.0, 1.0]),
        ("fake/b", "real/b", [0.0, 1.0]),
        ("real/a", None, [0.0, 1.0]),
        ("real/b", None, [0.0, 1.0]),
    )
    assert find_partners(manifest, np.array([3, 5, 0]), np.arange(8)).tolist() == [7, NO_PARTNER, 4]
