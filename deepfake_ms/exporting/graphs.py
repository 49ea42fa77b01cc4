"""A detector for other runtimes: ONNX, and the archive of torch.export.

Both take faces as bytes and return P(fake); the number of faces may differ from call to call. Neither file names paths
of the machine that wrote it. The archive has no pickled object, but `torch.export.load` would read one: load archives
of people you trust only.
"""

import contextlib
import logging
import warnings
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.export import Dim, ExportedProgram

from deepfake_ms.errors import UserError
from deepfake_ms.exporting.scorer import FaceScorer

ONNX_NAME, TORCH_NAME = "model.onnx", "model.pt2"
OPSET = 18
"""Version of the ONNX operators: the one that torch's exporter writes without conversion."""
INPUT, OUTPUT = "faces", "fake_probability"
LIBRARIES = ("onnx", "onnxruntime", "onnxscript")
LARGEST_FILE = 1_500_000_000
"""Bytes of weights up to which ONNX is one file; protocol buffers end at 2 GiB."""

Scores = Callable[[np.ndarray], np.ndarray]
"""Maps RGB crops, uint8 [N, 3, S, S], to P(fake), float32 [N]."""


def check_libraries() -> None:
    """Raise a UserError unless everything that writes and checks ONNX is installed."""
    if missing := [name for name in LIBRARIES if find_spec(name) is None]:
        raise UserError(f"{' and '.join(missing)} is not installed: run pip install 'deepfake_ms[export]'.")


def trace(scorer: FaceScorer, crop_size: int) -> ExportedProgram:
    """The graph of a scorer, for any number of faces, without names of this machine's files."""
    example = torch.zeros(2, 3, crop_size, crop_size, dtype=torch.uint8)
    with torch.no_grad():
        program = torch.export.export(scorer, (example,), dynamic_shapes={INPUT: {0: Dim("batch", min=1)}})
    program.example_inputs = None  # would be pickled into the archive
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)
    return program


def write_torch(program: ExportedProgram, folder: Path) -> None:
    """Write the archive of torch.export."""
    torch.export.save(program, folder / TORCH_NAME)


def write_onnx(program: ExportedProgram, folder: Path) -> list[str]:
    """Write the ONNX file, and a second one with the weights if they are larger than `LARGEST_FILE`.

    Returns:
        The names of the files.
    """
    with _quiet():
        exported = torch.onnx.export(
            program,
            (),
            dynamo=True,
            verbose=False,
            opset_version=OPSET,
            input_names=[INPUT],
            output_names=[OUTPUT],
            dynamic_shapes={INPUT: {0: "batch"}},
        )
    for node in exported.model.graph.all_nodes():
        node.metadata_props.clear()  # the exporter's notes for debugging
    weights = sum(value.nbytes for value in program.state_dict.values())
    exported.save(folder / ONNX_NAME, external_data=weights > LARGEST_FILE)
    return sorted(path.name for path in folder.glob(f"{ONNX_NAME}*"))


def open_torch(folder: Path) -> Scores:
    """The detector in the archive of torch.export."""
    return scores_of(torch.export.load(folder / TORCH_NAME).module())


def scores_of(module: nn.Module) -> Scores:
    """The scores of a torch module that maps faces to P(fake)."""

    @torch.inference_mode()
    def score(faces: np.ndarray) -> np.ndarray:
        return module(torch.from_numpy(faces)).numpy()

    return score


def open_onnx(folder: Path) -> Scores:
    """The detector in the ONNX file, run by ONNX Runtime on the CPU with as many threads as torch."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(folder / ONNX_NAME), options, providers=["CPUExecutionProvider"])
    return lambda faces: session.run([OUTPUT], {INPUT: faces})[0]


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without the exporter's notes on its own progress."""
    logger = logging.getLogger("onnxscript")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
