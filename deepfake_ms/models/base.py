"""What every detector has in common."""

from collections.abc import Callable

from torch import Tensor, nn

from deepfake_ms.errors import UserError

Classification = Callable[[Tensor, Tensor], Tensor]
"""The run's classification loss: logits ``[B, 2]`` and labels int ``[B]`` (0 real, 1 fake) to a scalar."""


class DetectionModel(nn.Module):
    """Maps normalised face crops, float32 ``[B, 3, S, S]``, to logits ``[B, 2]`` (column 0 real, column 1 fake).

    A parameter that never learns is frozen (``requires_grad=False``); all others get a gradient in every step.

    Attributes:
        input_size: S, in pixels.
        mean, std: per RGB channel, for images scaled to 0..1.
    """

    input_size: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    def loss_terms(self, batch: dict[str, Tensor], classification: Classification) -> dict[str, Tensor]:
        """The terms of the training loss, already weighted: their sum is what is minimised.

        Args:
            batch: ``image`` normalised float [B, 3, S, S], ``label`` int [B], and what else the loader gives.
            classification: the run's classification loss, with its class weights.

        Returns:
            Scalars by name; by default the classification loss alone.
        """
        return {"classification": classification(self(batch["image"]), batch["label"])}

    def check_size(self, image: Tensor) -> None:
        """Raise a UserError unless `image` is ``[B, 3, input_size, input_size]``."""
        if image.shape[2:] != (self.input_size, self.input_size):
            raise UserError(
                f"The images are {image.shape[3]}x{image.shape[2]} pixels, the model takes {self.input_size}x"
                f"{self.input_size}: resize them or build the model with another input_size."
            )
