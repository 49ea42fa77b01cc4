"""Trainer switches: micro-batches, memory layout, compilation, half precision; and SIGTERM to several processes.

python tests/test_training_switches.py RUN PREPARED [MOMENT]: the tiny run on two processes; rank 0 gets SIGTERM.
"""

import multiprocessing
import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import patch

import pandas as pd
import pytest
import tiny_run
import torch
from hydra import compose, initialize_config_dir

from deepfake_ms.assembly import build_curriculum, build_data, build_detector, build_trainer_settings, deciding_config
from deepfake_ms.errors import UserError
from deepfake_ms.training.detector import Detector, split_batch
from deepfake_ms.training.stage_chain import load_weights, read_chain
from deepfake_ms.training.trainer import ModelSwitches

CONF = Path(__file__).parents[1] / "conf"
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["tiny_run", "deepfake_ms.training.trainer", "timm", "albumentations"])
NO_BATCH_NORM = {
    "name": "timm_classifier",
    "backbone": "vit_tiny_patch16_224",
    "pretrained": False,
    "input_size": tiny_run.SIZE,
    "backbone_options": {"embed_dim": 16, "depth": 1, "num_heads": 2},
}


def make_plain_detector() -> Detector:
    """A small Vision Transformer and SGD: without BatchNorm and class weights a batch is the sum of its parts."""
    torch.manual_seed(0)
    optimizer = {"name": "SGD", "lr": 0.05, "momentum": 0.9}
    return Detector(NO_BATCH_NORM, {"real": 1.0, "fake": 1.0}, optimizer, {"name": "OneCycleLR", "pct_start": 0.3})


@contextmanager
def switched(plain: bool, **switches):
    """Let `tiny_run` train with these switches; `plain`: the detector that takes a batch in parts without a trace."""
    make_detector = make_plain_detector if plain else tiny_run.make_detector
    settings = patch.object(tiny_run, "CPU", replace(tiny_run.CPU, **switches))
    with settings, patch.object(tiny_run, "make_detector", make_detector):
        yield


def train_switched(run: Path, prepared: Path, switches: dict, *arguments) -> None:
    with switched(False, **switches):
        tiny_run.train(run, prepared, *arguments)


def train_in_process(*arguments) -> int:
    process = PROCESSES.Process(target=train_switched, args=arguments)
    process.start()
    process.join(120)
    assert process.exitcode is not None, "the tiny run hangs"
    return process.exitcode


def weights_of(run: Path) -> list[dict[str, torch.Tensor]]:
    return [load_weights(run / handoff.checkpoint, handoff.sha256) for handoff in read_chain(run)]


def assert_same_weights(ours: list[dict], theirs: list[dict], **tolerance) -> None:
    assert len(ours) == len(theirs) == len(tiny_run.CURRICULUM.stages)
    for one, other in zip(ours, theirs, strict=True):
        assert one.keys() == other.keys()
        for name in one:
            torch.testing.assert_close(one[name], other[name], **(tolerance or {"rtol": 0, "atol": 0}))


@pytest.fixture(scope="module")
def prepared(tmp_path_factory) -> Path:
    return tiny_run.write_faces(tmp_path_factory.mktemp("prepared") / "tiny")


@pytest.fixture(scope="module")
def plain_run(tmp_path_factory, prepared) -> Path:
    """Nothing switched on."""
    run = tmp_path_factory.mktemp("plain") / "run"
    with switched(plain=True):
        tiny_run.train(run, prepared)
    return run


@pytest.mark.parametrize(("faces", "parts", "sizes"), [(8, 2, [4, 4]), (7, 3, [3, 2, 2]), (2, 4, [1, 1]), (5, 1, [5])])
def test_a_batch_is_split_without_loss(faces, parts, sizes):
    batch = {"image": torch.rand(faces, 3, 2, 2), "label": torch.arange(faces)}
    pieces = split_batch(batch, parts)
    assert [len(piece["label"]) for piece in pieces] == sizes
    for name, values in batch.items():
        assert torch.equal(torch.cat([piece[name] for piece in pieces]), values)


@pytest.mark.parametrize("parts", [2, 3, 4])
def test_micro_batches_are_one_step_of_the_whole_batch(prepared, plain_run, tmp_path, parts):
    with switched(plain=True, micro_batches=parts):
        tiny_run.train(tmp_path / "run", prepared)
    assert_same_weights(weights_of(tmp_path / "run"), weights_of(plain_run), rtol=1e-4, atol=1e-5)
    tables = [pd.read_csv(run / "metrics.csv") for run in (tmp_path / "run", plain_run)]
    pd.testing.assert_frame_equal(*tables, rtol=1e-4)  # steps, learning rates, losses


def test_killed_with_micro_batches_it_ends_with_the_same_weights(prepared, tmp_path):
    switches = {"micro_batches": 2}
    assert train_in_process(tmp_path / "undisturbed", prepared, switches) == 0
    for moment in (5, 10, 16, 21):
        code = train_in_process(tmp_path / "run", prepared, switches, 1, "auto", (0, moment))
        assert code == -signal.SIGKILL
    assert train_in_process(tmp_path / "run", prepared, switches) == 0
    assert_same_weights(weights_of(tmp_path / "run"), weights_of(tmp_path / "undisturbed"))


def test_channels_last_reaches_model_and_images(prepared, plain_run, tmp_path, monkeypatch):
    seen = set()
    forward = torch.nn.Conv2d.forward

    def look(self, image):
        seen.add((image.is_contiguous(memory_format=torch.channels_last), self.weight.stride()[1] == 1))
        return forward(self, image)

    monkeypatch.setattr(torch.nn.Conv2d, "forward", look)
    with switched(plain=True, channels_last=True):
        tiny_run.train(tmp_path / "run", prepared)
    assert seen == {(True, True)}
    assert_same_weights(weights_of(tmp_path / "run"), weights_of(plain_run), rtol=1e-4, atol=1e-5)


def test_half_precision_trains_and_keeps_whole_weights(prepared, plain_run, tmp_path):
    with switched(plain=True, precision="bf16-mixed"):
        tiny_run.train(tmp_path / "run", prepared)
    half, whole = weights_of(tmp_path / "run")[-1], weights_of(plain_run)[-1]
    assert all(values.dtype == torch.float32 for values in half.values() if values.is_floating_point())
    assert any(not torch.equal(half[name], whole[name]) for name in half)
    with switched(plain=True, precision="bf16-mixed", micro_batches=2):
        tiny_run.train(tmp_path / "parts", prepared)
    assert_same_weights(weights_of(tmp_path / "parts"), weights_of(tmp_path / "run"), rtol=0.05, atol=0.01)


def test_compiled_it_saves_what_loads_without(prepared, plain_run, tmp_path):
    with switched(plain=True, compile=True):
        tiny_run.train(tmp_path / "run", prepared)
    assert_same_weights(weights_of(tmp_path / "run"), weights_of(plain_run), rtol=1e-4, atol=1e-5)
    make_plain_detector().load_state_dict(weights_of(tmp_path / "run")[-1])


def test_compilation_without_a_compiler_is_one_sentence(prepared, tmp_path, monkeypatch):
    monkeypatch.setattr("torch._inductor.config.cpp.cxx", ("no-such-compiler",))
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "cache"))
    torch.compiler.reset()
    with (
        switched(plain=True, compile=True),
        pytest.raises(UserError, match=r"trainer\.compile=true .*[cC]ompiler.*\): install"),
    ):
        tiny_run.train(tmp_path / "run", prepared)


def test_the_model_is_compiled_as_a_whole():
    calls = []
    compiled = lambda function, **_: lambda *arguments: (calls.append(function.__name__), function(*arguments))[1]  # noqa: E731
    detector = make_plain_detector()
    with patch("torch.compile", compiled), patch("deepfake_ms.training.trainer.check_compiler"):
        trainer = SimpleNamespace(strategy=SimpleNamespace(root_device="cpu"))
        ModelSwitches(True, False, 1).setup(trainer, detector, "fit")
    batch = {"image": torch.zeros(2, 3, tiny_run.SIZE, tiny_run.SIZE), "label": torch.tensor([0, 1])}
    detector.model.loss_terms(batch, detector.loss)
    detector(batch["image"])
    assert calls == ["loss_terms", "_call_impl", "_call_impl"]  # it calls the model; the model alone, to evaluate


def composed(*overrides: str):
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("train", ["model=resnet50_small", *overrides])


def test_only_micro_batches_belong_to_the_runs_identity():
    plain = deciding_config(composed(), "f")
    assert deciding_config(composed("trainer.compile=true", "trainer.channels_last=true"), "f") == plain
    parts = deciding_config(composed("trainer.micro_batches=4"), "f")
    assert parts["optimization"].pop("micro_batches") == 4
    assert parts == plain


def test_batches_must_divide(prepared):
    cfg = composed("trainer.micro_batches=3", "optimization.batch_size=8")
    config = type(cfg)(deciding_config(cfg, "f"))
    stage, model = build_curriculum(config).stages[0], build_detector(config).model
    with pytest.raises(UserError, match=r"batch_size=8 does not divide over 1 processes with 3 micro-batches each"):
        build_data(config, prepared, pd.Series(tiny_run.SUBSETS), stage, model, 1, 0)
    with pytest.raises(UserError, match=r"trainer\.micro_batches=0"):
        build_trainer_settings(composed("trainer.micro_batches=0").trainer)


def train_on_two(run: Path, prepared: Path, *moment: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, __file__, run, prepared, *moment],
        timeout=180,
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def test_two_processes_add_up_their_micro_batches(prepared, plain_run, tmp_path):
    done = train_on_two(tmp_path / "run", prepared, "--parts")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "run" / "same").read_text() == "True"


@pytest.fixture(scope="module")
def on_two(tmp_path_factory, prepared) -> Path:
    run = tmp_path_factory.mktemp("on_two") / "run"
    done = train_on_two(run, prepared)
    assert done.returncode == 0, done.stderr
    return run


@pytest.mark.parametrize("moment", [6, 14], ids=["training", "validation"])
def test_sigterm_to_rank_0_stops_both_processes_at_once(on_two, prepared, tmp_path, moment):
    stopped = train_on_two(tmp_path / "run", prepared, str(moment))
    assert stopped.returncode == 143, stopped.stderr
    assert len(read_chain(tmp_path / "run")) == 0
    if moment == 6:  # between the regular saves
        first = tmp_path / "run" / tiny_run.CURRICULUM.stages[0].name / "last.ckpt"
        assert torch.load(first, weights_only=True)["global_step"] == 3
    again = train_on_two(tmp_path / "run", prepared)
    assert again.returncode == 0, again.stderr
    assert_same_weights(weights_of(tmp_path / "run"), weights_of(on_two))


if __name__ == "__main__":
    run_folder, faces, *rest = map(Path, sys.argv[1:])
    if rest == [Path("--parts")]:
        with switched(plain=True):
            tiny_run.train(run_folder / "whole", faces, 2, "ddp")
        with switched(plain=True, micro_batches=2):
            tiny_run.train(run_folder / "parts", faces, 2, "ddp")
        if os.environ.get("LOCAL_RANK", "0") == "0":
            assert_same_weights(
                weights_of(run_folder / "parts"), weights_of(run_folder / "whole"), rtol=1e-4, atol=1e-5
            )
            (run_folder / "same").write_text("True")
    else:
        kill = (0, int(str(rest[0]))) if rest else None
        tiny_run.train(run_folder, faces, 2, "ddp", kill, signal.SIGTERM)
