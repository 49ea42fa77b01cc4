"""The interface that all detectors share."""

from collections.abc import Callable

from torch import Tensor, nn

from deepfake_ms.errors import UserError

ClassificationLoss = Callable[[Tensor, Tensor], Tensor]
"""The classification loss of a run: maps logits ``[B, 2]`` and int labels ``[B]`` (0 real, 1 fake) to a scalar."""


class DetectionModel(nn.Module):
    """Maps normalised face crops, float32 ``[B, 3, S, S]``, to logits ``[B, 2]`` (column 0 real, column 1 fake).

    Parameters that are never trained are frozen (``requires_grad=False``); all others receive a gradient in every step.

    Attributes:
        input_size: image height and width S in pixels.
        mean, std: normalisation per RGB channel, for images scaled to 0..1.
        feature_map: passes on the last feature map before pooling unchanged, so that attributions (Grad-CAM) can read
            it and its gradient; a detector that never calls it has no such attributions.
    """

    input_size: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    def __init__(self):
        super().__init__()
        self.feature_map = nn.Identity()

    def loss_terms(self, batch: dict[str, Tensor], classification_loss: ClassificationLoss) -> dict[str, Tensor]:
        """The weighted terms of the training loss; training minimises their sum.

        Args:
            batch: ``image``, normalised float [B, 3, S, S]; ``label``, int [B]; and any other entries from the loader.
            classification_loss: the classification loss of the run, including its class weights.

        Returns:
            Scalars by name; by default only the classification loss.
        """
        return {"classification": classification_loss(self(batch["image"]), batch["label"])}

    def check_size(self, image: Tensor) -> None:
        """Raise a UserError unless `image` is ``[B, 3, input_size, input_size]``."""
        if image.shape[2:] != (self.input_size, self.input_size):
            raise UserError(
                f"The images have {image.shape[3]}x{image.shape[2]} pixels, but the model expects {self.input_size}x"
                f"{self.input_size}: resize the images or build the model with another input_size."
            )
