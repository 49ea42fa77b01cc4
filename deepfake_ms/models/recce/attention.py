"""Reconstruction-guided attention of RECCE: look where the reconstruction differs from the face.

Cao et al. (CVPR 2022), section 3.4.
"""

from torch import Tensor, nn
from torch.nn import functional


class GuidedAttention(nn.Module):
    """Features plus a transformed copy of them, weighted per position by the reconstruction's error.

    Args:
        features: channels of the map to attend over.
        drop_rate: of the dropout on the features that pass unweighted.
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
        """The map after attention, ``[B, features, s, s]`` as before; both images are ``[B, 3, S, S]``."""
        error = (image - reconstruction).abs()
        error = functional.interpolate(error, size=features.shape[2:], mode="bilinear", align_corners=True)
        return self.weigh(error) * self.transform(features) + self.dropout(features)
