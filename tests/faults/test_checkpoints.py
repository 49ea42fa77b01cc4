"""Checkpoints that are damaged, foreign or malicious are refused with the cause; none runs code."""

import json
import os
import pickle
import random
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest
import tiny_run
import torch
from tiny_run import STAGES, assert_same_weights

from deepfake_ms.errors import UserError
from deepfake_ms.files import sha256_of
from deepfake_ms.training.checkpoint_files import read_checkpoint
from deepfake_ms.training.stage_chain import read_chain

FLIPS = 100


@pytest.fixture(scope="module")
def stopped_once(tmp_path_factory, faces) -> Path:
    """A run that was stopped in the second epoch of its second stage."""
    run = tmp_path_factory.mktemp("stopped") / "run"
    assert tiny_run.interrupt(run, faces, 60)
    assert len(read_chain(run)) == 1
    return run


@pytest.fixture
def stopped(stopped_once, tmp_path) -> Path:
    """A copy of it, to damage; `last` is its resume point."""
    return shutil.copytree(stopped_once, tmp_path / "run")


def last_of(run: Path) -> Path:
    return run / STAGES[1] / "last.ckpt"


def middle_changed(content: bytes) -> bytes:
    half = len(content) // 2
    return content[:half] + bytes([content[half] ^ 1]) + content[half + 1 :]


DAMAGES = {
    "cut in half": lambda content: content[: len(content) // 2],
    "its last byte missing": lambda content: content[:-1],
    "one bit flipped": middle_changed,
    "zeros": lambda content: bytes(len(content)),
    "empty": lambda content: b"",
    "text": lambda content: b"404 Not Found",
}
RARE, SLOW = ("its last byte missing", "zeros", "empty", "text"), pytest.mark.slow


@pytest.mark.fault("Checkpoints", "resume point is damaged, and there is an older one")
@pytest.mark.parametrize("damage", [pytest.param(name, marks=SLOW) if name in RARE else name for name in DAMAGES])
def test_the_older_resume_point_is_used(stopped, whole, faces, capsys, damage):
    last = last_of(stopped)
    last.write_bytes(DAMAGES[damage](last.read_bytes()))
    tiny_run.train(stopped, faces)
    assert_same_weights(stopped, whole)
    assert not list(stopped.rglob("previous.ckpt"))


@pytest.mark.fault("Checkpoints", "resume point is damaged, and there is no older one")
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_resume_point_is_refused(stopped, faces, damage):
    last = last_of(stopped)
    last.with_name("previous.ckpt").unlink()
    last.write_bytes(DAMAGES[damage](last.read_bytes()))
    with pytest.raises(UserError, match=r"last\.ckpt is damaged \(.+\): delete it"):
        tiny_run.train(stopped, faces)


@pytest.mark.slow
@pytest.mark.fault("Checkpoints", "a damaged resume point is deleted, as the message says")
def test_the_stage_starts_again_without_its_resume_point(stopped, whole, faces):
    for name in ("last.ckpt", "previous.ckpt"):
        last_of(stopped).with_name(name).unlink()
    tiny_run.train(stopped, faces)
    assert_same_weights(stopped, whole)


@pytest.mark.fault("Checkpoints", "one random bit is flipped")
def test_a_flipped_bit_is_refused_or_changes_nothing(stopped, tmp_path, record_property):
    """Most bits count; the rest are unused fields of the ZIP format, such as times and padding."""
    generator = random.Random(0)
    content, path = last_of(stopped).read_bytes(), tmp_path / "flipped.ckpt"
    before = read_checkpoint(last_of(stopped))
    refused, survived = 0, 0
    for _ in range(FLIPS):
        bit = generator.randrange(8 * len(content))
        path.write_bytes(content[: bit // 8] + bytes([content[bit // 8] ^ 1 << bit % 8]) + content[bit // 8 + 1 :])
        try:
            survived += same(read_checkpoint(path), before)
        except UserError as error:
            refused, survived = refused + 1, survived + (str(path) in str(error))
    record_property("tried", FLIPS)
    record_property("survived", survived)
    assert survived == FLIPS
    assert refused > FLIPS / 3


def same(one: object, other: object) -> bool:
    """Whether two checkpoints' contents are equal, tensors bit for bit."""
    if isinstance(one, torch.Tensor):
        return isinstance(other, torch.Tensor) and torch.equal(one, other)
    if isinstance(one, dict):
        return isinstance(other, dict) and one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return one == other


@dataclass
class Malicious:
    """Creates a file when it is unpickled."""

    path: Path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def with_code(path: Path, proof: Path) -> None:
    content = torch.load(path, weights_only=True)
    content["callbacks"]["payload"] = Malicious(proof)
    torch.save(content, path)


def plain_pickle(path: Path, proof: Path) -> None:
    path.write_bytes(pickle.dumps(Malicious(proof)))


def old_format(path: Path, proof: Path) -> None:
    torch.save({"state_dict": Malicious(proof)}, path, _use_new_zipfile_serialization=False)


@pytest.mark.fault("Checkpoints", "malicious pickle")
@pytest.mark.parametrize("write", [with_code, plain_pickle, old_format])
@pytest.mark.parametrize("place", ["resume point", "selected checkpoint"])
def test_no_code_of_a_checkpoint_runs(stopped, faces, tmp_path, write, place):
    proof = tmp_path / "code_has_run"
    path = last_of(stopped) if place == "resume point" else stopped / STAGES[0] / "best.ckpt"
    last_of(stopped).with_name("previous.ckpt").unlink()
    if place == "selected checkpoint":
        last_of(stopped).unlink()
        shutil.copy(stopped / STAGES[0] / "last.ckpt", path)
    write(path, proof)
    with pytest.raises(UserError, match=str(path.name)) as refused:
        tiny_run.train(stopped, faces)
    assert not proof.exists()
    assert any(word in str(refused.value) for word in ("could run code", "is damaged", "has changed"))
    if place == "selected checkpoint":
        chain = json.loads((stopped / "chain.json").read_text())
        chain["stages"][0]["sha256"] = sha256_of(path)  # a forged record
        (stopped / "chain.json").write_text(json.dumps(chain))
        with pytest.raises(UserError, match=r"could run code|is damaged"):
            tiny_run.train(stopped, faces)
        assert not proof.exists()


@pytest.mark.fault("Checkpoints", "configuration inside a checkpoint names a function")
def test_a_configuration_in_a_checkpoint_is_never_instantiated(stopped, whole, faces, tmp_path):
    content = torch.load(last_of(stopped), weights_only=True)
    target = {"_target_": "os.mkdir", "_args_": [str(tmp_path / "made")], "path": str(tmp_path / "made")}
    content["hyper_parameters"] = {"model": target, **target}
    torch.save(content, last_of(stopped))
    tiny_run.train(stopped, faces)
    assert not (tmp_path / "made").exists()
    assert_same_weights(stopped, whole)


@pytest.mark.fault("Checkpoints", "of another stage, another configuration, another model, or missing")
@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ("another stage", "was not written by stage 2_cropped of this run"),
        ("another configuration", "was not written by stage 2_cropped of this run"),
        ("weights only", "lacks pytorch-lightning_version, loops, optimizer_states: delete it"),
        ("no checkpoint", "lacks pytorch-lightning_version, loops, optimizer_states: delete it"),
        ("a tensor", "holds a Tensor instead of a checkpoint"),
        ("handoff missing", r"best\.ckpt is missing"),
        ("handoff of another stage", r"best\.ckpt has changed since"),
    ],
)
def test_a_foreign_checkpoint_is_refused(stopped, faces, tmp_path, change, sentence):
    last = last_of(stopped)
    if change == "another stage":
        shutil.copy(stopped / STAGES[0] / "last.ckpt", last)
    elif change == "another configuration":
        other = tmp_path / "other"
        tiny_run.interrupt(other, faces, 60, {"optimization.optimizer.lr": 0.002})
        shutil.copy(last_of(other), last)
    elif change == "weights only":
        torch.save({"state_dict": torch.load(last, weights_only=True)["state_dict"]}, last)
    elif change == "no checkpoint":
        torch.save({"a": 1}, last)
    elif change == "a tensor":
        torch.save(torch.zeros(3), last)
    else:
        last.unlink()
        best = stopped / STAGES[0] / "best.ckpt"
        if change == "handoff missing":
            best.unlink()
        else:
            shutil.copy(stopped / STAGES[1] / "best.ckpt", best)
    with pytest.raises(UserError, match=sentence):
        tiny_run.train(stopped, faces)
