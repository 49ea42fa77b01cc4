"""Reconstruction-guided attention of RECCE: weights positions by the reconstruction error.

Cao et al. (CVPR 2022), section 3.4.
"""

from torch import Tensor, nn
from torch.nn import functional


class GuidedAttention(nn.Module):
    """Adds to the features a transformed copy of them, weighted at each position by the reconstruction error.

    Args:
        features: channels of the feature map.
        drop_rate: dropout rate of the unweighted features.
    """

    def __init__(self, features: int, drop_rate: float = 0.2):
        super().__init__()
        self.weigh = nn.Sequential(
            nn.Conv2d(3, 3, kernel_size=3, padding=1, bias=False),
            nn.ReLU(inplace=True),
            nn.Conv2d(3, 1, kernel_size=1, bias=False),
            nn.Sigmoid(),
        )
        self.transform = nn.Sequential(
            nn.Conv2d(features, features, kernel_size=1, bias=False),
            nn.BatchNorm2d(features),
            nn.ReLU(inplace=True),
        )
        self.dropout = nn.Dropout(drop_rate)

    def forward(self, features: Tensor, image: Tensor, reconstruction: Tensor) -> Tensor:
        """The map ``[B, features, s, s]`` after attention; `image` and `reconstruction` are ``[B, 3, S, S]``."""
        error = (image - reconstruction).abs()
        error = functional.interpolate(error, size=features.shape[2:], mode="bilinear", align_corners=True)
        return self.weigh(error) * self.transform(features) + self.dropout(features)
