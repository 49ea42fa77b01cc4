"""Optimizers and schedules by their names in torch and timm."""

import pytest
import timm.optim
import timm.scheduler
import torch
from torch import nn

from deepfake_ms.errors import UserError
from deepfake_ms.training.optimization import advance, build_optimizer, build_schedule


def parameter() -> nn.Parameter:
    return nn.Parameter(torch.ones(3))


def rates(schedule: dict, epochs: int, steps_per_epoch: int = 4, lr: float = 0.1) -> list[float]:
    """The learning rate at the start of every step, or of every epoch."""
    optimizer = build_optimizer([parameter()], {"name": "SGD", "lr": lr})
    built = build_schedule(optimizer, schedule, epochs, epochs * steps_per_epoch)
    found = []
    for epoch in range(epochs):
        for _ in range(steps_per_epoch if built["interval"] == "step" else 1):
            found.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            advance(built["scheduler"], None, epoch + 1)
    return found


@pytest.mark.parametrize("name", ["SGD", "Adam", "AdamW", "RMSprop", "NAdam"])
def test_torchs_optimizers_take_a_step(name):
    weight = parameter()
    optimizer = build_optimizer([weight], {"name": name, "lr": 0.1})
    assert type(optimizer) is getattr(torch.optim, name)
    weight.sum().backward()
    optimizer.step()
    assert (weight < 1).all()


@pytest.mark.parametrize("name", ["lamb", "adopt", "lion"])
def test_timms_optimizers_take_steps(name):
    weight = parameter()
    optimizer = build_optimizer([weight], {"name": name, "lr": 0.1, "weight_decay": 0.0})
    assert type(optimizer) is timm.optim.get_optimizer_class(name, bind_defaults=False)
    for _ in range(2):  # adopt's first step only looks
        optimizer.zero_grad()
        weight.sum().backward()
        optimizer.step()
    assert (weight < 1).all()


def test_step_lr_falls_between_epochs():
    assert rates({"name": "StepLR", "step_size": 2, "gamma": 0.1}, 5) == pytest.approx([0.1, 0.1, 0.01, 0.01, 0.001])


def test_a_cosine_of_torch_ends_with_the_stage_unless_told_otherwise():
    whole = rates({"name": "CosineAnnealingLR"}, 4)
    assert whole == pytest.approx([0.1, 0.08535533905932738, 0.05, 0.014644660940672626])
    by_step = rates({"name": "CosineAnnealingLR", "interval": "step"}, 2, steps_per_epoch=2)
    assert by_step == pytest.approx(whole)
    assert rates({"name": "CosineAnnealingLR", "T_max": 2}, 3) == pytest.approx([0.1, 0.05, 0.0])


def test_timms_cosine_with_warmup_follows_timm():
    settings = {"warmup_epochs": 3, "warmup_lr": 0.001, "min_lr": 0.0001}
    optimizer = torch.optim.SGD([parameter()], lr=0.1)
    reference, _ = timm.scheduler.create_scheduler_v2(optimizer, sched="cosine", num_epochs=8, **settings)
    expected = []
    for epoch in range(8):
        expected.append(optimizer.param_groups[0]["lr"])
        reference.step(epoch=epoch + 1)
    found = rates({"name": "cosine", **settings}, 8)
    assert found == pytest.approx(expected)
    assert found[0] == 0.001
    assert found == sorted(found[:4]) + sorted(found[4:], reverse=True)


@pytest.mark.parametrize("steps", range(1, 12))
def test_one_cycle_survives_a_stage_of_any_length(steps):
    found = rates({"name": "OneCycleLR", "pct_start": 0.2, "div_factor": 10}, 1, steps_per_epoch=steps)
    assert len(found) == steps
    assert found[0] == pytest.approx(0.01)
    assert max(found) <= 0.1 + 1e-9


def test_one_cycle_peaks_at_the_optimizers_rate():
    found = rates({"name": "OneCycleLR", "pct_start": 0.25, "div_factor": 10}, 5, steps_per_epoch=8)
    assert max(found) == pytest.approx(0.1)
    assert found.index(max(found)) == 9  # a quarter of 40 steps, counted from 0


def test_a_plateau_lowers_the_rate():
    optimizer = build_optimizer([parameter()], {"name": "SGD", "lr": 0.1})
    built = build_schedule(optimizer, {"name": "ReduceLROnPlateau", "patience": 0, "factor": 0.5}, 9, 9)
    assert built["monitor"] == "validation/loss"
    for loss in (1.0, 2.0):
        advance(built["scheduler"], torch.tensor(loss), 1)
    assert optimizer.param_groups[0]["lr"] == 0.05


@pytest.mark.parametrize(
    ("optimizer", "sentence"),
    [
        ({"lr": 0.1}, r"optimizer\.name is missing"),
        ({"name": "SDG", "lr": 0.1}, "neither in torch.optim nor in timm.optim"),
        ({"name": "SGD", "lr": 0.1, "betas": 1}, "SGD rejects .*betas"),
        ({"name": "SGD", "lr": -1}, "SGD rejects .*[Ii]nvalid learning rate"),
        ({"name": "Optimizer"}, "Optimizer rejects"),
    ],
)
def test_a_wrong_optimizer_is_one_sentence(optimizer, sentence):
    with pytest.raises(UserError, match=sentence):
        build_optimizer([parameter()], optimizer)


@pytest.mark.parametrize(
    ("schedule", "sentence"),
    [
        ({"step_size": 1}, r"schedule\.name is missing"),
        ({"name": "plateau"}, "timm's are cosine"),
        ({"name": "Cosine"}, "neither in torch.optim.lr_scheduler nor in timm.scheduler"),
        ({"name": "StepLR"}, "StepLR rejects .*step_size"),
        ({"name": "cosine", "warmup": 3}, "cosine rejects .*warmup"),
        ({"name": "cosine", "interval": "step"}, "advance by epochs"),
        ({"name": "StepLR", "step_size": 1, "interval": "batch"}, "interval=batch is unknown"),
    ],
)
def test_a_wrong_schedule_is_one_sentence(schedule, sentence):
    optimizer = build_optimizer([parameter()], {"name": "SGD", "lr": 0.1})
    with pytest.raises(UserError, match=sentence):
        build_schedule(optimizer, schedule, 3, 9)


def test_fused_kernels_where_the_optimizer_has_them_and_the_settings_choose_nothing_else():
    def fused(**settings) -> bool | None:
        return build_optimizer([nn.Parameter(torch.zeros(1))], settings, fused=True).defaults.get("fused")

    assert fused(name="AdamW", lr=0.1)
    assert fused(name="SGD", lr=0.1)
    assert not fused(name="AdamW", lr=0.1, foreach=True)
    assert fused(name="lamb", lr=0.1) is None
