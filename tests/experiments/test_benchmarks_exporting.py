"""The latency benchmark of exported detectors on a small model: what it compares, not its times."""

import pytest

from deepfake_ms.errors import UserError
from experiments.benchmarks import exporting


def test_times_all_ways_after_the_check(monkeypatch):
    monkeypatch.setattr(exporting, "BATCHES", (1, 11))
    times, largest, scorer = exporting.time_model("vit", "small", rounds=1)
    assert set(times) == {"PyTorch", "torch.export", "ONNX Runtime"}
    assert all(seconds > 0 for found in times.values() for seconds in found.values())
    assert largest < 1e-4
    assert scorer.model.input_size == 112

    faithful = exporting.open_torch
    monkeypatch.setattr(exporting, "open_torch", lambda folder: lambda faces: faithful(folder)(faces) + 1e-3)
    monkeypatch.setattr(exporting, "write_onnx", lambda program, folder: None)
    monkeypatch.setattr(exporting, "open_onnx", lambda folder: None)
    with pytest.raises(UserError, match=r"torch.export differs .* by 0.001"):
        exporting.time_model("vit", "small", rounds=1)
