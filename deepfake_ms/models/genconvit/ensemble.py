"""GenConViT as published: the ensemble of networks A (ED) and B (VAE)."""

import inspect
import math
from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from deepfake_ms.errors import UserError
from deepfake_ms.models.base import ClassificationLoss, DetectionModel
from deepfake_ms.models.genconvit.ed import GenConViTED
from deepfake_ms.models.genconvit.network import GenConViTNetwork, SwinMode, check_choice
from deepfake_ms.models.genconvit.vae import GenConViTVAE

Average = Literal["probabilities", "as_released"]


class GenConViT(DetectionModel):
    """The mean prediction of GenConViT-ED and GenConViT-VAE.

    The release trains the two networks separately and averages their predictions. Here they are trained together: the
    loss is the sum of both networks' terms, each network draws the same random numbers as when trained alone, and they
    share no parameters. With an optimizer that updates each parameter independently (SGD, Adam, AdamW), the weights
    after each step therefore equal those of two separate runs. The best epoch is chosen for both networks together.

    What is averaged (`average`):

    - ``probabilities``: P(real) and P(fake), the softmax of each network's logits.
    - ``as_released``: the sigmoid of each logit. The two means need not sum to 1. The logits returned here are the
      logarithms of the means, so the larger one gives the class that the release predicts, and softmax divides the
      means by their sum. For a video, the release averages the raw sigmoids over its frames as well, before it compares
      the two means; our video scores are means of the frames' probabilities, which add up to 1. The two can decide
      differently where the frames disagree.

    Args:
        backbone, embedder, swin, pretrained, input_size: for both networks, see GenConViTED.
        features, backbone_options, embedder_options: the same.
        gradient_checkpointing, embedder_pretrained: the same.
        ed: further arguments of GenConViTED.
        vae: further arguments of GenConViTVAE.
        average: see above.
        checkpoint: paths of the released files to start from, ``{"ed": ..., "vae": ...}``; each may be None.

    Attributes:
        input_size: as given.
        mean, std: per-channel normalisation, from the backbone's ``pretrained_cfg``.

    Raises:
        UserError: a value is unknown or is rejected by a network.
    """

    def __init__(
        self,
        backbone: str = "convnext_tiny.fb_in1k",
        embedder: str = "swin_tiny_patch4_window7_224.ms_in1k",
        swin: SwinMode = "live",
        pretrained: bool = True,
        input_size: int = 224,
        features: int = 1000,
        backbone_options: Mapping | None = None,
        embedder_options: Mapping | None = None,
        gradient_checkpointing: bool = False,
        ed: Mapping | None = None,
        vae: Mapping | None = None,
        average: Average = "probabilities",
        checkpoint: Mapping | None = None,
        embedder_pretrained: bool | None = None,
    ):
        super().__init__()
        check_choice("average", average, Average)
        paths = dict(checkpoint or {})
        if set(paths) - {"ed", "vae"}:
            raise UserError(f"checkpoint has the keys {', '.join(map(str, paths))}: use only ed and vae.")
        shared = {
            "backbone": backbone,
            "embedder": embedder,
            "swin": swin,
            "pretrained": pretrained,
            "input_size": input_size,
            "features": features,
            "backbone_options": backbone_options,
            "embedder_options": embedder_options,
            "gradient_checkpointing": gradient_checkpointing,
            "embedder_pretrained": embedder_pretrained,
        }
        self.average = average
        self.ed = _build_member("ed", GenConViTED, {**shared, "checkpoint": paths.get("ed")}, ed or {})
        self.vae = _build_member("vae", GenConViTVAE, {**shared, "checkpoint": paths.get("vae")}, vae or {})
        self.input_size, self.mean, self.std = input_size, self.ed.mean, self.ed.std

    def forward(self, image: Tensor) -> Tensor:
        """Logits ``[B, 2]`` (real, fake), at most 0, of normalised images ``[B, 3, input_size, input_size]``.

        Raises:
            UserError: the images do not have this size.
        """
        log_scores = [self._log_scores(network(image)) for network in (self.ed, self.vae)]
        return torch.logaddexp(*log_scores) - math.log(2)

    def loss_terms(self, batch: dict[str, Tensor], classification_loss: ClassificationLoss) -> dict[str, Tensor]:
        device = batch["image"].device
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            ed_terms = self.ed.loss_terms(batch, classification_loss)
        vae_terms = self.vae.loss_terms(batch, classification_loss)
        by_network = {"ed": ed_terms, "vae": vae_terms}
        return {f"{network}/{name}": term for network, terms in by_network.items() for name, term in terms.items()}

    def _log_scores(self, logits: Tensor) -> Tensor:
        if self.average == "probabilities":
            return functional.log_softmax(logits, dim=1)
        return functional.logsigmoid(logits)


def _build_member(name: str, network: type[GenConViTNetwork], shared: dict, own: Mapping) -> GenConViTNetwork:
    known = [parameter for parameter in inspect.signature(network).parameters if parameter not in shared]
    if unknown := [key for key in own if key not in known]:
        raise UserError(
            f"{name}.{unknown[0]} is unknown: {name} accepts {', '.join(known)}; "
            "set the arguments that both networks share directly in model."
        )
    return network(**shared, **own)
