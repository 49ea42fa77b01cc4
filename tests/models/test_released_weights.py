"""Public GenConViT checkpoints: skipped and reordered weights, rejected files, and logits equal to the release."""

import json
import logging
import math
import zlib
from pathlib import Path

import pytest
import torch

from deepfake_ms.errors import UserError
from deepfake_ms.labels import FAKE, REAL
from deepfake_ms.models import build_model

BACKBONE = {
    "backbone_options": {"depths": (1, 1, 1, 1), "dims": (8, 16, 32, 64)},  # a thin ConvNeXt-Tiny
    "embedder_options": {"embed_dim": 48, "depths": (1,), "num_heads": (3,)},
    "pretrained": False,
    "input_size": 64,
    "features": 32,
}
ARGUMENTS = {
    "genconvit_ed": BACKBONE | {"channels": (8, 16, 32)},
    "genconvit_vae": BACKBONE | {"channels": (8, 16, 32), "latent_features": 128, "variational": "as_released"},
}
UNUSED_SWIN = ("embedder.", "backbone.patch_embed.")


def images() -> torch.Tensor:
    return torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))


def network(name: str, swin: str = "removed", seed: int = 0, **changes):
    torch.manual_seed(seed)
    return build_model(name, **(ARGUMENTS[name] | {"swin": swin} | changes)).eval()


def released_state(name: str, model) -> dict[str, torch.Tensor]:
    """The weights of `model` as the authors' code would save them: their names, fake first, with unused Swin keys."""
    state = {key: value.clone() for key, value in model.state_dict().items() if not key.startswith(UNUSED_SWIN)}
    for key in ("fc2.weight", "fc2.bias"):
        state[key] = state[key].flip(0)
    state["embedder.layers.0.blocks.1.attn_mask"] = torch.zeros(4, 49, 49)  # only in timm 0.6
    state["embedder.head.weight"] = torch.zeros(10, 7)
    state["backbone.patch_embed.proj.bias"] = torch.zeros(768)
    if name == "genconvit_vae":
        names = {key: "convnext_" + key if key.startswith("backbone.") else key for key in state}
        state = {names[key]: value for key, value in state.items()}
    return state


@pytest.fixture(params=["genconvit_ed", "genconvit_vae"])
def name(request) -> str:
    return request.param


@pytest.fixture
def trained(name):
    return network(name, seed=1)


@pytest.fixture
def released_file(name, trained, tmp_path) -> Path:
    path = tmp_path / f"{name}_inference.pth"
    torch.save(released_state(name, trained), path)
    return path


@pytest.mark.parametrize("swin", ["removed", "as_released"])
def test_released_file_reproduces_the_logits_and_logs_one_line(name, swin, trained, released_file, caplog):
    with caplog.at_level(logging.INFO, logger="deepfake_ms"):
        model = network(name, swin, checkpoint=str(released_file))
    assert torch.equal(model(images()), trained(images()))
    (line,) = [record.getMessage() for record in caplog.records if record.name.startswith("deepfake_ms")]
    assert line == f"{released_file}: skipped 3 keys (10,442 values) of the Swin that is never called"


def test_rows_of_the_last_layer_are_swapped(name, released_file):
    model = network(name, checkpoint=str(released_file))
    fake_first = torch.load(released_file, weights_only=True)["fc2.bias"]
    assert model.fc2.bias[[FAKE, REAL]].tolist() == fake_first.tolist()


def test_training_checkpoint_in_half_precision_is_loaded(name, trained, released_file):
    state = released_state(name, trained)
    state = {key: value.half() if value.is_floating_point() else value for key, value in state.items()}
    torch.save({"epoch": 30, "state_dict": state, "min_loss": 0.1}, released_file)
    model = network(name, checkpoint=str(released_file))
    assert model.fc.weight.dtype == torch.float32
    torch.testing.assert_close(model(images()), trained(images()), atol=1e-2, rtol=1e-2)


def test_checkpoint_prevents_the_download_of_pretrained_backbones(name, released_file):
    network(name, "as_released", pretrained=True, checkpoint=str(released_file))  # timm's weights would not fit


def test_ensemble_loads_one_file_per_network(tmp_path):
    files, networks = {}, {}
    for short in ("ed", "vae"):
        name = f"genconvit_{short}"
        networks[short] = network(name, seed=1)
        torch.save(released_state(name, networks[short]), tmp_path / f"{short}.pth")
        files[short] = str(tmp_path / f"{short}.pth")
    own = {"ed": {"channels": (8, 16, 32)}}
    own["vae"] = {"channels": (8, 16, 32), "latent_features": 128, "variational": "as_released"}
    ensemble = build_model("genconvit", **BACKBONE, **own, swin="removed", checkpoint=files).eval()
    mean = sum(each(images()).softmax(dim=1) for each in networks.values()) / 2
    torch.testing.assert_close(ensemble(images()).softmax(dim=1), mean)


# --- rejected files


def test_modes_other_than_the_released_function_are_rejected(name, released_file):
    if name == "genconvit_ed":
        other, remedy = {"swin": "live"}, "choose swin=removed or swin=as_released"
    else:
        other, remedy = {"variational": "as_described"}, "choose variational=as_released"
    with pytest.raises(UserError, match=rf"checkpoint={released_file} was trained with.* cannot be used.*{remedy}"):
        network(name, checkpoint=str(released_file), **other)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: state.pop("fc.bias"), r"\(missing: fc.bias\)"),
        (
            lambda state: [state.pop(key) for key in list(state) if "stages" in key],
            "missing: backbone.* and [0-9]+ more",
        ),
        (lambda state: state.update(head=torch.zeros(2)), r"\(unexpected: head\)"),
        (
            lambda state: state.update({"fc2.bias": torch.zeros(3)}),
            r"\(wrong shape: fc2.bias \(3,\) instead of \(2,\)\)",
        ),
    ],
)
def test_error_names_the_weights_that_do_not_fit(name, trained, released_file, change, message):
    state = released_state(name, trained)
    change(state)
    torch.save(state, released_file)
    with pytest.raises(UserError, match=rf"^{released_file} does not fit GenConViT(ED|VAE) .*{message}"):
        network(name, checkpoint=str(released_file))


def test_file_of_the_other_network_is_rejected(name, released_file):
    other = {"genconvit_ed": "genconvit_vae", "genconvit_vae": "genconvit_ed"}[name]
    with pytest.raises(UserError, match=rf"{released_file} does not fit .*features\.1\..*each network its own"):
        network(other, checkpoint=str(released_file))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "does not exist"),
        (b"<html>404</html>", "cannot be read as a PyTorch checkpoint"),
        (b"", "cannot be read as a PyTorch checkpoint"),
        ([torch.zeros(1)], "does not contain a state dict"),
        ({"epoch": 3}, "does not contain a state dict"),
        ({"state_dict": [1, 2]}, "does not contain a state dict"),
    ],
)
def test_files_other_than_checkpoints_are_rejected(tmp_path, content, message):
    path = tmp_path / "weights.pth"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        torch.save(content, path)
    with pytest.raises(UserError, match=f"{path} {message}"):
        network("genconvit_ed", checkpoint=str(path))


class Payload:
    def __reduce__(self):
        return (print, ("run",))


def test_code_in_a_checkpoint_is_not_executed(tmp_path, capsys):
    torch.save({"fc.bias": Payload()}, tmp_path / "weights.pth")
    with pytest.raises(UserError, match=r"cannot be read.*UnpicklingError"):
        network("genconvit_ed", checkpoint=str(tmp_path / "weights.pth"))
    assert capsys.readouterr().out == ""


# --- full size


def formula_weight(key: str, shape: list[int]) -> torch.Tensor:
    """The weight that genconvit_ed_expected.json prescribes for `key`."""
    weight = torch.randn(shape, generator=torch.Generator().manual_seed(zlib.crc32(key.encode())))
    if weight.ndim >= 2:
        return weight / math.sqrt(math.prod(shape[1:]))
    if key.endswith("gamma"):
        return 0.5 + 0.1 * weight
    return 1 + 0.1 * weight if key.endswith("weight") else 0.1 * weight


def test_file_with_all_released_keys_reproduces_the_authors_logits(shared, tmp_path, caplog):
    shapes = json.loads((shared / "fixtures/genconvit_ed_released_keys.json").read_text())
    expected = json.loads((shared / "fixtures/genconvit_ed_expected.json").read_text())
    state = {
        key: torch.zeros(shape, dtype=torch.int64) if key.endswith("_index") else formula_weight(key, shape)
        for key, shape in shapes.items()
    }
    path = tmp_path / "genconvit_ed_inference.pth"
    torch.save(state, path)
    wave = torch.sin(torch.arange(2 * 3 * 224 * 224, dtype=torch.float64) * 0.0137)
    fake_real = torch.tensor(expected["logits_fake_real"])
    with caplog.at_level(logging.INFO, logger="deepfake_ms"):
        model = build_model("genconvit_ed", swin="removed", pretrained=False, checkpoint=str(path)).eval()
    assert f"{len(shapes) - 206} keys" in caplog.text
    with torch.no_grad():
        logits = model(wave.reshape(2, 3, 224, 224).float())
    torch.testing.assert_close(logits[:, [FAKE, REAL]], fake_real, atol=expected["tolerance"], rtol=0)
