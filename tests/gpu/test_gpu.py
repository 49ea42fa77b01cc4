"""Training and scoring on a GPU: precision, compilation, CUDA graphs, resume, and no waiting within a step."""

import signal
from dataclasses import replace

import numpy as np
import pytest
import tiny_run
import torch
from lightning.pytorch.callbacks import Callback
from rich.console import Console

from deepfake_ms.evaluation.predictions import Checkpoint, predict, read_predictions
from deepfake_ms.evaluation.test_set import TestSet
from deepfake_ms.training.train_stages import train_stages
from experiments.benchmarks import training

pytestmark = [pytest.mark.gpu, pytest.mark.timeout(240)]

SWITCHES = {
    "32-bit": {},
    "bf16": {"precision": "bf16-mixed", "channels_last": True},
    "16-bit": {"precision": "16-mixed"},
    "CUDA graphs": {"compile": "reduce-overhead"},
    "CUDA graphs, bf16": {"compile": "reduce-overhead", "precision": "bf16-mixed", "channels_last": True},
}
PLAIN = {
    **tiny_run.ONE_STAGE,
    "model.backbone_options.drop_path_rate": 0.0,
    "optimization.optimizer": {"name": "SGD", "lr": 0.05, "momentum": 0.9},
}
"""Without random parts of the network; SGD, because Adam turns rounding errors of small gradients into whole steps."""


def switches(name: str, accelerator: str) -> dict:
    chosen = SWITCHES[name]
    if accelerator == "cpu" and chosen.get("precision") == "16-mixed":
        pytest.skip("needs a GPU")
    return {"accelerator": accelerator, **chosen}


@pytest.fixture(scope="module")
def plain_run(prepared, accelerator, tmp_path_factory):
    """In 32-bit precision."""
    return tiny_run.train(tmp_path_factory.mktemp("plain"), prepared, PLAIN, {"accelerator": accelerator})


def scores(run, accelerator: str) -> np.ndarray:
    """P(fake) of the test faces, scored on a device."""
    test_set = TestSet.of_run(run, "test", None)
    predict(run, test_set, Checkpoint.of(run, "selected"), tiny_run.trainer(accelerator=accelerator))
    return read_predictions(run, test_set, "selected")["fake_probability"].to_numpy()


@pytest.mark.parametrize("name", [name for name in SWITCHES if name != "32-bit"])
def test_every_switch_trains_to_nearly_the_same_scores(prepared, accelerator, plain_run, tmp_path, name):
    run = tiny_run.train(tmp_path, prepared, PLAIN, switches(name, accelerator))
    close = 0.1 if "precision" in SWITCHES[name] else 1e-3
    assert np.abs(scores(run, accelerator) - scores(plain_run, accelerator)).max() < close


@pytest.mark.parametrize("name", ["32-bit", "16-bit", "CUDA graphs, bf16"])
def test_interrupted_it_ends_with_the_same_bits(prepared, accelerator, tmp_path, name):
    """With dropped paths, whose random numbers CUDA graphs must draw anew."""
    chosen = switches(name, accelerator)
    tiny_run.train(tmp_path / "undisturbed", prepared, tiny_run.ONE_STAGE, chosen)
    for moment in (6, 20):
        torch.compiler.reset()
        assert tiny_run.interrupt(tmp_path / "run", prepared, moment, tiny_run.ONE_STAGE, **chosen)
    torch.compiler.reset()
    tiny_run.train(tmp_path / "run", prepared, tiny_run.ONE_STAGE, chosen)
    tiny_run.assert_same_weights(tmp_path / "run", tmp_path / "undisturbed")


def test_killed_it_ends_with_the_same_bits(prepared, accelerator, tmp_path):
    """In processes of their own, with nothing compiled before."""
    chosen = switches("CUDA graphs, bf16", accelerator)
    killed = tiny_run.train_in_process(tmp_path / "run", prepared, tiny_run.ONE_STAGE, chosen, kill=(0, 9))
    assert killed == -signal.SIGKILL
    for folder in ("run", "undisturbed"):
        assert tiny_run.train_in_process(tmp_path / folder, prepared, tiny_run.ONE_STAGE, chosen) == 0
    tiny_run.assert_same_weights(tmp_path / "run", tmp_path / "undisturbed")


def test_accumulated_batches_are_one_step_of_the_whole_batch(prepared, accelerator, tmp_path):
    changes = {**tiny_run.ONE_STAGE, **tiny_run.VIT}
    for parts in (1, 2):
        chosen = {"accelerator": accelerator, "compile": True, "accumulate_grad_batches": parts}
        tiny_run.train(tmp_path / str(parts), prepared, changes, chosen)
    tiny_run.assert_same_weights(tmp_path / "1", tmp_path / "2", rtol=1e-3, atol=1e-4)


def test_scores_equal_those_of_the_cpu(accelerator, plain_run):
    ours, theirs = scores(plain_run, accelerator), scores(plain_run, "cpu")
    assert len(ours) == tiny_run.SUBSETS.count("test")
    assert np.abs(ours - theirs).max() < 1e-5


class ForbidWaiting(Callback):
    """Raises if the host waits for the GPU within a step, once optimizer state and CUDA graphs exist."""

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if trainer.global_step > 3:
            torch.cuda.set_sync_debug_mode("error")

    def on_train_batch_end(self, trainer, *_):
        torch.cuda.set_sync_debug_mode("default")
        self.fused = trainer.optimizers[0].param_groups[0]["fused"]


@pytest.mark.parametrize("name", ["32-bit", "bf16", "CUDA graphs, bf16"])
def test_the_host_does_not_wait_for_the_gpu_within_a_step(prepared, accelerator, tmp_path, name):
    if accelerator == "cpu":
        pytest.skip("needs a GPU")
    watch = ForbidWaiting()
    settings = replace(tiny_run.trainer(**switches(name, accelerator), extra=(watch,)), save_every_n_steps=1000)
    try:
        train_stages(tiny_run.make_run(tmp_path, prepared, tiny_run.ONE_STAGE), settings, Console(quiet=True))
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert watch.fused


@pytest.mark.parametrize("model", training.MODELS)
def test_every_model_trains_a_stage(accelerator, tmp_path, model):
    drawn = training.draw_faces(tmp_path, count=20)
    plan = training.Plan(drawn, model, "small", "none", batch_size=4, steps=1, rounds=1, trainer=accelerator)
    assert training.measure(plan, torch.get_num_threads()).real[0] > 0
