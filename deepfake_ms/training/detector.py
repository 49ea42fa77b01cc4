"""The LightningModule around any detector: loss, optimizer, validation metrics and test predictions."""

import lightning as L
import pandas as pd
import torch
from torch import Tensor
from torchmetrics import CatMetric

from deepfake_ms.errors import UserError
from deepfake_ms.labels import FAKE
from deepfake_ms.models import build_model
from deepfake_ms.scoring.metrics import detection_metrics
from deepfake_ms.training.losses import weighted_cross_entropy

OPTIMIZERS = {"SGD": torch.optim.SGD, "Adam": torch.optim.Adam, "AdamW": torch.optim.AdamW}


class Detector(L.LightningModule):
    """Trains and scores one model; made of plain values, so a checkpoint reloads without a configuration.

    Batches are dicts: `image` float [B, 3, S, S] normalised, `label` int [B] (0 real, 1 fake), `index` int [B],
    the face's row in the manifest.

    Args:
        model: `name` and arguments for `deepfake_ms.models.build_model`.
        class_weights: loss weight by class name.
        optimizer: `name` (SGD, Adam, AdamW) and its arguments.
        schedule: `{"name": "StepLR", "step_size": epochs, "gamma": factor}` counted in epochs, or
            `{"name": "OneCycleLR", ...}` over the steps of the stage. Both start afresh with each stage.

    Attributes:
        micro_batches: in how many parts `training_step` takes a batch.
    """

    micro_batches = 1

    def __init__(self, model: dict, class_weights: dict, optimizer: dict, schedule: dict):
        super().__init__()
        self.save_hyperparameters(logger=False)  # the run's own record is what is logged
        self.model = build_model(**model)
        self.loss = weighted_cross_entropy(class_weights)
        self.validation_metrics = detection_metrics("validation/")
        # By default they would drop what is not a number, and the two would no longer be of one length.
        self.test_index, self.test_probability = (CatMetric(nan_strategy="disable") for _ in range(2))
        self.predictions: pd.DataFrame | None = None

    def forward(self, image: Tensor) -> Tensor:
        """Normalised images [B, 3, S, S] to logits [B, 2] (real, fake)."""
        return self.model(image)

    def training_step(self, batch: dict, batch_index: int) -> Tensor:
        """The loss of `batch`, for Lightning's backward pass and optimizer step.

        With `micro_batches` the batch is taken in parts of (nearly) equal size. The backward pass of all but the last
        is done here, and gradients add up, each part weighted by its size. All of it is one step to Lightning:
        counters, schedules and checkpoints know nothing of the parts, nor can a checkpoint come between two of them.

        The gradient is that of the whole batch, but for two things: BatchNorm takes the statistics of one part at a
        time, and means over something else than faces (over a class-weighted batch's weights, over matched anchors)
        are taken within each part. Noise and dropout are drawn part by part.
        """
        parts = split_batch(batch, self.micro_batches)
        if self.micro_batches > 1:
            self.optimizers().zero_grad()
        shown: dict[str, Tensor] = {}
        for number, part in enumerate(parts, start=1):
            terms = self.model.loss_terms(part, self.loss)
            loss = torch.stack(list(terms.values())).sum()
            values = {"loss": loss} if len(terms) == 1 else {"loss": loss, **terms}
            share = len(part["label"]) / len(batch["label"])
            for name, value in values.items():
                shown[name] = shown.get(name, 0) + value.detach() * share
            if len(parts) > 1:
                loss = loss * share
            if number < len(parts):
                with torch.autocast(self.device.type, enabled=False):  # as Lightning's own, outside the forward pass
                    self.trainer.strategy.backward(loss, None)
        by_name = {f"train/{name}": value for name, value in shown.items()}
        self.log_dict(by_name, on_step=False, on_epoch=True, sync_dist=True, batch_size=len(batch["label"]))
        return loss

    def optimizer_zero_grad(self, epoch: int, batch_index: int, optimizer: torch.optim.Optimizer) -> None:
        """Lightning calls this between `training_step` and the backward pass."""
        if self.micro_batches == 1:
            optimizer.zero_grad()

    def on_train_epoch_end(self) -> None:
        loss = self.trainer.callback_metrics["train/loss"]
        if not torch.isfinite(loss):
            raise UserError(
                f"The training loss became {float(loss)} in epoch {self.current_epoch + 1}: "
                "lower optimization.optimizer.lr and give the run a new name."
            )

    def on_validation_start(self) -> None:
        # Buffers (BatchNorm statistics) are each rank's own in training; what is validated must be what rank 0 saves.
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            for buffer in self.model.buffers():
                torch.distributed.broadcast(buffer, src=0)

    def validation_step(self, batch: dict, batch_index: int) -> None:
        logits = self(batch["image"]).float()
        self.validation_metrics.update(logits.softmax(dim=1), batch["label"])
        loss = torch.nn.functional.cross_entropy(logits, batch["label"])
        self.log("validation/loss", loss, sync_dist=True, batch_size=len(batch["label"]))

    def on_validation_epoch_end(self) -> None:
        self.log_dict(self.validation_metrics.compute(), sync_dist=True)  # the same on all ranks already
        self.validation_metrics.reset()

    def test_step(self, batch: dict, batch_index: int) -> None:
        self.test_index.update(batch["index"])
        self.test_probability.update(self(batch["image"]).float().softmax(dim=1)[:, FAKE])

    def on_test_epoch_end(self) -> None:
        # CatMetric gathers the ranks' shares, which may be of unequal size.
        index, probability = self.test_index.compute(), self.test_probability.compute()
        frame = pd.DataFrame({"index": index.long().cpu().numpy(), "fake_probability": probability.cpu().numpy()})
        self.predictions = frame.sort_values("index", ignore_index=True)
        self.test_index.reset()
        self.test_probability.reset()

    def configure_optimizers(self) -> dict:
        arguments = dict(self.hparams.optimizer)
        name = arguments.pop("name")
        if name not in OPTIMIZERS:
            raise UserError(f"optimization.optimizer.name={name} is unknown; choose from {', '.join(OPTIMIZERS)}.")
        optimizer = OPTIMIZERS[name]([p for p in self.parameters() if p.requires_grad], **arguments)
        return {"optimizer": optimizer, "lr_scheduler": self._schedule(optimizer)}

    def _schedule(self, optimizer: torch.optim.Optimizer) -> dict:
        arguments = dict(self.hparams.schedule)
        name = arguments.pop("name")
        if name == "StepLR":
            return {"scheduler": torch.optim.lr_scheduler.StepLR(optimizer, **arguments), "interval": "epoch"}
        if name == "OneCycleLR":
            # Counted here: trainer.estimated_stepping_batches sets the data up too early for a resume inside an epoch.
            steps = max(3, self.trainer.max_epochs * len(self.trainer.datamodule.train_dataloader()))
            arguments["pct_start"] = min(1.0, max(arguments["pct_start"], 2 / steps))  # torch needs a step to each side
            peak = optimizer.param_groups[0]["lr"]
            one_cycle = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=peak, total_steps=steps, **arguments)
            return {"scheduler": one_cycle, "interval": "step"}
        raise UserError(f"optimization.schedule.name={name} is unknown; choose StepLR or OneCycleLR.")


def split_batch(batch: dict[str, Tensor], parts: int) -> list[dict[str, Tensor]]:
    """`batch` along its first dimension, in `parts` parts, or in single faces if there are fewer."""
    parts = min(parts, len(batch["label"]))
    if parts == 1:
        return [batch]
    pieces = {name: values.tensor_split(parts) for name, values in batch.items()}
    return [{name: of_name[number] for name, of_name in pieces.items()} for number in range(parts)]
