"""The LightningModule around any detector: loss, optimizer, validation metrics and test predictions."""

import difflib
from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Self

import lightning as L
import pandas as pd
import torch
from torch import Tensor, nn
from torchmetrics import CatMetric, MeanMetric

from deepfake_ms.errors import UserError
from deepfake_ms.labels import FAKE
from deepfake_ms.models import build_model
from deepfake_ms.scoring.metrics import detection_metrics
from deepfake_ms.training.losses import weighted_cross_entropy
from deepfake_ms.training.optimization import advance, build_optimizer, build_schedule


class Detector(L.LightningModule):
    """Trains and scores one model in one stage. Built from plain values, so a checkpoint loads without a configuration.

    Batches are dicts from `deepfake_ms.data.dataset.FaceDataset.batch`: `image` uint8 [B, 3, S, S], `label`
    int [B] (0 real, 1 fake), `index` int [B], the face's row in the manifest. Images are normalised on the device.

    Args:
        model: `name` and arguments for `deepfake_ms.models.build_model`.
        class_weights: loss weight by class name.
        optimizer, schedule: see `deepfake_ms.training.optimization`.
        freeze: modules or parameters that are not trained, by dotted names, see `find_parts`. Frozen modules stay in
            evaluation mode: no dropout, and BatchNorm uses and keeps its running statistics.

    Raises:
        UserError: a value is unknown, a name in `freeze` matches nothing, or nothing is left to train.
    """

    def __init__(self, model: dict, class_weights: dict, optimizer: dict, schedule: dict, freeze: Sequence[str] = ()):
        super().__init__()
        self.save_hyperparameters(logger=False)  # the run's record is logged instead
        self.model = build_model(**model)
        for name in ("mean", "std"):
            values = torch.tensor(getattr(self.model, name), dtype=torch.float32)[:, None, None]
            self.register_buffer(name, values, persistent=False)
        parameters, self.frozen = find_parts(self.model, freeze)
        for parameter in parameters:
            parameter.requires_grad_(False)
        self.loss = weighted_cross_entropy(class_weights)
        self.validation_metrics = detection_metrics("validation/")
        # Lightning's own mean over two ranks truncates half the number of faces. This one ignores weights without a
        # strategy for NaNs, so it is updated with the loss of every face.
        self.validation_loss = MeanMetric(nan_strategy="disable")
        # CatMetric drops NaNs by default, which would leave the two lists with different lengths.
        self.test_index, self.test_probability = (CatMetric(nan_strategy="disable") for _ in range(2))
        self.predictions: pd.DataFrame | None = None
        self.train()

    def forward(self, image: Tensor) -> Tensor:
        """Normalised images [B, 3, S, S] to logits [B, 2] (real, fake)."""
        return self.model(image)

    def train(self, mode: bool = True) -> Self:
        """As in torch, but frozen modules stay in evaluation mode."""
        super().train(mode)
        for module in self.frozen:
            module.eval()
        return self

    def on_after_batch_transfer(self, batch: dict[str, Tensor], dataloader_idx: int) -> dict[str, Tensor]:
        """The batch with normalised images, ``(images / 255 - mean) / std``, float32 [B, 3, S, S]."""
        images = batch["image"].float().div_(255).sub_(self.mean).div_(self.std)
        return {**batch, "image": images.to(self.dtype)}

    def training_step(self, batch: dict, batch_index: int) -> Tensor:
        terms = self.model.loss_terms(batch, self.loss)
        loss = torch.stack(list(terms.values())).sum()
        shown = {"loss": loss} if len(terms) == 1 else {"loss": loss, **terms}
        by_name = {f"train/{name}": value.detach() for name, value in shown.items()}
        self.log_dict(by_name, on_step=False, on_epoch=True, sync_dist=True, batch_size=len(batch["label"]))
        return loss

    def on_validation_start(self) -> None:
        # Buffers (BatchNorm statistics) differ between ranks in training; validate with those that rank 0 saves.
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            for buffer in self.model.buffers():
                torch.distributed.broadcast(buffer, src=0)

    def validation_step(self, batch: dict, batch_index: int) -> None:
        logits = self(batch["image"]).float()
        self.validation_metrics.update(logits.softmax(dim=1), batch["label"])
        self.validation_loss.update(torch.nn.functional.cross_entropy(logits, batch["label"], reduction="none"))

    def on_validation_epoch_end(self) -> None:
        values = {"validation/loss": self.validation_loss.compute(), **self.validation_metrics.compute()}
        self.log_dict(values, sync_dist=True)  # the same on all ranks already
        self.validation_loss.reset()
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
        # Lightning does not clip the gradients of fused optimizers.
        fused = self.device.type == "cuda" and not self.trainer.gradient_clip_val
        optimizer = build_optimizer((p for p in self.parameters() if p.requires_grad), self.hparams.optimizer, fused)
        # trainer.estimated_stepping_batches would set up the data too early for a resume inside an epoch.
        batches = len(self.trainer.datamodule.train_dataloader())
        steps = self.trainer.max_epochs * -(-batches // self.trainer.accumulate_grad_batches)
        schedule = build_schedule(optimizer, self.hparams.schedule, self.trainer.max_epochs, steps)
        return {"optimizer": optimizer, "lr_scheduler": schedule}

    def lr_scheduler_step(self, scheduler: object, metric: object) -> None:
        if metric is None:
            advance(scheduler, None, self.current_epoch + 1)

    def on_validation_end(self) -> None:
        # Lightning would advance a schedule with a metric only after the epoch's resume point is saved.
        for config in self.trainer.lr_scheduler_configs:
            if config.reduce_on_plateau:
                advance(config.scheduler, self.trainer.callback_metrics[config.monitor], self.current_epoch + 1)


def find_parts(model: nn.Module, names: Sequence[str]) -> tuple[list[nn.Parameter], list[nn.Module]]:
    """The parameters and modules with these names, and everything inside them.

    ``backbone.stem`` includes ``backbone.stem.0``; ``backbone.stages_1`` does not include ``backbone.stages_10``.
    ``*``, ``?`` and ``[01]`` match as in file names.

    Raises:
        UserError: a name matches no parameter, or no trainable parameter is left.
    """
    parameters, modules = dict(model.named_parameters()), dict(model.named_modules())

    def is_meant(each: str, names: Sequence[str] = names) -> bool:
        return any(fnmatchcase(each, name) or fnmatchcase(each, f"{name}.*") for name in names)

    for name in names:
        if not any(is_meant(each, [name]) for each in parameters):
            known = [each for each, module in modules.items() if each and any(True for _ in module.parameters())]
            nearest = difflib.get_close_matches(name, [*known, *parameters], n=3, cutoff=0)
            raise UserError(
                f"freeze: the model has no module or parameter {name}; the nearest are {', '.join(nearest)}."
            )
    if names and not any(each.requires_grad and not is_meant(name) for name, each in parameters.items()):
        raise UserError(f"freeze={list(names)} leaves nothing to train: freeze fewer modules.")
    return (
        [parameter for name, parameter in parameters.items() if is_meant(name)],
        [module for name, module in modules.items() if is_meant(name)],
    )
