"""CADDM: a detector that also has to say where on the face the artifact is.

Dong et al., *Implicit Identity Leakage: The Stumbling Block to Improving Deepfake Detection Generalization* (CVPR
2023). Written from the description and the facts of the released code, none of which is here.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from deepfake_ms.errors import UserError
from deepfake_ms.labels import CLASS_NAMES, FAKE
from deepfake_ms.models.base import Classification, DetectionModel
from deepfake_ms.models.caddm.anchors import GRIDS, anchor_boxes, decode
from deepfake_ms.models.caddm.detection import ArtifactDetectionModule, detection_losses
from deepfake_ms.models.timm_models import create_timm_model

DETECTION_WEIGHT = 0.1
"""Of both terms of the detection loss, beside the classification's 1."""
ARTIFACT = 1
"""Index of the artifact among the anchors' two classes."""


class CADDM(DetectionModel):
    """Logits of a face from the backbone's pooled features plus the last map of an artifact detection module.

    The detection module (`ArtifactDetectionModule`) gets the backbone's map of 7 x 7 cells. Detectors that only learn
    real or fake can lean on who is in the picture; having to find the swapped region, which the `facial_swap`
    augmentation moves about, is meant to keep this one from it. Without that augmentation a fake's only artifact is the
    whole image, and of the four location heads only the last one learns; the others' gradients are zero.

    The released model has 44,003,162 parameters with ResNet-34 (210,970,178 and 289,736,546 with EfficientNet-B3 and
    B4). Left out here are those of them that cannot change its output: the backbone's ImageNet classifier of 1,000
    classes, which is never called, and three biases in front of a BatchNorm, one per channel each.

    Args:
        backbone: timm name of a convolutional network.
        pretrained: start the backbone from timm's weights of that name (downloads them once).
        input_size: side of the square images in pixels; the backbone must make 7 x 7 cells of it.
        dropout: on the pooled features, 0..1. Released: none with ResNet-34, .3 with EfficientNet-B3, .4 with B4.
        backbone_options: further arguments of timm's constructor, e.g. to make the backbone small.

    Attributes:
        input_size: as given.
        mean, std: per-channel normalisation, from the backbone's ``pretrained_cfg``.

    Raises:
        UserError: an unknown timm name or option, or another map than 7 x 7.
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
            raise UserError(f"dropout={dropout} is no probability below 1: choose 0 for none.")
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
                f"The backbone {name} makes {shape} features of {self.input_size}x{self.input_size} pixels, but the "
                f"artifact detection needs {GRIDS[0]}x{GRIDS[0]} cells: choose input_size={GRIDS[0]} times the stride "
                "of a convolutional backbone (32 in most; 16 with backbone_options.output_stride=16)."
            )
        return features.shape[1]

    def detect(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Everything the model can tell of normalised images ``[B, 3, input_size, input_size]``.

        Returns:
            Logits ``[B, 2]`` (real, fake); location ``[B, 168, 4]`` and confidence ``[B, 168, 2]`` of the anchors.

        Raises:
            UserError: the images have another size.
        """
        self.check_size(image)
        features = self.backbone.forward_features(image)
        location, confidence, summary = self.artifact_detection(features)
        return self.fc(self.dropout(features.mean(dim=(2, 3))) + summary), location, confidence

    def forward(self, image: Tensor) -> Tensor:
        """Logits ``[B, 2]`` (real, fake) of normalised images ``[B, 3, input_size, input_size]``.

        Raises:
            UserError: the images have another size.
        """
        return self.detect(image)[0]

    def locate(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Where the model sees the clearest artifact in each image, whether or not it calls the face fake.

        Args:
            image: normalised, ``[B, 3, input_size, input_size]``.

        Returns:
            Boxes ``[B, 4]``: left, top, right, bottom in fractions of the image, cut at its edges; and the
            probability ``[B]`` of an artifact there.
        """
        _, location, confidence = self.detect(image)
        probability, clearest = confidence.softmax(dim=2)[..., ARTIFACT].max(dim=1)
        boxes = decode(location, self.anchors)[torch.arange(len(image), device=image.device), clearest]
        return boxes.clamp(0, 1), probability

    def loss_terms(self, batch: dict[str, Tensor], classification: Classification) -> dict[str, Tensor]:
        """``classification``, and the detection's ``location`` and ``confidence``, a tenth of each.

        As released, the whole image is an artifact of every fake, swapped or not, and what `artifact_box` gives is
        another. A real face has none, and adds nothing to the detection loss (see `detection_losses`).

        Args:
            batch: ``image``, ``label``, and, from the `facial_swap` augmentation, ``artifact_box`` float [B, 4]: left,
                top, right, bottom in fractions of the image, without area where there is none.
            classification: the run's classification loss.
        """
        logits, location, confidence = self.detect(batch["image"])
        whole = torch.tensor([0.0, 0.0, 1.0, 1.0], device=logits.device).expand(len(logits), 4)
        artifacts = [whole, batch["artifact_box"].float()] if "artifact_box" in batch else [whole]
        boxes = torch.stack(artifacts, dim=1) * (batch["label"] == FAKE)[:, None, None]
        location_loss, confidence_loss = detection_losses(location, confidence, boxes, self.anchors)
        return {
            "classification": classification(logits, batch["label"]),
            "location": DETECTION_WEIGHT * location_loss,
            "confidence": DETECTION_WEIGHT * confidence_loss,
        }
