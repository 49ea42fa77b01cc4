"""Prints the scores of a run on a test set."""

from rich.console import Console
from rich.table import Table

from deepfake_ms.evaluation.coverage import LOW_COVERAGE
from deepfake_ms.evaluation.predictions import EVALUATIONS_NAME
from deepfake_ms.evaluation.protocol_card import FIELDS
from deepfake_ms.scoring.metrics import LEVELS, TITLES
from deepfake_ms.training.run import Run


def print_scores(scores: dict, run: Run, console: Console) -> None:
    """Print tables of the scores and, below them, their protocol and provenance."""
    synthetic = " · SYNTHETIC DATA" if scores["test_data"]["synthetic"] else ""
    if scores["data"]["synthetic"] and not synthetic:
        synthetic = " · TRAINED ON SYNTHETIC DATA"
    row = run.folder.parent.name
    heading = f"{scores['test_set']} · {row} · seed {scores['seed']} · {scores['test_data']['data_name']}{synthetic}"
    if "metrics" in scores:
        console.print(_metrics_table(scores, f"Scores on {heading}"))
        if scores.get("breakdown"):
            console.print(_breakdown_table(scores["breakdown"]))
    else:
        console.print(f"{heading}: the faces have no labels, so they are scored but not measured.", highlight=False)
    for sentence in _sentences(scores, run):
        console.print(sentence, highlight=False, markup=False, soft_wrap=True)


def print_overview(found: list[dict], console: Console) -> None:
    """Print one line per test set: what the run's own threshold gives there beside what the best one would give."""
    table = Table(
        title="All test sets, per video",
        caption="FPR, balanced accuracy: at the threshold of the run's validation set. Best: at the threshold that "
        "would be best here, which is unknown in practice. ECE: expected calibration error.",
        title_justify="left",
        caption_justify="left",
    )
    table.add_column("test set", overflow="fold")
    for heading in ("AUROC", "AUROC\nper face", "FPR", "balanced\naccuracy", "best", "ECE", "videos", "coverage"):
        table.add_column(heading, justify="right")
    for scores in found:
        if "metrics" not in scores:
            table.add_row(scores["test_set"], *["–"] * 6, str(scores["videos"]), "–")
            continue
        at_run, metrics = scores["metrics_at_validation_thresholds"]["video"], scores["metrics"]
        coverage = scores["coverage"]
        table.add_row(
            scores["test_set"],
            *(_shown(metrics[level]["auroc"]) for level in ("video", "frame")),
            *(_shown(at_run[name]) for name in ("real_error", "balanced_accuracy")),
            _shown(scores["oracle"]["video"]["balanced_accuracy"]),
            _shown(metrics["video"]["calibration_error"]),
            str(coverage["videos"] if coverage else scores["videos"]),
            f"{coverage['share']:.1%}" if coverage else "–",
        )
    console.print(table)


def _metrics_table(scores: dict, title: str) -> Table:
    table = Table(title=title, title_justify="left")
    table.add_column("positive class: fake")
    for level in LEVELS:
        table.add_column(f"per {level}\nat .5", justify="right")
        table.add_column(f"per {level}\nat {_shown(scores['validation_thresholds'][level])}", justify="right")
    for name, heading in TITLES.items():
        cells = []
        for level in LEVELS:
            chosen = scores["metrics_at_validation_thresholds"][level]
            cells += [_shown(scores["metrics"][level][name]), _shown(chosen[name]) if name in chosen else ""]
        table.add_row(heading, *cells)
        if name in scores["calibrated"]["video"]:
            cells = [_shown(scores["calibrated"][level][name]) for level in LEVELS]
            table.add_row("  after temperature scaling", cells[0], "", cells[1], "")
    return table


def _breakdown_table(lines: list[dict]) -> Table:
    table = Table(title="Groups of fakes against all real videos, per video, worst first", title_justify="left")
    for heading in ("by", "group", "fakes", "AUROC [95 % interval]", "fakes missed", "reals flagged"):
        table.add_column(heading, justify="left" if heading in ("by", "group") else "right")
    for line in lines:
        interval = f"{_short(line['auroc'])} [{_short(line['low'])}, {_short(line['high'])}]"
        errors = (
            _short(line["fake_error"]),
            f"{_short(line['real_error'])} of {line['reals']}" if line["reals"] else "–",
        )
        table.add_row(str(line["by"]), str(line["group"]), str(line["fakes"]), interval, *errors)
    return table


def _sentences(scores: dict, run: Run):
    if "oracle" in scores and not scores["own"]:
        oracle, chosen = scores["oracle"]["video"], scores["metrics_at_validation_thresholds"]["video"]
        yield (
            f"Per video, the threshold of the run's own validation set gives balanced accuracy "
            f"{_shown(chosen['balanced_accuracy'])} and flags {_shown(chosen['real_error'])} of the real videos here; "
            f"the best threshold for these videos, which is unknown in practice, would give "
            f"{_shown(oracle['balanced_accuracy'])}."
        )
    if changes := scores["perturbation"]:
        yield (
            f"Perturbation: {changes['name']}, level {changes['level']}; mean PSNR {changes['mean_psnr']:.1f} dB, "
            f"{changes['share_changed']:.0%} of {changes['images']} faces changed"
        )
    coverage = scores["coverage"]
    if coverage and coverage["share"] < 1:
        low = "Low coverage: " if coverage["share"] < LOW_COVERAGE else ""
        yield low + coverage["sentence"]
    if seen := scores["seen_videos_left_out"]:
        yield f"{seen} videos are left out, because the run was trained or validated on them."
    if len(scores["frames"]) == 1 and "metrics" in scores:
        yield f"All videos are {next(iter(scores['frames']))}: metrics that need both classes are undefined."
    if audit := scores["audit"]:
        found = audit["near_duplicates"]
        example = f", e.g. {' and '.join(audit['near_duplicate_examples'][0])}" if found else ""
        yield f"Near-duplicates of training faces among these faces: {found}{example}."
        if audit["identities"]:
            named = ", ".join(audit["identity_examples"])
            yield f"People with the same name in the training set: {audit['identities']}, e.g. {named}."
    if scores["test_evaluations"] > 1:
        yield (
            f"This run has been evaluated {scores['test_evaluations']} times on test sets: "
            f"{run.folder / EVALUATIONS_NAME}"
        )
    chosen = " and ".join(f"{_shown(scores['temperatures'][level])} per {level}" for level in LEVELS)
    yield f"Temperatures, fitted on the run's own validation set: {chosen}."
    yield "Protocol:"
    for name, title in FIELDS.items():
        yield f"  {title}: {scores['protocol_card'][name]}"
    frames = ", ".join(f"{count} {label}" for label, count in sorted(scores["frames"].items()))
    note = (
        " (synthetic: drawn faces, not comparable with published numbers)" if scores["test_data"]["synthetic"] else ""
    )
    data = scores["test_data"]
    yield f"Data: {data['data_name']} {data['fingerprint']}{note}; {frames} faces of {scores['videos']} videos; 1 seed"
    yield f"Code: {scores['scored_by']}"


def _short(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _shown(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"
