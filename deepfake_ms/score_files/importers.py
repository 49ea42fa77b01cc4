"""Scores in every layout that is read, in the form of the contract.

- The contract itself, as CSV or Parquet.
- ``predictions.parquet`` of this package, or the folder of a run: every test set that its selected checkpoint was
  evaluated on, without validation. Test sets of drawn faces are marked SYNTHETIC.
- GenD's ``test_predictions.csv``, or the log folder that contains it. As read on 2026-11-27 in yermandy/GenD (commit
  b26c2b2; not run): ``src/model/base.py`` writes the columns `files`, `labels`, `prob_class_0` and `prob_class_1`,
  P(fake), rounded to four decimals, and ``src/dataset/dataset.py`` expects files
  ``.../<dataset>/<source>/<video>/<frame>``. A video is named ``<source>/<video>``.
- DeepfakeBench's log folder, or a ``metric_dict_best.pickle`` in it: see `deepfake_ms.score_files.deepfakebench`.
"""

import json
from pathlib import Path

import pandas as pd

from deepfake_ms.errors import UserError
from deepfake_ms.labels import FAKE, REAL
from deepfake_ms.score_files import deepfakebench
from deepfake_ms.score_files.contract import place, read_table, validated

SYNTHETIC = " (SYNTHETIC)"
"""Ends the name of a test set of drawn faces."""

OWN_FILES = "evaluation/*/selected/predictions.parquet"
FOLDER_FILES = (OWN_FILES, f"test/*/{deepfakebench.METRICS_NAME}", deepfakebench.METRICS_NAME, "test_predictions.csv")


def read_scores(path: Path) -> pd.DataFrame:
    """The scores in a file or folder of any layout that the module names, as `contract.validated` returns them.

    Raises:
        UserError: there are no such scores, or they break the contract.
    """
    if path.is_dir():
        return pd.concat([read_scores(file) for file in _files_of(path)], ignore_index=True)
    if not path.is_file():
        raise UserError(f"{path} does not exist: name a score file or the folder of an evaluated run.")
    if path.suffix in (".pickle", ".pkl"):
        return validated(deepfakebench.read(path), path)
    table = read_table(path)
    if {"sample_id", "video_id", "fake_probability"} <= set(table):
        table = _from_predictions(table, path)
    elif {"files", "labels", "prob_class_1"} <= set(table):
        table = _from_gend(table, path)
    return validated(table, path)


def _files_of(folder: Path) -> list[Path]:
    for pattern in FOLDER_FILES:
        # DeepfakeBench also writes metrics of an average over test sets, which have no images.
        found = [
            file
            for file in sorted(folder.glob(pattern))
            if not (pattern == OWN_FILES and _is_no_test(file))
            and (file.suffix != ".pickle" or file.with_name(deepfakebench.IMAGES_NAME).is_file())
        ]
        if found:
            return found
    raise UserError(f"{folder} contains no scores: name one evaluated run, such as .../seed_0, or a score file.")


def _is_no_test(predictions: Path) -> bool:
    """Whether predictions are those of the validation set, or of faces of one class or without labels."""
    validation = predictions.parts[-3].split("_")[0] == "validation"
    return validation or set(pd.read_parquet(predictions, columns=["label"])["label"]) != {REAL, FAKE}


def _from_predictions(table: pd.DataFrame, path: Path) -> pd.DataFrame:
    scores = path.with_name("scores.json")
    about = json.loads(scores.read_text()) if scores.is_file() else {}
    synthetic = any(about.get(part, {}).get("synthetic") for part in ("data", "test_data"))
    return pd.DataFrame(
        {
            "test_set": table.attrs.get("test_set", "test") + (SYNTHETIC if synthetic else ""),
            "video": table["video_id"],
            "frame": [str(sample).rpartition("#")[2] for sample in table["sample_id"]],
            "label": table["label"],
            "score": table["fake_probability"],
        }
    )


def _from_gend(table: pd.DataFrame, path: Path) -> pd.DataFrame:
    if "prob_class_2" in table:
        raise UserError(f"{path} has scores of more than two classes: score real against fake.")
    parts = table["files"].map(str).str.split("/")
    if (short := parts.str.len() < 4).any():
        file = table["files"][short.idxmax()]
        raise UserError(f"{place(path, short.idxmax())}: {file} does not end in <dataset>/<source>/<video>/<frame>.")
    return pd.DataFrame(
        {
            "test_set": parts.str[-4],
            "video": parts.str[-3] + "/" + parts.str[-2],
            "frame": parts.str[-1].str.replace(r"\.\w+$", "", regex=True),
            "label": table["labels"],
            "score": table["prob_class_1"],
        }
    )
