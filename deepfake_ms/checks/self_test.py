"""A short run through the suite: draw faces, detect and crop them, score them, take one training step.

``python -m deepfake_ms.checks.self_test`` prints one line of JSON. The doctor starts it as a process of its own,
because an incompatible binary may end the process without an exception.
"""

import json
import subprocess
import sys
import time
from collections.abc import Iterator

from deepfake_ms.checks.finding import FAILED, WARNING, Finding, graded
from deepfake_ms.errors import UserError

SLOW_S = 10.0
"""The steps take less than a second on one core, without imports."""
TIMEOUT_S = 120
"""Limit of the whole process, whose imports may come from a slow network disk."""


def check_self() -> Iterator[Finding]:
    """Run this module and report its result."""
    command = [sys.executable, "-m", __name__]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S)
    except subprocess.TimeoutExpired:
        remedy = "look at the load of the machine and its disk, then run python -m deepfake_ms.checks.self_test"
        yield Finding("self-test", FAILED, f"not finished after {TIMEOUT_S} s", remedy)
        return
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        reason = f"killed by signal {-done.returncode}" if done.returncode < 0 else last
        remedy = "python -m deepfake_ms.checks.self_test prints the whole error; add it to your report"
        yield Finding("self-test", FAILED, reason, remedy)
        return
    result = json.loads(done.stdout.splitlines()[-1])
    found = (
        f"draw, detect, crop, score and one training step on {result['device']} in {result['seconds']:.1f} s; "
        f"loss {result['losses'][0]:.3f} → {result['losses'][1]:.3f}"
    )
    yield graded("self-test", found, (result["seconds"] > SLOW_S, WARNING, "the machine is slow or busy: see top"))


def run() -> dict:
    """Draw a real and a fake face and train on them.

    Returns:
        `device`; `seconds` without imports; and `losses`, of the same batch before and after the training step.

    Raises:
        UserError: a step gives an impossible result.
    """
    import numpy as np
    import torch

    from deepfake_ms.composition import compose
    from deepfake_ms.data.perturbation import preparation_settings
    from deepfake_ms.datasets.miniature import MiniatureSettings, plan_corpus
    from deepfake_ms.datasets.miniature.corpus import render_one
    from deepfake_ms.preprocessing.crops import crop_face
    from deepfake_ms.preprocessing.mtcnn import MTCNNDetector
    from deepfake_ms.training.detector import Detector

    begun = time.perf_counter()
    cfg = _plain(compose("size=small", "data=miniature"))
    drawn = MiniatureSettings(artefacts=cfg["data"]["draw"]["artefacts"])
    videos = plan_corpus(drawn)
    detect, preparation = MTCNNDetector().detect, preparation_settings(cfg["preparation"])
    crops = []
    for fake in (False, True):
        frame, _ = render_one(next(video for video in videos if video.is_fake == fake), drawn, 0)
        faces = next(detect([frame]))
        if not faces:
            raise UserError("MTCNN finds no face in a drawn face: reinstall facenet-pytorch.")
        crops.append(crop_face(frame, faces[0], preparation)[0])

    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.manual_seed(0)
    model = {name: value for name, value in cfg["model"].items() if name != "name"}
    model["name"] = model.pop("architecture")
    optimization = cfg["optimization"]
    detector = Detector(model, cfg["loss"]["class_weights"], optimization["optimizer"], optimization["schedule"])
    detector.to(device)
    images = torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2).to(device) / 255
    images = torch.nn.functional.interpolate(images, detector.model.input_size, mode="bilinear", antialias=True)
    batch = {"image": ((images - detector.mean) / detector.std).repeat(4, 1, 1, 1)}
    batch["label"] = torch.tensor([0, 1], device=device).repeat(4)
    probability = detector.eval()(batch["image"]).softmax(dim=1)
    if not torch.allclose(probability.sum(dim=1), torch.ones(8, device=device)):
        raise UserError("The probabilities of a face do not add up to 1: reinstall torch.")
    losses = _train(detector, batch, optimization["optimizer"])
    if not all(np.isfinite(losses)) or losses[0] == losses[1]:
        raise UserError(f"A training step changes the loss from {losses[0]} to {losses[1]}: reinstall torch.")
    return {"device": device, "seconds": time.perf_counter() - begun, "losses": losses}


def _plain(cfg) -> dict:
    from omegaconf import OmegaConf

    return OmegaConf.to_container(cfg, resolve=True)


def _train(detector, batch: dict, settings: dict) -> list[float]:
    """The loss of the batch before and after one optimizer step."""
    from deepfake_ms.training.optimization import build_optimizer

    detector.train()
    optimizer = build_optimizer(detector.model.parameters(), settings)
    losses = []
    for _ in range(2):
        loss = sum(detector.model.loss_terms(batch, detector.loss).values())
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return losses


if __name__ == "__main__":
    print(json.dumps(run()))
