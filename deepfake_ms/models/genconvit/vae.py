"""GenConViT-VAE, network B of the paper: classifies a face together with its reconstruction by a VAE."""

from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from deepfake_ms.errors import UserError
from deepfake_ms.models.base import ClassificationLoss
from deepfake_ms.models.genconvit.autoencoder import (
    ReleasedVariationalEncoder,
    VariationalDecoder,
    VariationalEncoder,
    initialise_for_relu,
)
from deepfake_ms.models.genconvit.network import (
    AutoencoderInit,
    GenConViTNetwork,
    SwinMode,
    check_choice,
    check_loss_weight,
)
from deepfake_ms.randomness import key

VariationalMode = Literal["as_described", "as_released"]


class GenConViTVAE(GenConViTNetwork):
    """Logits of a face from the features of the face and of its reconstruction from a sampled latent vector.

    The encoder outputs mean and log-variance of a normal distribution over latent vectors, and the decoder turns a
    sample into a reconstruction. A backbone computes one feature vector of the image and one of the reconstruction; the
    concatenated vectors pass through ReLU and two linear layers. The loss includes the mean squared reconstruction
    error.

    Paper and release differ not only in the Swin but also in the autoencoder (`variational`):

    - ``as_described``: the log-variance has its own layer, the loss has the Kullback-Leibler (KL) term, the
      reconstruction has the size of the image, and evaluation uses the mean. The decoder starts on the encoder's final
      grid (14x14 at 224 px), so that the same latent length yields the full image size.
    - ``as_released``: the mean also serves as the log-variance, and the KL term is commented out. The reconstruction
      has half the height and width (112 px); it is enlarged only for the loss, which compares it with the normalised
      image. Four linear layers never receive a gradient and are frozen here. With the released Swin, 350,729,718 of the
      695,210,767 parameters are unused. The release also samples at evaluation, from torch's current random state.
      Here, evaluation uses one fixed noise vector for all images, so that scores are reproducible and do not depend on
      other faces. Over the choice of this vector, each score has the same distribution as in the release, but the noise
      of different faces is no longer independent.

    Args:
        backbone, embedder, swin, pretrained, backbone_options, embedder_options, gradient_checkpointing: as in
            GenConViTED. ``swin="live"`` requires full-size reconstructions, i.e. ``as_described``.
        variational: the autoencoder variant, see above.
        input_size: height and width of the images in pixels, a multiple of 2^len(channels), and of twice that with
            ``as_released``.
        features: length of one feature vector; the released 1000 keeps the pretrained ImageNet heads.
        channels: widths of the encoder's convolutions; the decoder mirrors all but the last.
        latent_features: length of the latent vector, a multiple of the number of cells in the decoder's first grid.
        autoencoder_init: initialisation of the decoder; ``torch_default``, as released, or ``he`` (see
            `initialise_for_relu`).
        reconstruction_weight: weight of the mean squared error; 1 as released. With ``as_described`` the error is
            computed on images in 0..1 (see `in_unit_range`).
        kl_weight: weight of the KL divergence from the standard normal distribution, in nats per image value (3 values
            per pixel). With ``reconstruction_weight=1`` the two terms are, up to scale, the negative evidence lower
            bound for a decoder with Gaussian noise of variance kl_weight / 2. Ignored with ``as_released``.
        checkpoint: path of a released ``genconvit_vae_inference.pth`` to start from, see `load_released_weights`.
        embedder_pretrained: start the Swin from its timm weights; None: if `pretrained`.

    Attributes:
        input_size: as given.
        mean, std: per-channel normalisation, from the backbone's ``pretrained_cfg``.

    Raises:
        UserError: an unknown mode, timm name or option, incompatible modes, a negative weight, an input size or latent
            length that is not a suitable multiple, or a checkpoint that does not fit.
    """

    activation = staticmethod(functional.relu)

    def __init__(
        self,
        backbone: str = "convnext_tiny.fb_in1k",
        embedder: str = "swin_tiny_patch4_window7_224.ms_in1k",
        swin: SwinMode = "live",
        variational: VariationalMode = "as_described",
        pretrained: bool = True,
        input_size: int = 224,
        features: int = 1000,
        channels: Sequence[int] = (16, 32, 64, 128),
        latent_features: int = 12544,
        autoencoder_init: AutoencoderInit = "torch_default",
        backbone_options: Mapping | None = None,
        embedder_options: Mapping | None = None,
        reconstruction_weight: float = 1.0,
        kl_weight: float = 0.005,
        gradient_checkpointing: bool = False,
        checkpoint: str | None = None,
        embedder_pretrained: bool | None = None,
    ):
        check_choice("variational", variational, VariationalMode)
        released = variational == "as_released"
        super().__init__(swin, input_size, len(channels) + released, autoencoder_init, checkpoint)
        check_loss_weight("reconstruction_weight", reconstruction_weight)
        check_loss_weight("kl_weight", kl_weight)
        if released and swin == "live":
            raise UserError(
                "swin=live needs full-size reconstructions, but those of variational=as_released have half the height "
                "and width: choose variational=as_described, swin=as_released or swin=removed."
            )
        if checkpoint and not released:
            raise UserError(
                f"checkpoint={checkpoint} was trained with the released autoencoder and cannot be used with "
                "variational=as_described: choose variational=as_released."
            )
        grid = input_size // 2 ** (len(channels) + released)
        if latent_features <= 0 or latent_features % grid**2:
            raise UserError(
                f"latent_features={latent_features} does not fill the first {grid}x{grid} grid of the decoder: "
                f"choose a multiple of {grid**2}."
            )
        self.variational = variational
        self.reconstruction_weight, self.kl_weight = reconstruction_weight, kl_weight
        encoder = ReleasedVariationalEncoder if released else VariationalEncoder
        self.encoder = encoder(channels, input_size, latent_features)
        self.decoder = VariationalDecoder(channels, grid, latent_features)
        if autoencoder_init == "he":
            initialise_for_relu(self.decoder)
        if released:
            self.fc3 = nn.Linear(features, features // 2).requires_grad_(False)
            seed = key("genconvit_vae", "latent noise at evaluation")
            generator = torch.Generator(device="cpu").manual_seed(seed)
            noise = torch.randn(latent_features, generator=generator, device="cpu")
            self.register_buffer("evaluation_noise", noise, persistent=False)
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

        In training, the latent vector is sampled from torch's global random state.

        Raises:
            UserError: the images do not have this size.
        """
        return self.classify(*self.views(image).values())

    def views(self, image: Tensor) -> dict[str, Tensor]:
        self.check_size(image)
        return {"image": image, "reconstruction": self.decoder(self._latent(*self.encoder(image)))}

    def loss_terms(self, batch: dict[str, Tensor], classification_loss: ClassificationLoss) -> dict[str, Tensor]:
        image = batch["image"]
        self.check_size(image)
        mean, log_variance = self.encoder(image)
        reconstruction = self.decoder(self._latent(mean, log_variance))
        terms = {"classification": classification_loss(self.classify(image, reconstruction), batch["label"])}
        if self.reconstruction_weight:
            terms["reconstruction"] = self.reconstruction_weight * self._reconstruction_error(image, reconstruction)
        if self.kl_weight and self.variational == "as_described":
            nats = (mean.square() + log_variance.exp() - 1 - log_variance).sum(dim=1) / 2
            terms["kl"] = self.kl_weight * nats.mean() / image[0].numel()
        return terms

    def _latent(self, mean: Tensor, log_variance: Tensor) -> Tensor:
        """Latent vectors ``[B, latent_features]``: sampled in training; the class describes evaluation."""
        if self.training:
            noise = torch.randn_like(mean)
        elif self.variational == "as_released":
            noise = self.evaluation_noise
        else:
            return mean
        return mean + noise * torch.exp(log_variance / 2)

    def _reconstruction_error(self, image: Tensor, reconstruction: Tensor) -> Tensor:
        if self.variational == "as_described":
            return functional.mse_loss(reconstruction, self.in_unit_range(image))
        enlarged = functional.interpolate(reconstruction, size=self.input_size, mode="bilinear")
        return functional.mse_loss(enlarged, image)
