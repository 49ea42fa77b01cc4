"""The files of the report: results.csv, the Markdown tables and the HTML page, from the same sections."""

import os
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from deepfake_ms.files import write_atomically
from deepfake_ms.provenance import code_version
from deepfake_ms.scoring.metrics import LEVELS
from experiments.report.figures import (
    Picture,
    calibration_pictures,
    effect_pictures,
    learning_pictures,
    roc_pictures,
)
from experiments.report.grids import (
    Grid,
    audit_grids,
    cell_grid,
    confusion_grids,
    effect_grid,
    row_grids,
    training_grid,
    unfinished,
    variants_of,
)
from experiments.report.paper_tables import PUBLISHED_ON
from experiments.report.protocol import ProtocolCheck
from experiments.report.results import CHOSEN, HALF, Results

SYNTHETIC = "SYNTHETIC"
BANNER = (
    f"SYNTHETIC DATA: the faces are drawn. These numbers say nothing about real faces and must not be compared with "
    f"the published {PUBLISHED_ON} numbers."
)
FIGURE_2 = Path(__file__).parents[1] / "figure2" / "output"
"""Where `experiments.figure2` writes its page."""
REPORT_LIBRARIES = ("matplotlib", "jinja2", "scikit-learn", "scipy", "pandas", "numpy")


@dataclass(frozen=True)
class Section:
    """A section of the report; `pictures` are only on the HTML page."""

    key: str
    title: str
    sentences: tuple[str, ...] = ()
    facts: tuple[tuple[str, str], ...] = ()
    grids: tuple[Grid, ...] = ()
    pictures: tuple[Picture, ...] = ()

    def markdown(self, synthetic: bool) -> str:
        """Everything except the pictures."""
        text = [f"## {self.title}{f' ({SYNTHETIC})' if synthetic else ''}", ""]
        text += [f"- {sentence}" for sentence in self.sentences] + [f"- {name}: {value}" for name, value in self.facts]
        return "\n".join([*text, "", *(grid.markdown() for grid in self.grids)])


def write_report(results: Results, protocol: ProtocolCheck, output: Path, resamples: int) -> list[Path]:
    """Write the three files into `output`; with synthetic data their names contain SYNTHETIC.

    Args:
        results: from `compute`.
        protocol: the check that `results` are based on.
        output: folder.
        resamples: bootstrap samples per interval, as given to `compute`.

    Returns:
        Paths of the CSV table, the Markdown file and the HTML page.
    """
    mark = f"_{SYNTHETIC}" if results.synthetic else ""
    table = f"table{results.table.number}"
    paths = [output / f"results{mark}.csv", output / f"{table}{mark}.md", output / f"{table}{mark}.html"]
    title = f"Table {results.table.number}: {results.table.title} · {results.data}"
    title += "".join(f" · {each}" for each in variants_of(results))
    title = f"{SYNTHETIC} · {title}" if results.synthetic else title
    sections = _sections(results, protocol, resamples)
    text = [f"# {title}", "", *([f"**{BANNER}**", ""] if results.synthetic else [])]
    text += [section.markdown(results.synthetic) for section in sections if not section.pictures or section.grids]
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    page = environment.get_template("page.html.j2").render(
        title=title, synthetic=results.synthetic, banner=BANNER, sections=sections, figure2=_figure2(results, output)
    )
    for path, content in zip(paths, (results.frame.to_csv(index=False), "\n".join(text), page), strict=True):
        write_atomically(path, content)
    return paths


def _figure2(results: Results, output: Path) -> str | None:
    """Link from the page of Table 2 in `output` to that of Figure 2, if there is one of the same kind of data."""
    page = FIGURE_2 / f"figure2{f'_{SYNTHETIC}' if results.synthetic else ''}.html"
    if results.table.number != "2" or not page.is_file():
        return None
    return Path(os.path.relpath(page, output)).as_posix()


def _sections(results: Results, protocol: ProtocolCheck, resamples: int) -> list[Section]:
    effects = [effect_grid(results, level, threshold) for threshold in (HALF, CHOSEN) for level in LEVELS]
    sections = [
        Section("status", "Status", sentences=_status(results, protocol)),
        Section("rows", "Rows", sentences=_how_to_read(resamples), grids=tuple(row_grids(results))),
        Section(
            "effects",
            results.table.differences,
            sentences=_how_to_read_effects(len(results.comparisons)),
            grids=tuple(grid for grid in effects if grid.lines),
            pictures=tuple(effect_pictures(results) + effect_pictures(results, CHOSEN)),
        ),
        Section("roc", "ROC curves", pictures=tuple(roc_pictures(results))),
        Section("calibration", "Calibration curves", pictures=tuple(calibration_pictures(results))),
        Section("learning", "Learning curves", pictures=tuple(learning_pictures(results))),
        Section("confusion", "Confusion matrices", grids=tuple(confusion_grids(results))),
        Section("split", "Split audit", grids=tuple(audit_grids(results.cells))),
        Section(
            "provenance",
            "Provenance",
            facts=tuple(_provenance(results, resamples)),
            grids=tuple(grid for grid in (training_grid(results), cell_grid(results)) if grid.lines),
        ),
    ]
    return [each for each in sections if each.sentences or each.facts or each.grids or each.pictures]


def _status(results: Results, protocol: ProtocolCheck) -> tuple[str, ...]:
    complete = [cell for cell in results.cells if cell.complete]
    sentences = [f"{len(complete)} of {len(results.cells)} runs are finished and included in the numbers."]
    if complete:
        sentences.append(
            f"Published numbers are from the paper, on {PUBLISHED_ON}; measured numbers are ours, on {results.data}"
            f"{' (drawn faces)' if results.synthetic else ''}, with the protocol given under Provenance. They are "
            "shown side by side, never mixed."
        )
        if (policy := complete[0].record["config"]["split"]["policy"]) != "paper_frames":
            sentences.append(
                "The protocols differ: the paper split frames 6:2:2, so that one video can be in several subsets; our "
                f"split policy is {policy}."
            )
    if variants := variants_of(results):
        sentences.append(
            f"The models are {' and '.join(variants)}. They say nothing about the full-size models of these names."
        )
    known = {cell.experiment for cell in results.cells}
    if without := [row.title for row in results.table.rows if row.experiment not in known]:
        sentences.append(f"Not trained, because there is no variant of this size: {', '.join(without)}.")
    if len(protocol.code_versions) > 1:
        sentences.append(
            f"With --any-code, runs of different code versions are compared: {', '.join(protocol.code_versions)}."
        )
    if lacking := [cell.name for cell in complete if None in map(cell.thresholds.get, LEVELS)]:
        sentences.append(
            f"Without a validation-chosen threshold, because validation lacks a class: {', '.join(lacking)}."
        )
    if mixed := [cell.name for cell in complete if len(cell.trained_by) > 1]:
        sentences.append(
            "Stages of the same run were trained, or continued, with different code, libraries or hardware: "
            f"{', '.join(mixed)}."
        )
    return (*sentences, *protocol.excluded, *unfinished(results.cells))


def _how_to_read(resamples: int) -> tuple[str, ...]:
    return (
        "Each cell shows the mean over seeds ± the standard deviation over seeds (n − 1), and below it the 95 % "
        f"percentile interval of {resamples:,} bootstrap samples of whole test videos.",
        "The interval covers the choice of test videos for these trained models; the variation between training runs "
        "is the standard deviation over seeds and not part of the interval.",
        "The positive class is fake; measured F1 is macro. Test faces are never masked.",
        "Tables without published columns omit rows and comparisons that have no number yet.",
    )


def _how_to_read_effects(comparisons: int) -> tuple[str, ...]:
    return (
        "First row minus second row, paired by seed and test video. p is two-sided and applies to these trained "
        "models; the fraction beside it counts the seeds whose difference has the same sign as the mean.",
        f"With {comparisons} comparisons, a few intervals exclude zero by chance alone; nothing is corrected for this.",
        "In the plots, a dot is the mean, a bar its 95 % interval, and each tick one seed.",
    )


def _provenance(results: Results, resamples: int) -> list[tuple[str, str]]:
    complete = [cell for cell in results.cells if cell.complete]
    facts = []
    if complete:
        record = complete[0].record
        config = record["config"]
        faces = complete[0].predictions
        split = config["split"]
        fractions = ":".join(f"{10 * value:g}" for value in split["fractions"])
        facts = [
            ("Data", f"{results.data}, fingerprint {config['data']['fingerprint']}{_drawn(results)}"),
            ("Prepared faces", f"manifest sha256 {record['manifest_sha256']}"),
            (
                "Test set",
                f"{len(faces):,} faces of {faces['video_id'].nunique():,} videos, {int(faces['label'].sum()):,} fake, "
                "the same in every run",
            ),
            ("Split", f"{split['policy']} {fractions}, split seed {split['seed']}"),
            ("Trainer", ", ".join(f"{name} {value}" for name, value in config["trainer"].items())),
            ("Seeds", ", ".join(map(str, sorted({cell.seed for cell in complete})))),
            ("Code of the runs", "; ".join(sorted({cell.code for cell in complete}))),
            ("Hardware of the runs", _hardware(complete)),
            ("Libraries of the runs", _versions(complete)),
        ]
    facts.append(("Published numbers", "experiments/published.csv: Herd Mentality in Augmentation, as printed"))
    facts.append(("Intervals", f"{resamples:,} bootstrap samples of the test videos with a fixed seed"))
    libraries = ", ".join(f"{name} {version(name)}" for name in REPORT_LIBRARIES)
    return [*facts, ("This report", f"{code_version()}; {libraries}")]


def _drawn(results: Results) -> str:
    return f"; {SYNTHETIC}, drawn faces" if results.synthetic else ""


def _hardware(cells: list) -> str:
    used = {(each["device"], each["processes"]) for cell in cells for each in cell.trained_by if "device" in each}
    return "; ".join(
        f"{device}, {processes} process{'es' if processes > 1 else ''}" for device, processes in sorted(used)
    )


def _versions(cells: list) -> str:
    found = sorted(
        {
            ", ".join(f"{name} {number}" for name, number in each["libraries"].items())
            for cell in cells
            for each in cell.trained_by
        }
    )
    return found[0] if len(found) == 1 else "different: " + " | ".join(found)
