"""Schedules of very short stages."""

from types import SimpleNamespace

import pytest
import tiny_run


@pytest.mark.parametrize("steps", range(1, 12))
def test_one_cycle_survives_a_stage_of_any_length(steps):
    detector = tiny_run.make_detector()
    detector.hparams.schedule = {"name": "OneCycleLR", "pct_start": 0.2}
    loader = range(steps)
    detector._trainer = SimpleNamespace(max_epochs=1, datamodule=SimpleNamespace(train_dataloader=lambda: loader))
    configured = detector.configure_optimizers()
    for _ in range(steps):
        configured["optimizer"].step()
        configured["lr_scheduler"]["scheduler"].step()
