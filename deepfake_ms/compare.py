"""``deepfake-ms compare FIRST OTHER ...``: test the differences between the scores of several detectors."""

import argparse
import json
import os
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from deepfake_ms.cli import plain_entry_point
from deepfake_ms.errors import UserError
from deepfake_ms.files import replacing
from deepfake_ms.score_files.comparison_table import print_comparison
from deepfake_ms.score_files.coverage import align
from deepfake_ms.score_files.importers import read_scores
from deepfake_ms.scoring.comparison import compare
from deepfake_ms.scoring.intervals import WITHOUT_INTERVAL
from deepfake_ms.scoring.metrics import LEVELS, TITLES

SHARED = ("test", "frames", "crop", "missing", "perturbation")
"""Fields of the protocol card that do not describe the detectors."""
METRICS = [name for name in TITLES if name not in WITHOUT_INTERVAL]


@plain_entry_point
def main() -> None:
    parser = argparse.ArgumentParser(
        prog="deepfake-ms compare",
        description="Compare the scores of several detectors with those of the first one: the difference with a 95 % "
        "interval and p-value by paired bootstrap over videos, and DeLong's test of the AUROC per video; p-values are "
        "adjusted by Holm for all comparisons.",
        epilog="A FILE is a score file (columns test_set, video, frame, label, score; .csv or .parquet), the folder of "
        "an evaluated run, GenD's test_predictions.csv, or a log folder of DeepfakeBench.",
    )
    parser.add_argument("first", metavar="FIRST", type=Path, help="scores that the others are compared with")
    parser.add_argument("others", metavar="FILE", type=Path, nargs="+", help="scores of another detector")
    parser.add_argument("--level", choices=LEVELS, default="video", help="default: video")
    parser.add_argument(
        "--metric",
        choices=METRICS,
        default="auroc",
        metavar="NAME",
        help=f"{', '.join(METRICS)}; default: auroc. Decisions are taken at .5",
    )
    parser.add_argument("--common", action="store_true", help="compare on what all files have and say what is left out")
    parser.add_argument("--csv", metavar="FILE", type=Path, help="also write the table to this file")
    arguments = parser.parse_args()
    paths = [arguments.first, *arguments.others]
    scores = {name: read_scores(path) for name, path in zip(_names(paths), paths, strict=True)}
    aligned, notes = align(scores, arguments.level, arguments.common)
    notes += protocol_notes(paths)
    table = compare(aligned, arguments.level, arguments.metric)
    print_comparison(table, notes, Console())
    if arguments.csv:
        with replacing(arguments.csv) as part:
            table.to_csv(part, index=False)


def protocol_notes(paths: Sequence[Path]) -> list[str]:
    """What differs in the protocol between the first evaluated run and the others, a sentence per run and test set.

    Args:
        paths: as on the command line; those that are no folders of runs have no protocol card.
    """
    cards = {path: _cards(path) for path in paths if path.is_dir()}
    first, *others = [path for path in cards if cards[path]] or [None]
    if not others:
        return []
    from deepfake_ms.evaluation.protocol_card import differences  # takes seconds to import

    compared = {
        (path, name): differences(cards[first][name], cards[path][name])
        for path in others
        for name in cards[path].keys() & cards[first].keys()
    }
    return [
        f"{first} (here) and {path} (there) were tested on {name} in different ways: {'; '.join(found)}."
        for (path, name), found in sorted(compared.items(), key=str)
        if found
    ]


def _cards(folder: Path) -> dict[str, dict[str, str]]:
    """Test set → the fields of its protocol card that two detectors on the same test must share."""
    found = {}
    for path in folder.glob("evaluation/*/selected/scores.json"):
        card = json.loads(path.read_text()).get("protocol_card", {})
        found[path.parts[-3]] = {name: value for name, value in card.items() if name in SHARED}
    return found


def _names(paths: Sequence[Path]) -> list[str]:
    """The paths below the folder that all are in.

    Raises:
        UserError: a path is given twice.
    """
    whole = [path.resolve() for path in paths]
    if len(set(whole)) < len(whole):
        twice = next(path for path, full in zip(paths, whole, strict=True) if whole.count(full) > 1)
        raise UserError(f"{twice} is given twice: name each detector's scores once.")
    folder = os.path.commonpath([path.parent for path in whole])
    return [str(path.relative_to(folder)) for path in whole]


if __name__ == "__main__":
    main()
