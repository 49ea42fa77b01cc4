"""The loaders of a stage: which faces, in which order, and independence of the number of workers and processes."""

import select
import shutil
import subprocess
import sys
from itertools import chain
from types import SimpleNamespace

import numpy as np
import pytest
import tiny_run
import torch
from formulas import SIZE, augmentation_of

from deepfake_ms.data.dataset import FaceDataset
from deepfake_ms.data.face_masks import FaceMask, Size
from deepfake_ms.data.face_pairs import find_partners
from deepfake_ms.data.facial_swap import KINDS
from deepfake_ms.data.loaders import StageData, evaluation_loader
from deepfake_ms.errors import UserError, sentence_of

EYES = FaceMask({"eyes": Size(0.9, 0.5)})
TRAINING, VALIDATION = np.arange(0, 25), np.arange(25, 40)


def trainer(rank: int = 0, world_size: int = 1, accumulate: int = 1) -> SimpleNamespace:
    """What a Trainer tells the loaders."""
    loop = SimpleNamespace(
        epoch_loop=SimpleNamespace(batch_progress=SimpleNamespace(current=SimpleNamespace(processed=0)))
    )
    return SimpleNamespace(global_rank=rank, world_size=world_size, accumulate_grad_batches=accumulate, fit_loop=loop)


@pytest.fixture
def build(manifest, prepared):
    def build(batch_size=4, num_workers=0, stage="first", trainer=None, **settings) -> StageData:
        training = FaceDataset(manifest, TRAINING, prepared, input_size=SIZE, stage=stage, **settings)
        validation = FaceDataset(manifest, VALIDATION, prepared, input_size=SIZE)
        data = StageData(training, validation, batch_size, num_workers, stage=stage)
        data.trainer = trainer
        return data

    return build


def indices(loader) -> list[int]:
    return [index for batch in loader for index in batch["index"].tolist()]


def epochs_of(data: StageData, epochs: int = 2) -> list[dict[str, torch.Tensor]]:
    """All batches of each epoch together."""
    loader, found = data.train_dataloader(), []
    for epoch in range(epochs):
        loader.sampler.set_epoch(epoch)
        batches = list(loader)
        found.append({name: torch.cat([batch[name] for batch in batches]) for name in batches[0]})
    return found


@pytest.mark.parametrize("num_workers", [0, 1])
def test_batches_hold_the_datasets_items(build, num_workers):
    data = build(num_workers=num_workers, mask=EYES, augmentation=augmentation_of("released_rf"))
    for loader, faces in ((data.train_dataloader(), data.training), (data.val_dataloader(), data.validation)):
        positions = {row: position for position, row in enumerate(faces.rows.tolist())}
        batch = next(iter(loader))
        assert batch["image"].dtype == torch.uint8
        assert batch["label"].dtype == batch["index"].dtype == torch.int64
        for number, row in enumerate(batch["index"].tolist()):
            item = faces[0, positions[row]]
            assert all(torch.equal(item[name], batch[name][number]) for name in item)


def test_the_detector_normalises_by_the_formula(tmp_path):
    """(image / 255 - mean) / std per channel, for every grey level."""
    run = tiny_run.make_run(tmp_path / "run", tiny_run.write_faces(tmp_path / "faces"))
    detector = run.detector(run.curriculum.stages[0])
    every_level = torch.arange(256, dtype=torch.uint8).expand(1, 3, 1, 256)
    images = detector.on_after_batch_transfer({"image": every_level, "label": 1}, 0)
    mean, std = (np.array(values, dtype=np.float32)[:, None] for values in (detector.model.mean, detector.model.std))
    expected = (np.arange(256, dtype=np.float32) / 255 - mean) / std
    assert images["label"] == 1
    assert images["image"].dtype == torch.float32
    np.testing.assert_array_equal(images["image"][0, :, 0], expected)


def test_an_epoch_is_all_training_faces_in_full_batches(build):
    for stage in ("first", "second"):
        order = indices(build(batch_size=4, stage=stage).train_dataloader())
        assert len(order) == len(set(order)) == 24
        assert set(order) <= set(TRAINING)
    assert sorted(indices(build().val_dataloader())) == VALIDATION.tolist()


def test_all_stages_train_on_the_same_faces_in_another_order(build):
    first, second = (indices(build(batch_size=5, stage=stage).train_dataloader()) for stage in ("first", "second"))
    assert sorted(first) == sorted(second) == TRAINING.tolist()
    assert first != second


@pytest.mark.parametrize("kind", ["augmented", "random boxes", "facial swap"])
def test_any_number_of_workers_gives_the_same_batches(build, manifest, kind):
    settings = {
        "augmented": {"mask": EYES, "augmentation": augmentation_of("standard")},
        "random boxes": {"mask": FaceMask(EYES.regions, place="random")},
        "facial swap": {
            "mask": EYES,
            "augmentation": augmentation_of("facial_swap"),
            "partners": find_partners(manifest, TRAINING, TRAINING),
            "swap_kinds": dict.fromkeys(KINDS, 0.25),
        },
    }[kind]
    alone, with_workers = (epochs_of(build(num_workers=number, **settings)) for number in (0, 2))
    for one, two in zip(alone, with_workers, strict=True):
        assert one.keys() == two.keys()
        assert all(torch.equal(one[name], two[name]) for name in one)
    first, second = ({int(row): epoch["image"][i] for i, row in enumerate(epoch["index"])} for epoch in alone)
    assert list(first) != list(second)
    same = np.mean([torch.equal(first[row], second[row]) for row in first.keys() & second.keys()])
    assert same == 1 if kind == "random boxes" else same < 0.7


def test_processes_share_the_faces_without_repeats(build):
    modules = [build(batch_size=6, trainer=trainer(rank, 3)) for rank in range(3)]
    shares = [indices(module.train_dataloader()) for module in modules]
    assert {len(share) for share in shares} == {8}
    together = list(chain(*shares))
    assert len(set(together)) == len(together)
    validation = list(chain(*(indices(module.val_dataloader()) for module in modules)))
    assert sorted(validation) == VALIDATION.tolist()


@pytest.mark.parametrize(("world_size", "accumulate", "share"), [(1, 1, 12), (2, 1, 6), (1, 3, 4), (2, 3, 2)])
def test_a_batch_is_divided_over_processes_and_accumulated_batches(build, world_size, accumulate, share):
    loader = build(batch_size=12, trainer=trainer(0, world_size, accumulate)).train_dataloader()
    assert {len(batch["label"]) for batch in loader} == {share}
    whole = [indices(build(batch_size=12, trainer=trainer(rank, world_size)).train_dataloader()) for rank in (0, 1)]
    assert indices(loader) == whole[0]  # accumulation changes neither the faces nor their order


@pytest.mark.parametrize(
    ("world_size", "accumulate", "sentence"),
    [
        (3, 1, "batch_size=4 cannot be divided equally among 3 processes: choose a multiple of 3"),
        (1, 3, "among 1 process with 3 accumulated batches each: choose a multiple of 3"),
        (2, 4, "among 2 processes with 4 accumulated batches each: choose a multiple of 8"),
    ],
)
def test_a_batch_that_cannot_be_divided_is_refused(build, world_size, accumulate, sentence):
    with pytest.raises(UserError, match=sentence):
        build(batch_size=4, trainer=trainer(0, world_size, accumulate)).train_dataloader()


def test_loading_leaves_the_global_random_stream_alone(build):
    data = build()
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    for loader in (data.train_dataloader(), data.val_dataloader()):
        list(loader)
    assert torch.equal(torch.rand(1), expected)


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_missing_crop_is_one_sentence_also_from_a_worker(manifest, prepared, tmp_path, num_workers):
    folder = shutil.copytree(prepared, tmp_path / "faces")
    crop = folder / manifest.iloc[3]["crop"]
    crop.unlink()
    faces = FaceDataset(manifest, TRAINING, folder, input_size=SIZE)
    with pytest.raises(UserError) as error:
        list(evaluation_loader(faces, 2, num_workers))
    assert sentence_of(error.value) == f"{crop} is missing: delete {folder} and prepare the corpus again."


ORPHAN = """
import os
import time

from deepfake_ms.data.loaders import loading

start_worker = loading(1, 1)["worker_init_fn"]
child = os.fork()
if child:
    print(child, flush=True)
    os._exit(0)
time.sleep(0.5)
assert os.getppid() != start_worker.args[0]
start_worker(0)
time.sleep(60)
"""


def test_a_worker_that_starts_after_its_parent_was_killed_ends():
    process = subprocess.Popen([sys.executable, "-c", ORPHAN], stdout=subprocess.PIPE, text=True)
    child = int(process.stdout.readline())
    assert process.wait(60) == 0
    # The child has the pipe, too, which ends with it.
    readable, _, _ = select.select([process.stdout], [], [], 10)
    assert readable, f"process {child} is left"
    assert process.stdout.read() == ""
