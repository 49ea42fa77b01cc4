import shutil

import numpy as np
import pytest
import torch
from conftest import SIZE, formula_image

from deepfake_ms.data.augmentation import build_augmentation
from deepfake_ms.data.dataset import FaceDataset, normalise
from deepfake_ms.data.face_masks import EyeMask
from deepfake_ms.errors import UserError
from deepfake_ms.preprocessing.crops import CROP_SUFFIX, encode_crop

MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.25, 0.5)
EYES = np.array([[22.0, 26.0], [42.0, 26.0]])


def dataset(manifest, prepared, rows=None, **settings) -> FaceDataset:
    rows = np.arange(len(manifest)) if rows is None else rows
    return FaceDataset(manifest, rows, prepared, **{"input_size": SIZE, "mean": MEAN, "std": STD, **settings})


def test_item(manifest, prepared):
    rows = np.array([30, 3, 7])
    faces = dataset(manifest, prepared, rows)
    assert len(faces) == 3
    item = faces[0]
    assert item["index"] == 30
    assert item["label"] == {"real": 0, "fake": 1}[manifest.iloc[30]["label"]]
    assert item["image"].shape == (3, SIZE, SIZE)
    assert item["image"].dtype == torch.float32
    pixels = item["image"].numpy().transpose(1, 2, 0) * STD + MEAN
    assert np.allclose(pixels * 255, faces.pixels(0), atol=1e-3)


def test_labels_of_all_faces(manifest, prepared):
    labels = ["unlabelled", *manifest["label"][1:]]
    faces = dataset(manifest.assign(label=labels), prepared)
    codes = {"real": 0, "fake": 1, "unlabelled": -1}
    assert [faces[i]["label"] for i in range(40)] == [codes[label] for label in labels]
    assert sorted(np.unique(labels, return_counts=True)[1]) == [1, 19, 20]


def test_a_batch_holds_the_items_as_bytes(manifest, prepared):
    faces = dataset(manifest, prepared, np.arange(39, -1, -1), augmentation=build_augmentation("released_rf"))
    requests = [(2, 7), (0, 7), (1, 30)]
    batch = faces.batch(requests)
    assert batch["image"].dtype == torch.uint8
    assert batch["index"].tolist() == [32, 32, 9]
    assert batch["label"].dtype == batch["index"].dtype == torch.int64
    for number, (epoch, position) in enumerate(requests):
        item = faces[epoch, position]
        assert np.array_equal(batch["image"][number].permute(1, 2, 0), faces.pixels(position, epoch))
        assert torch.equal(normalise(batch["image"], MEAN, STD)[number], item["image"])
        assert item["label"] == batch["label"][number]


def test_normalisation_is_the_formula():
    every_value = torch.arange(256, dtype=torch.uint8).expand(3, 1, 256)
    expected = (np.arange(256, dtype=np.float32) / 255 - np.float32(MEAN)[:, None]) / np.float32(STD)[:, None]
    assert np.array_equal(normalise(every_value, MEAN, STD)[:, 0], expected)


def test_masks_the_eyes(manifest, prepared):
    cropped, masked = dataset(manifest, prepared), dataset(manifest, prepared, faces="masked_eyes", eye_mask=EyeMask())
    region = EyeMask().region(SIZE, SIZE, EYES)
    assert (masked.pixels(5)[region] == 0).all()
    assert np.array_equal(masked.pixels(5)[~region], cropped.pixels(5)[~region])
    assert (cropped.pixels(5)[region] > 0).all()


@pytest.mark.parametrize("size", [32, 96])
def test_eyes_follow_the_resize(manifest, prepared, size):
    """Resizing a mask and masking a resized face cover the same part of it."""
    pixels = dataset(manifest, prepared, faces="masked_eyes", eye_mask=EyeMask(), input_size=size).pixels(5)
    assert pixels.shape == (size, size, 3)
    dark_y, dark_x = np.nonzero((pixels == 0).all(axis=2))
    scale = size / SIZE
    assert dark_x.mean() == pytest.approx(32.5 * scale - 0.5, abs=0.6)
    assert dark_y.mean() == pytest.approx(26.5 * scale - 0.5, abs=0.6)
    covered = EyeMask().region(SIZE, SIZE, EYES).mean()
    assert len(dark_y) / size**2 == pytest.approx(covered, rel=0.2)


def test_masks_before_it_augments(manifest, prepared):
    """A flipped or turned face has its mask flipped or turned with it."""
    settings = {"faces": "masked_eyes", "eye_mask": EyeMask(), "augmentation": build_augmentation("random_flips")}
    plain, flipped = dataset(manifest, prepared), dataset(manifest, prepared, **settings)
    for epoch in range(8):
        pixels = flipped.pixels(5, epoch)
        original = EyeMask().draw(plain.pixels(5), EYES)
        variants = [original, original[::-1], original[:, ::-1], original[::-1, ::-1]]
        assert any(np.array_equal(pixels, variant) for variant in variants)


def test_augmentation_is_new_in_each_epoch_stage_and_seed_and_face(manifest, prepared):
    augmentation = build_augmentation("standard")

    def images(epoch=0, **settings):
        faces = dataset(manifest, prepared, augmentation=augmentation, **settings)
        return torch.stack([faces[epoch, position]["image"] for position in range(10)])

    first = images()
    assert torch.equal(first, images())
    for other in (images(epoch=1), images(stage="second"), images(seed=1)):
        same = (first == other).flatten(1).all(dim=1)
        assert same.float().mean() < 0.7  # an augmentation leaves some faces as they are


def test_augmentation_follows_the_face_not_its_position(manifest, prepared):
    augmentation = build_augmentation("standard")
    one = dataset(manifest, prepared, np.arange(40), augmentation=augmentation)
    other = dataset(manifest, prepared, np.arange(39, -1, -1), augmentation=augmentation)
    assert all(np.array_equal(one.pixels(i, 3), other.pixels(39 - i, 3)) for i in range(40))


def test_missing_and_unreadable_crops(manifest, prepared, tmp_path):
    shutil.copytree(prepared, tmp_path / "copy")
    faces = dataset(manifest, tmp_path / "copy")
    (tmp_path / "copy" / manifest.iloc[0]["crop"]).unlink()
    (tmp_path / "copy" / manifest.iloc[1]["crop"]).write_bytes(b"no image")
    with pytest.raises(UserError, match=r"000000\.png is missing: .*prepare"):
        faces[0]
    with pytest.raises(UserError, match=r"000001\.png cannot be read"):
        faces[1]


@pytest.mark.parametrize("kept", [0, 30, 5000, -1])
def test_cut_off_crops_are_refused(manifest, prepared, tmp_path, kept):
    """A full crop file is read as it was written; one that lost its end never becomes a face."""
    image = formula_image(3)
    crop = tmp_path / f"face{CROP_SUFFIX}"
    crop.write_bytes(encode_crop(image))
    faces = dataset(manifest.assign(crop=crop.name), tmp_path)
    assert np.array_equal(faces.pixels(0), image)
    crop.write_bytes(encode_crop(image)[:kept])
    with pytest.raises(UserError, match="cannot be read"):
        faces[0]


def test_refuses_masks_it_cannot_draw(manifest, prepared):
    with pytest.raises(UserError, match="masked_eyes needs an eye mask"):
        dataset(manifest, prepared, faces="masked_eyes")
    with pytest.raises(UserError, match="no eye landmarks"):
        dataset(manifest.assign(left_eye_x=np.nan), prepared, faces="masked_eyes", eye_mask=EyeMask())
    with pytest.raises(UserError, match="cropped, masked_eyes"):
        dataset(manifest, prepared, faces="masked")
