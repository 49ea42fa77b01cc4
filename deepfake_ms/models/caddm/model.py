"""CADDM: a detector that also learns to locate the artifact on the face.

Dong et al., *Implicit Identity Leakage: The Stumbling Block to Improving Deepfake Detection Generalization* (CVPR
2023). Implemented from the description and from facts about the released code, none of which is included here.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from deepfake_ms.errors import UserError
from deepfake_ms.labels import CLASS_NAMES, FAKE
from deepfake_ms.models.base import ClassificationLoss, DetectionModel
from deepfake_ms.models.caddm.anchors import GRIDS, anchor_boxes, decode
from deepfake_ms.models.caddm.detection import ArtifactDetectionModule, detection_losses
from deepfake_ms.models.timm_models import create_timm_model

DETECTION_WEIGHT = 0.1
"""Weight of both terms of the detection loss; the classification loss has weight 1."""
ARTIFACT = 1
"""Index of the artifact class of the anchors."""


class CADDM(DetectionModel):
    """Logits of a face from the backbone's pooled features plus the last map of an artifact detection module.

    The detection module (`ArtifactDetectionModule`) takes the backbone's 7 x 7 feature map. Detectors trained only on
    real or fake labels can exploit the identity of the person. Locating the swapped region, whose position the
    `facial_swap` augmentation varies, is meant to prevent that. Without this augmentation, the only artifact of a fake
    is the whole image, and only the last of the four location heads learns; the gradients of the others are zero.

    The released model has 44,003,162 parameters with ResNet-34 (210,970,178 and 289,736,546 with EfficientNet-B3 and
    B4). Parameters that cannot change the output are omitted here: the backbone's ImageNet classifier with 1,000
    classes, which is never called, and the biases (one per channel) of three convolutions followed by BatchNorm.

    Args:
        backbone: timm name of a convolutional network.
        pretrained: start the backbone from its timm weights (downloaded once).
        input_size: height and width of the images in pixels; the backbone must reduce them to 7 x 7 cells.
        dropout: dropout rate of the pooled features, 0..1. Released: none with ResNet-34, .3 with EfficientNet-B3, .4
            with B4.
        backbone_options: further arguments of timm's constructor, e.g. to make the backbone small.

    Attributes:
        input_size: as given.
        mean, std: per-channel normalisation, from the backbone's ``pretrained_cfg``.

    Raises:
        UserError: an unknown timm name or option, an invalid dropout rate, or a feature map that is not 7 x 7.
    """

    def __init__(
        self,
        backbone: str = "resnet34.tv_in1k",
        pretrained: bool = True,
        input_size: int = 224,
        dropout: float = 0.0,
        backbone_options: Mapping | None = None,
    ):
        super().__init__()
        if not 0 <= dropout < 1:
            raise UserError(f"dropout={dropout} is not a valid dropout rate: choose one from 0 to below 1.")
        self.input_size = input_size
        self.backbone = create_timm_model(backbone, pretrained, num_classes=0, **(backbone_options or {}))
        self.mean = tuple(self.backbone.pretrained_cfg["mean"])
        self.std = tuple(self.backbone.pretrained_cfg["std"])
        width = self._width_of_7x7_map(backbone)
        self.artifact_detection = ArtifactDetectionModule(width)
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(width, len(CLASS_NAMES))
        self.register_buffer("anchors", anchor_boxes(), persistent=False)

    @torch.no_grad()
    def _width_of_7x7_map(self, name: str) -> int:
        was_training = self.backbone.training
        features = self.backbone.eval().forward_features(torch.zeros(1, 3, self.input_size, self.input_size))
        self.backbone.train(was_training)
        shape = "x".join(map(str, features.shape[1:]))
        if features.ndim != 4 or features.shape[2:] != (GRIDS[0], GRIDS[0]):
            raise UserError(
                f"The backbone {name} returns {shape} features for {self.input_size}x{self.input_size} pixels, but "
                f"artifact detection needs a {GRIDS[0]}x{GRIDS[0]} map: choose a convolutional backbone and "
                f"input_size={GRIDS[0]} times its stride (usually 32; 16 with backbone_options.output_stride=16)."
            )
        return features.shape[1]

    def detect(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """All outputs for normalised images ``[B, 3, input_size, input_size]``.

        Returns:
            Logits ``[B, 2]`` (real, fake); location ``[B, 168, 4]`` and confidence ``[B, 168, 2]`` of the anchors.

        Raises:
            UserError: the images do not have this size.
        """
        self.check_size(image)
        features = self.feature_map(self.backbone.forward_features(image))
        location, confidence, summary = self.artifact_detection(features)
        return self.fc(self.dropout(features.mean(dim=(2, 3))) + summary), location, confidence

    def forward(self, image: Tensor) -> Tensor:
        """Logits ``[B, 2]`` (real, fake) of normalised images ``[B, 3, input_size, input_size]``.

        Raises:
            UserError: the images do not have this size.
        """
        return self.detect(image)[0]

    def locate(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """The most probable artifact in each image, whether or not the model classifies the face as fake.

        Args:
            image: normalised, ``[B, 3, input_size, input_size]``.

        Returns:
            Boxes ``[B, 4]`` (left, top, right, bottom in fractions of the image, clipped to it) and the artifact
            probabilities ``[B]``.
        """
        _, location, confidence = self.detect(image)
        probability, best = confidence.softmax(dim=2)[..., ARTIFACT].max(dim=1)
        boxes = decode(location, self.anchors)[torch.arange(len(image), device=image.device), best]
        return boxes.clamp(0, 1), probability

    def loss_terms(self, batch: dict[str, Tensor], classification_loss: ClassificationLoss) -> dict[str, Tensor]:
        """The ``classification`` loss, and the ``location`` and ``confidence`` losses of the detection, weighted .1.

        As released, the whole image counts as an artifact of every fake, swapped or not, and `artifact_box` adds
        another one. A real face has no artifacts and contributes nothing to the detection loss (see
        `detection_losses`).

        Args:
            batch: ``image``, ``label``, and, with the `facial_swap` augmentation, ``artifact_box`` float [B, 4]: left,
                top, right, bottom in fractions of the image; zero area if there is none.
            classification_loss: the classification loss of the run.
        """
        logits, location, confidence = self.detect(batch["image"])
        whole = torch.tensor([0.0, 0.0, 1.0, 1.0], device=logits.device).expand(len(logits), 4)
        artifacts = [whole, batch["artifact_box"].float()] if "artifact_box" in batch else [whole]
        boxes = torch.stack(artifacts, dim=1) * (batch["label"] == FAKE)[:, None, None]
        location_loss, confidence_loss = detection_losses(location, confidence, boxes, self.anchors)
        return {
            "classification": classification_loss(logits, batch["label"]),
            "location": DETECTION_WEIGHT * location_loss,
            "confidence": DETECTION_WEIGHT * confidence_loss,
        }
