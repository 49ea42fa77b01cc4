"""Fakes find the frame they were made from, in every corpus whose names tell, and nobody else's."""

import numpy as np
import pandas as pd
import pytest

from deepfake_ms.data.face_pairs import NO_PARTNER, find_partners
from deepfake_ms.manifest import LANDMARK_COLUMNS


def manifest_of(*videos: tuple[str, str, list[str], list[float]]) -> pd.DataFrame:
    """Faces of videos given as (id, label, identities, times)."""
    rows = [
        {
            "sample_id": f"{video}#{time}",
            "video_id": video,
            "label": label,
            "identities": np.array(identities, dtype=object),
            "frame_index": number,
            "time_s": time,
            **dict.fromkeys(LANDMARK_COLUMNS, 30.0),
        }
        for video, label, identities, times in videos
        for number, time in enumerate(times)
    ]
    return pd.DataFrame(rows)


def partners_of(manifest: pd.DataFrame, among: np.ndarray | None = None) -> list[str | None]:
    """The partner's sample id of each face."""
    rows = np.arange(len(manifest))
    partners = find_partners(manifest, rows, rows if among is None else among)
    return [None if row == NO_PARTNER else manifest["sample_id"].iloc[row] for row in partners]


@pytest.mark.parametrize(
    ("fake", "identities", "real", "person"),
    [
        ("Celeb-synthesis/id0_id1_0003", ["id0", "id1"], "Celeb-real/id0_0003", "id0"),
        ("Deepfakes/000_003", ["000", "003"], "youtube/000", "000"),
        ("DeepFakeDetection/01_02__walk_fast__ABCD1234", ["01", "02"], "actors/01__walk_fast", "01"),
        ("dfdc_train_part_0/abcdef", ["uvwxyz"], "dfdc_train_part_0/uvwxyz", "uvwxyz"),
    ],
)
def test_names_of_every_corpus(fake, identities, real, person):
    other = [("Celeb-real/id1_0003", "real", ["id1"], [0.0]), ("youtube/003", "real", ["003"], [0.0])]
    manifest = manifest_of((fake, "fake", identities, [0.0]), (real, "real", [person], [0.0]), *other)
    assert partners_of(manifest) == [f"{real}#0.0", None, None, None]


def test_unknown_sources_have_no_partner():
    manifest = manifest_of(
        ("fake/mask", "fake", [], [0.0]),
        ("fake/ann_bob_ann", "fake", ["ann", "bob", "ann"], [0.0]),
        ("fake/bob_ann_01", "fake", ["ann", "bob"], [0.0]),
        ("real/ann_01", "real", ["ann"], [0.0]),
    )
    assert partners_of(manifest) == [None] * 4


def test_a_name_that_two_real_videos_share_is_no_source():
    manifest = manifest_of(
        ("fake/000_003", "fake", ["000", "003"], [0.0]),
        ("one/000", "real", ["000"], [0.0]),
        ("other/000", "real", ["000"], [0.0]),
    )
    assert partners_of(manifest)[0] is None


def test_nearest_time_within_half_a_step():
    manifest = manifest_of(
        ("fake/000_003", "fake", ["000", "003"], [0.0, 1.2, 2.6, 3.4, 4.6, 9.0]),
        ("real/000", "real", ["000"], [4.0, 0.0, 1.0, 3.0]),
    )
    expected = ["real/000#0.0", "real/000#1.0", "real/000#3.0", "real/000#3.0", None, None]
    assert partners_of(manifest)[:6] == expected


def test_still_images_pair_by_number():
    manifest = manifest_of(
        ("fake/000_003", "fake", ["000", "003"], [0.0] * 3), ("real/000", "real", ["000"], [0.0] * 3)
    ).assign(sample_id=lambda faces: faces["video_id"] + "#" + faces["frame_index"].astype(str))
    assert partners_of(manifest)[:3] == ["real/000#0", "real/000#1", "real/000#2"]


def test_only_faces_of_the_given_side_with_landmarks_are_partners():
    manifest = manifest_of(
        ("fake/000_003", "fake", ["000", "003"], [0.0, 1.0, 2.0]), ("real/000", "real", ["000"], [0.0, 1.0, 2.0])
    )
    assert partners_of(manifest, among=np.array([0, 1, 2, 4]))[:3] == [None, "real/000#1.0", None]
    manifest.loc[[1, 3], "nose_x"] = np.nan
    assert partners_of(manifest)[:3] == [None, None, "real/000#2.0"]
    assert partners_of(manifest, among=np.array([0, 1]))[:3] == [None] * 3


def test_answers_in_the_order_of_the_question():
    manifest = manifest_of(
        ("fake/000_003", "fake", ["000", "003"], [0.0, 1.0]),
        ("fake/003_000", "fake", ["003", "000"], [0.0, 1.0]),
        ("real/000", "real", ["000"], [0.0, 1.0]),
        ("real/003", "real", ["003"], [0.0, 1.0]),
    )
    assert find_partners(manifest, np.array([3, 5, 0]), np.arange(8)).tolist() == [7, NO_PARTNER, 4]
