"""What the rule "only N frames" avoids: the decisions on videos of which fewer frames are read.

    python -m experiments.abstention.few_frames --runs runs

Run it from the repository's root. Nothing is scored here: the program reads the predictions that `deepfake-ms
evaluate` keeps in the folders of all runs below `--runs`, on test sets that are not perturbed. It cuts every video to
its first 1, 2, ... frames with a face and decides it by the mean P(fake) at the run's validation threshold, as
`deepfake-ms predict --max-frames N --min-frames 1` does. It counts how many decisions are wrong, and how many differ
from those on all frames. It writes few_frames.csv and few_frames.md to experiments/abstention/output; drawn faces add
SYNTHETIC to the names.
"""

import argparse
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from rich.console import Console

from deepfake_ms.errors import UserError
from deepfake_ms.evaluation.predictions import PREDICTIONS_NAME, SELECTED
from deepfake_ms.evaluation.scores import SCORES_NAME
from deepfake_ms.files import write_atomically
from deepfake_ms.labels import FAKE
from deepfake_ms.prediction.verdict import Limits
from deepfake_ms.provenance import code_version
from experiments.markdown import markdown_table
from experiments.program import make_parser, run_program

OUTPUT = Path(__file__).resolve().parent / "output"
ALL = "all"


def find_results(runs: Path) -> Iterator[tuple[dict[str, Any], pd.DataFrame]]:
    """Scores and predictions of every run below a folder, on each labelled test set that is not perturbed.

    Args:
        runs: folder that contains runs.
    """
    for path in sorted(runs.rglob(f"evaluation/*/{SELECTED}/{SCORES_NAME}")):
        scores = json.loads(path.read_text())
        is_measured = "metrics" in scores and scores["validation_thresholds"]["video"] is not None
        is_perturbed = scores.get("perturbation", "unknown") is not None  # earlier versions did not record it
        if is_measured and not is_perturbed and scores["test_set"] != "validation":
            yield scores, pd.read_parquet(path.with_name(PREDICTIONS_NAME))


def cut(predictions: pd.DataFrame, threshold: float, numbers: Sequence[int]) -> pd.DataFrame:
    """Decisions on the first frames of every video.

    Args:
        predictions: `video_id`, `label` (0 or 1) and `fake_probability`, the frames of a video in time order.
        threshold: of the mean P(fake).
        numbers: of frames.

    Returns:
        One row per number of frames, and one for `ALL`: `videos`; `wrong`, the share of wrong decisions; `changed`, the
        share of decisions that differ from those on all frames. Videos with fewer frames keep those they have.
    """
    place = predictions.groupby("video_id").cumcount()
    videos = predictions.groupby("video_id")
    is_fake, whole = videos["label"].first() == FAKE, videos["fake_probability"].mean() > threshold
    rows = []
    for frames, part in [*((number, predictions[place < number]) for number in numbers), (ALL, predictions)]:
        decided = part.groupby("video_id")["fake_probability"].mean() > threshold
        wrong, changed = (decided != is_fake).mean(), (decided != whole).mean()
        rows.append({"frames": frames, "videos": len(decided), "wrong": wrong, "changed": changed})
    return pd.DataFrame(rows)


def study(options: argparse.Namespace, console: Console) -> None:
    """Read, cut and count, write both files and print the table.

    Raises:
        UserError: no run below the folder was evaluated.
    """
    found, synthetic = [], False
    for scores, predictions in find_results(options.runs):
        decisions = cut(predictions, scores["validation_thresholds"]["video"], range(1, Limits.min_frames + 1))
        found.append(decisions.assign(faces="own test set" if scores["own"] else scores["test_set"]))
        synthetic |= scores["data"]["synthetic"] or scores["test_data"]["synthetic"]
    if not found:
        raise UserError(f"{options.runs} contains no evaluated run: give a folder of runs, such as runs.")
    groups = pd.concat(found).groupby(["faces", "frames"], sort=False)
    table = groups.agg(
        runs=("wrong", "size"),
        videos=("videos", "first"),
        wrong=("wrong", "mean"),
        wrong_sd=("wrong", "std"),
        changed=("changed", "mean"),
        changed_sd=("changed", "std"),
    ).reset_index()
    mark = "_SYNTHETIC" if synthetic else ""
    recorded = table.assign(synthetic=synthetic, code=code_version())
    write_atomically(options.output / f"few_frames{mark}.csv", recorded.to_csv(index=False))
    markdown = as_markdown(table, synthetic)
    write_atomically(options.output / f"few_frames{mark}.md", markdown)
    console.print(markdown)


def as_markdown(table: pd.DataFrame, synthetic: bool) -> str:
    """The table for people, in per cent: mean ± standard deviation over runs."""
    rows = [
        [
            *(row["faces"], row["runs"], row["videos"], row["frames"]),
            *(f"{100 * row[name]:.1f} ± {100 * row[f'{name}_sd']:.1f}" for name in ("wrong", "changed")),
        ]
        for row in table.to_dict("records")
    ]
    header = ["faces", "runs", "videos", "frames", "wrong", "other than on all frames"]
    kind = "SYNTHETIC: drawn faces. " if synthetic else ""
    about = f"{kind}Code {code_version()}. Shares of the videos in per cent, mean ± standard deviation over runs."
    return f"# Decisions on few frames\n\n{about}\n\n{markdown_table(header, rows)}\n"


def main(arguments: list[str] | None = None) -> None:
    parser = make_parser("abstention.few_frames", __doc__, OUTPUT, intervals=False)
    parser.add_argument("--runs", type=Path, required=True, help="folder that contains evaluated runs, at any depth")
    run_program(parser, study, arguments)


if __name__ == "__main__":
    main()
