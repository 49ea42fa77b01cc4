"""The decoder of RECCE: from the encoder's middle features back to the face, over two intermediate maps."""

from timm.models.xception import Block, SeparableConv2d
from torch import Tensor, nn

from deepfake_ms.models.recce.xception import scaled


class ReconstructionDecoder(nn.Module):
    """Three doublings of the side; the first two end in a residual block and are the maps that RECCE reasons over.

    Each doubling is nearest-neighbour upsampling, a 3x3 separable convolution, BatchNorm and ReLU; the residual blocks
    are Xception's, three separable convolutions each. A 1x1 convolution and tanh end the image.

    Args:
        features: channels of the map to decode.
        width: factor on the channels 256, 128 and 64 that the three doublings have at width 1.

    Attributes:
        map_features: channels of the two intermediate maps.
    """

    def __init__(self, features: int, width: float = 1.0):
        super().__init__()
        first, second, third = (scaled(channels, width) for channels in (256, 128, 64))
        self.map_features = (first, second)
        self.double1 = _doubling(features, first)
        self.block1 = Block(first, first, reps=3)
        self.double2 = _doubling(first, second)
        self.block2 = Block(second, second, reps=3)
        self.double3 = _doubling(second, third)
        self.to_image = nn.Sequential(nn.Conv2d(third, 3, kernel_size=1, bias=False), nn.Tanh())

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Two maps and the image from ``[B, features, s, s]``.

        Returns:
            Maps ``[B, 256, 2s, 2s]`` and ``[B, 128, 4s, 4s]``, at width 1, and an image ``[B, 3, 8s, 8s]`` in -1..1.
        """
        coarse = self.block1(self.double1(features))
        fine = self.block2(self.double2(coarse))
        return coarse, fine, self.to_image(self.double3(fine))


def _doubling(wide_in: int, wide_out: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Upsample(scale_factor=2, mode="nearest"),
        SeparableConv2d(wide_in, wide_out, 3, padding=1),
        nn.BatchNorm2d(wide_out),
        nn.ReLU(inplace=True),
    )
