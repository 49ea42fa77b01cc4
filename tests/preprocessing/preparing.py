"""Prepares drawn corpora and reads what was written; tests import it."""

import hashlib
import json

from drawn import SquareDetector

from deepfake_ms.datasets import find_corpus
from deepfake_ms.preprocessing.prepare import prepare_corpus
from deepfake_ms.preprocessing.settings import PreparationSettings

SETTINGS = PreparationSettings(fps=2, crop_size=32, margin=0.3, offset=0)


def prepare(root, prepared_root, workers=0, settings=SETTINGS, data_name="demo", detector=SquareDetector, **options):
    return prepare_corpus(
        find_corpus("folder", root), data_name, settings, prepared_root, workers, make_detector=detector, **options
    )


def contents(folder):
    """The hash of every file, and the description without the time."""
    files = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}
    description = json.loads(files.pop("prepared.json").read_text())
    assert description.pop("prepared_at")
    return {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in files.items()} | description


def report_of(folder):
    return json.loads((folder / "report.json").read_text())
