from collections import Counter
from pathlib import Path

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch.utils.data import DataLoader, TensorDataset

from deepfake_ms.data.sampling import EpochSampler, ResumableLoader
from deepfake_ms.errors import UserError


def epoch_of(sampler: EpochSampler, epoch: int) -> list[tuple[int, int]]:
    sampler.set_epoch(epoch)
    return list(sampler)


def test_ranks_split_each_epoch_without_overlap():
    ranks = [EpochSampler(26, batch_size=4, seed=0, stage="one", rank=rank, world_size=3) for rank in range(3)]
    for epoch in range(3):
        shares = [epoch_of(sampler, epoch) for sampler in ranks]
        assert [len(share) for share in shares] == [8, 8, 8]  # 26 // 3 = 8, two batches
        positions = [position for share in shares for _, position in share]
        assert len(set(positions)) == 24
        assert set(positions) <= set(range(26))
        assert {own_epoch for share in shares for own_epoch, _ in share} == {epoch}


def test_order_is_keyed_by_seed_stage_and_epoch():
    def order(seed=0, stage="one", epoch=0):
        return [position for _, position in epoch_of(EpochSampler(30, 5, seed, stage), epoch)]

    assert order() == order()
    assert sorted(order()) == list(range(30))
    assert len({tuple(each) for each in (order(), order(seed=1), order(stage="two"), order(epoch=1))}) == 4


def test_skipped_samples_differ_between_epochs():
    sampler = EpochSampler(10, batch_size=4, seed=0, stage="one")
    seen = Counter(position for epoch in range(10) for _, position in epoch_of(sampler, epoch))
    assert set(seen) == set(range(10))
    assert sum(seen.values()) == 80


def test_set_smaller_than_a_batch_is_one_small_batch():
    sampler = EpochSampler(5, batch_size=32, seed=0, stage="one")
    assert sorted(position for _, position in sampler) == list(range(5))
    assert len(DataLoader(range(5), batch_size=32, sampler=sampler)) == 1
    with pytest.raises(UserError, match="too few for 8 processes"):
        EpochSampler(5, batch_size=32, seed=0, stage="one", world_size=8)


class Echo(torch.utils.data.Dataset):
    """Returns its index."""

    def __len__(self) -> int:
        return 12

    def __getitem__(self, item: tuple[int, int]) -> torch.Tensor:
        return torch.tensor(item)


def echo_loader(num_workers: int = 0, **settings) -> ResumableLoader:
    sampler = EpochSampler(12, batch_size=3, seed=0, stage="one")
    persistent = num_workers > 0
    return ResumableLoader(
        Echo(), sampler=sampler, batch_size=3, num_workers=num_workers, persistent_workers=persistent, **settings
    )


@pytest.mark.parametrize("num_workers", [0, 2])
def test_loader_resumes_after_the_yielded_batches(num_workers):
    whole = [batch.tolist() for batch in echo_loader(num_workers)]
    first = echo_loader(num_workers)
    batches = iter(first)
    assert [next(batches).tolist() for _ in range(2)] == whole[:2]

    second = echo_loader(num_workers)
    second.load_state_dict(first.state_dict())
    assert [batch.tolist() for batch in second] == whole[2:]
    second.sampler.set_epoch(1)
    next_epoch = [batch.tolist() for batch in second]
    assert len(next_epoch) == 4
    assert {epoch for batch in next_epoch for epoch, _ in batch} == {1}


class Recorder(L.LightningModule):
    """A model whose weights depend on the order of its batches; records each batch and its epoch."""

    def __init__(self, interrupt_at: int | None = None) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(2, 1)
        torch.nn.init.constant_(self.layer.weight, 0.5)
        torch.nn.init.constant_(self.layer.bias, 0)
        self.interrupt_at = interrupt_at
        self.steps = []

    def training_step(self, batch: torch.Tensor) -> torch.Tensor:
        if len(self.steps) == self.interrupt_at:
            raise InterruptedError
        self.steps.append((self.current_epoch, batch.tolist()))
        return self.layer(batch.float()).tanh().mean()

    def validation_step(self, batch: list[torch.Tensor]) -> None:
        pass

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.01, momentum=0.9)


def fit(folder: Path, model: Recorder, num_workers: int, resume: Path | None = None, **settings) -> Recorder:
    keep = ModelCheckpoint(
        folder, "{step}", every_n_train_steps=1, save_top_k=-1, save_on_exception=True, enable_version_counter=False
    )
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "num_sanity_val_steps": 0}
    trainer = L.Trainer(
        accelerator="cpu", devices=1, max_epochs=2, callbacks=[keep], use_distributed_sampler=False, **quiet, **settings
    )
    loader = echo_loader(num_workers, finished=lambda: trainer.fit_loop.epoch_loop.batch_progress.current.processed)
    validation = DataLoader(TensorDataset(torch.zeros(2, 2)))
    trainer.fit(model, loader, validation, ckpt_path=resume, weights_only=True)
    return model


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("num_workers", "settings"), [(0, {}), (0, {"limit_train_batches": 3}), (0, {"val_check_interval": 2}), (2, {})]
)
def test_fit_resumes_bit_exactly_from_every_step(tmp_path, num_workers, settings):
    whole = fit(tmp_path / "whole", Recorder(), num_workers, **settings)
    steps = len(whole.steps)
    assert steps == 2 * settings.get("limit_train_batches", 4)
    resume_from = range(1, steps) if num_workers == 0 else (3,)
    for step in resume_from:
        model = fit(tmp_path / str(step), Recorder(), num_workers, tmp_path / "whole" / f"step={step}.ckpt", **settings)
        assert model.steps == whole.steps[step:], step
        assert torch.equal(model.layer.weight, whole.layer.weight), step


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("interrupt_at", [2, 4, 5])
def test_batch_interrupted_during_its_step_is_repeated(tmp_path, interrupt_at):
    whole = fit(tmp_path / "whole", Recorder(), num_workers=0)
    with pytest.raises(InterruptedError):
        fit(tmp_path / "cut", Recorder(interrupt_at), num_workers=0)
    checkpoint = tmp_path / "cut" / f"step={interrupt_at}.ckpt"
    model = fit(tmp_path / "resumed", Recorder(), num_workers=0, resume=checkpoint)
    assert model.steps == whole.steps[interrupt_at:]
    assert torch.equal(model.layer.weight, whole.layer.weight)
