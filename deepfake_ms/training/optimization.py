"""Optimizers and learning rate schedules by their names in torch or timm."""

import inspect
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import timm.optim
import timm.scheduler
import torch
from timm.scheduler.scheduler import Scheduler
from torch import nn
from torch.optim import Optimizer, lr_scheduler

from deepfake_ms.errors import UserError

INTERVALS = ("epoch", "step")
TIMM_SCHEDULES = ("cosine", "tanh", "step", "multistep", "poly")
"""Names in `timm.scheduler`, without plateau, for which torch has ReduceLROnPlateau."""


class PiecewiseConstantLR(lr_scheduler.LambdaLR):
    """The initial learning rate times a factor per interval between milestones; MultiStepLR has one factor for all.

    Args:
        optimizer: whose rate is scheduled.
        milestones: in epochs (or steps), ascending.
        factors: one per interval, i.e. one more than milestones.
        last_epoch: as in torch.

    Raises:
        ValueError: the milestones do not ascend, or the number of factors is wrong.
    """

    def __init__(self, optimizer: Optimizer, milestones: Sequence[int], factors: Sequence[float], last_epoch: int = -1):
        if sorted(set(milestones)) != list(milestones) or len(factors) != len(milestones) + 1:
            raise ValueError("give ascending milestones, and one factor more than milestones")
        super().__init__(optimizer, lambda count: factors[bisect_right(milestones, count)], last_epoch)


def build_optimizer(parameters: Iterable[nn.Parameter], settings: Mapping[str, Any], fused: bool = False) -> Optimizer:
    """The optimizer ``{"name": ..., arguments}``.

    Args:
        parameters: the trainable parameters.
        settings: `name` of a class in `torch.optim` (SGD, AdamW) or of an optimizer in `timm.optim` (lamb, adopt), and
            its arguments.
        fused: update all parameters in one kernel, where the optimizer can and the settings choose nothing else.

    Raises:
        UserError: the name or an argument is unknown, or a value is not allowed.
    """
    name, arguments = _split(settings, "optimization.optimizer")
    kind = getattr(torch.optim, name, None)
    if not (inspect.isclass(kind) and issubclass(kind, Optimizer)):
        if name.lower() not in timm.optim.list_optimizers():
            raise UserError(f"optimization.optimizer.name={name}: it is neither in torch.optim nor in timm.optim.")
        kind = timm.optim.get_optimizer_class(name)
    if fused and "fused" in inspect.signature(kind).parameters and not arguments.keys() & {"fused", "foreach"}:
        arguments["fused"] = True
    try:
        return kind(list(parameters), **arguments)
    except (TypeError, ValueError) as error:
        raise UserError(_refusal("optimizer", name, arguments, error)) from error


def build_schedule(optimizer: Optimizer, settings: Mapping[str, Any], epochs: int, steps: int) -> dict[str, Any]:
    """The learning rate schedule ``{"name": ..., arguments}`` of one stage, as Lightning's ``lr_scheduler``.

    - A class in `torch.optim.lr_scheduler` (StepLR, CosineAnnealingLR), or `PiecewiseConstantLR`. It advances after
      each epoch, or after each step with ``interval: step``. ``T_max`` and ``total_iters`` default to the length of the
      stage in these units. OneCycleLR always advances by steps, over the whole stage, up to the optimizer's rate.
      ReduceLROnPlateau advances after each validation, by the validation loss.
    - A schedule of `timm.scheduler` (cosine, step, poly, ...) with its arguments, e.g. ``warmup_epochs``; it advances
      after each epoch.

    Args:
        optimizer: whose rate is scheduled.
        settings: `name`, optionally `interval`, and arguments.
        epochs: of the stage.
        steps: optimizer steps of the stage.

    Raises:
        UserError: the name or an argument is unknown, or a value is not allowed.
    """
    name, arguments = _split(settings, "optimization.schedule")
    interval = arguments.pop("interval", "epoch")
    if interval not in INTERVALS:
        raise UserError(f"optimization.schedule.interval={interval} is unknown; choose from {', '.join(INTERVALS)}.")
    kind = PiecewiseConstantLR if name == PiecewiseConstantLR.__name__ else getattr(lr_scheduler, name, None)
    try:
        if inspect.isclass(kind) and issubclass(kind, lr_scheduler.LRScheduler):
            if kind is lr_scheduler.ReduceLROnPlateau and interval == "step":
                raise ValueError("it advances after each validation")
            if kind is lr_scheduler.OneCycleLR:
                interval = "step"
                arguments = _one_cycle(optimizer, arguments, steps)
            known = inspect.signature(kind).parameters
            length = steps if interval == "step" else epochs
            defaults = {key: length for key in ("T_max", "total_iters") if key in known}
            schedule = kind(optimizer, **defaults | arguments)
        else:
            schedule = _timm_schedule(optimizer, name, arguments, epochs, interval)
    except (TypeError, ValueError, AssertionError) as error:
        raise UserError(_refusal("schedule", name, arguments, error)) from error
    # Lightning reads `monitor` for ReduceLROnPlateau only
    return {"scheduler": schedule, "interval": interval, "monitor": "validation/loss"}


def advance(schedule: lr_scheduler.LRScheduler | Scheduler, metric: Any, epoch: int) -> None:
    """One step of a schedule; `epoch` counts the finished epochs of the stage."""
    if isinstance(schedule, Scheduler):
        schedule.step(epoch=epoch)
    elif metric is None:
        schedule.step()
    else:
        schedule.step(metric)


def check_optimization(optimizer: Mapping[str, Any], schedule: Mapping[str, Any], epochs: int) -> None:
    """Check optimizer and schedule settings by building both.

    Raises:
        UserError: see `build_optimizer` and `build_schedule`.
    """
    build_schedule(build_optimizer([nn.Parameter(torch.zeros(1))], optimizer), schedule, epochs, steps=10 * epochs)


def _refusal(what: str, name: str, arguments: Mapping[str, Any], error: Exception) -> str:
    remedy = f"give all its arguments, e.g. 'optimization.{what}={{name: {name}, ...}}'"
    hint = f"; {remedy}" if isinstance(error, TypeError) else ""
    return f"optimization.{what}: {name} rejects {arguments}: {str(error).rstrip('.')}{hint}."


def _split(settings: Mapping[str, Any], key: str) -> tuple[str, dict[str, Any]]:
    arguments = dict(settings)
    if not isinstance(name := arguments.pop("name", None), str):
        raise UserError(f"{key}.name is missing: give a name from torch or timm.")
    return name, arguments


def _one_cycle(optimizer: Optimizer, arguments: dict[str, Any], steps: int) -> dict[str, Any]:
    steps = max(3, steps)
    rising = min(1.0, max(arguments.get("pct_start", 0.3), 2 / steps))  # torch needs a step on each side of the peak
    peak = optimizer.param_groups[0]["lr"]
    return {"max_lr": peak, "total_steps": steps, **arguments, "pct_start": rising}


def _timm_schedule(optimizer: Optimizer, name: str, arguments: dict[str, Any], epochs: int, interval: str) -> Scheduler:
    if name not in TIMM_SCHEDULES:
        raise UserError(
            f"optimization.schedule.name={name}: it is neither in torch.optim.lr_scheduler nor in timm.scheduler; "
            f"timm's are {', '.join(TIMM_SCHEDULES)}."
        )
    if interval == "step":
        raise ValueError("timm's schedules advance by epochs here")
    return timm.scheduler.create_scheduler_v2(optimizer, sched=name, num_epochs=epochs, **arguments)[0]
