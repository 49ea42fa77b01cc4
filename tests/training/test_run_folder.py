"""A run's folder belongs to one configuration."""

import json

import pytest

from deepfake_ms.errors import UserError
from deepfake_ms.files import write_json
from deepfake_ms.training.run_folder import find_record, new_record, read_record

ABOUT = {
    **{"prepared": "faces", "manifest_sha256": "1" * 64, "synthetic": True},
    **{"code": "first", "code_sha256": "2" * 64, "libraries": {"torch": "2"}},
}


def test_a_rerun_finds_its_record_and_another_configuration_is_refused(tmp_path):
    config = {"seed": 0, "loss": {"name": "weighted", "class_weights": {"fake": 1.85}}}
    assert find_record(tmp_path, config) is None
    assert list(tmp_path.iterdir()) == []
    record = new_record(config, ABOUT)
    write_json(tmp_path / "run.json", record)
    assert find_record(tmp_path, dict(reversed(config.items()))) == record
    other = {"seed": 0, "loss": {"name": "weighted", "class_weights": {"fake": 2.0}}}
    with pytest.raises(UserError, match=r"loss\.class_weights\.fake: 1\.85 -> 2\.0.*name="):
        find_record(tmp_path, other)


def test_a_folder_without_a_run_and_a_damaged_record_are_named(tmp_path):
    with pytest.raises(UserError, match=r"run\.json is missing"):
        read_record(tmp_path)
    (tmp_path / "run.json").write_text('{"config": ')
    with pytest.raises(UserError, match="not valid JSON"):
        read_record(tmp_path)


def test_a_run_of_an_earlier_version_is_refused_with_the_remedy(tmp_path):
    old = {"config": {"seed": 0}, "config_sha256": "1" * 64, "code": "deepfake_ms 0.1.0 (bb2d7fc123)"}
    (tmp_path / "run.json").write_text(json.dumps(old))
    with pytest.raises(UserError, match=r"written by an earlier version \(deepfake_ms 0\.1\.0 \(bb2d7fc123\)\).*name="):
        read_record(tmp_path)


@pytest.mark.parametrize("name", ["config", "config_sha256", *ABOUT])
@pytest.mark.parametrize("value", [KeyError, None, 1, []])
def test_a_missing_fact_or_one_of_another_kind_is_named(tmp_path, name, value):
    record = new_record({"seed": 0}, ABOUT)
    del record[name]
    write_json(tmp_path / "run.json", record if value is KeyError else {**record, name: value})
    with pytest.raises(UserError, match=rf"run\.json lacks {name}, or has values of another kind"):
        read_record(tmp_path)


def test_a_changed_configuration_is_refused_at_any_depth(tmp_path):
    record = new_record({"seed": 0, "model": {"name": "small", "channels": [4, 8]}}, ABOUT)
    for change in ({}, {"name": "small", "channels": [4, 16]}, {"name": "small", "channels": None}):
        write_json(tmp_path / "run.json", {**record, "config": {**record["config"], "model": change}})
        with pytest.raises(UserError, match=r"run\.json was changed after the run started"):
            read_record(tmp_path)
    write_json(tmp_path / "run.json", record)
    assert read_record(tmp_path) == record


def test_a_record_that_is_nested_without_end_is_one_sentence(tmp_path):
    (tmp_path / "run.json").write_text("[" * 100_000)
    with pytest.raises(UserError, match="not valid JSON"):
        read_record(tmp_path)
