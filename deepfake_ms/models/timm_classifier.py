"""timm image classifiers as detectors, fully fine-tuned or as a linear probe."""

from collections.abc import Mapping
from typing import Self

from timm.data import resolve_model_data_config
from torch import Tensor, nn

from deepfake_ms.errors import UserError
from deepfake_ms.labels import CLASS_NAMES
from deepfake_ms.models.base import DetectionModel
from deepfake_ms.models.timm_models import create_timm_model, has_fixed_input_size


class TimmClassifier(DetectionModel):
    """A timm backbone with a two-class classifier layer.

    With `frozen_backbone` it is a linear probe: only timm's classifier layer is trained. The backbone keeps its
    pretrained weights and stays in evaluation mode during training (no dropout; BatchNorm neither uses nor updates
    with batch statistics).

    Args:
        backbone: timm model name with the tag of its weights, e.g. ``resnet50.tv_in1k``.
        pretrained: start from the weights with that tag (downloaded once).
        input_size: height and width of the images in pixels; None for the size that the backbone was pretrained with.
            With another size, timm resamples the position embedding of a Vision Transformer.
        frozen_backbone: train the classifier layer only.
        gradient_checkpointing: recompute activations in the backward pass instead of storing them: less memory, about
            a third more time, the same gradients. BatchNorm then updates its running statistics twice per batch.
        backbone_options: further arguments of timm's constructor, e.g. ``drop_rate``, widths or depths.

    Attributes:
        input_size: as given, or from the backbone's pretrained configuration.
        mean, std: from the backbone's pretrained configuration.

    Raises:
        UserError: the timm name or an option is unknown, the input size is not a multiple of the patch size, the
            backbone has no single classifier layer, or gradient checkpointing is unsupported or would save nothing.
    """

    def __init__(
        self,
        backbone: str,
        pretrained: bool = True,
        input_size: int | None = None,
        frozen_backbone: bool = False,
        gradient_checkpointing: bool = False,
        backbone_options: Mapping | None = None,
    ):
        super().__init__()
        size = {"img_size": input_size} if input_size and has_fixed_input_size(backbone) else {}
        options = {**size, **(backbone_options or {})}
        self.backbone = create_timm_model(backbone, pretrained, num_classes=len(CLASS_NAMES), **options)
        data_config = resolve_model_data_config(self.backbone)
        self.input_size = data_config["input_size"][1] if input_size is None else input_size
        self.mean, self.std = tuple(data_config["mean"]), tuple(data_config["std"])
        _check_patch_size(self.backbone, self.input_size)
        self.frozen_backbone = frozen_backbone
        if frozen_backbone:
            if gradient_checkpointing:
                raise UserError(
                    "gradient_checkpointing saves nothing with a frozen backbone, which stores no activations: "
                    "set gradient_checkpointing=false or frozen_backbone=false."
                )
            self.backbone.requires_grad_(False)
            layer = _classifier_layer(self.backbone, backbone).requires_grad_(True)
            # The problem is convex. From timm's initial weights of EfficientNet, the loss starts at 3.7, and what a few
            # epochs can learn is spent on forgetting them.
            for parameter in layer.parameters():
                nn.init.zeros_(parameter)
            self.train()
        if gradient_checkpointing:
            _enable_checkpointing(self.backbone, backbone)

    def forward(self, image: Tensor) -> Tensor:
        """Logits ``[B, 2]`` (real, fake) of normalised images ``[B, 3, input_size, input_size]``.

        Raises:
            UserError: the images do not have this size.
        """
        self.check_size(image)
        return self.backbone.forward_head(self.feature_map(self.backbone.forward_features(image)))

    def train(self, mode: bool = True) -> Self:
        """Like `nn.Module.train`, but a frozen backbone stays in evaluation mode."""
        super().train(mode)
        if self.frozen_backbone:
            self.backbone.eval()
        return self


def _check_patch_size(backbone: nn.Module, input_size: int) -> None:
    embedding = getattr(backbone, "patch_embed", None)
    patch = getattr(embedding, "patch_size", (1,))[0]
    if input_size <= 0 or input_size % patch:
        raise UserError(
            f"input_size={input_size} is not a positive multiple of the patch size {patch}: "
            f"choose {max(1, round(input_size / patch)) * patch}."
        )


def _classifier_layer(backbone: nn.Module, name: str) -> nn.Module:
    layer = backbone.get_classifier()
    if not isinstance(layer, nn.Module) or not list(layer.parameters()):
        raise UserError(f"timm's {name} has no single classifier layer: choose another backbone for a linear probe.")
    return layer


def _enable_checkpointing(backbone: nn.Module, name: str) -> None:
    try:
        backbone.set_grad_checkpointing()
    except (AttributeError, AssertionError) as error:
        raise UserError(
            f"timm's {name} does not support gradient checkpointing: set gradient_checkpointing=false."
        ) from error
