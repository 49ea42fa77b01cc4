import numpy as np
import pandas as pd
import pytest

from deepfake_ms.errors import UserError
from deepfake_ms.training.run_folder import claim_run_folder, read_run, read_split, refuse_other_run, write_split


def test_a_rerun_finds_its_record_and_another_configuration_is_refused(tmp_path):
    config = {"seed": 0, "loss": {"name": "weighted", "class_weights": {"fake": 1.85}}}
    record = claim_run_folder(tmp_path / "run", config, {"code": "first"})
    assert claim_run_folder(tmp_path / "run", dict(reversed(config.items())), {"code": "second"}) == record
    other = {"seed": 0, "loss": {"name": "weighted", "class_weights": {"fake": 2.0}}}
    with pytest.raises(UserError, match=r"loss\.class_weights\.fake: 1\.85 -> 2\.0.*name="):
        claim_run_folder(tmp_path / "run", other, {})


def test_a_folder_without_a_run_and_a_damaged_record_are_named(tmp_path):
    with pytest.raises(UserError, match=r"run\.json is missing"):
        read_run(tmp_path)
    (tmp_path / "run.json").write_text('{"config": ')
    with pytest.raises(UserError, match="not valid JSON"):
        read_run(tmp_path)


def test_a_folder_with_another_run_is_refused_before_anything_is_written(tmp_path):
    refuse_other_run(tmp_path, {"seed": 0})
    assert list(tmp_path.iterdir()) == []
    claim_run_folder(tmp_path, {"seed": 0}, {})
    refuse_other_run(tmp_path, {"seed": 0})
    with pytest.raises(UserError, match="seed: 0 -> 1"):
        refuse_other_run(tmp_path, {"seed": 1})


def test_a_split_is_recorded_once_with_what_is_trained_on(tmp_path):
    ids = pd.Series(["a", "b", "c", "d"], index=[5, 6, 7, 8])  # of the rows' names, nothing depends
    subsets = pd.Series(["train", "test", "train", "validation"], index=ids.index)
    assert read_split(tmp_path, ids) is None
    write_split(tmp_path, ids, subsets, balanced=np.array([2]))
    write_split(tmp_path, ids, subsets, balanced=np.array([0]))
    split = read_split(tmp_path, ids)
    assert split["sample_id"].tolist() == ids.tolist()
    assert split["subset"].tolist() == subsets.tolist()
    assert split["balanced"].tolist() == [False, False, True, False]
    with pytest.raises(UserError, match=r"split\.parquet is about other faces"):
        read_split(tmp_path, ids[::-1])
