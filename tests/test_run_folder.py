import pytest

from deepfake_ms.errors import UserError
from deepfake_ms.run_folder import claim_run_folder, read_run


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
