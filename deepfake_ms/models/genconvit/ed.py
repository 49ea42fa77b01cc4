"""GenConViT-ED, network A of the paper: classifies a face together with its reconstruction by an autoencoder."""

from collections.abc import Mapping, Sequence

from torch import Tensor
from torch.nn import functional

from deepfake_ms.models.base import ClassificationLoss
from deepfake_ms.models.genconvit.autoencoder import Decoder, Encoder, initialise_for_relu
from deepfake_ms.models.genconvit.network import AutoencoderInit, GenConViTNetwork, SwinMode, check_loss_weight


class GenConViTED(GenConViTNetwork):
    """Logits of a face from the features of the face and of its reconstruction.

    A convolutional autoencoder reconstructs the image. A backbone computes one feature vector of the reconstruction and
    one of the image; the concatenated vectors pass through GELU and two linear layers. As released, there is no
    reconstruction loss: the autoencoder is trained by the classification loss alone. With ``swin="as_released"``,
    29,057,122 of the 59,214,875 parameters are unused.

    Args:
        backbone: timm name of the convolutional backbone.
        embedder: timm name of the Swin Transformer; ignored with ``swin="removed"``.
        swin: the role of the Swin, see `GenConViTNetwork`.
        pretrained: start backbone and Swin from their timm weights (downloaded once).
        input_size: height and width of the images in pixels, a multiple of 2^len(channels).
        features: length of one feature vector; the released 1000 keeps the pretrained ImageNet heads.
        channels: widths of the encoder's convolutions; the decoder mirrors them.
        autoencoder_init: ``torch_default``, as released, or ``he`` (`initialise_for_relu` explains why).
        backbone_options: further arguments of timm's constructor, e.g. to make the backbone small.
        embedder_options: the same for the Swin.
        reconstruction_weight: weight of the mean squared error between the reconstruction and the image in 0..1 (see
            `in_unit_range`); 0, as released, omits this term.
        gradient_checkpointing: recompute the activations of backbone and Swin in the backward pass: less memory at the
            cost of one more forward pass. The gradients are the same; BatchNorm, if the backbone has it, updates its
            running statistics twice per step.
        checkpoint: path of a released ``genconvit_ed_inference.pth`` to start from, see `load_released_weights`.
        embedder_pretrained: start the Swin from its timm weights; None: if `pretrained`.

    Attributes:
        input_size: as given.
        mean, std: per-channel normalisation, from the backbone's ``pretrained_cfg``.

    Raises:
        UserError: an unknown mode, timm name or option, a negative weight, an input size that is not a multiple of
            2^len(channels), or a checkpoint that does not fit.
    """

    activation = staticmethod(functional.gelu)

    def __init__(
        self,
        backbone: str = "convnext_tiny.fb_in1k",
        embedder: str = "swin_tiny_patch4_window7_224.ms_in1k",
        swin: SwinMode = "live",
        pretrained: bool = True,
        input_size: int = 224,
        features: int = 1000,
        channels: Sequence[int] = (16, 32, 64, 128, 256),
        autoencoder_init: AutoencoderInit = "torch_default",
        backbone_options: Mapping | None = None,
        embedder_options: Mapping | None = None,
        reconstruction_weight: float = 0.0,
        gradient_checkpointing: bool = False,
        checkpoint: str | None = None,
        embedder_pretrained: bool | None = None,
    ):
        super().__init__(swin, input_size, len(channels), autoencoder_init, checkpoint)
        check_loss_weight("reconstruction_weight", reconstruction_weight)
        self.reconstruction_weight = reconstruction_weight
        self.encoder = Encoder(channels)
        self.decoder = Decoder(channels)
        if autoencoder_init == "he":
            initialise_for_relu(self.encoder, self.decoder)
        self._build_classifier(
            backbone,
            embedder,
            pretrained,
            embedder_pretrained,
            features,
            backbone_options,
            embedder_options,
            gradient_checkpointing,
        )

    def forward(self, image: Tensor) -> Tensor:
        """Logits ``[B, 2]`` (real, fake) of normalised images ``[B, 3, input_size, input_size]``.

        Raises:
            UserError: the images do not have this size.
        """
        return self.classify(*self.views(image).values())

    def views(self, image: Tensor) -> dict[str, Tensor]:
        self.check_size(image)
        return {"reconstruction": self.decoder(self.encoder(image)), "image": image}

    def loss_terms(self, batch: dict[str, Tensor], classification_loss: ClassificationLoss) -> dict[str, Tensor]:
        views = self.views(batch["image"])
        terms = {"classification": classification_loss(self.classify(*views.values()), batch["label"])}
        if self.reconstruction_weight:
            error = functional.mse_loss(views["reconstruction"], self.in_unit_range(batch["image"]))
            terms["reconstruction"] = self.reconstruction_weight * error
        return terms
