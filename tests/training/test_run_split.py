"""The split of a run: assigned, audited, printed and checked before the first epoch."""

import io
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from deepfake_ms.data.prepared_faces import PreparedFaces
from deepfake_ms.errors import UserError
from deepfake_ms.training.run_folder import AUDIT_NAME, SPLIT_NAME
from deepfake_ms.training.run_split import assign_split, read_split, write_split

ABOUT = {"data_name": "drawn", "fingerprint": "0123456789ab", "synthetic": True}
SETTINGS = {
    "policy": "identity",
    "fractions": [0.6, 0.2, 0.2],
    "seed": 0,
    "per_class": 4,
    "held_out_methods": [],
    "require_disjoint": [],
}


@pytest.fixture
def manifest() -> pd.DataFrame:
    """Twenty people, each with one real video and one fake with the next person's face."""
    videos = {f"real/{i}": [f"id{i}"] for i in range(20)} | {f"fake/{i}": [f"id{i}", f"id{i + 1}"] for i in range(19)}
    random = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "sample_id": f"{video}#{frame}",
            "video_id": video,
            "label": video[:4],
            "identities": np.array(people, dtype=object),
            "official_subset": None,
            "perceptual_hash": random.bytes(32).hex(),
        }
        for video, people in videos.items()
        for frame in range(3)
    )


@pytest.fixture
def faces(manifest, tmp_path) -> PreparedFaces:
    folder = tmp_path / "prepared"
    folder.mkdir()
    manifest.drop(columns="identities").to_parquet(folder / "manifest.parquet")
    return PreparedFaces(folder, ABOUT, manifest)


def assign(folder: Path, faces: PreparedFaces, **changes) -> tuple[pd.DataFrame, str]:
    console = Console(file=io.StringIO(), width=200)
    split = assign_split(folder, faces, SETTINGS | changes, seed=0, console=console)
    return split, console.file.getvalue()


def test_the_audit_is_printed_and_kept(tmp_path, faces):
    split, printed = assign(tmp_path, faces, seed=3)
    audit = json.loads((tmp_path / AUDIT_NAME).read_text())
    assert audit["split"] == {
        "policy": "identity",
        "fractions": [0.6, 0.2, 0.2],
        "seed": 3,
        "held_out_methods": [],
        "require_disjoint": [],
    }
    (left_out,) = audit["left_out"]
    assert left_out["videos"] == faces.manifest["video_id"][split["subset"] == "unused"].nunique() > 0
    for said in ("SYNTHETIC", "near-duplicates", "train & test", "show people from two different subsets"):
        assert said in printed
    assert f"{left_out['videos']} of 19 fake videos" in printed
    assert "Balanced training set: 4 real and 4 fake faces." in printed


def test_a_refused_split_is_printed_and_kept_first_and_the_folder_stays_free(tmp_path, faces, capsys):
    console = Console(file=io.StringIO(), width=200)
    leaky = SETTINGS | {"policy": "paper_frames", "require_disjoint": ["videos"]}
    run = tmp_path / "run"
    with pytest.raises(UserError, match="videos must be disjoint"):
        assign_split(run, faces, leaky, 0, console)
    assert "train & test" in console.file.getvalue()
    assert [path.name for path in run.iterdir()] == [AUDIT_NAME]
    assign(run, faces)
    assert json.loads((run / AUDIT_NAME).read_text())["split"]["policy"] == "identity"


def test_a_rerun_uses_the_recorded_split_and_computes_nothing_again(tmp_path, faces, monkeypatch):
    split, printed = assign(tmp_path, faces)
    write_split(tmp_path, split)
    for name in ("split_manifest", "audit_split", "balance"):
        monkeypatch.setattr(f"deepfake_ms.training.run_split.{name}", None)
    again, reprinted = assign(tmp_path, faces)
    pd.testing.assert_frame_equal(again, split, check_dtype=False)
    assert reprinted == printed


def test_the_balanced_training_faces_are_recorded(tmp_path, faces):
    split, _ = assign(tmp_path, faces)
    write_split(tmp_path, split)
    write_split(tmp_path, split.assign(balanced=False))  # recorded once
    recorded = pd.read_parquet(tmp_path / SPLIT_NAME)
    assert faces.manifest["label"][recorded["balanced"]].value_counts().to_dict() == {"real": 4, "fake": 4}
    assert set(recorded["subset"][recorded["balanced"]]) == {"train"}
    assert recorded["sample_id"].tolist() == faces.manifest["sample_id"].tolist()


def test_a_split_of_other_faces_is_refused(tmp_path, faces):
    assert read_split(tmp_path, faces) is None
    split, _ = assign(tmp_path, faces)
    write_split(tmp_path, split)
    others = PreparedFaces(faces.folder, ABOUT, faces.manifest[::-1])
    with pytest.raises(UserError, match=r"split\.parquet was recorded for other faces"):
        read_split(tmp_path, others)
