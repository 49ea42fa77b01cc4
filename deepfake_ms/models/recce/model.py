"""RECCE: learns to reconstruct real faces and to classify, end to end.

Cao et al., *End-to-End Reconstruction-Classification Learning for Face Forgery Detection* (CVPR 2022), with the
constants of the authors' release. Implemented from the description; contains none of the authors' code.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from deepfake_ms.errors import UserError
from deepfake_ms.labels import REAL
from deepfake_ms.models.base import ClassificationLoss, DetectionModel
from deepfake_ms.models.recce.attention import GuidedAttention
from deepfake_ms.models.recce.decoder import ReconstructionDecoder
from deepfake_ms.models.recce.losses import flooded, metric_loss, reconstruction_loss
from deepfake_ms.models.recce.reasoning import GraphReasoning
from deepfake_ms.models.recce.xception import Xception, scaled

SMALLEST_INPUT = 64  # pixels; the last map is then 2x2, so that BatchNorm can train on a batch of one


class Analysis(NamedTuple):
    """The outputs of RECCE for a batch.

    Attributes:
        logits: ``[B, 2]`` (real, fake); the first column is 0.
        reconstruction: ``[B, 3, S, S]``, normalised like the images, in -1..1.
        pooled: spatial means ``[B, C]`` of the encoder's middle features and the two decoder maps.
    """

    logits: Tensor
    reconstruction: Tensor
    pooled: tuple[Tensor, Tensor, Tensor]


class RECCE(DetectionModel):
    """An Xception with a decoder after block 4, whose outputs the later blocks use.

    The decoder reconstructs the face; its reconstruction loss covers real faces only. After block 7, graph reasoning
    adds information from the decoder's two intermediate maps to the features; after block 8, the features attend to
    where face and reconstruction differ. The model outputs one logit z, returned as the logits (0, z), so that softmax
    yields P(fake) = sigmoid(z).

    In training, Gaussian noise is added to the encoder's input with probability .5 per image; attention and
    reconstruction loss use the image without noise. The released `noise_std` of 1e-6 is far below one grey level
    (.0078).

    The authors' code has 25,830,509 parameters at width 1. 2,049,000 of them belong to Xception's ImageNet classifier,
    which is never called and not built here, leaving 23,781,509.

    Args:
        pretrained: start the encoder from timm's ``legacy_xception.tf_in1k`` (downloaded once); requires width 1.
        input_size: height and width of the images in pixels, at least 64.
        width: factor on all channel counts; 1 as published.
        drop_rate: rate of all dropout layers.
        noise_std: standard deviation of the training noise in normalised units (images span -1..1).
        flood: flooding level of the classification loss.
        reconstruction_weight: weight of the L1 reconstruction loss.
        metric_weight: weight of the metric loss.

    Attributes:
        input_size: as given.
        mean, std: .5, which maps images to -1..1, the range of the decoder.

    Raises:
        UserError: a value is out of range, or pretrained weights are requested for another width.
    """

    mean = (0.5, 0.5, 0.5)
    std = (0.5, 0.5, 0.5)

    def __init__(
        self,
        pretrained: bool = True,
        input_size: int = 299,
        width: float = 1.0,
        drop_rate: float = 0.2,
        noise_std: float = 1e-6,
        flood: float = 0.04,
        reconstruction_weight: float = 0.1,
        metric_weight: float = 0.1,
    ):
        super().__init__()
        if input_size < SMALLEST_INPUT:
            raise UserError(f"input_size={input_size} is too small for Xception: choose at least {SMALLEST_INPUT}.")
        if width <= 0:
            raise UserError(f"width={width} is not positive: choose a factor above 0.")
        if pretrained and width != 1:
            raise UserError(f"There are no pretrained weights for width={width}: set pretrained=false or width=1.")
        if not 0 <= drop_rate < 1:
            raise UserError(f"drop_rate={drop_rate} is not a valid dropout rate: choose one from 0 to below 1.")
        self.noise_std = _non_negative("noise_std", noise_std)
        self.flood = _non_negative("flood", flood)
        self.reconstruction_weight = _non_negative("reconstruction_weight", reconstruction_weight)
        self.metric_weight = _non_negative("metric_weight", metric_weight)
        self.input_size = input_size

        self.encoder = Xception(width)
        if pretrained:
            self.encoder.load_imagenet_weights()
        middle = self.encoder.middle_features
        self.decoder = ReconstructionDecoder(middle, width)
        self.reasoning = GraphReasoning(
            middle, self.decoder.map_features, ratios=(2, 4), embedding=scaled(256, width), drop_rate=drop_rate
        )
        self.attention = GuidedAttention(middle, drop_rate)
        self.dropout = nn.Dropout(drop_rate)
        self.fc = nn.Linear(self.encoder.num_features, 1)

    def forward(self, image: Tensor) -> Tensor:
        """Logits ``[B, 2]`` (real, fake) of normalised images ``[B, 3, input_size, input_size]``.

        Raises:
            UserError: the images do not have this size.
        """
        return self.analyse(image).logits

    def analyse(self, image: Tensor) -> Analysis:
        """Logits, reconstruction and pooled features of normalised images ``[B, 3, input_size, input_size]``.

        Raises:
            UserError: the images do not have this size.
        """
        self.check_size(image)
        encoder = self.encoder
        noisy = add_white_noise(image, self.noise_std) if self.training else image
        shared = encoder.blocks(encoder.stem(noisy), 1, 4)

        coarse, fine, decoded = self.decoder(self.dropout(shared))
        reconstruction = functional.interpolate(decoded, size=image.shape[2:], mode="bilinear", align_corners=True)

        features = encoder.blocks(shared, 5, 7)
        features = features + self.reasoning(features, (coarse, fine))
        features = encoder.blocks(features, 8, 8)
        features = self.attention(features, image, reconstruction)
        features = self.feature_map(encoder.exit(encoder.blocks(features, 9, 12)))

        fake = self.fc(self.dropout(features.mean(dim=(2, 3))))
        logits = torch.cat([torch.zeros_like(fake), fake], dim=1)
        pooled = tuple(each.mean(dim=(2, 3)) for each in (shared, coarse, fine))
        return Analysis(logits, reconstruction, pooled)

    def loss_terms(self, batch: dict[str, Tensor], classification_loss: ClassificationLoss) -> dict[str, Tensor]:
        """The flooded classification loss and the weighted ``reconstruction`` and ``metric`` losses."""
        image, real = batch["image"], batch["label"] == REAL
        analysis = self.analyse(image)
        return {
            "classification": flooded(classification_loss(analysis.logits, batch["label"]), self.flood),
            "reconstruction": self.reconstruction_weight * reconstruction_loss(image, analysis.reconstruction, real),
            "metric": self.metric_weight * metric_loss(analysis.pooled, real),
        }


def add_white_noise(image: Tensor, std: float) -> Tensor:
    """Add Gaussian noise to each image ``[B, 3, S, S]`` in -1..1 with probability .5, and clip to -1..1."""
    chosen = torch.rand(len(image), 1, 1, 1, device=image.device) < 0.5
    return (image + std * torch.randn_like(image) * chosen).clamp(-1, 1)


def _non_negative(name: str, value: float) -> float:
    if value < 0:
        raise UserError(f"{name}={value} is negative: choose 0 or more.")
    return value
