"""RECCE: published parameter counts, components and losses against slow references, and invalid settings."""

import json

import pytest
import timm
import torch
from torch.nn import functional

from deepfake_ms.composition import compose
from deepfake_ms.errors import UserError
from deepfake_ms.models import build_model
from deepfake_ms.models.recce import model as recce_model
from deepfake_ms.models.recce.attention import GuidedAttention
from deepfake_ms.models.recce.losses import flooded, metric_loss, reconstruction_loss
from deepfake_ms.models.recce.model import add_white_noise
from deepfake_ms.models.recce.reasoning import GraphReasoning
from deepfake_ms.models.recce.xception import Xception
from deepfake_ms.training.optimization import advance, build_schedule

SMALL = {"pretrained": False, "input_size": 112, "width": 0.0625}
UNUSED_CLASSIFIER = 2048 * 1000 + 1000  # never called in the authors' code and not built here


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


# --- the full-size model


def test_the_rate_is_halved_every_10_epochs_as_on_celeb_df():
    optimization = compose("model=recce", "size=full").optimization
    optimizer = torch.optim.Adam([torch.nn.Parameter(torch.zeros(1))], lr=optimization.optimizer.lr)
    schedule = build_schedule(optimizer, optimization.schedule, epochs=50, steps=500)["scheduler"]
    rates = []
    for epoch in range(50):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        advance(schedule, None, epoch + 1)
    assert rates == pytest.approx([2e-4 / 2 ** (epoch // 10) for epoch in range(50)])


def counts(model) -> dict:
    return {
        "total": parameters_of(model) + UNUSED_CLASSIFIER,
        "encoder": parameters_of(model.encoder) + UNUSED_CLASSIFIER,
        "fc": parameters_of(model.fc),
        "attention": parameters_of(model.attention),
        "reasoning": parameters_of(model.reasoning),
        "decoders": [parameters_of(part) for part in model.decoder.children()],
    }


def test_parameter_counts_equal_the_authors_except_for_the_unused_classifier(full_model):
    assert counts(full_model) == {
        "total": 25_830_509,
        "encoder": 22_855_952,
        "fc": 2049,
        "attention": 531_524,
        "reasoning": 1_944_128,
        "decoders": [193_432, 205_056, 35_328, 53_376, 9_472, 192],
    }


def test_parameter_counts_equal_the_fixture(full_model, shared):
    published = json.loads((shared / "fixtures/parameter_counts.json").read_text())["recce"]
    assert counts(full_model).items() <= published.items()
    assert full_model.input_size == published["input"]


def test_shapes_of_intermediate_results_at_299_pixels(full_model):
    shapes = {}

    def record(name, module, output):
        shapes[name] = [tuple(each.shape) for each in (output if isinstance(output, tuple) else (output,))]

    encoder = full_model.encoder
    parts = {f"block{number}": encoder.get_submodule(f"block{number}") for number in (4, 7, 8, 12)}
    parts |= {name: full_model.get_submodule(name) for name in ("decoder", "reasoning", "attention", "fc")}
    hooks = [
        part.register_forward_hook(lambda module, _, output, name=name: record(name, module, output))
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


def test_encoder_equals_timms_xception():
    reference, encoder = timm.create_model("legacy_xception", num_classes=0).eval(), Xception().eval()
    encoder.load_state_dict(reference.state_dict())
    image = images(1, 96)
    with torch.no_grad():
        features = encoder.exit(encoder.blocks(encoder.stem(image), 1, 12))
        torch.testing.assert_close(features, reference.forward_features(image))


def test_pretrained_loads_the_weights_of_the_timm_tag(monkeypatch):
    requested = []
    create = timm.create_model

    def offline(name, pretrained, **options):
        requested.append((name, pretrained))
        reference.append(create(name, pretrained=False, **options))
        return reference[0]

    reference = []
    monkeypatch.setattr(timm, "create_model", offline)
    model = build_model("recce", pretrained=True)
    assert requested == [("legacy_xception.tf_in1k", True)]
    loaded, expected = model.encoder.state_dict(), reference[0].state_dict()
    assert set(loaded) == set(expected)
    assert all(torch.equal(loaded[key], expected[key]) for key in expected)


# --- components against slow references


def test_graph_reasoning_equals_a_loop_over_positions():
    torch.manual_seed(0)
    size, embedding = 3, 6
    graph = GraphReasoning(10, (7, 5), ratios=(2, 4), embedding=embedding).eval()
    features = torch.randn(2, 10, size, size)
    maps = [torch.randn(2, 7, 2 * size, 2 * size), torch.randn(2, 5, 4 * size, 4 * size)]
    own = graph.embed(features)
    gathered = torch.zeros(2, 3 * embedding, size, size)
    gathered[:, 2 * embedding :] = own
    for number, (part, ratio) in enumerate(zip(graph.neighbourhoods, (2, 4), strict=True)):
        embedded, gate = part.embed(maps[number]), 1 - part.gate(features).sigmoid()
        for image in range(2):
            for row in range(size):
                for column in range(size):
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


def test_attention_adds_most_where_the_reconstruction_is_wrong():
    torch.manual_seed(0)
    attention = GuidedAttention(4).eval()
    with torch.no_grad():
        for layer in (attention.weigh[0], attention.weigh[2]):
            layer.weight.fill_(1.0)
    features, image = torch.randn(1, 4, 4, 4), torch.zeros(1, 3, 16, 16)
    reconstruction = image.clone()
    reconstruction[..., :4, :4] = 1  # wrong in the upper left corner
    added = attention(features, image, reconstruction) - features
    transformed = attention.transform(features)
    torch.testing.assert_close(added[..., 3, 3], 0.5 * transformed[..., 3, 3])  # sigmoid(0): no error
    torch.testing.assert_close(added[..., 0, 0], transformed[..., 0, 0], atol=1e-3, rtol=1e-3)  # sigmoid(> 9)


def test_reconstruction_affects_the_logits_through_attention_and_graph_reasoning():
    model = small_model().eval()
    image = images(1)
    with torch.no_grad():
        logits = model(image)
        for part in (model.attention.weigh, model.reasoning.project):
            hook = part.register_forward_hook(lambda module, arguments, output: torch.zeros_like(output))
            assert not torch.allclose(model(image), logits, atol=1e-6)
            hook.remove()
    assert torch.equal(model(image), logits)


# --- losses


def test_flooding_reverses_the_gradient_below_its_level():
    loss = torch.tensor([0.0, 0.01, 0.04, 0.5], requires_grad=True)
    result = flooded(loss, 0.04)
    torch.testing.assert_close(result, torch.tensor([0.08, 0.07, 0.04, 0.5]))
    result.sum().backward()
    assert loss.grad.tolist() == [-1, -1, 0, 1]


def test_reconstruction_loss_covers_real_faces_only():
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
        both_real, mixed = [], []
        for i in range(len(real)):
            for j in range(len(real)):
                similarity = (1 + functional.cosine_similarity(vectors[i], vectors[j], dim=0).item()) / 2
                if i != j and real[i] and real[j]:
                    both_real.append(similarity)
                elif real[i] != real[j]:
                    mixed.append(similarity)
        total += (1 - sum(both_real) / len(both_real)) if both_real else 0
        total += sum(mixed) / len(mixed) if mixed else 0
    return total


@pytest.mark.parametrize("real", [[1, 0, 1, 0, 1], [1, 1, 0], [1, 0], [0, 0, 1, 0], [1, 1, 1], [0, 0, 0], [1], [0]])
def test_metric_loss_equals_a_loop_over_pairs(real):
    torch.manual_seed(0)
    real = [bool(each) for each in real]
    features = [torch.randn(len(real), width) for width in (7, 5, 3)]
    loss = metric_loss(features, torch.tensor(real))
    assert loss.item() == pytest.approx(slow_metric_loss(features, real), abs=1e-5)


def test_metric_loss_pulls_real_faces_together_without_fakes_and_ignores_fakes_alone():
    vectors = torch.tensor([[1.0, 0.0], [0.0, 1.0]], requires_grad=True)
    metric_loss([vectors], torch.tensor([True, True])).backward()
    assert (vectors.grad[0] @ vectors[1]).item() < 0  # a step against the gradient turns one towards the other
    vectors.grad = None
    metric_loss([vectors], torch.tensor([False, False])).backward()
    assert not vectors.grad.any()


def test_metric_loss_is_0_if_reals_are_parallel_and_fakes_opposite():
    vectors = torch.tensor([[1.0, 2.0], [2.0, 4.0], [-1.0, -2.0]])
    assert metric_loss([vectors], torch.tensor([True, True, False])).item() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(
    ("labels", "zero"),
    [
        ([1, 1, 1], ["reconstruction", "metric"]),
        ([0, 0, 0], []),
        ([1], ["reconstruction", "metric"]),
        ([0], ["metric"]),
    ],
)
def test_batches_with_one_class_or_one_image_can_be_trained_on(labels, zero):
    model = small_model().train()
    terms = model.loss_terms({"image": images(len(labels)), "label": torch.tensor(labels)}, functional.cross_entropy)
    assert [name for name in terms if terms[name] == 0] == zero
    sum(terms.values()).backward()
    assert all(weight.grad is not None and weight.grad.isfinite().all() for weight in model.parameters())


def test_loss_terms_are_the_weighted_losses():
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
def test_auxiliary_losses_train_only_encoder_and_decoder(term):
    model = small_model().train()
    batch = {"image": images(4), "label": torch.tensor([0, 1, 0, 1])}
    model.loss_terms(batch, functional.cross_entropy)[term].backward()
    trained = {name.split(".")[0] for name, weight in model.named_parameters() if weight.grad is not None}
    assert trained == {"encoder", "decoder"}
    assert model.encoder.block4.rep[1].pointwise.weight.grad.any()
    assert model.encoder.block5.rep[1].pointwise.weight.grad is None


# --- training and evaluation


def test_noise_is_added_to_about_half_of_the_images_and_clipped():
    torch.manual_seed(0)
    image = images(400, 8)
    noisy = add_white_noise(image, 0.1)
    changed = (noisy != image).flatten(1).any(dim=1)
    assert changed.float().mean().item() == pytest.approx(0.5, abs=0.1)
    inner = noisy[changed] - image[changed]
    assert inner[image[changed].abs() < 0.5].std().item() == pytest.approx(0.1, abs=0.005)
    assert noisy.abs().max() <= 1


def test_noise_is_added_only_in_training_and_only_to_the_encoder_input(monkeypatch):
    stds = []
    monkeypatch.setattr(recce_model, "add_white_noise", lambda image, std: stds.append(std) or image * 0)
    model = small_model(noise_std=0.25)
    encoded, compared = [], []
    model.encoder.conv1.register_forward_hook(lambda module, arguments, output: encoded.append(arguments[0]))
    model.attention.register_forward_hook(lambda module, arguments, output: compared.append(arguments[1]))
    image = images()
    model.eval()(image)
    assert stds == []
    assert encoded[0] is image
    model.train()(image)
    assert stds == [0.25]
    assert not encoded[1].any()
    assert compared[1] is image


def test_evaluation_is_deterministic_and_independent_of_the_batch():
    model = small_model().eval()
    logits = model(images(3))
    assert logits.shape == (3, 2)
    assert not logits[:, 0].any()
    assert torch.equal(logits, model(images(3)))
    torch.testing.assert_close(model(images(3)[:1]), logits[:1], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("size", [64, 97, 112])
def test_any_size_from_64_pixels_works_with_one_image(size):
    analysis = small_model(input_size=size).train().analyse(images(1, size))
    assert analysis.logits.shape == (1, 2)
    assert analysis.reconstruction.shape == (1, 3, size, size)


def test_learns_to_detect_a_weakened_texture():
    """Eight fixed images, four of them with weaker texture in one corner."""
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


def test_reloaded_weights_give_the_same_logits(tmp_path):
    model, other = small_model().eval(), small_model(seed=1).eval()
    assert not torch.equal(model(images()), other(images()))
    torch.save(model.state_dict(), tmp_path / "weights.pt")
    other.load_state_dict(torch.load(tmp_path / "weights.pt", weights_only=True))
    assert torch.equal(model(images()), other(images()))


# --- invalid settings


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"input_size": 48}, "input_size=48 is too small.*at least 64"),
        ({"width": 0}, "width=0 is not positive"),
        ({"pretrained": True}, r"no pretrained weights for width=0\.0625.*pretrained=false"),
        ({"drop_rate": 1.0}, "drop_rate=1.0"),
        ({"noise_std": -0.1}, "noise_std=-0.1 is negative"),
        ({"metric_weight": -1}, "metric_weight=-1 is negative"),
    ],
)
def test_errors_for_invalid_settings_name_the_remedy(changes, message):
    with pytest.raises(UserError, match=message):
        build_model("recce", **(SMALL | changes))


def test_images_of_another_size_are_rejected():
    with pytest.raises(UserError, match="96x96 pixels, but the model expects 112x112"):
        small_model()(images(size=96))
