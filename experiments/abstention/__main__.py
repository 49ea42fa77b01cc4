"""How often `deepfake-ms predict` abstains, on faces like the training data and on others, and whether it should.

    python -m experiments.abstention --run RUN --prepared PREPARED ... --files NAME=PATH ...

Run it from the repository's root. It applies the rules of `deepfake_ms.prediction.verdict` to the run's own test faces,
to the same faces perturbed, to other prepared corpora, and to videos and images in files. For each it counts the
videos that abstain, by reason, and the errors of the decisions on both sides: on the videos that are scored, and on
those that are unlike the training data, had they been scored. Beside the rule in use (image statistics), it shows
which share two others would have called unlike the training data, with limits chosen in the same way: the distance of
network features, and a P(fake) near .5. It writes abstention.csv and abstention.md to experiments/abstention/output.
"""

import argparse
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from rich.console import Console

from deepfake_ms.composition import load_choice
from deepfake_ms.data.prepared_faces import PreparedFaces
from deepfake_ms.errors import UserError
from deepfake_ms.evaluation.test_set import TestSet
from deepfake_ms.files import write_atomically
from deepfake_ms.labels import CLASS_NAMES, FAKE
from deepfake_ms.manifest import BOX_COLUMNS
from deepfake_ms.prediction.detector import TrainedDetector, load_detector
from deepfake_ms.prediction.files import predict_file
from deepfake_ms.prediction.find_files import find_files
from deepfake_ms.prediction.reference import QUANTILE, image_statistics
from deepfake_ms.prediction.verdict import Limits, ScoredFace, decide_track
from deepfake_ms.preprocessing.faces import Face
from deepfake_ms.provenance import code_version
from deepfake_ms.quiet import hush
from deepfake_ms.training.run import Run
from experiments.abstention.features import nearest_distances, network_features
from experiments.markdown import markdown_table
from experiments.program import make_parser, run_program

OUTPUT = Path(__file__).resolve().parent / "output"
PERTURBATIONS = [(name, level) for name in ("jpeg", "gaussian_noise", "gaussian_blur", "resize") for level in (1, 3, 5)]
REASONS = {"no_face": "no face", "few_frames": "only", "small": "face too small", "unlike": "unlike the training data"}
"""Column → how the reason begins."""


@dataclass(frozen=True, eq=False)
class Rule:
    """A way to tell faces that are unlike the training data.

    Attributes:
        distance: of crops [N, 3, S, S] with their P(fake) [N]: [N].
        limit: largest mean distance of a video.
    """

    distance: Callable[[np.ndarray, np.ndarray], np.ndarray]
    limit: float


def alternatives(detector: TrainedDetector, run: Run) -> dict[str, Rule]:
    """The rules that are not in use, with the limit that leaves out the same share of validation videos."""
    training = network_features(detector.model, crops_of(TestSet("training", run.faces, run.training_rows), detector))
    distances = {
        "features": lambda crops, _: nearest_distances(network_features(detector.model, crops), training),
        "uncertain": lambda _, raw: -np.abs(raw - 0.5),
    }
    validation = TestSet.of_run(run, "validation")
    crops = crops_of(validation, detector)
    raw, videos = detector.probabilities(crops), videos_of(validation)
    return {
        name: Rule(distance, float(pd.Series(distance(crops, raw)).groupby(videos).mean().quantile(QUANTILE)))
        for name, distance in distances.items()
    }


def crops_of(test_set: TestSet, detector: TrainedDetector) -> np.ndarray:
    """Its faces, perturbed if it says so: uint8 [N, 3, S, S]."""
    faces = test_set.dataset(detector.preparation.crop_size)
    return faces.batch(list(range(len(faces))))["image"].numpy()


def videos_of(test_set: TestSet) -> np.ndarray:
    return test_set.faces.manifest["video_id"].iloc[test_set.rows].to_numpy()


def judge_prepared(test_set: TestSet, detector: TrainedDetector, rules: dict[str, Rule]) -> pd.DataFrame:
    """One row per video: reason to abstain, whether the decision is or would be wrong, and what other rules say."""
    crops = crops_of(test_set, detector)
    raw, distances = detector.probabilities(crops), detector.reference.distances(image_statistics(crops))
    others = {name: rule.distance(crops, raw) for name, rule in rules.items()}
    faces = test_set.faces.manifest.iloc[test_set.rows].reset_index(drop=True)
    rows = []
    for _, video in faces.groupby("video_id"):
        scored = [
            ScoredFace(face.frame_index, face.time_s, _face(face), float(raw[i]), float(raw[i]), float(distances[i]))
            for i, face in zip(video.index, video.itertuples(), strict=True)
        ]
        track = decide_track(1, scored, "video", detector, Limits())
        is_fake = video["label"].iloc[0] == CLASS_NAMES[FAKE]
        said = {name: others[name][video.index].mean() > rule.limit for name, rule in rules.items()}
        rows.append({"reason": track.reason, "wrong": track.is_fake != is_fake, **said})
    return pd.DataFrame(rows)


def _face(row) -> Face:
    box = np.array([getattr(row, name) for name in BOX_COLUMNS], dtype=np.float64)
    return Face(box, np.zeros((5, 2)), row.probability)


def judge_files(paths: Sequence[Path], detector: TrainedDetector) -> pd.DataFrame:
    """One row per file that can be read; whether the decision is wrong is unknown."""
    predictions = [predict_file(detector, path) for path in paths]
    read = [each.verdict.reason for each in predictions if not each.problem]
    return pd.DataFrame({"reason": read, "wrong": np.nan})


def summarise(name: str, judged: pd.DataFrame, synthetic: bool) -> dict:
    """Shares of all videos, and the share of wrong decisions on each side."""
    reason = judged["reason"].fillna("")
    unlike = reason.str.startswith(REASONS["unlike"])
    shares = {column: float(reason.str.startswith(text).mean()) for column, text in REASONS.items()}
    return {
        "faces": name,
        "synthetic": synthetic,
        "videos": len(judged),
        "scored": float((reason == "").mean()),
        **shares,
        "error_scored": float(judged.loc[reason == "", "wrong"].astype(float).mean()),
        "error_unlike": float(judged.loc[unlike, "wrong"].astype(float).mean()),
        **{f"unlike_by_{each}": float(judged[each].mean()) for each in ("features", "uncertain") if each in judged},
    }


def test_sets(run: Run, prepared: Sequence[Path]) -> Iterator[tuple[str, TestSet]]:
    """The run's own test faces, as they are and perturbed; then those of other prepared folders."""
    yield "own test set", TestSet.of_run(run, "test")
    for name, level in PERTURBATIONS:
        settings = {**load_choice("perturbation", name, "perturbation"), "level": level}
        yield f"own test set, {name} {level}", TestSet.of_run(run, "test", settings)
    for folder in prepared:
        faces = PreparedFaces.read(folder)
        yield faces.about["data_name"], TestSet.of_corpus(faces.about["data_name"], faces, "all")


def study(options: argparse.Namespace, console: Console) -> None:
    """Judge all faces, write both files and print the table.

    Raises:
        UserError: the run or a folder cannot be used.
    """
    detector, run = load_detector(options.run), Run.open(options.run)
    rules = alternatives(detector, run)
    rows = []
    for name, test_set in test_sets(run, options.prepared):
        rows.append(summarise(name, judge_prepared(test_set, detector, rules), test_set.faces.about["synthetic"]))
        console.print(f"{name}: {rows[-1]['videos']} videos")
    for text in options.files:
        name, _, path = text.partition("=")
        if not path:
            raise UserError(f"--files {text}: give NAME=PATH.")
        rows.append(summarise(name, judge_files(find_files([path])[0], detector), False))
        console.print(f"{name}: {rows[-1]['videos']} files")
    table = pd.DataFrame(rows)
    mark = "_SYNTHETIC" if detector.synthetic else ""
    about = {"detector": detector.name, "checkpoint": detector.about["checkpoint_sha256"], "code": code_version()}
    write_atomically(options.output / f"abstention{mark}.csv", table.assign(**about).to_csv(index=False))
    markdown = as_markdown(table, about, detector.synthetic)
    write_atomically(options.output / f"abstention{mark}.md", markdown)
    console.print(markdown)


def as_markdown(table: pd.DataFrame, about: dict[str, str], synthetic: bool) -> str:
    """The table for people, in per cent."""
    columns = {
        "scored": "scored",
        "no_face": "no face",
        "few_frames": "few frames",
        "small": "too small",
        "unlike": "unlike",
        "error_scored": "errors, scored",
        "error_unlike": "errors, unlike",
        "unlike_by_features": "unlike by features",
        "unlike_by_uncertain": "unlike by P near .5",
    }
    rows = [
        [row["faces"], row["videos"], *(_percent(row.get(name)) for name in columns)]
        for row in table.to_dict("records")
    ]
    kind = "SYNTHETIC: the detector was trained on drawn faces. " if synthetic else ""
    text = markdown_table(["faces", "videos", *columns.values()], rows)
    return f"# Abstention\n\n{kind}{about['detector']}; code {about['code']}. All shares in per cent.\n\n{text}\n"


def _percent(share: float | None) -> str:
    return "–" if share is None or np.isnan(share) else f"{100 * share:.0f}"


def main(arguments: list[str] | None = None) -> None:
    hush()
    parser = make_parser("abstention", __doc__, OUTPUT, intervals=False)
    parser.add_argument("--run", type=Path, required=True, help="folder of the run")
    parser.add_argument("--prepared", type=Path, nargs="*", default=[], help="folders of other prepared faces")
    parser.add_argument("--files", nargs="*", default=[], metavar="NAME=PATH", help="videos and images")
    run_program(parser, study, arguments)


if __name__ == "__main__":
    main()
