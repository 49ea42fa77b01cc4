"""Resizing in the exported graphs, compared with OpenCV."""

import numpy as np
import pytest
import torch

from deepfake_ms.data.dataset import resize_face
from deepfake_ms.exporting.resizing import make_resize


@pytest.mark.parametrize(
    ("size", "to"),
    [
        (224, 224),
        (224, 96),
        (224, 112),
        (224, 56),
        (256, 224),
        (256, 96),
        (224, 299),
        (224, 448),
        (224, 600),
        (150, 224),
    ],
)
def test_same_bytes_as_the_dataset(size, to):
    images = np.random.default_rng(0).integers(0, 256, (3, size, size, 3), np.uint8)
    expected = np.stack([resize_face(image, to) for image in images])
    found = make_resize(size, to)(torch.from_numpy(images).permute(0, 3, 1, 2)).permute(0, 2, 3, 1).numpy()
    # Equal on x86; OpenCV may round differently on other processors. torch's interpolation differs in 8 to 13 %.
    differs = np.abs(found - expected)
    assert differs.max() <= 1
    assert (differs > 0).mean() < 0.002
