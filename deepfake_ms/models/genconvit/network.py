"""The part that both GenConViT networks share: classifying a face together with its reconstruction."""

import math
from collections.abc import Callable, Mapping
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from deepfake_ms.errors import UserError
from deepfake_ms.labels import CLASS_NAMES
from deepfake_ms.models.base import DetectionModel
from deepfake_ms.models.genconvit.frozen_layers import features_of_both
from deepfake_ms.models.genconvit.hybrid import IdlePatchEmbed, attend_over_feature_map
from deepfake_ms.models.genconvit.released_weights import load_released_weights
from deepfake_ms.models.timm_models import create_timm_model

SwinMode = Literal["live", "as_released", "removed"]
AutoencoderInit = Literal["torch_default", "he"]


class GenConViTNetwork(DetectionModel):
    """Computes one feature vector of the image and one of its reconstruction, and classifies them together.

    Subclasses build their autoencoder as `encoder` and `decoder`, then call `_build_classifier`.

    Paper and release differ in the role of the Swin Transformer next to the backbone (`swin`):

    - ``live``, as described: the Swin attends over the backbone's feature map, and its head returns the vector.
    - ``as_released``: the Swin exists but is never called, and its 29,057,122 parameters never receive a gradient. Here
      they are frozen and keep their names from the released checkpoints. The backbone's head returns the vector.
    - ``removed``: the same function without the unused parameters.

    Args:
        swin: the role of the Swin.
        input_size: height and width of the images in pixels.
        halvings: how often the autoencoder halves them.
        autoencoder_init: validated here, applied by the subclass.
        checkpoint: path of the released weights to start from, or None.

    Raises:
        UserError: an unknown mode, an input size that cannot be halved that often, or a checkpoint with ``live``.
    """

    activation: Callable[[Tensor], Tensor]

    def __init__(
        self,
        swin: SwinMode,
        input_size: int,
        halvings: int,
        autoencoder_init: AutoencoderInit,
        checkpoint: str | None,
    ):
        super().__init__()
        check_choice("swin", swin, SwinMode)
        check_choice("autoencoder_init", autoencoder_init, AutoencoderInit)
        factor = 2**halvings
        if input_size <= 0 or input_size % factor:
            raise UserError(
                f"input_size={input_size} is not a multiple of {factor}, but the encoder halves it {halvings} times: "
                f"choose {max(1, round(input_size / factor)) * factor}, or fewer channels."
            )
        if checkpoint and swin == "live":
            raise UserError(
                f"checkpoint={checkpoint} was trained without the Swin and cannot be used with swin=live: "
                "choose swin=removed or swin=as_released."
            )
        self.swin, self.input_size, self.checkpoint = swin, input_size, checkpoint

    def _build_classifier(
        self,
        backbone: str,
        embedder: str,
        pretrained: bool,
        embedder_pretrained: bool | None,
        features: int,
        backbone_options: Mapping | None,
        embedder_options: Mapping | None,
        gradient_checkpointing: bool,
    ) -> None:
        """Build all layers after the autoencoder, then load `checkpoint`; GenConViTED documents the arguments."""
        pretrained = pretrained and not self.checkpoint
        embedder_pretrained = pretrained if embedder_pretrained is None else embedder_pretrained and not self.checkpoint
        # A live Swin needs the backbone's normalised feature map; otherwise the backbone's head returns the vector.
        output = {"num_classes": 0, "global_pool": ""} if self.swin == "live" else {"num_classes": features}
        self.backbone = create_timm_model(backbone, pretrained, **output, **(backbone_options or {}))
        self.mean = tuple(self.backbone.pretrained_cfg["mean"])
        self.std = tuple(self.backbone.pretrained_cfg["std"])
        self.fc = nn.Linear(2 * features, features // 2)
        self.fc2 = nn.Linear(features // 2, len(CLASS_NAMES))

        # The Swin is built last, so that `as_released` and `removed` start from the same weights for the same seed.
        if self.swin != "removed":
            self.embedder = create_timm_model(
                embedder, embedder_pretrained, num_classes=features, **(embedder_options or {})
            )
        if self.swin == "live":
            attend_over_feature_map(self.embedder, self.backbone, self.input_size)
        if self.swin == "as_released":
            self.backbone.patch_embed = IdlePatchEmbed(self.embedder, features)
        if gradient_checkpointing:
            _enable_checkpointing(self.backbone)
            if self.swin == "live":
                _enable_checkpointing(self.embedder)
        if self.checkpoint:
            load_released_weights(self, self.checkpoint)

    def classify(self, first: Tensor, second: Tensor) -> Tensor:
        """Logits ``[B, 2]`` from two views ``[B, 3, h, w]`` of each face, in the order of the classifier's weights.

        Views of equal size pass through the backbone in one call, as a batch of twice the size. If the backbone has
        BatchNorm, its training statistics then cover images and reconstructions together.
        """
        if first.shape == second.shape:
            features = features_of_both(self.backbone, first, second)
            vectors = self._vectors(features, self.feature_map).unflatten(0, (2, -1)).unbind()
        else:
            vectors = (self.feature_vectors(first), self.feature_vectors(second))
        return self.decide(*vectors)

    def decide(self, first: Tensor, second: Tensor) -> Tensor:
        """Logits ``[B, 2]`` from the feature vectors ``[B, features]`` of both views, in the order of `views`."""
        return self.fc2(self.activation(self.fc(self.activation(torch.cat([first, second], dim=1)))))

    def views(self, image: Tensor) -> dict[str, Tensor]:
        """``image`` and ``reconstruction`` of normalised images, in the order of the classifier's weights.

        Raises:
            UserError: the images do not have the model's size.
        """
        raise NotImplementedError

    def feature_vectors(self, image: Tensor, feature_map: nn.Module | None = None) -> Tensor:
        """Feature vectors ``[B, features]`` of images or reconstructions ``[B, 3, h, w]``.

        Args:
            image: images or reconstructions.
            feature_map: passes on the backbone's feature map instead of `self.feature_map`, to tell the views apart.
        """
        return self._vectors(self.backbone.forward_features(image), feature_map or self.feature_map)

    def _vectors(self, features: Tensor, feature_map: nn.Module) -> Tensor:
        if self.swin == "live":
            return self.embedder(feature_map(self.backbone.forward_head(features)))
        return self.backbone.forward_head(feature_map(features))

    def in_unit_range(self, image: Tensor) -> Tensor:
        """Undo the normalisation: images in 0..1, which the reconstruction loss compares reconstructions with.

        The decoders end in ReLU or LeakyReLU and can hardly output values below zero. If the target were the normalised
        image, no value darker than the mean could be reached: its error would never vanish and would only push the
        decoder into the dead half of its last ReLU. All of 0..1 can be reached, and the first convolution of the
        backbone can compensate for the affine difference in scale.
        """
        mean, std = (image.new_tensor(values).view(3, 1, 1) for values in (self.mean, self.std))
        return image * std + mean


def check_choice(name: str, value: str, choices: object) -> None:
    """Raise a UserError unless `value` is one of the `Literal` `choices`."""
    if value not in get_args(choices):
        raise UserError(f"{name}={value!r} is unknown: choose one of {', '.join(get_args(choices))}.")


def check_loss_weight(name: str, value: float) -> None:
    """Raise a UserError unless `value` is a valid weight of a loss term."""
    if not (value >= 0 and math.isfinite(value)):
        raise UserError(f"{name}={value} is not a valid loss weight: choose a finite number of 0 or more.")


def _enable_checkpointing(model: nn.Module) -> None:
    try:
        model.set_grad_checkpointing(True)
    except (AttributeError, AssertionError) as error:
        raise UserError(
            f"timm's {type(model).__name__} does not support gradient checkpointing: set gradient_checkpointing=false."
        ) from error
