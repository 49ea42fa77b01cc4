"""What the two networks of GenConViT share: the look at a face and at its reconstruction."""

import math
from collections.abc import Callable, Mapping
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from deepfake_ms.errors import UserError
from deepfake_ms.labels import CLASS_NAMES
from deepfake_ms.models.base import DetectionModel
from deepfake_ms.models.genconvit.hybrid import IdlePatchEmbed, attend_over_feature_map
from deepfake_ms.models.genconvit.released_weights import load_released_weights
from deepfake_ms.models.timm_models import create_timm_model

SwinReading = Literal["live", "as_released", "removed"]
AutoencoderInit = Literal["torch_default", "he"]


class GenConViTNetwork(DetectionModel):
    """A backbone turns the image and its reconstruction into a feature vector each; both together are classified.

    Subclasses build their auto-encoder as `encoder` and `decoder`, then call `_build_classifier`.

    What the Swin Transformer beside the backbone does is where paper and release differ (`swin`):

    - ``live``, as described: it attends over the backbone's feature map and its head gives the vector.
    - ``as_released``: it is there, but never called, and its 29,057,122 parameters never receive a gradient. They are
      frozen here and keep the names of the released checkpoints. The backbone's head gives the vector.
    - ``removed``: the same function without the idle parameters.

    Args:
        swin: what the Swin does.
        input_size: side of the square images in pixels.
        halvings: how often the auto-encoder halves it.
        autoencoder_init: checked here, carried out by the subclass.

    Raises:
        UserError: an unknown reading, or an input size that cannot be halved often enough.
    """

    activation: Callable[[Tensor], Tensor]

    def __init__(self, swin: SwinReading, input_size: int, halvings: int, autoencoder_init: AutoencoderInit):
        super().__init__()
        check_choice("swin", swin, SwinReading)
        check_choice("autoencoder_init", autoencoder_init, AutoencoderInit)
        factor = 2**halvings
        if input_size <= 0 or input_size % factor:
            raise UserError(
                f"input_size={input_size} is not a multiple of {factor}, as {halvings} halvings in the encoder "
                f"need: choose {max(1, round(input_size / factor)) * factor}, or fewer channels."
            )
        self.input_size = input_size
        self.swin = swin

    def _build_classifier(
        self,
        backbone: str,
        embedder: str,
        pretrained: bool,
        features: int,
        backbone_options: Mapping | None,
        embedder_options: Mapping | None,
        gradient_checkpointing: bool,
        checkpoint: str | None,
    ) -> None:
        """Everything behind the auto-encoder, then the weights of `checkpoint`; for the arguments see GenConViTED."""
        if checkpoint and self.swin == "live":
            raise UserError(
                f"checkpoint={checkpoint} was trained without the Swin, so it means nothing with swin=live: "
                "choose swin=removed or swin=as_released."
            )
        pretrained = pretrained and not checkpoint
        # With the Swin alive the backbone hands over its normalised feature map, otherwise its head gives the vector.
        output = {"num_classes": 0, "global_pool": ""} if self.swin == "live" else {"num_classes": features}
        self.backbone = create_timm_model(backbone, pretrained, **output, **(backbone_options or {}))
        self.mean = tuple(self.backbone.pretrained_cfg["mean"])
        self.std = tuple(self.backbone.pretrained_cfg["std"])
        self.fc = nn.Linear(2 * features, features // 2)
        self.fc2 = nn.Linear(features // 2, len(CLASS_NAMES))

        # The Swin comes last: with equal seeds, `as_released` and `removed` then start from equal weights.
        if self.swin != "removed":
            self.embedder = create_timm_model(embedder, pretrained, num_classes=features, **(embedder_options or {}))
        if self.swin == "live":
            attend_over_feature_map(self.embedder, self.backbone, self.input_size)
        if self.swin == "as_released":
            self.backbone.patch_embed = IdlePatchEmbed(self.embedder, features)
        if gradient_checkpointing:
            _checkpoint_gradients(self.backbone)
            if self.swin == "live":
                _checkpoint_gradients(self.embedder)
        if checkpoint:
            load_released_weights(self, checkpoint)

    def classify(self, first: Tensor, second: Tensor) -> Tensor:
        """Logits ``[B, 2]`` from two views ``[B, 3, h, w]`` of each face, in the order that the weights expect.

        Views of one size go through the backbone in one call on a batch of twice the size. With BatchNorm in the
        backbone the statistics in training are then those of images and reconstructions together.
        """
        if first.shape == second.shape:
            vectors = self.feature_vectors(torch.cat([first, second])).unflatten(0, (2, -1)).unbind()
        else:
            vectors = (self.feature_vectors(first), self.feature_vectors(second))
        return self.fc2(self.activation(self.fc(self.activation(torch.cat(vectors, dim=1)))))

    def feature_vectors(self, image: Tensor) -> Tensor:
        """The vectors ``[B, features]`` of images or reconstructions ``[B, 3, h, w]``."""
        output = self.backbone(image)
        return self.embedder(output) if self.swin == "live" else output

    def in_unit_range(self, image: Tensor) -> Tensor:
        """Normalised images in the colours 0..1 that a reconstruction is compared with.

        The decoders end in ReLU or LeakyReLU and hardly go below zero. Against the normalised image, every value
        darker than the mean would be out of reach: its error could never vanish, it would only push the decoder into
        the dead half of its last ReLU. All of 0..1 is in reach, and the backbone's first convolution can make up
        for the affine difference in scale.
        """
        mean, std = (image.new_tensor(values).view(3, 1, 1) for values in (self.mean, self.std))
        return image * std + mean


def check_choice(name: str, value: str, choices: object) -> None:
    """Raise a UserError unless `value` is one of the `Literal` `choices`."""
    if value not in get_args(choices):
        raise UserError(f"{name}={value!r} is unknown: choose one of {', '.join(get_args(choices))}.")


def check_weight(name: str, value: float) -> None:
    """Raise a UserError unless `value` can weigh a term of the loss."""
    if not (value >= 0 and math.isfinite(value)):
        raise UserError(f"{name}={value}: the weight of a loss term is a number of 0 or more.")


def _checkpoint_gradients(model: nn.Module) -> None:
    try:
        model.set_grad_checkpointing(True)
    except (AttributeError, AssertionError) as error:
        raise UserError(
            f"timm's {type(model).__name__} has no gradient checkpointing: set gradient_checkpointing=false."
        ) from error
