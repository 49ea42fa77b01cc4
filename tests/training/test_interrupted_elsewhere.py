"""A run that is interrupted and goes on in another place, by other code, or beside another start of itself."""

import json
import shutil
from dataclasses import asdict

import pandas as pd
import pytest
import tiny_run
import torch
from rich.console import Console

from deepfake_ms.data.prepared_faces import PreparedFaces
from deepfake_ms.data.splits import SplitPolicy
from deepfake_ms.errors import UserError
from deepfake_ms.files import sha256_of, write_json
from deepfake_ms.training import run_split, stage_chain
from deepfake_ms.training import train_stages as loop
from deepfake_ms.training.curriculum import split_epochs
from deepfake_ms.training.run_folder import find_record, new_record, only_start
from deepfake_ms.training.shared_stages import adopt_stages, publish_stages
from deepfake_ms.training.stage_chain import LAST, checkpoint_sha256, read_chain
from deepfake_ms.training.trainer import decisive_settings


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    return tiny_run.write_faces(tmp_path_factory.mktemp("prepared") / "faces")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, prepared):
    folder = tmp_path_factory.mktemp("undisturbed") / "run"
    tiny_run.train(folder, prepared)
    return folder


class Stop(BaseException):
    """Ends a training in this process, as a kill would."""


class StopAt(tiny_run.Callback):
    """Raises at the n-th end of an epoch, after everything is saved."""

    def __init__(self, epoch: int, event: str):
        self.left = epoch
        setattr(self, event, self._stop)

    def _stop(self, *_) -> None:
        self.left -= 1
        if self.left == 0:
            raise Stop


def interrupt(folder, prepared, epoch: int, event: str) -> None:
    with pytest.raises(Stop):
        tiny_run.train(folder, prepared, switches={"extra": (StopAt(epoch, event),)})


@pytest.mark.parametrize(
    ("epoch", "event"),
    [(1, "on_train_epoch_end"), (3, "on_train_epoch_end"), (2, "on_train_end"), (3, "on_train_end")],
    ids=["inside the first stage", "inside the second", "after the second", "after the last epoch"],
)
def test_a_moved_run_ends_with_the_same_bytes(undisturbed, prepared, tmp_path, epoch, event):
    interrupt(tmp_path / "here" / "run", prepared, epoch, event)
    shutil.move(tmp_path / "here", tmp_path / "there")
    tiny_run.train(tmp_path / "there" / "run", prepared)
    for stage in tiny_run.STAGES:
        best = [folder / stage / "best.ckpt" for folder in (undisturbed, tmp_path / "there" / "run")]
        assert best[0].read_bytes() == best[1].read_bytes(), stage
    chains = [read_chain(folder) for folder in (undisturbed, tmp_path / "there" / "run")]
    assert [(each.checkpoint, each.sha256, each.score) for each in chains[0]] == [
        (each.checkpoint, each.sha256, each.score) for each in chains[1]
    ]


def test_the_best_checkpoint_holds_weights_only(undisturbed):
    for stage in tiny_run.STAGES:
        best, last = (torch.load(undisturbed / stage / f"{name}.ckpt", weights_only=True) for name in ("best", LAST))
        assert "optimizer_states" not in best
        assert last["optimizer_states"]
        assert str(undisturbed) not in json.dumps(last["callbacks"], default=str)


def test_a_stage_that_other_code_continued_says_so(prepared, tmp_path, monkeypatch):
    interrupt(tmp_path / "run", prepared, 1, "on_train_epoch_end")
    now, versions = loop.code_version(), loop.library_versions()
    monkeypatch.setattr(loop, "code_digest", lambda: "0" * 64)
    monkeypatch.setattr(loop, "code_version", lambda: "deepfake_ms 9.9")
    monkeypatch.setattr(loop, "library_versions", lambda: versions | {"torch": "9.9"})
    tiny_run.train(tmp_path / "run", prepared)
    first, *others = read_chain(tmp_path / "run")
    assert [origin["code"] for origin in first.trained_by] == [now, "deepfake_ms 9.9"]
    assert [origin["libraries"]["torch"] for origin in first.trained_by] == [versions["torch"], "9.9"]
    assert all([origin["code"] for origin in stage.trained_by] == ["deepfake_ms 9.9"] for stage in others)


def test_a_continued_run_says_at_once_what_has_changed(undisturbed, prepared, monkeypatch, capsys):
    versions = loop.library_versions()
    monkeypatch.setattr(loop, "library_versions", lambda: versions | {"timm": "0.0.1"})
    settings = tiny_run.trainer()
    run = tiny_run.make_run(undisturbed, prepared, {"trainer": decisive_settings(asdict(settings))})
    loop.train_stages(run, settings, Console(width=300))
    printed = capsys.readouterr().out
    assert printed.count("was trained under other conditions") == len(tiny_run.STAGES)
    assert f"timm {versions['timm']} -> 0.0.1" in " ".join(printed.split())


def test_a_start_that_fails_leaves_the_folder_free(prepared, tmp_path):
    wrong = {"optimization.optimizer.lr": 0.1, "model.channels": [4, 8, 16, 32, 64, 128]}
    with pytest.raises(UserError, match="input_size"):
        tiny_run.train(tmp_path / "run", prepared, wrong)
    assert not (tmp_path / "run" / "run.json").exists()
    tiny_run.train(tmp_path / "run", prepared, {"optimization.epochs": 3})
    assert (tmp_path / "run" / "run.json").exists()


def test_only_one_process_trains_a_run(tmp_path):
    second = only_start(tmp_path / "run")
    with only_start(tmp_path / "run"), pytest.raises(UserError, match="is being trained by another process"):
        second.__enter__()
    with only_start(tmp_path / "run"):  # free again
        pass


def test_a_record_survives_the_way_through_its_file(tmp_path):
    config = {"b": [1, 2], "a": {"x": 1.5}, "seed": 0}
    about = {"prepared": "faces", "manifest_sha256": "1", "code_sha256": "2", "synthetic": True, "libraries": {}}
    record = new_record(config, {"code": "this", **about})
    assert record["config"] == {"a": {"x": 1.5}, "b": [1, 2], "seed": 0}
    write_json(tmp_path / "run.json", record)
    assert find_record(tmp_path, config) == record
    with pytest.raises(UserError, match=r"a\.x: 1\.5 -> 2, b\.1: 2 -> 3"):
        find_record(tmp_path, {"b": [1, 3], "a": {"x": 2}, "seed": 0})


def test_a_digest_is_computed_once_and_again_after_a_change(tmp_path, monkeypatch):
    path = tmp_path / "best.ckpt"
    path.write_bytes(b"first")
    first = checkpoint_sha256(path)
    with monkeypatch.context() as patch:
        patch.setattr(stage_chain, "sha256_of", None)  # a second reading would fail
        assert checkpoint_sha256(path) == first
    path.write_bytes(b"second")
    assert checkpoint_sha256(path) == sha256_of(path) != first
    (tmp_path / ".best.ckpt.sha256.json").write_text("damaged")
    assert checkpoint_sha256(path) == sha256_of(path)


def test_stages_of_a_deleted_or_retrained_run_are_published_again(prepared, tmp_path):
    runs = [tmp_path / "runs" / name for name in ("first", "second", "third")]
    settings = tiny_run.trainer()
    changes = {"optimization.epochs": 3}
    publish_stages(tiny_run.train(runs[0], prepared, changes), tmp_path / "runs")
    shutil.rmtree(runs[0])
    second = tiny_run.train(runs[1], prepared, changes)
    publish_stages(second, tmp_path / "runs")
    third = tiny_run.make_run(runs[2], prepared, {"trainer": second.config["trainer"], **changes})
    adopted = adopt_stages(third, tmp_path / "runs", settings, Console(quiet=True))
    assert list(adopted) == tiny_run.STAGES
    assert set(adopted.values()) == {str(tmp_path / "runs" / "second")}
    assert not list(runs[2].rglob("*.part"))


@pytest.mark.parametrize("epochs", range(3, 201))
def test_the_epochs_of_the_stages_add_up(epochs):
    shares = [0.4, 0.3, 0.3]
    parts = split_epochs(shares, epochs)
    assert sum(parts) == epochs
    assert all(part >= 1 and abs(part - share * epochs) < 1 for part, share in zip(parts, shares, strict=True))


def test_fewer_epochs_than_stages_are_refused():
    assert split_epochs([0.4, 0.3, 0.3], 50) == [20, 15, 15]
    with pytest.raises(UserError, match="too few for 3 stages"):
        split_epochs([0.4, 0.3, 0.3], 2)


def test_a_split_is_audited_once_per_manifest(prepared, tmp_path, monkeypatch):
    faces = PreparedFaces.read(shutil.copytree(prepared, tmp_path / "faces"))
    subsets = pd.Series(tiny_run.SUBSETS)
    policy = SplitPolicy("video")
    calls = []
    monkeypatch.setattr(run_split, "audit_split", lambda *arguments: calls.append(arguments) or {"audit": len(calls)})
    assert run_split.audit_once(faces, subsets, policy) == run_split.audit_once(faces, subsets, policy)
    assert len(calls) == 1
    assert run_split.audit_once(faces, subsets[::-1].reset_index(drop=True), policy) == {"audit": 2}
