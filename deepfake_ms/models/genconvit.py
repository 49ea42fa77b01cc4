"""GenConViT-ED: a detector that sees a face and its reconstruction by an auto-encoder.

Deressa et al., *Deepfake Video Detection Using Generative Convolutional Vision Transformer* (2023); the base model of
*Herd Mentality in Augmentation: Not a Good Idea!*. Written from the description, none of the authors' code.
"""

from collections.abc import Mapping, Sequence
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional

from deepfake_ms.errors import UserError
from deepfake_ms.labels import CLASS_NAMES
from deepfake_ms.models.autoencoder import Decoder, Encoder, initialise_for_relu
from deepfake_ms.models.base import DetectionModel
from deepfake_ms.models.hybrid import IdlePatchEmbed, attend_over_feature_map
from deepfake_ms.models.timm_models import create_timm_model

SwinReading = Literal["live", "as_released", "removed"]
AutoencoderInit = Literal["torch_default", "he"]


class GenConViTED(DetectionModel):
    """Logits of a face from the features of the face and of its reconstruction.

    A convolutional auto-encoder reconstructs the image; a backbone turns the reconstruction and the image into one
    feature vector each; both vectors together go through GELU and two linear layers. There is no reconstruction
    loss: the auto-encoder learns from the classification alone.

    What the Swin Transformer beside the backbone does is where paper and release differ (`swin`):

    - ``live``, as described: it attends over the backbone's feature map and its head gives the vector.
    - ``as_released``: it is there, but never called: of 59,214,875 parameters, 29,057,122 never receive a gradient.
      They are frozen here and keep the names of the released checkpoints. The backbone's head gives the vector.
    - ``removed``: the same function without the idle parameters.

    Both passes through the backbone are one call on a batch of twice the size. With BatchNorm in the backbone the
    statistics in training are therefore those of images and reconstructions together.

    Args:
        backbone: timm name of the convolutional backbone.
        embedder: timm name of the Swin; unused with ``swin="removed"``.
        swin: what the Swin does, see above.
        pretrained: start backbone and Swin from timm's weights of those names (downloads them once).
        input_size: side of the square images in pixels, a multiple of 2^len(channels).
        features: length of one feature vector; 1000, as released, keeps the pretrained ImageNet heads.
        channels: widths of the encoder's convolutions; the decoder mirrors them.
        autoencoder_init: ``torch_default``, as released, or ``he`` (see `initialise_for_relu` for what it mends).
        backbone_options: further arguments of timm's constructor, e.g. to make the backbone small.
        embedder_options: the same for the Swin.

    Attributes:
        input_size: as given.
        mean, std: per-channel normalisation, from the backbone's ``pretrained_cfg``.

    Raises:
        UserError: an unknown reading, timm name or option, or an input size that cannot be halved often enough.
    """

    def __init__(
        self,
        backbone: str = "convnext_tiny.fb_in1k",
        embedder: str = "swin_tiny_patch4_window7_224.ms_in1k",
        swin: SwinReading = "live",
        pretrained: bool = True,
        input_size: int = 224,
        features: int = 1000,
        channels: Sequence[int] = (16, 32, 64, 128, 256),
        autoencoder_init: AutoencoderInit = "torch_default",
        backbone_options: Mapping | None = None,
        embedder_options: Mapping | None = None,
    ):
        super().__init__()
        _check_choice("swin", swin, SwinReading)
        _check_choice("autoencoder_init", autoencoder_init, AutoencoderInit)
        factor = 2 ** len(channels)
        if input_size <= 0 or input_size % factor:
            raise UserError(
                f"input_size={input_size} is not a multiple of {factor}, as {len(channels)} halvings in the encoder "
                f"need: choose {max(1, round(input_size / factor)) * factor}, or fewer channels."
            )
        self.input_size = input_size
        self.swin = swin
        self.encoder = Encoder(channels)
        self.decoder = Decoder(channels)
        if autoencoder_init == "he":
            initialise_for_relu(self.encoder, self.decoder)

        # With the Swin alive the backbone hands over its normalised feature map, otherwise its head gives the vector.
        output = {"num_classes": 0, "global_pool": ""} if swin == "live" else {"num_classes": features}
        self.backbone = create_timm_model(backbone, pretrained, **output, **(backbone_options or {}))
        self.mean = tuple(self.backbone.pretrained_cfg["mean"])
        self.std = tuple(self.backbone.pretrained_cfg["std"])
        self.fc = nn.Linear(2 * features, features // 2)
        self.fc2 = nn.Linear(features // 2, len(CLASS_NAMES))

        # The Swin comes last: with equal seeds, `as_released` and `removed` then start from equal weights.
        if swin != "removed":
            self.embedder = create_timm_model(embedder, pretrained, num_classes=features, **(embedder_options or {}))
        if swin == "live":
            attend_over_feature_map(self.embedder, self.backbone, input_size)
        if swin == "as_released":
            self.backbone.patch_embed = IdlePatchEmbed(self.embedder, features)

    def forward(self, image: Tensor) -> Tensor:
        """Logits ``[B, 2]`` (real, fake) of normalised images ``[B, 3, input_size, input_size]``.

        Raises:
            UserError: the images have another size.
        """
        if image.shape[2:] != (self.input_size, self.input_size):
            raise UserError(
                f"The images are {image.shape[3]}x{image.shape[2]} pixels, the model takes {self.input_size}x"
                f"{self.input_size}: resize them or build the model with another input_size."
            )
        reconstruction = self.decoder(self.encoder(image))
        vectors = self.feature_vectors(torch.cat([reconstruction, image]))
        both = torch.cat(vectors.chunk(2), dim=1)
        return self.fc2(functional.gelu(self.fc(functional.gelu(both))))

    def feature_vectors(self, image: Tensor) -> Tensor:
        """The vectors ``[B, features]`` of images or reconstructions ``[B, 3, input_size, input_size]``."""
        output = self.backbone(image)
        return self.embedder(output) if self.swin == "live" else output


def _check_choice(name: str, value: str, choices: object) -> None:
    if value not in get_args(choices):
        raise UserError(f"{name}={value!r} is unknown: choose one of {', '.join(get_args(choices))}.")
