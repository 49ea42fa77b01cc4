"""Pretrained weights: where they come from without a network, and that their lack stops a run before it begins."""

import json
import os
import socket
import subprocess
import sys
import threading
import time
from hashlib import sha256
from pathlib import Path

import huggingface_hub
import pandas as pd
import pyarrow.parquet as pq
import pytest
import timm
import torch
from omegaconf import DictConfig
from rich.console import Console
from safetensors.torch import load_file, save_file
from tiny_run import SUBSETS, train, write_faces

from deepfake_ms.assembly import run_config, trainer_settings
from deepfake_ms.composition import compose
from deepfake_ms.data.prepared_faces import PreparedFaces
from deepfake_ms.errors import UserError
from deepfake_ms.manifest import MANIFEST_NAME, write_manifest
from deepfake_ms.models import timm_models
from deepfake_ms.models.timm_models import create_timm_model, downloaded_weights
from deepfake_ms.training.run import Run
from deepfake_ms.training.train_stages import train_stages

TINY = "test_resnet.r160_in1k"
REMEDY = "connect to the network once, or set model.pretrained=false to train from scratch."


@pytest.fixture
def empty_cache(tmp_path, monkeypatch):
    """Empty caches of the Hub's client and of torch."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr(timm_models, "PATIENCE_S", 0.5)
    return tmp_path / "hub"


@pytest.fixture
def no_network(empty_cache, monkeypatch):
    """Nobody listens where the Hub is looked for."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        endpoint = f"http://127.0.0.1:{unused.getsockname()[1]}"
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", endpoint)
    return empty_cache


def test_without_a_network_the_sentence_comes_at_once(no_network):
    started = time.monotonic()
    with pytest.raises(UserError) as caught:
        create_timm_model(TINY, pretrained=True)
    assert time.monotonic() - started < 5
    sentence = str(caught.value)
    assert sentence.startswith(f"The pretrained weights of {TINY} cannot be downloaded (127.0.0.1:")
    assert sentence.endswith(f" does not answer): {REMEDY}")
    assert "\n" not in sentence
    assert not huggingface_hub.constants.HF_HUB_OFFLINE


def test_a_server_that_never_answers_costs_seconds(empty_cache, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", f"http://127.0.0.1:{server.getsockname()[1]}")
        started = time.monotonic()
        with pytest.raises(UserError, match=r"127\.0\.0\.1:\d+ does not answer"):
            create_timm_model(TINY, pretrained=True)
        assert time.monotonic() - started < 5


def test_a_server_that_refuses_is_named_with_its_reason(empty_cache, monkeypatch):
    """It answers, so the client asks it for the weights; all of its own errors become the sentence."""

    def refuse(server: socket.socket) -> None:
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            with connection:
                connection.recv(4096)
                connection.sendall(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")

    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=refuse, args=(server,), daemon=True).start()
        hub, constants = f"http://127.0.0.1:{server.getsockname()[1]}", huggingface_hub.constants
        monkeypatch.setattr(constants, "ENDPOINT", hub)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", hub + "/{repo_id}/{filename}")
        with pytest.raises(UserError, match=r"cannot be downloaded \(\w+: .*model\.pretrained=false"):
            create_timm_model(TINY, pretrained=True)
        server.shutdown(socket.SHUT_RDWR)


@pytest.mark.parametrize("model", ["legacy_senet154.in1k", "legacy_xception.tf_in1k"])
def test_weights_outside_the_hub_have_the_same_sentence(model, empty_cache, monkeypatch):
    def unknown(*_, **__):
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(UserError, match=rf"weights of {model} cannot be downloaded \(github\.com does not answer\)"):
        create_timm_model(model, pretrained=True)


def fill_cache(cache: Path) -> Path:
    """Put random weights for `TINY` into the Hub's cache, and return their file."""
    torch.manual_seed(3)
    folder = cache / f"models--timm--{TINY}"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs/main").write_text("0" * 40)
    (folder / "snapshots" / ("0" * 40)).mkdir(parents=True)
    file = folder / "snapshots" / ("0" * 40) / "model.safetensors"
    save_file(timm.create_model(TINY).state_dict(), file)
    return file


def test_cached_weights_need_no_network(no_network):
    expected = load_file(fill_cache(no_network))
    loaded = create_timm_model(TINY, pretrained=True).state_dict()
    assert all(torch.equal(loaded[name], weight) for name, weight in expected.items())


def test_downloaded_weights_are_identified_by_their_sha256(no_network):
    digest = sha256(fill_cache(no_network).read_bytes()).hexdigest()
    for name in (TINY, TINY.partition(".")[0]):
        parts = torch.nn.ModuleDict({"first": create_timm_model(name, pretrained=True), "second": torch.nn.ReLU()})
        assert downloaded_weights(parts) == {TINY: digest}
    assert downloaded_weights(create_timm_model(TINY, pretrained=False)) == {}


def test_weights_from_a_file_of_the_users_are_not_taken_for_downloaded_ones(no_network):
    file = fill_cache(no_network)
    assert (
        downloaded_weights(create_timm_model(TINY, pretrained=True, pretrained_cfg_overlay={"file": str(file)})) == {}
    )


def test_weights_from_an_address_are_identified_too(no_network, monkeypatch):
    folder = Path(os.environ["TORCH_HOME"]) / "hub/checkpoints"
    folder.mkdir(parents=True)
    (folder / "legacy_senet154-e9eb9fe6.pth").write_bytes(b"weights")
    monkeypatch.setattr(timm, "create_model", lambda *_, **__: torch.nn.ReLU())  # does not read them
    monkeypatch.setattr(timm_models, "_silent_server", lambda name: None)
    model = create_timm_model("legacy_senet154.in1k", pretrained=True)
    assert downloaded_weights(model) == {"legacy_senet154.in1k": sha256(b"weights").hexdigest()}


def test_a_model_without_pretrained_weights_is_not_initialised_at_random(no_network):
    with pytest.raises(UserError, match=r"weights of botnet50ts_256 cannot be loaded.*No pretrained weights exist"):
        create_timm_model("botnet50ts_256", pretrained=True)


# --- runs


def full_run(folder: Path, model: str = "resnet50") -> tuple[Run, DictConfig]:
    """A run of a full-size model on drawn faces in `folder`, which is not there yet."""
    faces = PreparedFaces.read(write_faces(folder.parent / "faces"))
    split = pd.DataFrame({"sample_id": faces.manifest["sample_id"], "subset": SUBSETS})
    split["balanced"] = split["subset"] == "train"
    cfg = compose(f"model={model}", "size=full", "optimization.epochs=1")
    config = json.loads(json.dumps(run_config(cfg, "drawn")))
    return Run(folder, {"config": config, "config_sha256": "0"}, faces, split), cfg


def test_a_run_without_its_weights_claims_nothing(no_network, tmp_path):
    run, cfg = full_run(tmp_path / "run")
    assert run.config["model"]["pretrained"] is True
    with pytest.raises(UserError, match=REMEDY):
        train_stages(run, trainer_settings(cfg), Console(quiet=True))
    assert not run.folder.exists()


def test_a_run_records_the_weights_that_it_started_from(no_network, tmp_path):
    digest = sha256(fill_cache(no_network).read_bytes()).hexdigest()
    settings = {"name": "tiny", "architecture": "timm_classifier", "backbone": TINY, "input_size": 32}
    changes = {"model": settings | {"pretrained": True}, "optimization.epochs": 3}
    run = train(tmp_path / "run", write_faces(tmp_path / "faces"), changes)
    assert json.loads((run.folder / "run.json").read_text())["downloaded_weights"] == {TINY: digest}
    run.note_downloads({TINY: "of another file, after a start that saved no checkpoint"})
    assert json.loads((run.folder / "run.json").read_text())["downloaded_weights"][TINY].startswith("of another")


@pytest.mark.parametrize(
    ("model", "networks"), [("resnet50", 1), pytest.param("genconvit_ed", 2, marks=pytest.mark.slow)]
)
def test_a_finished_run_is_rebuilt_without_a_download(tmp_path, monkeypatch, model, networks):
    run, _ = full_run(tmp_path / "run", model)
    asked = []
    create = timm.create_model

    def watched(name, pretrained=False, **options):
        asked.append(pretrained)
        return create(name, **options)

    monkeypatch.setattr(timm, "create_model", watched)
    run.detector(run.curriculum.stages[-1], from_scratch=False)
    assert asked == [False] * networks
    run.detector(run.curriculum.stages[0])
    assert asked == [False] * networks + [True] * networks


def test_the_command_ends_with_the_sentence_and_status_2(tmp_path):
    """A process of its own, as a user starts it, where the Hub's address leads nowhere."""
    faces = write_faces(tmp_path / "faces")
    rows = pq.read_table(faces / MANIFEST_NAME).to_pylist()
    write_manifest([row | {"perceptual_hash": f"{number:064x}"} for number, row in enumerate(rows)], faces)
    environment = os.environ | {"HF_ENDPOINT": "http://127.0.0.1:9", "HF_HOME": str(tmp_path / "hub")}
    environment["PYTHONWARNINGS"] = "ignore::FutureWarning"  # an old timm's about a new torch
    arguments = ("model=resnet50", "size=full", f"prepared={faces}", "split=video")
    command = [sys.executable, "-m", "deepfake_ms.train", *arguments]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2, done.stdout + done.stderr
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("error: The pretrained weights of resnet50.tv_in1k cannot be downloaded")
    assert lines[0].endswith(REMEDY)
    assert not list(tmp_path.rglob("run.json"))
