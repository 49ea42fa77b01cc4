"""RECCE: the authors' parameter counts, its parts against slow references, its losses, and what users can get wrong."""

import json

import pytest
import timm
import torch
from torch.nn import functional

from deepfake_ms.errors import UserError
from deepfake_ms.models import build_model
from deepfake_ms.models.recce import model as recce_model
from deepfake_ms.models.recce.attention import GuidedAttention
from deepfake_ms.models.recce.losses import flooded, metric_loss, reconstruction_loss
from deepfake_ms.models.recce.model import with_white_noise
from deepfake_ms.models.recce.reasoning import GraphReasoning
from deepfake_ms.models.recce.xception import Xception

SMALL = {"pretrained": False, "input_size": 112, "width": 0.0625}
UNUSED_CLASSIFIER = 2048 * 1000 + 1000  # in the authors' encoder, never called; not built here


def small_model(seed: int = 0, **changes):
    torch.manual_seed(seed)
    return build_model("recce", **(SMALL | changes))


def images(count: int = 2, size: int = 112, seed: int = 1) -> torch.Tensor:
    return torch.rand(count, 3, size, size, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def parameters_of(module) -> int:
    return sum(weight.numel() for weight in module.parameters())


@pytest.fixture(scope="module")
def full_model():
    return build_model("recce", pretrained=False).eval()


# --- the full-size model: the authors' counts and sizes, timm's encoder


def counts(model) -> dict:
    return {
        "total": parameters_of(model) + UNUSED_CLASSIFIER,
        "encoder": parameters_of(model.encoder) + UNUSED_CLASSIFIER,
        "fc": parameters_of(model.fc),
        "attention": parameters_of(model.attention),
        "reasoning": parameters_of(model.reasoning),
        "decoders": [parameters_of(part) for part in model.decoder.children()],
    }


def test_parameters_are_the_authors_without_the_classifier_that_is_never_called(full_model):
    assert counts(full_model) == {
        "total": 25_830_509,
        "encoder": 22_855_952,
        "fc": 2049,
        "attention": 531_524,
        "reasoning": 1_944_128,
        "decoders": [193_432, 205_056, 35_328, 53_376, 9_472, 192],
    }


def test_parameters_equal_the_fixture(full_model, shared):
    published = json.loads((shared / "fixtures/parameter_counts.json").read_text())["recce"]
    assert counts(full_model).items() <= published.items()
    assert full_model.input_size == published["input"]


def test_shapes_at_every_split_point_at_299(full_model):
    shapes = {}

    def note(name, module, output):
        shapes[name] = [tuple(each.shape) for each in (output if isinstance(output, tuple) else (output,))]

    encoder = full_model.encoder
    parts = {f"block{number}": encoder.get_submodule(f"block{number}") for number in (4, 7, 8, 12)}
    parts |= {name: full_model.get_submodule(name) for name in ("decoder", "reasoning", "attention", "fc")}
    hooks = [
        part.register_forward_hook(lambda module, _, output, name=name: note(name, module, output))
        for name, part in parts.items()
    ]
    with torch.no_grad():
        analysis = full_model.analyse(images(1, 299))
    for hook in hooks:
        hook.remove()
    assert shapes == {
        "block4": [(1, 728, 19, 19)],
        "decoder": [(1, 256, 38, 38), (1, 128, 76, 76), (1, 3, 152, 152)],
        "block7": [(1, 728, 19, 19)],
        "reasoning": [(1, 728, 19, 19)],
        "block8": [(1, 728, 19, 19)],
        "attention": [(1, 728, 19, 19)],
        "block12": [(1, 1024, 10, 10)],
        "fc": [(1, 1)],
    }
    assert analysis.reconstruction.shape == (1, 3, 299, 299)
    assert [tuple(each.shape) for each in analysis.pooled] == [(1, 728), (1, 256), (1, 128)]


def test_encoder_is_timms_xception():
    reference, encoder = timm.create_model("legacy_xception", num_classes=0).eval(), Xception().eval()
    encoder.load_state_dict(reference.state_dict())
    image = images(1, 96)
    with torch.no_grad():
        features = encoder.exit(encoder.blocks(encoder.stem(image), 1, 12))
        torch.testing.assert_close(features, reference.forward_features(image))


def test_pretrained_loads_timms_weights_of_exactly_the_tag(monkeypatch):
    asked = []
    create = timm.create_model

    def offline(name, pretrained, **options):
        asked.append((name, pretrained))
        reference.append(create(name, pretrained=False, **options))
        return reference[0]

    reference = []
    monkeypatch.setattr(timm, "create_model", offline)
    model = build_model("recce", pretrained=True)
    assert asked == [("legacy_xception.tf_in1k", True)]
    loaded, expected = model.encoder.state_dict(), reference[0].state_dict()
    assert set(loaded) == set(expected)
    assert all(torch.equal(loaded[key], expected[key]) for key in expected)


# --- its parts against slow references


def test_graph_reasoning_equals_a_loop_over_positions():
    torch.manual_seed(0)
    side, embedding = 3, 6
    graph = GraphReasoning(10, (7, 5), ratios=(2, 4), embedding=embedding).eval()
    features = torch.randn(2, 10, side, side)
    maps = [torch.randn(2, 7, 2 * side, 2 * side), torch.randn(2, 5, 4 * side, 4 * side)]
    own = graph.embed(features)
    gathered = torch.zeros(2, 3 * embedding, side, side)
    gathered[:, 2 * embedding :] = own
    for number, (part, ratio) in enumerate(zip(graph.neighbourhoods, (2, 4), strict=True)):
        embedded, gate = part.embed(maps[number]), 1 - part.gate(features).sigmoid()
        for image in range(2):
            for row in range(side):
                for column in range(side):
                    neighbours = [
                        embedded[image, :, ratio * row + down, ratio * column + right]
                        for down in range(ratio)
                        for right in range(ratio)
                    ]
                    ends = [torch.cat([own[image, :, row, column], each]) for each in neighbours]
                    weights = torch.cat([part.edge(both).relu() for both in ends]).softmax(dim=0)
                    average = sum(weight * each for weight, each in zip(weights, neighbours, strict=True))
                    place = slice(number * embedding, (number + 1) * embedding)
                    gathered[image, place, row, column] = average * gate[image, :, row, column]
    torch.testing.assert_close(graph(features, maps), graph.project(gathered.sigmoid()))


def test_attention_adds_most_where_the_reconstruction_errs():
    torch.manual_seed(0)
    attention = GuidedAttention(4).eval()
    with torch.no_grad():
        for layer in (attention.weigh[0], attention.weigh[2]):
            layer.weight.fill_(1.0)
    features, image = torch.randn(1, 4, 4, 4), torch.zeros(1, 3, 16, 16)
    reconstruction = image.clone()
    reconstruction[..., :4, :4] = 1  # errs at the upper left
    added = attention(features, image, reconstruction) - features
    transformed = attention.transform(features)
    torch.testing.assert_close(added[..., 3, 3], 0.5 * transformed[..., 3, 3])  # sigmoid(0): nothing to see
    torch.testing.assert_close(added[..., 0, 0], transformed[..., 0, 0], atol=1e-3, rtol=1e-3)  # sigmoid(> 9)


def test_the_reconstruction_reaches_the_logits_by_attention_and_by_graphs():
    model = small_model().eval()
    image = images(1)
    with torch.no_grad():
        logits = model(image)
        for part in (model.attention.weigh, model.reasoning.project):
            hook = part.register_forward_hook(lambda module, arguments, output: torch.zeros_like(output))
            assert not torch.allclose(model(image), logits, atol=1e-6)
            hook.remove()
    assert torch.equal(model(image), logits)


# --- the losses


def test_flood_turns_the_gradient_round_below_its_level():
    loss = torch.tensor([0.0, 0.01, 0.04, 0.5], requires_grad=True)
    result = flooded(loss, 0.04)
    torch.testing.assert_close(result, torch.tensor([0.08, 0.07, 0.04, 0.5]))
    result.sum().backward()
    assert loss.grad.tolist() == [-1, -1, 0, 1]


def test_reconstruction_counts_real_faces_only():
    image, reconstruction = torch.zeros(3, 3, 4, 4), torch.full((3, 3, 4, 4), 0.5, requires_grad=True)
    with torch.no_grad():
        reconstruction[1] = 100  # a fake
        reconstruction[2] = 0.25
    loss = reconstruction_loss(image, reconstruction, torch.tensor([True, False, True]))
    assert loss.item() == pytest.approx((0.5 + 0.25) / 2)
    loss.backward()
    assert not reconstruction.grad[1].any()
    assert reconstruction.grad[[0, 2]].all()


def slow_metric_loss(features: list[torch.Tensor], real: list[bool]) -> float:
    total = 0.0
    for vectors in features:
        alike, mixed = [], []
        for i in range(len(real)):
            for j in range(len(real)):
                similarity = (1 + functional.cosine_similarity(vectors[i], vectors[j], dim=0).item()) / 2
                if i != j and real[i] and real[j]:
                    alike.append(similarity)
                elif real[i] != real[j]:
                    mixed.append(similarity)
        total += (1 - sum(alike) / len(alike) if alike else 0) + sum(mixed) / len(mixed)
    return total


@pytest.mark.parametrize("real", [[1, 0, 1, 0, 1], [1, 1, 0], [1, 0], [0, 0, 1, 0]])
def test_metric_loss_equals_a_loop_over_pairs(real):
    torch.manual_seed(0)
    real = [bool(each) for each in real]
    features = [torch.randn(len(real), width) for width in (7, 5, 3)]
    loss = metric_loss(features, torch.tensor(real))
    assert loss.item() == pytest.approx(slow_metric_loss(features, real), abs=1e-5)


def test_metric_loss_is_0_for_equal_reals_opposite_to_the_fakes():
    vectors = torch.tensor([[1.0, 2.0], [2.0, 4.0], [-1.0, -2.0]])
    assert metric_loss([vectors], torch.tensor([True, True, False])).item() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(
    ("labels", "zero"),
    [
        ([1, 1, 1], ["reconstruction", "metric"]),
        ([0, 0, 0], ["metric"]),
        ([1], ["reconstruction", "metric"]),
        ([0], ["metric"]),
    ],
)
def test_batches_of_one_class_or_one_image_train(labels, zero):
    model = small_model().train()
    terms = model.loss_terms({"image": images(len(labels)), "label": torch.tensor(labels)}, functional.cross_entropy)
    assert [name for name in terms if terms[name] == 0] == zero
    sum(terms.values()).backward()
    assert all(weight.grad is not None and weight.grad.isfinite().all() for weight in model.parameters())


def test_loss_terms_are_the_weighted_losses_of_the_analysis():
    model = small_model(drop_rate=0.0, noise_std=0.0, flood=0.3, reconstruction_weight=2.0, metric_weight=3.0).train()
    image, label = images(4), torch.tensor([0, 1, 1, 0])
    terms = model.loss_terms({"image": image, "label": label}, functional.cross_entropy)
    analysis = model.analyse(image)
    real = label == 0
    expected = {
        "classification": (functional.cross_entropy(analysis.logits, label) - 0.3).abs() + 0.3,
        "reconstruction": 2 * (analysis.reconstruction - image)[real].abs().mean(),
        "metric": 3 * metric_loss(analysis.pooled, real),
    }
    assert list(terms) == list(expected)
    torch.testing.assert_close(terms, expected)


def test_every_parameter_learns():
    model = small_model().train()
    batch = {"image": images(4), "label": torch.tensor([0, 1, 0, 1])}
    sum(model.loss_terms(batch, functional.cross_entropy).values()).backward()
    assert [name for name, weight in model.named_parameters() if weight.grad is None or not weight.grad.any()] == []


@pytest.mark.parametrize("term", ["reconstruction", "metric"])
def test_auxiliary_losses_teach_encoder_and_decoder_alone(term):
    model = small_model().train()
    batch = {"image": images(4), "label": torch.tensor([0, 1, 0, 1])}
    model.loss_terms(batch, functional.cross_entropy)[term].backward()
    taught = {name.split(".")[0] for name, weight in model.named_parameters() if weight.grad is not None}
    assert taught == {"encoder", "decoder"}
    assert model.encoder.block4.rep[1].pointwise.weight.grad.any()
    assert model.encoder.block5.rep[1].pointwise.weight.grad is None


# --- training and evaluation


def test_noise_goes_to_about_half_of_the_images_and_stays_in_range():
    torch.manual_seed(0)
    image = images(400, 8)
    noisy = with_white_noise(image, 0.1)
    changed = (noisy != image).flatten(1).any(dim=1)
    assert changed.float().mean().item() == pytest.approx(0.5, abs=0.1)
    inner = noisy[changed] - image[changed]
    assert inner[image[changed].abs() < 0.5].std().item() == pytest.approx(0.1, abs=0.005)
    assert noisy.abs().max() <= 1


def test_noise_is_added_in_training_only_and_to_the_encoders_input_only(monkeypatch):
    seen = []
    monkeypatch.setattr(recce_model, "with_white_noise", lambda image, std: seen.append(std) or image * 0)
    model = small_model(noise_std=0.25)
    entered, compared = [], []
    model.encoder.conv1.register_forward_hook(lambda module, arguments, output: entered.append(arguments[0]))
    model.attention.register_forward_hook(lambda module, arguments, output: compared.append(arguments[1]))
    image = images()
    model.eval()(image)
    assert seen == []
    assert entered[0] is image
    model.train()(image)
    assert seen == [0.25]
    assert not entered[1].any()
    assert compared[1] is image


def test_evaluation_is_deterministic_and_independent_of_the_batch():
    model = small_model().eval()
    logits = model(images(3))
    assert logits.shape == (3, 2)
    assert not logits[:, 0].any()
    assert torch.equal(logits, model(images(3)))
    torch.testing.assert_close(model(images(3)[:1]), logits[:1], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("size", [64, 97, 112])
def test_any_side_from_64_trains_on_one_image(size):
    analysis = small_model(input_size=size).train().analyse(images(1, size))
    assert analysis.logits.shape == (1, 2)
    assert analysis.reconstruction.shape == (1, 3, size, size)


def test_learns_to_tell_faces_with_a_blurred_patch():
    """Eight fixed images, four of which lack the texture of the others in one corner."""
    image, label = images(8, 64), torch.tensor([0, 1] * 4)
    image[label == 1, :, :32, :32] *= 0.2
    model = small_model(input_size=64, drop_rate=0.0).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    first = last = None
    for _ in range(25):
        terms = model.loss_terms({"image": image, "label": label}, functional.cross_entropy)
        last = {name: term.item() for name, term in terms.items()}
        first = first or last
        optimizer.zero_grad()
        sum(terms.values()).backward()
        optimizer.step()
    assert last["classification"] < 0.15 < first["classification"]
    assert last["metric"] < first["metric"]


def test_weights_survive_a_file(tmp_path):
    model, other = small_model().eval(), small_model(seed=1).eval()
    assert not torch.equal(model(images()), other(images()))
    torch.save(model.state_dict(), tmp_path / "weights.pt")
    other.load_state_dict(torch.load(tmp_path / "weights.pt", weights_only=True))
    assert torch.equal(model(images()), other(images()))


# --- what the user can get wrong


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"input_size": 48}, "input_size=48 is too small.*at least 64"),
        ({"width": 0}, "width=0 leaves no channels"),
        ({"pretrained": True}, r"no pretrained weights of width 0\.0625.*pretrained=false"),
        ({"drop_rate": 1.0}, "drop_rate=1.0"),
        ({"noise_std": -0.1}, "noise_std=-0.1 is negative"),
        ({"metric_weight": -1}, "metric_weight=-1 is negative"),
    ],
)
def test_wrong_settings_name_the_remedy(changes, message):
    with pytest.raises(UserError, match=message):
        build_model("recce", **(SMALL | changes))


def test_images_of_another_size_are_refused():
    with pytest.raises(UserError, match="96x96 pixels, the model takes 112x112"):
        small_model()(images(size=96))
