"""The decoder of RECCE: reconstructs the face from the encoder's middle features via two intermediate maps."""

from timm.models.xception import Block, SeparableConv2d
from torch import Tensor, nn

from deepfake_ms.models.recce.xception import scaled


class ReconstructionDecoder(nn.Module):
    """Doubles height and width three times; the first two results pass a residual block and are RECCE's decoder maps.

    Each doubling is nearest-neighbour upsampling, a 3x3 separable convolution, BatchNorm and ReLU; the residual blocks
    are Xception's, with three separable convolutions each. A 1x1 convolution and tanh produce the image.

    Args:
        features: channels of the map to decode.
        width: factor on the channel counts of the three doublings, which are 256, 128 and 64 at width 1.

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
        """Decode features ``[B, features, s, s]``.

        Returns:
            Maps ``[B, 256, 2s, 2s]`` and ``[B, 128, 4s, 4s]`` (at width 1), and an image ``[B, 3, 8s, 8s]`` in -1..1.
        """
        coarse = self.block1(self.double1(features))
        fine = self.block2(self.double2(coarse))
        return coarse, fine, self.to_image(self.double3(fine))


def _doubling(in_channels: int, out_channels: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Upsample(scale_factor=2, mode="nearest"),
        SeparableConv2d(in_channels, out_channels, 3, padding=1),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(inplace=True),
    )
