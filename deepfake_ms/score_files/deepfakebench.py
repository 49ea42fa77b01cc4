"""Scores that DeepfakeBench writes while it trains.

As read on 2026-11-27 in SCLBD/DeepfakeBench (commit db3e348; not run): ``training/trainer/trainer.py`` writes two
pickles per test set to ``<log folder>/test/<test set>/``. ``metric_dict_best.pickle`` is a dict with `pred` (P(fake)
[N]) and `label` (0 or 1 [N]) besides the metrics. ``data_dict_test.pickle`` is a dict with `image` (N paths; for
detectors of clips, N lists of paths) and `label` (0 for real, above 0 for fake), in the same order, because the loader
does not shuffle. ``training/test.py`` prints its scores and writes none.

Two things to know. The scores are those of the epoch that is best *on this test set*. And DeepfakeBench takes the name
of an image's folder for the video, so that 000_003 of the four methods of FaceForensics++ becomes one video; here, a
video is named by its path, for example ``Deepfakes/000_003``, as in this package's own manifests.
"""

import pickle
import posixpath
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pandas as pd

from deepfake_ms.errors import UserError

METRICS_NAME, IMAGES_NAME = "metric_dict_best.pickle", "data_dict_test.pickle"
NAMELESS = ("original_sequences", "manipulated_sequences", "raw", "c0", "c23", "c40", "frames")
"""Folders of DeepfakeBench's trees that are not part of a video's name here."""


def read(path: Path) -> pd.DataFrame:
    """The scores of one test set in the columns of the contract; a clip counts as its first frame.

    Args:
        path: ``metric_dict_best.pickle``, with ``data_dict_test.pickle`` beside it.

    Raises:
        UserError: a file is missing, is not such a pickle or contains anything but numbers and text, or the two files
            do not belong together.
    """
    if path.name != METRICS_NAME:
        raise UserError(f"{path}: of pickles, only {METRICS_NAME} of DeepfakeBench is read; write a .csv instead.")
    images_path = path.with_name(IMAGES_NAME)
    if not images_path.is_file():
        raise UserError(f"{images_path} is missing: copy it from DeepfakeBench's log folder; it names the frames.")
    predicted, given = _load(path, ("pred", "label")), _load(images_path, ("image", "label"))
    score, label = (np.asarray(predicted[key]).reshape(-1) for key in ("pred", "label"))
    if not np.array_equal(label != 0, np.asarray(given["label"]).reshape(-1) != 0) or len(score) != len(label):
        raise UserError(
            f"{path} and {images_path.name} do not belong together, or an image was unreadable and DeepfakeBench "
            "scored its first image instead: copy both files from a run in which every image can be read."
        )
    firsts = [image if isinstance(image, str) else image[0] for image in given["image"]]
    images = [PurePosixPath(first.replace("\\", "/")) for first in firsts]
    names = _video_names([image.parent for image in images])
    return pd.DataFrame(
        {
            "test_set": path.parent.name,
            "video": [names[image.parent] for image in images],
            "frame": [image.stem for image in images],
            "label": label,
            "score": score,
        }
    )


def _video_names(folders: list[PurePosixPath]) -> dict[PurePosixPath, str]:
    """A unique name per folder: its path below the folder of all, without `NAMELESS` where that stays unique."""
    below = {folder: folder.relative_to(posixpath.commonpath(folders)).parts for folder in folders}
    names = {folder: "/".join(part for part in parts if part not in NAMELESS) for folder, parts in below.items()}
    return names if len(set(names.values())) == len(names) else {folder: "/".join(below[folder]) for folder in below}


class _Plain(pickle.Unpickler):
    """Reads numbers, text, lists, dicts and numpy arrays. Any other class or function, which could run code, fails."""

    ALLOWED = {
        (f"numpy.{core}.{module}", name)
        for core in ("core", "_core")  # numpy 1 and 2
        for module, name in (("multiarray", "_reconstruct"), ("multiarray", "scalar"), ("numeric", "_frombuffer"))
    } | {("numpy", "ndarray"), ("numpy", "dtype")}

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self.ALLOWED:
            raise pickle.UnpicklingError(f"it refers to {module}.{name}")
        return super().find_class(module, name)


def _load(path: Path, keys: tuple[str, ...]) -> dict[str, Any]:
    try:
        with path.open("rb") as stream:
            content = _Plain(stream).load()
    except OSError:
        raise
    except Exception as error:  # a damaged pickle can fail in any way
        raise UserError(
            f"{path} is not read, because only numbers and text are safe in a pickle ({error}): write a .csv instead."
        ) from error
    if not isinstance(content, dict) or set(keys) - set(content):
        raise UserError(f"{path} lacks {' or '.join(keys)}: give the file as DeepfakeBench writes it.")
    return content
