"""From face crops to P(fake): one module that every exported format holds."""

import torch
from torch import Tensor, nn

from deepfake_ms.exporting.resizing import make_resize
from deepfake_ms.labels import FAKE
from deepfake_ms.models.base import DetectionModel


class FaceScorer(nn.Module):
    """P(fake) of face crops, with everything between the bytes of a crop and the model inside.

    Args:
        model: with its trained weights; it is put into evaluation mode.
        crop_size: height and width of the crops in pixels.
    """

    def __init__(self, model: DetectionModel, crop_size: int):
        super().__init__()
        self.model = model
        self.resize = make_resize(crop_size, model.input_size)
        for name in ("mean", "std"):
            values = torch.tensor(getattr(model, name), dtype=torch.float32)[:, None, None]
            self.register_buffer(name, values, persistent=False)
        self.eval()

    def forward(self, faces: Tensor) -> Tensor:
        """P(fake), before calibration, float32 [N], of RGB crops, uint8 [N, 3, crop_size, crop_size]."""
        images = self.resize(faces).div(255).sub(self.mean).div(self.std)
        return self.model(images).softmax(dim=1)[:, FAKE]
