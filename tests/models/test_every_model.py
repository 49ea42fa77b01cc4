"""Checks that every model in conf/model must pass; new models are tested without changing this file.

Variants for CPUs run all checks. For full-size models the default run only checks the structure on torch's `meta`
device, which tracks shapes without computing; `-m slow` computes.
"""

import functools
import json
import re
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf
from torch import Tensor, nn

from deepfake_ms.composition import CONFIG_FOLDER
from deepfake_ms.data.dataset import resize_face
from deepfake_ms.errors import UserError
from deepfake_ms.explanation.attribution import attribute
from deepfake_ms.explanation.views import views_of
from deepfake_ms.exporting.write import describe_model, write_formats
from deepfake_ms.models import MODELS, DetectionModel, build_model
from deepfake_ms.preprocessing.settings import PreparationSettings
from deepfake_ms.training.losses import weighted_cross_entropy
from deepfake_ms.training.optimization import build_optimizer

FOR_CPU = sorted(
    (path.parent.name, size) for size in ("small", "lite") for path in (CONFIG_FOLDER / "model").glob(f"*/{size}.yaml")
)
FULL = sorted(path.parent.name for path in (CONFIG_FOLDER / "model").glob("*/full.yaml"))
FACTS = {
    "name": "tested",
    "synthetic": True,
    "preparation": PreparationSettings().as_dict(),
    "thresholds": {"frame": 0.5, "video": None},
    "temperatures": {"frame": 1.0, "video": None},
    "about": {},
    "reference": {"mean": [0.0], "precision": [[1.0]], "limits": {"frame": 1.0, "video": 1.0}, "smallest_face": 0.0},
}
"""A detector's facts, which an exported folder has."""
CLASSIFICATION = weighted_cross_entropy({"real": 1.0, "fake": 1.0})


@functools.cache
def settings(name: str, size: str, *overrides: str) -> DictConfig:
    """The composed configuration with this model and size, without weights that would have to be downloaded."""
    pretrained = [] if size == "lite" else ["model.pretrained=false"]
    with initialize_config_dir(str(CONFIG_FOLDER), version_base="1.3"):
        return compose("train", overrides=[f"model={name}", f"size={size}", *pretrained, *overrides])


def build(config: DictConfig, seed: int = 0) -> DetectionModel:
    """Build the model as a run does."""
    values = OmegaConf.to_container(config.model, resolve=True)
    values.pop("name")
    torch.manual_seed(seed)
    return build_model(values.pop("architecture"), **values)


def make_batch(model: DetectionModel, labels: list[int], optional: bool = False) -> dict[str, Tensor]:
    """Coarse textures, fakes with a checkered patch; with the entries that every loader gives, and `optional` ones."""
    size = model.input_size
    generator = torch.Generator().manual_seed(1)
    coarse = torch.randn(len(labels), 3, 8, 8, generator=generator)
    image = nn.functional.interpolate(coarse, size, mode="bilinear")
    checkers = (torch.arange(size)[:, None] // 4 + torch.arange(size) // 4) % 2 * 2.0 - 1
    quarter = slice(size // 2, size * 3 // 4)
    for row, label in enumerate(labels):
        if label:
            image[row, :, quarter, quarter] += 2 * checkers[quarter, quarter]
    batch = {"image": image, "label": torch.tensor(labels), "index": torch.arange(len(labels))}
    if optional:
        half = torch.tensor([0.13, 0.22, 0.31]).repeat(len(labels))[: len(labels), None]  # boxes of different sizes
        box = torch.cat([0.5 - half, 0.5 - half, 0.5 + half, 0.5 + half], dim=1)
        batch["artifact_box"] = box * batch["label"][:, None]
    return batch


def training_loss(model: DetectionModel, batch: dict[str, Tensor], step: int = 0) -> Tensor:
    """The sum of the loss terms, with the random state set to `step`."""
    torch.manual_seed(step)
    terms = model.loss_terms(batch, CLASSIFICATION)
    assert all(term.shape == () for term in terms.values())
    return torch.stack(list(terms.values())).sum()


def make_optimizer(config: DictConfig, model: nn.Module) -> torch.optim.Optimizer:
    trainable = (weight for weight in model.parameters() if weight.requires_grad)
    return build_optimizer(trainable, OmegaConf.to_container(config.optimization.optimizer))


def train(config: DictConfig, model: DetectionModel, batch: dict[str, Tensor], steps: int) -> list[float]:
    """Train on one batch with the configured optimizer; returns the loss before each of the `steps` steps."""
    model.train()
    optimizer = make_optimizer(config, model)
    losses = []
    for step in range(steps):
        loss = training_loss(model, batch, step)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


@torch.no_grad()
def logits(model: DetectionModel, image: Tensor) -> Tensor:
    torch.manual_seed(0)
    return model.eval()(image)


# --- the checks


def check_shapes(config: DictConfig) -> None:
    model = build(config)
    assert (len(model.mean), len(model.std)) == (3, 3)
    image = make_batch(model, [0, 1, 1])["image"]
    assert logits(model, image).shape == (3, 2)
    assert logits(model, image[:1]).shape == (1, 2)


def check_other_sizes_are_rejected(config: DictConfig) -> None:
    model = build(config).eval()
    size = model.input_size
    for height, width in ((size + 1, size + 1), (size, size + 32), (size - 32, size)):
        with pytest.raises(UserError, match=rf"{width}x{height} pixels.*{size}x{size}"):
            model(torch.zeros(1, 3, height, width))


def check_loss_decreases(config: DictConfig) -> None:
    model = build(config)
    losses = train(config, model, make_batch(model, [0, 1] * 2), steps=16)
    first, last = sum(losses[:3]) / 3, sum(losses[-3:]) / 3
    assert last < 0.8 * first, losses


def check_every_parameter_learns_or_is_frozen(config: DictConfig) -> None:
    """Checks two steps, because layers initialised to zero block the gradient of earlier layers in the first step."""
    model = build(config).train()
    batch = make_batch(model, [0, 1, 1, 1], optional=True)
    optimizer = make_optimizer(config, model)
    trainable = {name for name, weight in model.named_parameters() if weight.requires_grad}
    trained: set[str] = set()
    for step in range(2):
        optimizer.zero_grad()
        training_loss(model, batch, step).backward()
        gradients = {name: weight.grad for name, weight in model.named_parameters() if weight.grad is not None}
        assert set(gradients) == trainable, "exactly the trainable parameters receive a gradient in every step"
        trained |= {name for name, gradient in gradients.items() if gradient.any()}
        optimizer.step()
    assert trainable - trained == set()


def check_training_on_single_faces(config: DictConfig) -> None:
    for label in (0, 1):
        model = build(config).train()
        try:
            loss = training_loss(model, make_batch(model, [label]))
        except ValueError as error:
            if "more than 1 value per channel" not in str(error):
                raise
            pytest.skip("BatchNorm cannot compute statistics of one vector")
        loss.backward()
        assert loss.isfinite()
        assert all(weight.grad.isfinite().all() for weight in model.parameters() if weight.grad is not None)


def check_reloaded_weights(config: DictConfig, path: Path) -> None:
    model = build(config)
    batch = make_batch(model, [0, 1])
    train(config, model, batch, steps=1)
    torch.save(model.state_dict(), path)

    values = OmegaConf.to_container(config.model, resolve=True)
    assert json.loads(json.dumps(values)) == values, "checkpoints store plain values only"
    other = build(config, seed=1)
    assert not torch.equal(logits(other, batch["image"]), logits(model, batch["image"]))
    other.load_state_dict(torch.load(path, weights_only=True))
    assert all(torch.equal(weight, other.state_dict()[name]) for name, weight in model.state_dict().items())
    assert torch.equal(logits(other, batch["image"]), logits(model, batch["image"]))


def check_export_agrees(config: DictConfig) -> None:
    model = build(config)
    train(config, model, make_batch(model, [0, 1, 1, 1], optional=True), steps=3)
    export(config, model.eval())


def check_untrained_export_agrees(config: DictConfig) -> None:
    """For full-size models, which take too much memory to train here."""
    model = build(config).eval()
    if getattr(model, "frozen_backbone", False):
        torch.nn.init.normal_(model.backbone.get_classifier().weight)  # a linear probe starts from zero
    export(config, model)


@torch.inference_mode()
def export(config: DictConfig, model: DetectionModel, crop_size: int = 224) -> None:
    """All exported formats give the same P(fake) of ten coarse textures as the model; how they differ matters, too."""
    coarse = torch.rand(10, 3, 6, 6, generator=torch.Generator().manual_seed(2))
    faces = (nn.functional.interpolate(coarse, crop_size, mode="bicubic").clamp(0, 1) * 255).byte().numpy()
    mean, std = torch.tensor(model.mean), torch.tensor(model.std)

    def original(crops: np.ndarray) -> np.ndarray:
        images = torch.from_numpy(np.stack([resize_face(crop.transpose(1, 2, 0), model.input_size) for crop in crops]))
        return model(((images / 255 - mean) / std).permute(0, 3, 1, 2)).softmax(dim=1)[:, 1].numpy()

    described = describe_model(OmegaConf.to_container(config.model, resolve=True), model, crop_size)
    with tempfile.TemporaryDirectory() as folder:
        written = write_formats(
            Path(folder), {**described, "detector": FACTS}, model, original, faces, lambda step: None
        )
    differences = written["parity"]["largest_difference"]
    assert set(differences) == {"model.safetensors", "model.onnx", "model.pt2"}
    spread = np.ptp(np.concatenate([original(face[None]) for face in faces]))
    assert max(differences.values()) < spread / 20, "small models tell these textures hardly apart"
    print(f"{config.model.name}: {differences}, spread {spread:.2g}")


def check_attribution(config: DictConfig) -> None:
    model = build(config).eval()
    if getattr(model, "frozen_backbone", False):
        torch.nn.init.normal_(model.backbone.get_classifier().weight)  # a linear probe starts from zero
    image, labels = (make_batch(model, [0, 1])[name] for name in ("image", "label"))
    for view in views_of(model):
        members = view.name.split()[:-1]  # of the ensemble
        member = model.get_submodule(*members) if members else model
        torch.testing.assert_close(logits(view.network, image), logits(member, image), atol=1e-4, rtol=1e-4)
        maps = [attribute(view, image, classes, "gradcam") for classes in (labels, 1 - labels)]
        assert maps[0].shape == (2, model.input_size, model.input_size)
        assert all(0 <= heat.min() <= heat.max() <= 1 for heat in maps)
        assert max(heat.std() for heat in maps) > 0.01
        assert not np.allclose(*maps)


CHECKS: list[Callable[[DictConfig], None]] = [
    check_shapes,
    check_other_sizes_are_rejected,
    check_loss_decreases,
    check_every_parameter_learns_or_is_frozen,
    check_training_on_single_faces,
    check_attribution,
    check_export_agrees,
]


@pytest.mark.parametrize(
    "check",
    [
        pytest.param(  # an export takes as long as all other checks together
            check,
            marks=[pytest.mark.slow] if check is check_export_agrees else [],
            id=check.__name__.removeprefix("check_"),
        )
        for check in CHECKS
    ],
)
@pytest.mark.parametrize(("name", "size"), FOR_CPU)
def test_variant_for_cpus(name, size, check):
    check(settings(name, size))


@pytest.mark.slow
@pytest.mark.parametrize(
    "overrides",
    [
        ("model.swin=as_released",),  # has parameters with two names
        ("model.gradient_checkpointing=true",),
    ],
)
def test_export_of_special_variants(overrides):
    check_export_agrees(settings("genconvit_ed", "small", *overrides))


@pytest.mark.parametrize(("name", "size"), FOR_CPU)
def test_reloaded_weights(name, size, tmp_path):
    check_reloaded_weights(settings(name, size), tmp_path / "weights.pt")


# --- full size


@pytest.mark.parametrize("name", FULL)
def test_full_size_structure(name):
    config = settings(name, "full")
    with torch.device("meta"):
        model = build(config)
    assert any(weight.requires_grad for weight in model.parameters())
    with torch.no_grad():
        assert model.eval()(torch.empty(2, 3, model.input_size, model.input_size, device="meta")).shape == (2, 2)
    with pytest.raises(UserError, match=f"expects {model.input_size}x{model.input_size}"):
        model(torch.empty(1, 3, model.input_size + 1, model.input_size, device="meta"))


@pytest.mark.slow
@pytest.mark.timeout(1800)  # an export of 755 million parameters
@pytest.mark.parametrize(
    "check",
    [check_shapes, check_every_parameter_learns_or_is_frozen, check_attribution, check_untrained_export_agrees],
    ids=["shapes", "every_parameter_learns", "attribution", "export_agrees"],
)
@pytest.mark.parametrize("name", FULL)
def test_full_size(name, check):
    check(settings(name, "full"))


# --- the README on adding a detector


def test_readme_example(tmp_path, monkeypatch):
    readme = (Path(__file__).parents[2] / "deepfake_ms/models/README.md").read_text()
    module, registration, selector, small = re.findall(r"```(?:python|diff|yaml)\n(.*?)```", readme, re.DOTALL)
    namespace: dict = {"__name__": "readme"}
    exec(compile(module, "README.md", "exec"), namespace)
    key, class_name = re.search(r'^\+.*"(\w+)": (\w+)', registration, re.MULTILINE).groups()
    monkeypatch.setitem(MODELS, key, namespace[class_name])
    (tmp_path / f"model/{key}").mkdir(parents=True)
    (tmp_path / f"model/{key}.yaml").write_text(selector)
    (tmp_path / f"model/{key}/small.yaml").write_text(small)

    config = settings(key, "small", f"hydra.searchpath=[file://{tmp_path}]")
    for check in CHECKS:
        check(config)
    check_reloaded_weights(config, tmp_path / "weights.pt")
