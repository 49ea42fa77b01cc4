"""CADDM: published sizes, anchors and detection loss against slow references, and learning to locate artifacts."""

import json
from itertools import product

import pandas as pd
import pytest
import torch
from golden.drawn_faces import write_faces
from lightning.pytorch.callbacks import Callback
from rich.console import Console
from torch.nn import functional
from torchvision.ops import box_convert

from deepfake_ms.assembly import run_config, trainer_settings
from deepfake_ms.composition import compose
from deepfake_ms.data.prepared_faces import PreparedFaces
from deepfake_ms.errors import UserError
from deepfake_ms.manifest import read_manifest
from deepfake_ms.models import build_model
from deepfake_ms.models.caddm.anchors import anchor_boxes, decode, encode, match
from deepfake_ms.models.caddm.detection import ArtifactDetectionModule, detection_losses, hardest_negatives
from deepfake_ms.training.curriculum import Curriculum
from deepfake_ms.training.optimization import advance, build_schedule
from deepfake_ms.training.run import Run
from deepfake_ms.training.train_stages import train_stages
from deepfake_ms.training.trainer import TrainerSettings

SMALL = {
    "backbone": "resnet10t",
    "backbone_options": {
        "layers": (1, 1, 1, 1),
        "channels": (16, 32, 64, 64),
        "stem_width": 8,
        "zero_init_last": False,
        "output_stride": 16,
    },
    "pretrained": False,
    "input_size": 112,
}
WHOLE = (0.0, 0.0, 1.0, 1.0)
NO_BOX = (0.0, 0.0, 0.0, 0.0)


def small_model(**changes):
    torch.manual_seed(0)
    return build_model("caddm", **(SMALL | changes))


def images(count: int = 2, size: int = 112) -> torch.Tensor:
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(1))


def random_boxes(*shape: int) -> torch.Tensor:
    corners = torch.rand(*shape, 2, 2, generator=torch.Generator().manual_seed(2))
    return torch.cat([corners.amin(dim=-2), corners.amax(dim=-2) + 0.01], dim=-1)


def count_parameters(module: torch.nn.Module) -> int:
    return sum(weight.numel() for weight in module.parameters())


# --- published sizes


@pytest.mark.parametrize(
    ("name", "backbone"),
    [
        ("resnet34", "resnet34.tv_in1k"),
        ("efficientnet-b3", "tf_efficientnet_b3.aa_in1k"),
        ("efficientnet-b4", "tf_efficientnet_b4.aa_in1k"),
    ],
)
def test_parameter_counts_equal_the_release_except_for_unused_parameters(name, backbone, shared):
    published = json.loads((shared / "fixtures/parameter_counts.json").read_text())["caddm"][name]
    with torch.device("meta"):
        model = build_model("caddm", backbone=backbone, pretrained=False)
    width = model.fc.in_features
    imagenet_classifier = (width + 1) * 1000
    biases_before_batchnorm = 3 * width
    assert count_parameters(model) + imagenet_classifier + biases_before_batchnorm == published["total"]
    if name == "resnet34":
        assert count_parameters(model.backbone) + imagenet_classifier == published["base_model"]
        assert count_parameters(model.artifact_detection) + biases_before_batchnorm == published["adm"]
        assert count_parameters(model.fc) == published["fc"]


def test_maps_shrink_from_7x7_to_1x1():
    module = ArtifactDetectionModule(16)
    shapes = []
    for block in module.blocks:
        block.register_forward_hook(lambda block, arguments, output: shapes.append(tuple(output.shape[1:])))
    location, confidence, summary = module(torch.randn(2, 16, 7, 7))
    assert shapes == [(16, 7, 7), (16, 5, 5), (16, 3, 3), (16, 1, 1)]
    assert (location.shape, confidence.shape, summary.shape) == ((2, 168, 4), (2, 168, 2), (2, 16))


def test_outputs_follow_the_order_of_the_anchors():
    """Changing the bias of one anchor shape on one map changes only the outputs of that anchor on that map."""
    module = ArtifactDetectionModule(16).eval()
    features = torch.randn(1, 16, 7, 7)
    before = module(features)[0]
    with torch.no_grad():
        module.location[1].bias[4 + 2] += 1  # the 5x5 map, second anchor, width
    change = (module(features)[0] - before)[0]
    expected = torch.zeros(168, 4)
    expected[2 * 49 : 2 * 74][1::2, 2] = 1
    torch.testing.assert_close(change, expected, atol=1e-5, rtol=0)


# --- anchors


def test_anchors_equal_the_release():
    anchors = anchor_boxes() * 224
    assert anchors.shape == (168, 4)
    expected_anchors = {0: (16, 16, 40, 80), 1: (16, 16, 80, 40), 2: (48, 16, 40, 80), 14: (16, 48, 40, 80)}
    expected_anchors |= {98: (22.5, 22.5, 80, 120), 148: (37.5, 37.5, 120, 160), 167: (112, 112, 224, 224)}
    for index, expected in expected_anchors.items():
        assert anchors[index].tolist() == pytest.approx(expected, abs=1e-3)


def test_decode_inverts_encode():
    anchors, boxes = anchor_boxes(), random_boxes(168)
    torch.testing.assert_close(decode(encode(boxes, anchors), anchors), boxes)
    own = box_convert(anchors, "cxcywh", "xyxy")
    torch.testing.assert_close(encode(own, anchors), torch.zeros(168, 4), atol=1e-4, rtol=0)
    shifted = own + anchors[:, [2, 3, 2, 3]] * 0.05
    torch.testing.assert_close(encode(shifted, anchors)[:, :2], torch.full((168, 2), 0.5), atol=1e-4, rtol=0)


def overlap_of(one, other) -> float:
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    inside = max(width, 0) * max(height, 0)
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
    return inside / (sum(areas) - inside)


def test_matching_equals_a_slow_reference():
    anchors = anchor_boxes()
    corners = box_convert(anchors, "cxcywh", "xyxy").tolist()
    boxes = random_boxes(12, 2)
    boxes[3] = torch.tensor([WHOLE, WHOLE])
    boxes[4, 1] = 0
    boxes[5] = 0
    positive, target = match(boxes, anchors)
    for image in range(12):
        owner = {}
        overlaps = {}
        for number, box in enumerate(boxes[image].tolist()):
            if box[2] <= box[0]:
                continue
            overlaps[number] = [overlap_of(box, corner) for corner in corners]
        for anchor in range(168):
            best = max(overlaps, key=lambda number: overlaps[number][anchor], default=None)
            if best is not None and overlaps[best][anchor] >= 0.5:
                owner[anchor] = best
        for number, values in overlaps.items():
            owner[values.index(max(values))] = number
        assert positive[image].nonzero().flatten().tolist() == sorted(owner)
        for anchor, number in owner.items():
            torch.testing.assert_close(
                decode(target[image], anchors)[anchor], boxes[image, number], atol=1e-5, rtol=1e-5
            )
        assert not target[image][~positive[image]].any()


# --- loss


def test_selects_the_two_hardest_negatives_per_positive():
    loss = torch.rand(20, 168, generator=torch.Generator().manual_seed(3))
    positive = torch.zeros(20, 168, dtype=torch.bool)
    for image in range(20):
        positive[image, : image * 4] = True
    chosen = hardest_negatives(loss, positive)
    for image in range(20):
        candidates = sorted(range(image * 4, 168), key=lambda anchor: -loss[image, anchor])
        assert chosen[image].nonzero().flatten().tolist() == sorted(candidates[: 2 * 4 * image])


def test_loss_equals_a_slow_reference():
    anchors = anchor_boxes()
    boxes = torch.stack([random_boxes(3), torch.tensor(WHOLE).expand(3, 4)], dim=1)
    boxes[1] = 0
    generator = torch.Generator().manual_seed(4)
    location, confidence = (torch.randn(3, 168, values, generator=generator) for values in (4, 2))
    positive, target = match(boxes, anchors)
    expected_location = expected_confidence = 0.0
    for image, anchor in product(range(3), range(168)):
        if positive[image, anchor]:
            for error in (location - target)[image, anchor].abs().tolist():
                expected_location += error - 0.5 if error >= 1 else error**2 / 2
    for image in range(3):
        entropies = -confidence[image].log_softmax(dim=1)
        negatives = sorted((entropies[a, 0].item() for a in range(168) if not positive[image, a]), reverse=True)
        count = int(positive[image].sum())
        expected_confidence += entropies[positive[image], 1].sum().item() + sum(negatives[: 2 * count])
    losses = detection_losses(location, confidence, boxes, anchors)
    assert losses[0].item() == pytest.approx(expected_location / positive.sum().item(), rel=1e-5)
    assert losses[1].item() == pytest.approx(expected_confidence / positive.sum().item(), rel=1e-5)


def terms_of(model, labels, boxes=None):
    batch = {"image": images(len(labels)), "label": torch.tensor(labels)}
    if boxes:
        batch["artifact_box"] = torch.tensor(boxes)
    return model.loss_terms(batch, functional.cross_entropy)


@pytest.mark.parametrize(
    ("labels", "boxes"), [([0, 1], [NO_BOX, (0.2, 0.3, 0.5, 0.9)]), ([0, 0], None), ([1], None), ([0], [NO_BOX])]
)
def test_every_parameter_receives_a_finite_gradient_in_every_batch(labels, boxes):
    model = small_model().train()
    terms = terms_of(model, labels, boxes)
    assert list(terms) == ["classification", "location", "confidence"]
    sum(terms.values()).backward()
    for name, weight in model.named_parameters():
        assert weight.grad is not None, name
        assert weight.grad.isfinite().all(), name
    if 1 not in labels:
        assert terms["location"] == terms["confidence"] == 0


def test_every_parameter_learns_from_artifacts_of_all_sizes():
    model = small_model().train()
    halves = [(20, 40), (40, 60), (60, 80), (112, 112)]
    boxes = [((112 - x) / 224, (112 - y) / 224, (112 + x) / 224, (112 + y) / 224) for x, y in halves]
    sum(terms_of(model, [1] * 4, boxes).values()).backward()
    assert not [name for name, weight in model.named_parameters() if not weight.requires_grad]
    assert not [name for name, weight in model.named_parameters() if not weight.grad.any()]


def test_without_boxes_only_the_last_location_head_learns():
    model = small_model().train()
    sum(terms_of(model, [0, 1]).values()).backward()
    assert [bool(head.weight.grad.any()) for head in model.artifact_detection.location] == [False] * 3 + [True]


def test_artifacts_of_a_fake_are_the_whole_image_and_its_box():
    """No box, an empty box and the whole image are equivalent; a smaller box adds an artifact to the whole image."""
    model = small_model().eval()
    plain, empty, whole, part = (
        terms_of(model, [0, 1], boxes)
        for boxes in (None, [NO_BOX, NO_BOX], [NO_BOX, WHOLE], [NO_BOX, (0.1, 0.1, 40 / 224 + 0.1, 80 / 224 + 0.1)])
    )
    assert plain == empty == whole
    assert part["classification"] == plain["classification"]
    assert part["confidence"] != plain["confidence"]
    assert part["location"] != plain["location"]
    ignored = terms_of(model, [0, 1], [WHOLE, WHOLE])
    assert ignored == plain  # a real face has no artifact, regardless of its box


def test_detection_losses_are_weighted_by_a_tenth():
    model = small_model().eval()
    terms = terms_of(model, [0, 1])
    _, location, confidence = model.detect(images())
    boxes = torch.tensor([[NO_BOX], [WHOLE]])
    losses = detection_losses(location, confidence, boxes, model.anchors)
    assert terms["location"].item() == pytest.approx(0.1 * losses[0].item())
    assert terms["confidence"].item() == pytest.approx(0.1 * losses[1].item())


# --- the model


def test_logits_use_pooled_features_and_the_last_map():
    model = small_model().eval()
    features = model.backbone.forward_features(images())
    assert features.shape == (2, 64, 7, 7)
    summary = model.artifact_detection(features)[2]
    torch.testing.assert_close(model(images()), model.fc(features.mean(dim=(2, 3)) + summary))


def test_evaluation_is_deterministic_and_independent_of_the_batch():
    model = small_model(dropout=0.5).eval()
    logits = model(images(3))
    assert logits.shape == (3, 2)
    assert torch.equal(logits, model(images(3)))
    torch.testing.assert_close(model(images(3)[:1]), logits[:1], atol=1e-5, rtol=1e-4)


def test_reloaded_weights_give_the_same_logits_and_exclude_anchors(tmp_path):
    model = small_model().eval()
    torch.save(model.state_dict(), tmp_path / "weights.pt")
    other = build_model("caddm", **SMALL).eval()
    other.load_state_dict(torch.load(tmp_path / "weights.pt", weights_only=True))
    assert torch.equal(model(images()), other(images()))
    assert "anchors" not in model.state_dict()


def test_learns_to_classify_and_to_locate():
    """Trains 40 steps on plain images, the fakes with a rectangle of noise; it must be detected and located."""
    generator = torch.Generator().manual_seed(5)

    def draw(count: int) -> dict[str, torch.Tensor]:
        image = torch.rand(count, 3, 1, 1, generator=generator).repeat(1, 1, 112, 112) - 0.5
        label, box = torch.arange(count) % 2, torch.zeros(count, 4)
        for number in range(1, count, 2):
            left, top = (22 * torch.randint(0, 3, (2,), generator=generator)).tolist()
            image[number, :, top : top + 40, left : left + 60] += torch.randn(3, 40, 60, generator=generator)
            box[number] = torch.tensor([left, top, left + 60, top + 40]) / 112
        return {"image": image, "label": label, "artifact_box": box}

    model = small_model().train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    for _ in range(40):
        optimizer.zero_grad()
        sum(model.loss_terms(draw(12), functional.cross_entropy).values()).backward()
        optimizer.step()

    batch = draw(32)
    model.eval()
    with torch.no_grad():
        assert (model(batch["image"]).argmax(dim=1) == batch["label"]).float().mean() > 0.95
        _, location, confidence = model.detect(batch["image"])
        boxes = decode(location, model.anchors)
        # The whole image is always an artifact of a fake; the best of the smaller anchors belongs to the rectangle.
        best = confidence[:, :148, 1].sub(confidence[:, :148, 0]).argmax(dim=1)
        found = [overlap_of(boxes[n, best[n]].tolist(), batch["artifact_box"][n].tolist()) for n in range(1, 32, 2)]
        assert sum(found) / len(found) > 0.5
        located, probability = model.locate(batch["image"])
    assert ((located >= 0) & (located <= 1)).all()
    assert probability[1::2].min() > 0.5


# --- training as released


def configuration(*overrides: str) -> dict:
    cfg = compose("model=caddm", "size=full", "model.pretrained=false", "curriculum=cropped", *overrides)
    return run_config(cfg, "drawn")


def test_rates_and_clipping_are_those_of_the_release():
    stage = Curriculum.from_record(configuration()).stages[0]
    optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))], **_without_name(stage.optimizer))
    schedule = build_schedule(optimizer, stage.schedule, stage.epochs, steps=1)["scheduler"]
    rates = []
    for epoch in range(stage.epochs):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        advance(schedule, None, epoch + 1)
    assert rates == pytest.approx([3.6e-4] * 4 + [1e-4] * 6 + [5e-5] * 190)
    assert stage.clipping == {"gradient_clip_val": 2.0, "gradient_clip_algorithm": "value"}


def _without_name(settings: dict) -> dict:
    return {key: value for key, value in settings.items() if key != "name"}


class LargestGradient(Callback):
    """The largest magnitude of a gradient's entries, after each step."""

    def __init__(self) -> None:
        self.steps: list[float] = []

    def on_train_batch_end(self, trainer, pl_module, *_) -> None:
        gradients = [weight.grad for weight in pl_module.parameters() if weight.grad is not None]
        self.steps.append(max(float(gradient.abs().max()) for gradient in gradients))


@pytest.mark.parametrize(
    ("override", "limit", "algorithm"),
    [
        ("optimization.gradient_clip.value=1e-4", 1e-4, "value"),
        ("curriculum.stages.0.optimization.gradient_clip.norm=1e-4", 1e-4, "norm"),
        ("optimization.epochs=1", None, None),
    ],
)
def test_the_gradient_is_clipped_as_the_optimization_says(override, limit, algorithm, tmp_path, monkeypatch):
    subsets = write_faces(tmp_path / "faces")
    faces = PreparedFaces(tmp_path / "faces", {}, read_manifest(tmp_path / "faces"))
    balanced = [subset == "train" for subset in subsets]
    split = pd.DataFrame({"sample_id": faces.manifest["sample_id"], "subset": subsets, "balanced": balanced})
    cfg = compose("model=caddm", "size=small", "optimization.epochs=1", "optimization.batch_size=28", override)
    largest, trainers, build = LargestGradient(), [], TrainerSettings.build

    def watched(self, callbacks=(), **arguments):
        trainers.append(build(self, [*callbacks, largest], **arguments))
        return trainers[-1]

    monkeypatch.setattr(TrainerSettings, "build", watched)
    record = {"config": json.loads(json.dumps(run_config(cfg, "drawn"))), "config_sha256": "0"}
    train_stages(Run(tmp_path / "run", record, faces, split), trainer_settings(cfg), Console(quiet=True))
    assert (trainers[-1].gradient_clip_val, trainers[-1].gradient_clip_algorithm) == (limit, algorithm)
    assert len(largest.steps) == 2
    assert all((size <= 1.001e-4) == (limit is not None) for size in largest.steps)


def test_gradients_are_not_clipped_in_two_ways():
    with pytest.raises(UserError, match="are both set: set only one of them"):
        run_config(compose("model=caddm", "size=full", "trainer.lightning.gradient_clip_val=2"), "abc")


# --- invalid settings


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"input_size": 224}, "returns 64x14x14 features for 224x224.*needs a 7x7 map.*stride"),
        ({"backbone": "resnet10tt"}, "did you mean 'resnet10t'"),
        ({"backbone": "test_vit", "backbone_options": {"img_size": 112}}, "needs a 7x7 map"),
        ({"dropout": 1.5}, "dropout=1.5"),
    ],
)
def test_errors_for_invalid_settings_name_the_remedy(changes, message):
    with pytest.raises(UserError, match=message):
        small_model(**changes)


def test_images_of_another_size_are_rejected():
    with pytest.raises(UserError, match="96x96 pixels, but the model expects 112x112"):
        small_model()(images(size=96))
