"""The convolutional autoencoders of GenConViT: plain for ED, variational for VAE.

Deressa et al., *Deepfake Video Detection Using Generative Convolutional Vision Transformer*, section 3; implemented
from the description.
"""

import math
from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn


class Encoder(nn.Module):
    """Encodes images ``[B, 3, S, S]`` as a latent map ``[B, channels[-1], S / 2^n, S / 2^n]``, n = ``len(channels)``.

    Each entry of `channels` adds a 3x3 convolution, ReLU and 2x2 max pooling.
    """

    def __init__(self, channels: Sequence[int]):
        super().__init__()
        layers: list[nn.Module] = []
        for in_channels, out_channels in pairwise((3, *channels)):
            layers += [nn.Conv2d(in_channels, out_channels, kernel_size=3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
        self.features = nn.Sequential(*layers)

    def forward(self, image: Tensor) -> Tensor:
        return self.features(image)


class Decoder(nn.Module):
    """Decodes the latent map of an `Encoder` with the same `channels` to images ``[B, 3, S, S]`` with values >= 0.

    Each entry of `channels` adds a 2x2 transposed convolution with stride 2 and a ReLU, including the last.
    """

    def __init__(self, channels: Sequence[int]):
        super().__init__()
        widths = (*reversed(channels), 3)
        layers: list[nn.Module] = []
        for in_channels, out_channels in pairwise(widths):
            layers += [nn.ConvTranspose2d(in_channels, out_channels, kernel_size=2, stride=2), nn.ReLU()]
        self.features = nn.Sequential(*layers)

    def forward(self, latent: Tensor) -> Tensor:
        return self.features(latent)


class VariationalEncoder(nn.Module):
    """Encodes images ``[B, 3, S, S]`` as mean and log-variance of a normal distribution, each ``[B, latent_features]``.

    Each entry of `channels` adds a 3x3 convolution with stride 2, BatchNorm and LeakyReLU; mean and log-variance each
    have a linear layer. The log-variance is clamped to -30..20 so that its exponential stays finite.
    """

    def __init__(self, channels: Sequence[int], input_size: int, latent_features: int):
        super().__init__()
        layers: list[nn.Module] = []
        for in_channels, out_channels in pairwise((3, *channels)):
            convolution = nn.Conv2d(in_channels, out_channels, kernel_size=3, stride=2, padding=1)
            layers += [convolution, nn.BatchNorm2d(out_channels), nn.LeakyReLU()]
        self.features = nn.Sequential(*layers)
        self.flat_features = channels[-1] * (input_size // 2 ** len(channels)) ** 2
        self.mu = nn.Linear(self.flat_features, latent_features)
        self.var = nn.Linear(self.flat_features, latent_features)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        features = self.features(image).flatten(start_dim=1)
        return self.mu(features), self.var(features).clamp(-30, 20)


class ReleasedVariationalEncoder(VariationalEncoder):
    """The encoder as released, which uses the mean as the log-variance too.

    Three linear layers do not affect the output. They are frozen and keep their names from the released checkpoints.
    """

    def __init__(self, channels: Sequence[int], input_size: int, latent_features: int):
        super().__init__(channels, input_size, latent_features)
        self.var.requires_grad_(False)
        self.fc1 = nn.Linear(self.flat_features, 256).requires_grad_(False)
        self.fc2 = nn.Linear(256, 128).requires_grad_(False)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        mean = self.mu(self.features(image).flatten(start_dim=1))
        return mean, mean


class VariationalDecoder(nn.Module):
    """Decodes latent vectors ``[B, latent_features]`` to images ``[B, 3, s, s]`` with s = grid x 2^len(channels).

    The vector is reshaped to a map of `grid` x `grid` cells. Each entry of `channels` adds a 2x2 transposed convolution
    with stride 2 and a LeakyReLU, including the last; the widths mirror all entries of `channels` except the last.
    """

    def __init__(self, channels: Sequence[int], grid: int, latent_features: int):
        super().__init__()
        widths = (latent_features // grid**2, *reversed(channels[:-1]), 3)
        layers: list[nn.Module] = []
        for in_channels, out_channels in pairwise(widths):
            layers += [nn.ConvTranspose2d(in_channels, out_channels, kernel_size=2, stride=2), nn.LeakyReLU()]
        self.features = nn.Sequential(*layers)
        self.unflatten = nn.Unflatten(1, (widths[0], grid, grid))

    def forward(self, latent: Tensor) -> Tensor:
        return self.features(self.unflatten(latent))


def initialise_for_relu(*parts: Encoder | Decoder | VariationalDecoder) -> None:
    """He initialisation: zero biases, and weights that preserve the variance of the signal through every ReLU.

    With PyTorch's default initialisation the signal shrinks in each layer until the biases dominate. The last ReLU of
    the decoder then outputs a nearly constant image or, for about one seed in twelve, only zeros, and neither encoder
    nor decoder ever learns.
    """
    for part in parts:
        for convolution in part.features:
            if isinstance(convolution, nn.Conv2d):
                nn.init.kaiming_normal_(convolution.weight, nonlinearity="relu")
                nn.init.zeros_(convolution.bias)
            if isinstance(convolution, nn.ConvTranspose2d):  # stride = kernel: one tap of each input channel per pixel
                nn.init.normal_(convolution.weight, std=math.sqrt(2 / convolution.in_channels))
                nn.init.zeros_(convolution.bias)
