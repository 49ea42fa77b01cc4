"""Image classifiers of timm as detectors, fine-tuned as a whole or probed linearly."""

from collections.abc import Mapping
from typing import Self

from timm.data import resolve_model_data_config
from torch import Tensor, nn

from deepfake_ms.errors import UserError
from deepfake_ms.labels import CLASS_NAMES
from deepfake_ms.models.base import DetectionModel
from deepfake_ms.models.timm_models import create_timm_model, has_fixed_input_size


class TimmClassifier(DetectionModel):
    """A backbone of timm whose classifier layer tells real from fake.

    With `frozen_backbone` it is a linear probe: the backbone stays as it was pretrained, in evaluation mode even in
    training (no dropout, BatchNorm neither uses nor gathers the batch's statistics), and only timm's classifier layer
    learns.

    Args:
        backbone: timm name with the tag of its weights, e.g. ``resnet50.tv_in1k``.
        pretrained: start from the weights of that tag (downloads them once).
        input_size: side of the square images in pixels; None for the side that the backbone was pretrained with.
            Another side makes timm resample the position embedding of a Vision Transformer.
        frozen_backbone: learn the classifier layer only.
        gradient_checkpointing: compute activations again in the backward pass instead of keeping them: less memory,
            about a third more time, the same gradients. BatchNorm's running averages then take in each batch twice.
        backbone_options: further arguments of timm's constructor, e.g. ``drop_rate``, or widths and depths.

    Attributes:
        input_size: as given, or of the backbone's pretrained configuration.
        mean, std: of the backbone's pretrained configuration.

    Raises:
        UserError: an unknown timm name or option, an input size that the patches do not divide, a backbone without a
            classifier layer of its own, or gradient checkpointing where it is not possible or saves nothing.
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
        own = resolve_model_data_config(self.backbone)
        self.input_size = own["input_size"][1] if input_size is None else input_size
        self.mean, self.std = tuple(own["mean"]), tuple(own["std"])
        _check_patches(self.backbone, self.input_size)
        self.frozen_backbone = frozen_backbone
        if frozen_backbone:
            if gradient_checkpointing:
                raise UserError(
                    "gradient_checkpointing saves nothing under a frozen backbone, which keeps no activations: "
                    "switch one of the two off."
                )
            self.backbone.requires_grad_(False)
            _classifier_layer(self.backbone, backbone).requires_grad_(True)
            self.train()
        if gradient_checkpointing:
            _switch_checkpointing_on(self.backbone, backbone)

    def forward(self, image: Tensor) -> Tensor:
        """Logits ``[B, 2]`` (real, fake) of normalised images ``[B, 3, input_size, input_size]``.

        Raises:
            UserError: the images have another size.
        """
        self.check_size(image)
        return self.backbone(image)

    def train(self, mode: bool = True) -> Self:
        """As in torch, but a frozen backbone stays in evaluation mode."""
        super().train(mode)
        if self.frozen_backbone:
            self.backbone.eval()
        return self


def _check_patches(backbone: nn.Module, input_size: int) -> None:
    embedding = getattr(backbone, "patch_embed", None)
    side = getattr(embedding, "patch_size", (1,))[0]
    if input_size <= 0 or input_size % side:
        raise UserError(
            f"input_size={input_size} does not divide into patches of {side} pixels: "
            f"choose {max(1, round(input_size / side)) * side}."
        )


def _classifier_layer(backbone: nn.Module, name: str) -> nn.Module:
    layer = backbone.get_classifier()
    if not isinstance(layer, nn.Module) or not list(layer.parameters()):
        raise UserError(f"timm's {name} has no single classifier layer: choose another backbone for a linear probe.")
    return layer


def _switch_checkpointing_on(backbone: nn.Module, name: str) -> None:
    try:
        backbone.set_grad_checkpointing()
    except (AttributeError, AssertionError) as error:
        raise UserError(f"timm's {name} has no gradient checkpointing: set gradient_checkpointing=false.") from error
