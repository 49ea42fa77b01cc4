"""Faces as items and batches: which pixels, and what they depend on."""

import shutil

import cv2
import numpy as np
import pytest
import torch
from formulas import SIZE, augmentation_of, formula_image

from deepfake_ms.data.dataset import FaceDataset
from deepfake_ms.data.face_masks import FaceMask, Size
from deepfake_ms.errors import UserError
from deepfake_ms.preprocessing.crops import CROP_SUFFIX, encode_crop

LANDMARKS = np.array([[22.0, 26.0], [42.0, 26.0], [32.0, 32.0], [32.0, 32.0], [32.0, 32.0]])
EYES = FaceMask({"eyes": Size(0.9, 0.5)})


def dataset(manifest, prepared, rows=None, **settings) -> FaceDataset:
    rows = np.arange(len(manifest)) if rows is None else rows
    return FaceDataset(manifest, rows, prepared, **{"input_size": SIZE, **settings})


def region_of(mask: FaceMask) -> np.ndarray:
    return mask.region(SIZE, SIZE, LANDMARKS)


def is_masked(pixels: np.ndarray) -> bool:
    return (pixels == 0).all(axis=2).mean() > 0.02  # the drawn faces have no black pixels


def test_an_item(manifest, prepared):
    rows = np.array([30, 3, 7])
    faces = dataset(manifest, prepared, rows)
    assert len(faces) == 3
    item = faces[0]
    assert set(item) == {"image", "label", "index"}
    assert item["index"] == 30
    assert item["label"] == {"real": 0, "fake": 1}[manifest.iloc[30]["label"]]
    assert item["image"].dtype == torch.uint8
    assert np.array_equal(item["image"].permute(1, 2, 0), faces.pixels(0))
    assert np.array_equal(faces.pixels(0), formula_image(30))


def test_labels_of_all_faces(manifest, prepared):
    labels = ["unlabelled", *manifest["label"][1:]]
    faces = dataset(manifest.assign(label=labels), prepared)
    codes = {"real": 0, "fake": 1, "unlabelled": -1}
    assert [faces[i]["label"] for i in range(40)] == [codes[label] for label in labels]
    assert sorted(np.unique(labels, return_counts=True)[1]) == [1, 19, 20]


def test_a_batch_holds_the_items(manifest, prepared):
    faces = dataset(manifest, prepared, np.arange(39, -1, -1), augmentation=augmentation_of("released_rf"))
    requests = [(2, 7), (0, 7), (1, 30), 5]
    batch = faces.batch(requests)
    assert batch["image"].dtype == torch.uint8
    assert batch["image"].shape == (4, 3, SIZE, SIZE)
    assert batch["index"].tolist() == [32, 32, 9, 34]
    assert batch["label"].dtype == batch["index"].dtype == torch.int64
    for number, (epoch, position) in enumerate([*requests[:3], (0, 5)]):
        assert np.array_equal(batch["image"][number].permute(1, 2, 0), faces.pixels(position, epoch))
        item = faces[epoch, position]
        assert all(torch.equal(item[name], batch[name][number]) for name in batch)


def test_the_mask_is_drawn_at_the_landmarks(manifest, prepared):
    cropped, masked = dataset(manifest, prepared), dataset(manifest, prepared, mask=EYES)
    region = region_of(EYES)
    assert (masked.pixels(5)[region] == 0).all()
    assert np.array_equal(masked.pixels(5)[~region], cropped.pixels(5)[~region])
    assert (cropped.pixels(5)[region] > 0).all()


@pytest.mark.parametrize("size", [32, 96])
def test_the_mask_follows_the_resize(manifest, prepared, size):
    """Resizing a masked face and masking a resized face cover the same part of it."""
    pixels = dataset(manifest, prepared, mask=EYES, input_size=size).pixels(5)
    assert pixels.shape == (size, size, 3)
    dark_y, dark_x = np.nonzero((pixels == 0).all(axis=2))
    scale = size / SIZE
    assert dark_x.mean() == pytest.approx(32.5 * scale - 0.5, abs=0.6)
    assert dark_y.mean() == pytest.approx(26.5 * scale - 0.5, abs=0.6)
    assert len(dark_y) / size**2 == pytest.approx(region_of(EYES).mean(), rel=0.2)


def test_the_mask_is_drawn_before_the_augmentation(manifest, prepared):
    """A flipped or turned face has its mask flipped or turned with it."""
    plain = dataset(manifest, prepared)
    flipped = dataset(manifest, prepared, mask=EYES, augmentation=augmentation_of("random_flips"))
    for epoch in range(8):
        pixels = flipped.pixels(5, epoch)
        original = EYES.draw(plain.pixels(5), LANDMARKS)
        variants = [original, original[::-1], original[:, ::-1], original[::-1, ::-1]]
        assert any(np.array_equal(pixels, variant) for variant in variants)


def test_random_boxes_are_each_faces_own_in_all_epochs_and_stages(manifest, prepared):
    mask = FaceMask(EYES.regions, place="random")
    flat = manifest.assign(crop=manifest["crop"].iloc[0])  # the same image for every face

    def images(epoch=0, **settings) -> list[bytes]:
        faces = dataset(flat, prepared, mask=mask, **settings)
        return [faces.pixels(position, epoch).tobytes() for position in range(len(flat))]

    first = images()
    assert first == images(epoch=1) == images(stage="second")
    assert len(set(first)) == len(flat)
    assert not set(first) & set(images(seed=1))
    turned = dataset(flat, prepared, np.arange(39, -1, -1), mask=mask)
    assert [turned.pixels(39 - position).tobytes() for position in range(len(flat))] == first


def test_the_augmentation_is_new_in_each_epoch_stage_and_seed(manifest, prepared):
    augmentation = augmentation_of("standard")

    def images(epoch=0, **settings):
        faces = dataset(manifest, prepared, augmentation=augmentation, **settings)
        return faces.batch([(epoch, position) for position in range(10)])["image"]

    first = images()
    assert torch.equal(first, images())
    for other in (images(epoch=1), images(stage="second"), images(seed=1)):
        same = (first == other).flatten(1).all(dim=1)
        assert same.float().mean() < 0.7  # an augmentation leaves some faces unchanged


def test_the_augmentation_follows_the_face_and_not_its_position(manifest, prepared):
    augmentation = augmentation_of("standard")
    one = dataset(manifest, prepared, np.arange(40), augmentation=augmentation)
    other = dataset(manifest, prepared, np.arange(39, -1, -1), augmentation=augmentation)
    assert all(np.array_equal(one.pixels(i, 3), other.pixels(39 - i, 3)) for i in range(40))


def test_missing_and_unreadable_crops(manifest, prepared, tmp_path):
    folder = shutil.copytree(prepared, tmp_path / "copy")
    faces = dataset(manifest, folder)
    (folder / manifest.iloc[0]["crop"]).unlink()
    (folder / manifest.iloc[1]["crop"]).write_bytes(b"no image")
    with pytest.raises(UserError, match=rf"000000\.png is missing: delete {folder} and prepare the corpus again\.$"):
        faces[0]
    with pytest.raises(UserError, match=r"000001\.png cannot be read as an image: delete"):
        faces[1]


@pytest.mark.parametrize("kept", [0, 30, 5000, -1])
def test_cut_off_crops_are_refused(manifest, prepared, tmp_path, kept):
    """A whole crop file is read as it was written; one that lost its end never becomes a face."""
    image = formula_image(3)
    crop = tmp_path / f"face{CROP_SUFFIX}"
    crop.write_bytes(encode_crop(image))
    manifest = manifest.assign(crop=crop.name)
    assert np.array_equal(dataset(manifest, tmp_path).pixels(0), image)
    crop.write_bytes(encode_crop(image)[:kept])
    with pytest.raises(UserError, match="cannot be read"):
        dataset(manifest, tmp_path)[0]


@pytest.mark.parametrize(("limit", "reads"), [(40 * 3 * 32**2, 1), (40 * 3 * 32**2 - 1, 3)])
def test_small_sets_of_faces_are_read_once(manifest, prepared, monkeypatch, limit, reads):
    monkeypatch.setattr("deepfake_ms.data.dataset.KEPT_BYTES", limit)
    faces = dataset(manifest, prepared, mask=EYES, augmentation=augmentation_of("released_rf"), input_size=32)
    read = []
    decode = cv2.imdecode
    monkeypatch.setattr(cv2, "imdecode", lambda *arguments: read.append(0) or decode(*arguments))
    first = [faces.pixels(5, epoch) for epoch in (0, 1, 0)]
    assert np.array_equal(first[0], first[2])
    assert len(read) == reads


@pytest.mark.parametrize(
    ("regions", "missing", "refused"),
    [
        ("eyes", "left_eye_x", True),
        ("mouth", "left_eye_x", True),
        ("mouth", "right_mouth_y", True),
        ("eyes", "right_mouth_y", False),
        ("nose", "nose_x", True),
    ],
)
def test_a_mask_without_its_landmarks_is_refused(manifest, prepared, regions, missing, refused):
    without = manifest.copy()
    without.loc[7, missing] = np.nan
    mask = FaceMask({regions: Size(0.5, 0.5)})
    dataset(without, prepared)
    if not refused:
        assert is_masked(dataset(without, prepared, mask=mask).pixels(7))
        return
    with pytest.raises(UserError, match=rf"^{without['crop'][7]} lacks the landmarks that the mask needs: prepare"):
        dataset(without, prepared, mask=mask)
