"""``deepfake-ms scores SOURCE FILE``: write the scores of a run, or of another tool, as one score file."""

import argparse
from pathlib import Path

from deepfake_ms.cli import plain_entry_point
from deepfake_ms.errors import UserError
from deepfake_ms.score_files.contract import write_scores
from deepfake_ms.score_files.importers import SYNTHETIC, read_scores


@plain_entry_point
def main() -> None:
    parser = argparse.ArgumentParser(
        prog="deepfake-ms scores",
        description="Write scores as one CSV or Parquet file with the columns test_set, video, frame, label (real or "
        "fake) and score (P(fake), 0..1).",
    )
    parser.add_argument(
        "source",
        metavar="SOURCE",
        type=Path,
        help="folder of an evaluated run, its predictions.parquet, GenD's test_predictions.csv, a log folder of "
        "DeepfakeBench, or a score file",
    )
    parser.add_argument("file", metavar="FILE", type=Path, help="what to write, .csv or .parquet")
    parser.add_argument("--test-set", metavar="NAME", help="another name for the only test set of SOURCE")
    arguments = parser.parse_args()
    scores = read_scores(arguments.source)
    if arguments.test_set:
        old, *others = scores["test_set"].unique()
        if others:
            sets = ", ".join([old, *others])
            raise UserError(f"{arguments.source} has several test sets, {sets}: --test-set can name only one.")
        scores["test_set"] = arguments.test_set + (SYNTHETIC if old.endswith(SYNTHETIC) else "")
    write_scores(scores, arguments.file)
    print(f"{arguments.file}: {len(scores)} scores of {scores.groupby(['test_set', 'video']).ngroups} videos")


if __name__ == "__main__":
    main()
