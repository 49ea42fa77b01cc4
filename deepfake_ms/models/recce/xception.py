"""Xception of any width without its classifier, split into parts so that a detector can use intermediate features.

Chollet, *Xception: Deep Learning with Depthwise Separable Convolutions*, figure 5; the layers are timm's.
"""

from timm.models.xception import Block, SeparableConv2d
from torch import Tensor, nn

from deepfake_ms.models.timm_models import create_timm_model, downloaded_weights

PRETRAINED = "legacy_xception.tf_in1k"
LAST_BLOCK = 12


def scaled(channels: int, width: float) -> int:
    """`channels` times `width`, rounded, at least 1."""
    return max(1, round(channels * width))


class Xception(nn.Module):
    """The feature extractor of timm's ``legacy_xception``, with the same layers, names and initialisation.

    Args:
        width: factor on all channel counts except the image's three; 1 is Xception.

    Attributes:
        middle_features: channels of the outputs of blocks 3 to 11, 728 at width 1.
        num_features: channels of the last map, 2048 at width 1.
    """

    def __init__(self, width: float = 1.0):
        super().__init__()
        stem_1, stem_2, block_1, block_2, middle, block_12, exit_1, exit_2 = (
            scaled(channels, width) for channels in (32, 64, 128, 256, 728, 1024, 1536, 2048)
        )
        self.middle_features = middle
        self.num_features = exit_2

        self.conv1 = nn.Conv2d(3, stem_1, 3, stride=2, bias=False)
        self.bn1 = nn.BatchNorm2d(stem_1)
        self.conv2 = nn.Conv2d(stem_1, stem_2, 3, bias=False)
        self.bn2 = nn.BatchNorm2d(stem_2)
        self.block1 = Block(stem_2, block_1, reps=2, strides=2, start_with_relu=False)
        self.block2 = Block(block_1, block_2, reps=2, strides=2)
        self.block3 = Block(block_2, middle, reps=2, strides=2)
        for number in range(4, LAST_BLOCK):
            self.add_module(f"block{number}", Block(middle, middle, reps=3))
        self.block12 = Block(middle, block_12, reps=2, strides=2, grow_first=False)
        self.conv3 = SeparableConv2d(block_12, exit_1, 3, padding=1)
        self.bn3 = nn.BatchNorm2d(exit_1)
        self.conv4 = SeparableConv2d(exit_1, exit_2, 3, padding=1)
        self.bn4 = nn.BatchNorm2d(exit_2)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")

    def load_imagenet_weights(self) -> None:
        """Load the weights of timm's `PRETRAINED` model, downloaded once; for width 1 only.

        Raises:
            UserError: the weights cannot be downloaded.
        """
        source = create_timm_model(PRETRAINED, pretrained=True, num_classes=0)
        self.load_state_dict(source.state_dict())
        self.downloaded_weights = downloaded_weights(source)

    def stem(self, image: Tensor) -> Tensor:
        """The input of block 1, ``[B, 64 * width, s, s]``; 147 x 147 for images of 299 pixels."""
        return self.bn2(self.conv2(self.bn1(self.conv1(image)).relu())).relu()

    def blocks(self, features: Tensor, first: int, last: int) -> Tensor:
        """Apply blocks `first` to `last` (inclusive, numbered 1 to 12) to `features`."""
        for number in range(first, last + 1):
            features = self.get_submodule(f"block{number}")(features)
        return features

    def exit(self, features: Tensor) -> Tensor:
        """The last map ``[B, num_features, s, s]``, computed from the output of block 12, of the same size."""
        return self.bn4(self.conv4(self.bn3(self.conv3(features)).relu())).relu()
