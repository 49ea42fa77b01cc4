"""What training does with the split before the first epoch."""

import io
import json

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from deepfake_ms.data.splits import SplitPolicy, balance
from deepfake_ms.errors import UserError
from deepfake_ms.training.run_folder import AUDIT_NAME, SPLIT_NAME, write_split
from deepfake_ms.training.run_split import settle_split

ABOUT = {"data_name": "drawn", "fingerprint": "0123456789ab", "synthetic": True}


@pytest.fixture
def manifest() -> pd.DataFrame:
    """Twenty persons, each with one real video and one swapped with the next person's face."""
    videos = {f"real/{i}": [f"id{i}"] for i in range(20)} | {f"fake/{i}": [f"id{i}", f"id{i + 1}"] for i in range(19)}
    random = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "sample_id": f"{video}#{frame}",
            "video_id": video,
            "label": video[:4],
            "identities": np.array(persons, dtype=object),
            "official_subset": None,
            "perceptual_hash": random.bytes(32).hex(),
        }
        for video, persons in videos.items()
        for frame in range(3)
    )


def settle(run, manifest, policy) -> tuple[pd.Series, str]:
    console = Console(file=io.StringIO(), width=200)
    subsets = settle_split(run, manifest, policy, ABOUT, console)
    return subsets, console.file.getvalue()


def test_the_audit_is_printed_and_kept(tmp_path, manifest):
    subsets, printed = settle(tmp_path, manifest, SplitPolicy("identity", seed=3))
    audit = json.loads((tmp_path / AUDIT_NAME).read_text())
    assert audit["split"] == {
        "policy": "identity",
        "fractions": [0.6, 0.2, 0.2],
        "seed": 3,
        "require_disjoint": [],
    }
    (left_out,) = audit["left_out"]
    assert left_out["videos"] == manifest["video_id"][subsets == "unused"].nunique() > 0
    for said in ("SYNTHETIC", "faces on", "near-duplicates", "train & test", "join persons of two subsets"):
        assert said in printed
    assert f"{left_out['videos']} of 19 fake videos" in printed


def test_a_refused_split_is_printed_and_kept_first_and_the_folder_stays_free(tmp_path, manifest):
    console = Console(file=io.StringIO(), width=200)
    policy = SplitPolicy("paper_frames", require_disjoint=("videos",))
    with pytest.raises(UserError, match="videos must be disjoint"):
        settle_split(tmp_path, manifest, policy, ABOUT, console)
    assert "train & test" in console.file.getvalue()
    assert [path.name for path in tmp_path.iterdir()] == [AUDIT_NAME]
    settle(tmp_path, manifest, SplitPolicy("identity"))
    assert json.loads((tmp_path / AUDIT_NAME).read_text())["split"]["policy"] == "identity"


def test_a_rerun_takes_what_is_recorded_and_counts_nothing_again(tmp_path, manifest, monkeypatch):
    policy = SplitPolicy("identity")
    subsets, printed = settle(tmp_path, manifest, policy)
    rows = np.flatnonzero(subsets == "train")
    write_split(tmp_path, manifest["sample_id"], subsets, balance(manifest, rows, 4, seed=0))
    for name in ("split_manifest", "audit_split"):
        monkeypatch.setattr(f"deepfake_ms.training.run_split.{name}", None)
    again, reprinted = settle(tmp_path, manifest, policy)
    assert again.tolist() == subsets.tolist()
    assert reprinted == printed
    split = pd.read_parquet(tmp_path / SPLIT_NAME)
    assert manifest["label"][split["balanced"]].value_counts().to_dict() == {"real": 4, "fake": 4}
    assert set(split["subset"][split["balanced"]]) == {"train"}
