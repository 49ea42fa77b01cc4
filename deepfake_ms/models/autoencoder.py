"""The convolutional encoder and decoder of GenConViT-ED (Deressa et al., *Deepfake Video Detection Using Generative
Convolutional Vision Transformer*, section 3; written from the description)."""

import math
from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn


class Encoder(nn.Module):
    """Images ``[B, 3, S, S]`` to a latent map ``[B, channels[-1], S / 2^n, S / 2^n]``, n = ``len(channels)``.

    One 3x3 convolution, ReLU and 2x2 max-pool per entry of `channels`.
    """

    def __init__(self, channels: Sequence[int]):
        super().__init__()
        layers: list[nn.Module] = []
        for wide_in, wide_out in pairwise((3, *channels)):
            layers += [nn.Conv2d(wide_in, wide_out, kernel_size=3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
        self.features = nn.Sequential(*layers)

    def forward(self, image: Tensor) -> Tensor:
        return self.features(image)


class Decoder(nn.Module):
    """The latent map of an `Encoder` with the same `channels` back to images ``[B, 3, S, S]``, values >= 0.

    One 2x2 transposed convolution of stride 2 and ReLU per entry of `channels`, the last ReLU included.
    """

    def __init__(self, channels: Sequence[int]):
        super().__init__()
        widths = (*reversed(channels), 3)
        layers: list[nn.Module] = []
        for wide_in, wide_out in pairwise(widths):
            layers += [nn.ConvTranspose2d(wide_in, wide_out, kernel_size=2, stride=2), nn.ReLU()]
        self.features = nn.Sequential(*layers)

    def forward(self, latent: Tensor) -> Tensor:
        return self.features(latent)


def initialise_for_relu(encoder: Encoder, decoder: Decoder) -> None:
    """He initialisation: zero biases and weights that keep the signal's variance through every ReLU.

    PyTorch's default shrinks the signal by each layer until the biases alone decide: the last ReLU of the decoder then
    gives a nearly constant image, or in about one of twelve seeds nothing but zeros, and neither encoder nor decoder
    ever learns.
    """
    for convolution in encoder.features:
        if isinstance(convolution, nn.Conv2d):
            nn.init.kaiming_normal_(convolution.weight, nonlinearity="relu")
            nn.init.zeros_(convolution.bias)
    for convolution in decoder.features:
        if isinstance(convolution, nn.ConvTranspose2d):  # stride = kernel: one tap of each input channel per pixel
            nn.init.normal_(convolution.weight, std=math.sqrt(2 / convolution.in_channels))
            nn.init.zeros_(convolution.bias)
