"""The tables of the report; Markdown and HTML are written from the same grids."""

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from deepfake_ms.data.audit import PAIRS, notes
from deepfake_ms.data.splits import SUBSETS, UNUSED
from deepfake_ms.labels import CLASS_NAMES
from deepfake_ms.scoring.metrics import DECISION_METRICS, LEVELS, TITLES
from experiments.markdown import markdown_table
from experiments.report.cells import EXCLUDED, Cell
from experiments.report.paper_tables import F1_READINGS, PUBLISHED_METRICS, PUBLISHED_ON, PaperTable
from experiments.report.results import CHOSEN, HALF, Results, mean_confusion

PUBLISHED = f"published ({PUBLISHED_ON})"
HEADLINE = (*PUBLISHED_METRICS, "balanced_accuracy")
FURTHER = tuple(name for name in TITLES if name not in HEADLINE)
NONE = "–"
VARIANTS = {"small": "small variants, from scratch", "lite": "lite variants, pretrained EfficientNet-Lite"}
"""What titles and headings say of models that are not in full size."""


@dataclass(frozen=True)
class Column:
    """A column's heading, the group heading above it, and the style: ``published``, ``measured`` or ``plain``."""

    name: str
    group: str = ""
    style: str = "plain"


@dataclass(frozen=True)
class Grid:
    """A table of text.

    Attributes:
        caption: title.
        columns: the first one holds the heading of each line.
        lines: cells; newlines in a cell are line breaks.
        notes: sentences below the table.
    """

    caption: str
    columns: tuple[Column, ...]
    lines: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        assert all(len(line) == len(self.columns) for line in self.lines), self.caption

    @property
    def groups(self) -> list[tuple[str, str, int]]:
        """Name, style and number of columns of each group of neighbouring columns."""
        found: list[tuple[str, str, int]] = []
        for column in self.columns:
            if found and found[-1][:2] == (column.group, column.style):
                found[-1] = (column.group, column.style, found[-1][2] + 1)
            else:
                found.append((column.group, column.style, 1))
        return found

    def markdown(self) -> str:
        """Heading, table and notes."""
        header = [f"{column.name}, {column.group}" if column.group else column.name for column in self.columns]
        return "\n\n".join([f"### {self.caption}", markdown_table(header, self.lines), *self.notes]) + "\n"


def measured_label(results: Results) -> str:
    """Heading of our numbers: the data, whether they are drawn, and which variants the models are."""
    drawn, variants = ", SYNTHETIC" * results.synthetic, "".join(f"; {each}" for each in variants_of(results))
    return f"measured ({results.data}{drawn}{variants})"


def variants_of(results: Results) -> list[str]:
    """What is to be said of the models of the runs, if they are not in full size."""
    return [VARIANTS[size] for size in results.sizes if size in VARIANTS]


def _number(value: float, signed: bool = False) -> str:
    if pd.isna(value):
        return NONE
    text = f"{value:+.4f}" if signed and abs(value) >= 0.00005 else f"{abs(value) if signed else value:.4f}"
    return text.replace("0.", ".", 1) if abs(value) < 1 else text


def _estimate(line: pd.Series | None, signed: bool = False) -> str:
    """Mean ± spread over seeds, and the interval below."""
    if line is None or pd.isna(line["mean"]):
        return NONE
    text = _number(line["mean"], signed)
    if not pd.isna(line["sd"]):
        text += f" ± {_number(line['sd'])}"
    if not pd.isna(line["low"]):
        text += f"\n[{_number(line['low'], signed)}, {_number(line['high'], signed)}]"
    return text


def _line(lines: pd.DataFrame, experiment: str, metric: str, compared_with: str = "") -> pd.Series | None:
    place = experiment, compared_with, metric
    return lines.loc[place] if place in lines.index else None


def _row_status(results: Results, experiment: str) -> str:
    """How many of the row's runs are in its numbers, and the status of the others."""
    cells = [cell for cell in results.cells if cell.experiment == experiment]
    done = sum(cell.complete for cell in cells)
    missing = {cell.status for cell in cells if not cell.complete}
    if not cells:
        row = next(row for row in results.table.rows if row.experiment == experiment)
        return f"only {' and '.join(row.sizes)} size"
    if not missing:
        return f"{done} of {len(cells)}"
    return f"{done} of {len(cells)}\n" + "\n".join(sorted(missing))


def row_grid(results: Results, level: str, threshold: str, metrics: Sequence[str], caption: str) -> Grid:
    """One line per row, with published columns if level and threshold are those of the paper.

    Without published columns, rows without a measured number are omitted.
    """
    published = level == "frame" and threshold == HALF and set(PUBLISHED_METRICS) <= set(metrics)
    lines = results.lines("row", level, threshold)
    columns = [Column("row"), Column("seeds")]
    if published:
        titles = TITLES | ({"macro_f1": "F1"} if results.table.mixes_f1 else {})
        columns += [Column(titles[name], PUBLISHED, "published") for name in PUBLISHED_METRICS]
    columns += [Column(TITLES[name], measured_label(results), "measured") for name in metrics]
    if threshold == CHOSEN:
        columns.append(Column("threshold", measured_label(results), "measured"))
    texts = []
    for row in results.table.rows:
        if not published and _line(lines, row.experiment, metrics[0]) is None:
            continue
        text = [row.title, _row_status(results, row.experiment)]
        if published:
            printed = results.published.get(row.experiment, {})
            text += [_printed(results.table, printed, name) for name in PUBLISHED_METRICS]
        text += [_estimate(_line(lines, row.experiment, name)) for name in metrics]
        if threshold == CHOSEN:
            chosen = [cell.thresholds.get(level) for cell in results.complete(row.experiment).values()]
            text.append(", ".join(NONE if value is None else _number(value) for value in chosen) or NONE)
        texts.append(tuple(text))
    notes = (mixed_f1_note(results.table),) if published and results.table.mixes_f1 else ()
    return Grid(caption, tuple(columns), tuple(texts), notes)


def _printed(table: PaperTable, printed: dict[str, str], metric: str) -> str:
    """A published number; in a table that mixes averagings, F1 with its averaging below."""
    if metric != "macro_f1" or not table.mixes_f1 or not printed:
        return printed.get(metric, NONE)
    name = next(name for name in printed if name in F1_READINGS)
    return f"{printed[name]}\n{F1_READINGS[name]}"


def mixed_f1_note(table: PaperTable) -> str:
    """A note for tables whose published F1 scores use different averagings: which row fits which averaging."""
    of = {name: [row.title for row in table.rows if row.published and row.f1 == name] for name in F1_READINGS}
    named = "; ".join(f"{reading}: {', '.join(of[name])}" for name, reading in F1_READINGS.items() if of[name])
    return (
        "The published F1 scores use different averagings and cannot be ranked. Accuracy and class sizes of the test "
        f"set determine the possible averagings of each row (experiments/paper_audit): {named}. Measured F1 is always "
        "macro, and published differences in F1 are shown only between rows with macro F1."
    )


def row_grids(results: Results) -> list[Grid]:
    """Per level: headline metrics at .5, decision metrics at the chosen threshold, and further metrics at .5."""
    grids = []
    for level in LEVELS:
        unit = "Per frame" if level == "frame" else "Per video (mean P(fake) over its frames)"
        chosen = "threshold of best balanced accuracy on the validation set"
        grids.append(row_grid(results, level, HALF, HEADLINE, f"{unit}, threshold .5"))
        grids.append(row_grid(results, level, CHOSEN, DECISION_METRICS, f"{unit}, {chosen}"))
        grids.append(row_grid(results, level, HALF, FURTHER, f"{unit}, further metrics, threshold .5"))
    return [grid for grid in grids if grid.lines]


def effect_grid(results: Results, level: str, threshold: str) -> Grid:
    """One line per comparison of two rows; without published columns, only comparisons with a measured number."""
    metrics = HEADLINE if threshold == HALF else ("accuracy", "macro_f1", "balanced_accuracy")
    published = level == "frame" and threshold == HALF
    lines = results.lines("difference", level, threshold)
    group = "difference, " + measured_label(results)
    columns = [Column("comparison"), Column("seeds")]
    if published:
        columns += [Column(TITLES[name], f"difference, {PUBLISHED}", "published") for name in PUBLISHED_METRICS]
    columns += [Column(TITLES[name], group, "measured") for name in metrics]
    texts = []
    pairs = [(each.row, each.other, each.factor) for each in results.comparisons]
    control = results.table.control
    if control and threshold == CHOSEN:
        pairs.append((control, f"{control} at .5", "control for WL: only the threshold changes"))
    for row, other, factor in pairs:
        first = _line(lines, row, metrics[0], other)
        if first is None and not published:
            continue
        text = [f"{pair_title(results, row, other)}\n{factor}"]
        text.append(NONE if first is None else str(len(first["seeds"].split())))
        if published:
            text += [_published_difference(results, row, other, name) for name in PUBLISHED_METRICS]
        text += [_effect(_line(lines, row, name, other)) for name in metrics]
        texts.append(tuple(text))
    unit = f"Per {level}, threshold .5" if threshold == HALF else f"Per {level}, each run's validation threshold"
    heading = results.table.differences
    return Grid(f"{unit}: {heading[0].lower()}{heading[1:]}", tuple(columns), tuple(texts))


def pair_title(results: Results, row: str, other: str) -> str:
    """``WL − base``."""
    if other == f"{row} at .5":
        title = results.table.title_of(row)
        return f"{title} at validation threshold − {title} at .5"
    return f"{results.table.title_of(row)} − {results.table.title_of(other)}"


def _effect(line: pd.Series | None) -> str:
    text = _estimate(line, signed=True)
    if text == NONE or pd.isna(line["p_value"]):
        return text
    return f"{text}\np {line['p_value']:.3f}, {line['seeds_agreeing']}/{len(line['seeds'].split())} seeds"


def _published_difference(results: Results, row: str, other: str, metric: str) -> str:
    values = [results.published.get(each, {}).get(metric) for each in (row, other)]
    return NONE if None in values else _number(float(values[0]) - float(values[1]), signed=True)


def training_grid(results: Results) -> Grid:
    """How the finished rows were trained: one line per stage; settings shared by all stages only in the first line."""
    names = ("row", "model", "weights", "faces", "epochs", "augmentation", "loss, weight on fake", "optimization")
    names += ("frozen parts", "checkpoint")
    texts = []
    for row in results.table.rows:
        cells = list(results.complete(row.experiment).values())
        if not cells:
            continue
        config = cells[0].record["config"]
        model, curriculum = config["model"], config["curriculum"]
        weights = "; ".join(dict.fromkeys(_describe_weights(cell.record) for cell in cells))
        monitor = config["optimization"]["monitor"]
        described = [
            (row.title, model["name"], weights, *_describe_stage(stage, monitor)) for stage in curriculum["stages"]
        ]
        shared = [len(set(column)) == 1 for column in zip(*described, strict=True)]
        texts.append(described[0])
        texts += [
            tuple("" if same else text for same, text in zip(shared, line, strict=True)) for line in described[1:]
        ]
    notes = ("One line per stage of a row; empty cells are the same as in the row's first stage.",)
    has_stages = not all(title for title, *_ in texts)
    return Grid("How each row was trained", tuple(map(Column, names)), tuple(texts), notes if has_stages else ())


def _describe_weights(record: dict) -> str:
    """Where training started: from scratch, from pretrained weights or from a checkpoint, with their sha256."""
    model, digests = record["config"]["model"], dict(record["config"].get("starting_weights", {}))
    checkpoint = model.get("checkpoint")
    if any(checkpoint.values()) if isinstance(checkpoint, dict) else checkpoint:
        start = "from a checkpoint"
    else:
        start = "pretrained" if model.get("pretrained") else "from scratch"
    digests |= record.get("downloaded_weights", {})
    return ", ".join([start, *(f"sha256 {digest[:10]}" for digest in digests.values())])


def _describe_stage(stage: dict, monitor: str) -> tuple[str, ...]:
    """Faces, epochs, augmentation, loss, optimization, frozen parts and checkpoint of a stage."""
    optimizer, mask = stage["optimizer"], stage["mask"]
    rate = f" at {optimizer['lr']:g}" if "lr" in optimizer else ""
    missed = f", {mask['missed']:.0%} of videos missed" if mask and mask.get("missed") else ""
    return (
        f"masked: {mask['name'].replace('_', ' ')}{missed}" if mask else stage["faces"],
        str(stage["epochs"]),
        stage["augmentation"]["name"],
        f"{stage['loss']['name']}, {stage['loss']['class_weights']['fake']:g}",
        f"{optimizer['name']}{rate}, {stage['schedule']['name']}, batches of {stage['batch_size']}",
        ", ".join(stage["freeze"]) or NONE,
        f"best, by {monitor}" if stage["carry"] == "best" else "last",
    )


def cell_grid(results: Results) -> Grid:
    """Status and provenance of every run."""
    names = ("run", "status", "code", "configuration", "checkpoint", "thresholds (frame, video)", "test evaluations")
    names += ("validation AUROC after each stage",)
    texts = []
    for cell in results.cells:
        thresholds = ", ".join(NONE if value is None else _number(value) for value in map(cell.thresholds.get, LEVELS))
        texts.append(
            (
                cell.name,
                cell.status,
                cell.code or NONE,
                cell.record.get("config_sha256", NONE)[:10],
                cell.scores.get("checkpoint_sha256", NONE)[:10],
                thresholds,
                str(cell.scores.get("test_evaluations", NONE)),
                ", ".join(map(_number, cell.auroc_after_stages.values())) or NONE,
            )
        )
    return Grid("Every run", tuple(map(Column, names)), tuple(texts))


def confusion_grids(results: Results) -> list[Grid]:
    """Confusion matrices of faces and videos per finished row, averaged over seeds."""
    grids = []
    for row in results.table.rows:
        cells = list(results.complete(row.experiment).values())
        if not cells:
            continue
        texts = []
        for level in LEVELS:
            for chosen in (False, True):
                counts = mean_confusion(cells, level, chosen)
                if counts is None:
                    continue
                at = "validation threshold" if chosen else "at .5"
                for name, line in zip(CLASS_NAMES, counts, strict=True):
                    share = [f"{count:.10g}" if count % 1 == 0 else f"{count:.1f}" for count in line]
                    parts = [
                        f"{text}\n{count / line.sum():.1%}" if line.sum() else text
                        for text, count in zip(share, line, strict=True)
                    ]
                    texts.append((f"{level}, {at}", f"{name}", *parts))
        predicted = (Column(f"predicted {name}", measured_label(results), "measured") for name in CLASS_NAMES)
        columns = (Column("level"), Column("label"), *predicted)
        seeds = ", ".join(str(cell.seed) for cell in cells)
        caption = f"{row.title}, mean of seeds {seeds}" if len(cells) > 1 else f"{row.title}, seed {seeds}"
        grids.append(Grid(caption, columns, tuple(texts)))
    return grids


def audit_grids(cells: Sequence[Cell]) -> list[Grid]:
    """Size and overlap of the subsets, and exclusions; two grids per distinct audit."""
    audits: dict[str, list[Cell]] = {}
    for cell in cells:
        if cell.complete and cell.audit:
            audits.setdefault(repr(cell.audit), []).append(cell)
    grids = []
    for members in audits.values():
        audit = members[0].audit
        split = audit["split"]
        members_text = "all finished runs" if len(audits) == 1 else ", ".join(cell.name for cell in members)
        fractions = ":".join(f"{10 * value:g}" for value in split["fractions"])
        caption = f"Subsets of split {split['policy']} {fractions}, split seed {split['seed']}; {members_text}"
        names = ("videos", "identities", "real", "fake")
        subsets = tuple(
            (subset, *(str(audit["subsets"][subset][name]) for name in names)) for subset in (*SUBSETS, UNUSED)
        )
        grids.append(Grid(caption, (Column("subset"), *(Column(name) for name in names)), subsets))
        names = ("videos", "identities", "near_duplicates")
        shared = tuple((pair, *(str(audit["shared"][pair][name]) for name in names)) for pair in PAIRS)
        columns = (Column("between"), *(Column(name.replace("_", " ")) for name in names))
        grids.append(Grid(f"Shared between subsets; {members_text}", columns, shared, tuple(notes(audit))))
    return grids


def unfinished(cells: Sequence[Cell]) -> list[str]:
    """One sentence per status of unfinished cells, listing them."""
    found: dict[str, dict[str, list[str]]] = {}
    for cell in cells:
        if not (cell.complete or cell.status.startswith(EXCLUDED)):
            found.setdefault(cell.status, {}).setdefault(cell.experiment, []).append(str(cell.seed))
    return [
        f"{status[0].upper()}{status[1:]}: "
        + "; ".join(f"{row}, seed{'s' if len(seeds) > 1 else ''} {', '.join(seeds)}" for row, seeds in rows.items())
        + "."
        for status, rows in found.items()
    ]
