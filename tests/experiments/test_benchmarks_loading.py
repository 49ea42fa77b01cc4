"""The loading benchmark on few faces: its check that all programs load equal images, not its times."""

from pathlib import Path

import pytest

from experiments.benchmarks import loading


@pytest.fixture(scope="module")
def drawn(tmp_path_factory) -> Path:
    return loading.draw_faces(tmp_path_factory.mktemp("drawn"), count=4)


def test_measures_after_the_check(drawn, tmp_path, monkeypatch):
    monkeypatch.setattr(loading, "BATCH_SIZE", 2)
    settings = [loading.Setting(name, "masked_eyes", 0) for name in ("none", "standard")]
    lines = []
    table, sizes = loading.compare(drawn, tmp_path, settings, count=4, rounds=1, done=lines.append)
    assert [len(rates) for rates in table] == [3, 3]
    assert min(min(rates) for rates in table) > 0
    assert set(sizes) == {"PNG", "our files"}
    assert all("4 images bit-equal" in line for line in lines)


def test_refuses_to_time_different_images(drawn, tmp_path, monkeypatch):
    monkeypatch.setattr(loading, "BATCH_SIZE", 2)
    make = loading.their_loader
    other = loading.Setting("none", "cropped", 0)
    monkeypatch.setattr(loading, "their_loader", lambda root, landmarks, setting: make(root, landmarks, other))
    settings = [loading.Setting("none", "masked_eyes", 0)]
    with pytest.raises(SystemExit, match="nothing is timed"):
        loading.compare(drawn, tmp_path, settings, count=4, rounds=1, done=print)
