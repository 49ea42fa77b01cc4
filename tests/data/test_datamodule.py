from itertools import chain
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import SIZE

from deepfake_ms.data.loaders import FaceDataModule
from deepfake_ms.data.face_masks import EyeMask
from deepfake_ms.data.splits import SplitPolicy, split_manifest


@pytest.fixture
def build(manifest, prepared):
    def build(trainer=None, **settings) -> FaceDataModule:
        settings = {
            "faces": "masked_eyes",
            "eye_mask": EyeMask(),
            "input_size": SIZE,
            "mean": (0, 0, 0),
            "std": (1, 1, 1),
            "batch_size": 4,
            "stage": "first",
            **settings,
        }
        module = FaceDataModule(prepared, split_manifest(manifest, SplitPolicy("video")), **settings)
        module.trainer = trainer
        module.setup("fit")
        module.setup("test")
        return module

    return build


def masked(image: torch.Tensor) -> bool:
    return (image == 0).all(dim=0).float().mean().item() > 0.05  # the drawn faces have no black pixels


def indices(loader) -> list[int]:
    return [index for batch in loader for index in batch["index"].tolist()]


def test_only_training_faces_are_masked_and_augmented(build, manifest):
    module = build(augmentation="released_rf")  # keeps black black
    assert all(masked(image) for batch in module.train_dataloader() for image in batch["image"])
    subsets = module.subsets.to_numpy()
    for loader, subset in ((module.val_dataloader(), "validation"), (module.test_dataloader(), "test")):
        assert sorted(indices(loader)) == np.flatnonzero(subsets == subset).tolist()
        plain = build(faces="cropped", augmentation="none")
        twin = plain.val_dataloader() if subset == "validation" else plain.test_dataloader()
        for batch, expected in zip(loader, twin, strict=True):
            assert not any(masked(image) for image in batch["image"])
            assert torch.equal(batch["image"], expected["image"])


@pytest.mark.parametrize("num_workers", [0, 1])
def test_batches_become_the_datasets_items(build, num_workers):
    """Bytes on the way, and after the Trainer's hook what the dataset gives singly."""
    module = build(num_workers=num_workers, mean=(0.5, 0.4, 0.3), std=(0.2, 0.25, 0.5))
    for loader, faces in ((module.train_dataloader(), module.train_set), (module.test_dataloader(), module.test_set)):
        positions = {row: position for position, row in enumerate(faces.rows.tolist())}
        batch = next(iter(loader))
        assert batch["image"].dtype == torch.uint8
        expected = [faces[0, positions[row]]["image"] for row in batch["index"].tolist()]
        assert torch.equal(module.on_after_batch_transfer(batch, 0)["image"], torch.stack(expected))


def test_training_is_balanced_and_of_the_training_side(build, manifest):
    module = build(per_class=5, batch_size=10)
    (batch,) = module.train_dataloader()
    assert batch["label"].bincount().tolist() == [5, 5]
    assert batch["label"].dtype == batch["index"].dtype == torch.int64
    assert (module.subsets.iloc[batch["index"].numpy()] == "train").all()
    labels = manifest.iloc[batch["index"].numpy()]["label"].map({"real": 0, "fake": 1})
    assert batch["label"].tolist() == labels.tolist()


def test_all_stages_train_on_the_same_faces_in_another_order(build):
    first, second = (indices(build(stage=stage).train_dataloader()) for stage in ("first", "second"))
    assert sorted(first) == sorted(second)
    assert first != second


def test_equal_pixels_for_any_number_of_workers_and_new_ones_in_each_epoch(build):
    epochs = {}
    for num_workers in (0, 1, 2):
        loader = build(num_workers=num_workers).train_dataloader()
        for epoch in range(2):
            loader.sampler.set_epoch(epoch)
            batches = list(loader)
            epochs[num_workers, epoch] = (
                torch.cat([batch["image"] for batch in batches]),
                [index for batch in batches for index in batch["index"].tolist()],
            )
    for epoch in range(2):
        images, order = epochs[0, epoch]
        for num_workers in (1, 2):
            assert epochs[num_workers, epoch][1] == order
            assert torch.equal(epochs[num_workers, epoch][0], images)
    (first, first_order), (second, second_order) = epochs[0, 0], epochs[0, 1]
    assert first_order != second_order
    same = [torch.equal(first[first_order.index(i)], second[second_order.index(i)]) for i in set(first_order)]
    assert np.mean(same) < 0.5


def test_ranks_share_the_sides_without_repeats(build):
    modules = [build(SimpleNamespace(global_rank=rank, world_size=3)) for rank in range(3)]
    train = [indices(module.train_dataloader()) for module in modules]
    assert len({len(share) for share in train}) == 1
    together = list(chain(*train))
    assert len(set(together)) == len(together)
    validation = list(chain(*(indices(module.val_dataloader()) for module in modules)))
    assert sorted(validation) == np.flatnonzero(modules[0].subsets == "validation").tolist()


def test_loading_leaves_the_global_random_stream_alone(build):
    module = build()
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    for loader in (module.train_dataloader(), module.val_dataloader()):
        list(loader)
    assert torch.equal(torch.rand(1), expected)
