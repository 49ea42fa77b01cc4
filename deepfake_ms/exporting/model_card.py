"""The model card of an exported detector, in the form that Hugging Face expects, written from the run's own records."""

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCardData
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from deepfake_ms.data.audit import notes
from deepfake_ms.data.splits import SUBSETS, UNUSED
from deepfake_ms.evaluation.protocol_card import FIELDS
from deepfake_ms.exporting.graphs import OPSET
from deepfake_ms.exporting.results import TestResult
from deepfake_ms.scoring.metrics import LEVELS, TITLES

CARD_NAME = "README.md"
HEADLINE = ("auroc", "eer", "balanced_accuracy")
"""Metrics of the header, which Hugging Face shows beside the card."""
NOT_STATED = "not-stated"
TRAINING = {"Curriculum": "curriculum", "Mask": "mask", "Augmentation": "augmentation", "Loss": "loss"}
"""Title → group of the run's configuration whose choice the card names."""
SHARED = {"videos": "videos", "identities": "people", "near_duplicates": "near-duplicate faces"}
"""What subsets may share → its name."""


def model_card(
    config: Mapping[str, Any],
    run_config: Mapping[str, Any],
    results: Sequence[TestResult],
    audit: Mapping[str, Any],
    parameters: int,
) -> str:
    """The text of README.md.

    Args:
        config: content of the folder's config.json.
        run_config: the run's recorded configuration.
        results: the run's own test set first.
        audit: of the split; empty if not recorded.
        parameters: number of the model's parameters.
    """
    detector, provenance = config["detector"], config["provenance"]
    template = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    ).get_template("model_card.md.j2")
    return template.render(
        header=_header(config, results),
        name=f"{detector['name']}{' (SYNTHETIC)' if detector['synthetic'] else ''}",
        synthetic=detector["synthetic"],
        architecture=config["architecture"],
        parameters=parameters,
        stages=[stage["name"] for stage in run_config["curriculum"]["stages"]],
        facts=list(_facts(detector, run_config)),
        **{name: config["input"][name] for name in ("crop_size", "input_size")},
        opset=OPSET,
        decision=_decision(detector),
        parity=config["parity"]["largest_difference"],
        parity_faces=config["parity"]["faces"],
        parity_source=f"validation faces, {_in_words(config['parity']['batches'])} per call",
        data=_data(run_config, provenance),
        split_table=_split_table(audit),
        split_sentences=[*_shared(audit), *(notes(audit) if audit else [])],
        results=[_shown(result) for result in results],
        evaluations=max(result.scores["test_evaluations"] for result in results),
        limits=list(_limits(detector, results)),
        provenance=table(["", ""], _provenance(provenance)),
        licence=_licence(config["license"], run_config["data"]["name"]),
    )


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A table in Markdown; ``|`` in a cell is escaped."""
    lines = [header, ["---"] * len(header), *rows]
    cells = [[str(cell).replace("|", "\\|") for cell in line] for line in lines]
    return "\n".join(f"| {' | '.join(line)} |" for line in cells)


def _header(config: Mapping[str, Any], results: Sequence[TestResult]) -> str:
    """The YAML that Hugging Face reads: licence, tags, and headline metrics of all test sets."""
    detector = config["detector"]
    tags = ["deepfake-detection", "face-forgery-detection", "deepfake_ms"]
    entries = []
    for result in results:
        drawn = " (SYNTHETIC)" if result.scores["test_data"]["synthetic"] else ""
        for level in LEVELS:
            intervals = result.intervals[level]
            entries += [
                EvalResult(
                    task_type="image-classification",
                    dataset_type=result.scores["test_data"]["data_name"],
                    dataset_name=f"{result.scores['test_data']['data_name']}, {result.name}{drawn}",
                    metric_type=name,
                    metric_name=f"{TITLES[name]} per {level}",
                    metric_value=round(float(intervals.loc[name, "mean"]), 4),
                )
                for name in HEADLINE
                if name in intervals.index and math.isfinite(intervals.loc[name, "mean"])
            ]
    licence = config["license"]["weights"]
    return ModelCardData(
        license="other" if licence == NOT_STATED else licence,
        license_name=NOT_STATED if licence == NOT_STATED else None,
        pipeline_tag="image-classification",
        library_name="deepfake_ms",
        tags=[*tags, "synthetic-data"] if detector["synthetic"] else tags,
        model_name=detector["name"],
        eval_results=entries,
    ).to_yaml()


def _facts(detector: Mapping[str, Any], run_config: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    yield from ((FIELDS[key], text) for key, text in detector["about"]["protocol_card"].items())
    for title, group in TRAINING.items():
        if run_config.get(group):
            yield title, run_config[group]["name"]


def _decision(detector: Mapping[str, Any]) -> str:
    threshold, temperature = (detector[name]["video"] for name in ("thresholds", "temperatures"))
    sentences = []
    if threshold is None:
        sentences.append("The validation set lacks a class, so there is no threshold.")
    else:
        sentences.append(f"Above {threshold:.4f}, the best threshold on validation, it counts as fake.")
    if temperature is not None:
        sentences.append(
            f"These probabilities are not calibrated: sigmoid(logit(P) / {temperature:.4f}) is, as far as the "
            "validation videos go."
        )
    return " ".join(sentences)


def _data(run_config: Mapping[str, Any], provenance: Mapping[str, Any]) -> str:
    data, split, model = run_config["data"], run_config["split"], run_config["model"]
    weights = provenance["starting_weights"]
    start = "from scratch"
    if weights or model.get("pretrained"):
        digests = ", ".join(f"{name} (sha256 {digest[:12]})" for name, digest in weights.items())
        source = model.get("backbone", "an ImageNet model" if model.get("pretrained") else "another detector")
        start = f"from weights of {source}{f': {digests}' if digests else ''}"
    return f"Trained on {data['name']} {data['fingerprint']}, split `{split['policy']}`, {start}."


def _split_table(audit: Mapping[str, Any]) -> str:
    if not audit:
        return "The sizes of the subsets are not recorded."
    columns = ("real", "fake", "videos", "identities")
    subsets = {name: audit["subsets"][name] for name in (*SUBSETS, UNUSED)}
    rows = [[name, *(f"{counts[each]:,}" for each in columns)] for name, counts in subsets.items()]
    return table(["subset", "real faces", "fake faces", "videos", "known people"], rows)


def _shared(audit: Mapping[str, Any]) -> Iterator[str]:
    for pair, shared in audit.get("shared", {}).items():
        found = [f"{shared[what]:,} {title}" for what, title in SHARED.items()]
        yield f"Shared by {pair}: {', '.join(found)}."


def _shown(result: TestResult) -> dict[str, Any]:
    """A test set in texts."""
    scores, (first, *_) = result.scores, LEVELS
    drawn = " · SYNTHETIC" if scores["test_data"]["synthetic"] else ""
    headings = [f"per {level}" for level in LEVELS]
    rows = [
        [title, *(_interval(result.intervals[level].loc[name]) for level in LEVELS)]
        for name, title in TITLES.items()
        if name in result.intervals[first].index
    ]
    groups = [
        [
            line["by"],
            line["group"],
            f"{line['fakes']}",
            _interval({**line, "mean": line["auroc"]}),
            _number(line["fake_error"]),
            _number(line["real_error"]),
        ]
        for line in scores.get("breakdown") or []
    ]
    header = ["by", "group", "fake videos", "AUROC", "fakes missed", "its reals flagged"]
    frames = ", ".join(f"{count:,} {label}" for label, count in sorted(scores["frames"].items()))
    sentences = [f"{frames} faces of {scores['videos']:,} videos."]
    if coverage := scores["coverage"]:
        sentences.append(coverage["sentence"])
    if audit := scores["audit"]:
        sentences.append(f"{audit['near_duplicates']} of these faces are near-duplicates of training faces.")
    return {
        "title": f"{scores['test_data']['data_name']}, {result.name}{drawn}",
        "table": table(["", *headings], rows),
        "groups": table(header, groups) if groups else "",
        "sentences": sentences,
        "protocol": table(["", ""], [[title, scores["protocol_card"][key]] for key, title in FIELDS.items()]),
    }


def _limits(detector: Mapping[str, Any], results: Sequence[TestResult]) -> Iterator[str]:
    if detector["synthetic"]:
        yield "It was trained on drawn faces and has never seen a real one."
    yield "It sees face crops only: no sound, no background, and no relation between frames."
    yield (
        "It errs more often where manipulations, cameras, compression or people are unlike the training data. P(fake) "
        "depends on the share of fakes in the data; elsewhere, it is not the probability that a video is fake."
    )
    for result in results:
        yield f"On {result.name}, per video: {_per_video(result)}."
    if len(results) == 1:
        yield "It was tested on its own corpus only."
    groups = [(result, line) for result in results for line in result.scores.get("breakdown") or []]
    if groups:
        result, worst = min(groups, key=lambda pair: math.inf if pair[1]["auroc"] is None else pair[1]["auroc"])
        yield (
            f"Worst group: {worst['by']} {worst['group']} in {result.name}, AUROC {_number(worst['auroc'])} per video."
        )
    yield "The intervals cover other test videos, not other training runs."


def _per_video(result: TestResult) -> str:
    values = result.intervals["video"]["mean"]
    found = f"AUROC {_number(values['auroc'])}"
    if "real_error" not in values:
        return found
    missed, flagged = (_number(values[name]) for name in ("fake_error", "real_error"))
    return f"{found}; its threshold misses {missed} of the fakes and flags {flagged} of the reals"


def _provenance(provenance: Mapping[str, Any]) -> list[tuple[str, object]]:
    data = provenance["data"]
    return [
        ("trained by", provenance["trained_by"]),
        ("exported by", provenance["exported_by"]),
        ("checkpoint", f"sha256 {provenance['checkpoint_sha256']}"),
        ("run's configuration", f"sha256 {provenance['config_sha256']}"),
        ("data", f"{data['name']} {data['fingerprint']}"),
        ("seed", provenance["seed"]),
        ("libraries", ", ".join(f"{name} {version}" for name, version in provenance["libraries"].items())),
    ]


def _licence(licence: Mapping[str, Any], data: str) -> str:
    if licence["weights"] == NOT_STATED:
        return (
            f"The licence of these weights is not stated. They were trained on {data}: its terms may limit their use, "
            "and so may those of the weights that the training started from. Ask who published this folder before you "
            "use or share it."
        )
    return f"The weights: {licence['weights']}, as stated by who exported them. The code of deepfake_ms: MIT."


def _interval(line: Mapping[str, Any]) -> str:
    bounds = [line["low"], line["high"]]
    if any(each is None or math.isnan(each) for each in bounds):
        return _number(line["mean"])
    return f"{_number(line['mean'])} [{_number(bounds[0])}, {_number(bounds[1])}]"


def _number(value: float | None) -> str:
    return "–" if value is None or math.isnan(value) else f"{value:.3f}"


def _in_words(numbers: Sequence[int]) -> str:
    *most, last = map(str, numbers)
    return f"{', '.join(most)} and {last}"
