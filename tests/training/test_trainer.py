"""The Trainer: Lightning's arguments, accumulation, memory format, compilation, precision; SIGTERM."""

import signal
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import patch

import pandas as pd
import pytest
import tiny_run
import torch
from lightning.pytorch.callbacks import Callback

from deepfake_ms.errors import UserError
from deepfake_ms.training.trainer import ModelSwitches, count_devices

PLAIN = tiny_run.VIT | tiny_run.ONE_STAGE
"""One stage of a model for which a batch is the mean over its parts: no BatchNorm, SGD, equal class weights."""
CLOSE = {"rtol": 1e-4, "atol": 1e-5}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory) -> Path:
    return tiny_run.write_faces(tmp_path_factory.mktemp("prepared") / "tiny")


@pytest.fixture(scope="module")
def plain_run(tmp_path_factory, prepared) -> Path:
    """The reference: a whole batch per step, nothing switched on."""
    folder = tmp_path_factory.mktemp("plain") / "run"
    tiny_run.train(folder, prepared, PLAIN)
    return folder


def test_every_process_applies_the_settings_of_the_process(tmp_path, prepared, monkeypatch):
    monkeypatch.setattr(torch.utils.deterministic, "fill_uninitialized_memory", True)
    torch.set_float32_matmul_precision("high")
    tiny_run.train(tmp_path / "run", prepared, PLAIN | {"optimization.epochs": 1})
    assert torch.are_deterministic_algorithms_enabled()
    assert not torch.utils.deterministic.fill_uninitialized_memory
    assert torch.get_float32_matmul_precision() == "highest"
    assert not torch.backends.cudnn.allow_tf32


# --- arguments of lightning.Trainer


class Look(Callback):
    """Remembers the Trainer and the largest gradient norm that the optimizer used."""

    def __init__(self) -> None:
        self.norms: list[float] = []

    def on_before_optimizer_step(self, trainer, pl_module, optimizer) -> None:
        self.trainer = trainer

    def on_before_zero_grad(self, trainer, pl_module, optimizer) -> None:
        gradients = [weight.grad for weight in pl_module.parameters() if weight.grad is not None]
        if gradients:
            self.norms.append(float(torch.stack([gradient.norm() for gradient in gradients]).norm()))


@pytest.mark.parametrize("by", ["optimization", "lightning"])
def test_gradients_are_clipped_to_the_given_norm(by, prepared, tmp_path):
    look = Look()
    changes = {"optimization.gradient_clip": {"norm": 0.01}} if by == "optimization" else {}
    switches = {"gradient_clip_val": 0.01} if by == "lightning" else {}
    tiny_run.train(tmp_path / "run", prepared, PLAIN | changes, switches | {"extra": (look,)})
    assert look.trainer.gradient_clip_val == 0.01
    assert max(look.norms) == pytest.approx(0.01, rel=1e-3)
    free = Look()
    tiny_run.train(tmp_path / "free", prepared, PLAIN, {"extra": (free,)})
    assert min(free.norms) > 0.01


def test_any_argument_reaches_lightning(prepared, tmp_path):
    look = Look()
    switches = {"devices": "auto", "profiler": "simple", "sync_batchnorm": True, "limit_train_batches": 2}
    tiny_run.train(tmp_path / "run", prepared, PLAIN, switches | {"extra": (look,)})
    assert look.trainer.limit_train_batches == 2
    assert len(look.norms) > 0
    assert pd.read_csv(tmp_path / "run" / "metrics.csv")["step"].tolist() == [2, 4]
    assert "run_training_batch" in (tmp_path / "run" / "fit-profile.txt").read_text()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"max_epochs": 3}, r"max_epochs cannot be set: set optimization\.epochs"),
        ({"callbacks": []}, "callbacks cannot be set"),
        ({"logger": True}, "choose logger=csv or logger=wandb"),
        ({"gradient_clip": 1}, "has no such argument; nearest: gradient_clip_val"),
        ({"strategy": "fsdp"}, "strategy=fsdp is unknown; choose from auto, ddp, ddp_spawn"),
        ({"devices": 2}, r"starts 2 processes: set trainer\.lightning\.strategy=ddp"),
        ({"devices": [0, 1]}, "Lightning rejects"),
        ({"precision": "17"}, "Lightning rejects .*Precision '17' is invalid"),
        ({"accelerator": "tpu"}, "Lightning rejects"),
        ({"limit_train_batches": "much"}, "Lightning rejects"),
        ({"limit_train_batches": 0}, r"limit_train_batches=0: each stage needs at least one batch"),
        ({"limit_val_batches": 0.0}, r"limit_val_batches=0"),
        ({"check_val_every_n_epoch": 2}, "each epoch is validated"),
        ({"val_check_interval": 0.5}, "each epoch is validated once"),
        ({"overfit_batches": 2}, "set limit_train_batches"),
        ({"default_root_dir": "."}, "it is the run folder"),
        ({"fast_dev_run": True}, "`deepfake-ms train` only"),
        *(
            ({"accumulate_grad_batches": value}, f"accumulate_grad_batches={value}: give a positive whole number")
            for value in (0, -1, 2.0, "2", True, None)
        ),
    ],
)
def test_wrong_arguments_are_one_sentence(arguments, sentence):
    with pytest.raises(UserError, match=sentence):
        tiny_run.trainer(**arguments)


@pytest.mark.parametrize("value", ["max-speed", None, 2])
def test_unknown_ways_to_compile_are_one_sentence(value):
    with pytest.raises(
        UserError, match=rf"trainer\.compile={value} is unknown; choose from false, true, reduce-overhead"
    ):
        tiny_run.trainer(compile=value)


def test_cuda_graphs_refuse_accumulated_batches():
    tiny_run.trainer(compile="reduce-overhead")
    with pytest.raises(UserError, match="overwrites the gradients of accumulated batches"):
        tiny_run.trainer(compile="reduce-overhead", accumulate_grad_batches=2)


@pytest.mark.parametrize(
    ("lightning", "devices"),
    [
        ({"accelerator": "cpu", "devices": 3}, 3),
        ({"accelerator": "cpu", "devices": "3"}, 3),
        ({"accelerator": "gpu", "devices": [1]}, 1),
        ({"accelerator": "gpu", "devices": [0, 2, 5]}, 3),
        ({"accelerator": "cpu", "devices": "auto"}, 1),
        ({"accelerator": "cpu"}, 1),
    ],
)
def test_devices_are_counted_as_lightning_does(lightning, devices):
    assert count_devices(lightning) == devices


def test_tasks_of_a_slurm_allocation_matter_to_several_processes_only(monkeypatch):
    """`salloc --ntasks=4` leaves SLURM_NTASKS to whatever is started in it."""
    for name, value in {"JOB_ID": "5", "NTASKS": "4", "PROCID": "3", "LOCALID": "1", "JOB_NAME": "train"}.items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    assert tiny_run.trainer().world_size == 1
    with pytest.raises(UserError, match="Use `--ntasks-per-node=4` instead"):
        tiny_run.trainer(devices=2, strategy="ddp")


def test_all_devices_are_counted_where_there_are_some(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    assert [count_devices({"accelerator": "gpu", "devices": each}) for each in ("auto", -1, "-1")] == [4, 4, 4]
    with pytest.raises(UserError, match="devices=some"):
        count_devices({"devices": "some"})


# --- gradient accumulation


@pytest.mark.parametrize("parts", [2, 4])
def test_accumulated_batches_are_one_step_of_the_whole_batch(prepared, plain_run, tmp_path, parts):
    tiny_run.train(tmp_path / "run", prepared, PLAIN, {"accumulate_grad_batches": parts})
    tiny_run.assert_same_weights(tmp_path / "run", plain_run, **CLOSE)
    tables = [pd.read_csv(run / "metrics.csv") for run in (tmp_path / "run", plain_run)]
    pd.testing.assert_frame_equal(*tables, rtol=1e-4)  # steps, learning rates, losses


def test_batches_must_divide(prepared, tmp_path):
    with pytest.raises(UserError, match=r"batch_size=4 cannot be divided equally among 1 process with 3 accumulated"):
        tiny_run.train(tmp_path / "run", prepared, PLAIN, {"accumulate_grad_batches": 3})


@pytest.mark.parametrize("parts", [2, 4])
def test_interrupted_between_accumulated_batches_it_ends_with_the_same_weights(prepared, tmp_path, parts):
    changes, switches = tiny_run.ONE_STAGE, {"accumulate_grad_batches": parts}
    tiny_run.train(tmp_path / "undisturbed", prepared, changes, switches)
    for moment in (5, 8, 11, 16, 33):  # starts and ends of batches count: before, between and after steps
        assert tiny_run.interrupt(tmp_path / "run", prepared, moment, changes, **switches)
    tiny_run.train(tmp_path / "run", prepared, changes, switches)
    tiny_run.assert_same_weights(tmp_path / "run", tmp_path / "undisturbed")


@pytest.mark.slow
@pytest.mark.parametrize("moment", range(1, 62))
def test_interrupted_at_any_moment_with_accumulation_it_ends_with_the_same_weights(prepared, tmp_path, moment):
    changes, switches = tiny_run.ONE_STAGE, {"accumulate_grad_batches": 2}
    tiny_run.train(tmp_path / "undisturbed", prepared, changes, switches)
    assert tiny_run.interrupt(tmp_path / "run", prepared, moment, changes, **switches)
    tiny_run.train(tmp_path / "run", prepared, changes, switches)
    tiny_run.assert_same_weights(tmp_path / "run", tmp_path / "undisturbed")


# --- switches of the model


def test_channels_last_reaches_model_and_images(prepared, plain_run, tmp_path, monkeypatch):
    seen = set()
    forward = torch.nn.Conv2d.forward

    def look(self, image):
        seen.add((image.is_contiguous(memory_format=torch.channels_last), self.weight.stride()[1] == 1))
        return forward(self, image)

    monkeypatch.setattr(torch.nn.Conv2d, "forward", look)
    tiny_run.train(tmp_path / "run", prepared, PLAIN, {"channels_last": True})
    assert seen == {(True, True)}
    tiny_run.assert_same_weights(tmp_path / "run", plain_run, **CLOSE)


def test_half_precision_trains_and_keeps_whole_weights(prepared, plain_run, tmp_path):
    tiny_run.train(tmp_path / "run", prepared, PLAIN, {"precision": "bf16-mixed"})
    half, whole = tiny_run.weights_of(tmp_path / "run")[-1], tiny_run.weights_of(plain_run)[-1]
    assert all(values.dtype == torch.float32 for values in half.values() if values.is_floating_point())
    assert any(not torch.equal(half[name], whole[name]) for name in half)
    tiny_run.assert_same_weights(tmp_path / "run", plain_run, rtol=0.05, atol=0.01)


@pytest.mark.slow
def test_checkpoints_of_a_compiled_run_load_without_compilation(prepared, plain_run, tmp_path):
    run = tiny_run.train(tmp_path / "run", prepared, PLAIN, {"compile": True})
    tiny_run.assert_same_weights(tmp_path / "run", plain_run, **CLOSE)
    run.detector(run.curriculum.stages[-1]).load_state_dict(tiny_run.weights_of(tmp_path / "run")[-1])


def test_compilation_without_a_compiler_is_one_sentence(prepared, tmp_path, monkeypatch):
    monkeypatch.setattr("torch._inductor.config.cpp.cxx", ("no-such-compiler",))
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "cache"))
    torch.compiler.reset()
    with pytest.raises(UserError, match=r"trainer\.compile=true .*[cC]ompiler.*\): install"):
        tiny_run.train(tmp_path / "run", prepared, PLAIN, {"compile": True})


def test_both_ways_through_the_model_are_compiled(prepared, tmp_path):
    """The training loss and the forward pass of validation."""
    run = tiny_run.make_run(tmp_path / "run", prepared, PLAIN)
    detector = run.detector(run.curriculum.stages[0])
    calls = []

    def compiled(function, **_):
        return lambda *arguments: (calls.append(function.__name__), function(*arguments))[1]

    with patch("torch.compile", compiled), patch("deepfake_ms.training.trainer.check_compiler"):
        trainer = SimpleNamespace(strategy=SimpleNamespace(root_device="cpu"))
        ModelSwitches(True, False).setup(trainer, detector, "fit")
    image = torch.zeros(2, 3, tiny_run.SIZE, tiny_run.SIZE)
    detector.model.loss_terms({"image": image, "label": torch.tensor([0, 1])}, detector.loss)
    assert "loss_terms" in calls
    calls.clear()
    detector(image)
    assert calls


# --- SIGTERM


def test_sigterm_waits_for_the_end_of_an_optimizer_step(prepared, tmp_path):
    switches = {"accumulate_grad_batches": 4}
    tiny_run.train(tmp_path / "undisturbed", prepared, tiny_run.ONE_STAGE, switches)
    code = tiny_run.train_in_process(
        tmp_path / "run", prepared, tiny_run.ONE_STAGE, switches, kill=(0, 12, signal.SIGTERM)
    )
    assert code == 143
    assert torch.load(tmp_path / "run" / "1_cropped" / "last.ckpt", weights_only=True)["global_step"] == 2
    tiny_run.train(tmp_path / "run", prepared, tiny_run.ONE_STAGE, switches)
    tiny_run.assert_same_weights(tmp_path / "run", tmp_path / "undisturbed")
