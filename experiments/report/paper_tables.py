"""The paper's tables: their rows, the settings in which rows may differ, and the pairs of rows to compare."""

from dataclasses import dataclass

import pandas as pd

from deepfake_ms.errors import UserError

PUBLISHED_ON = "Celeb-DF v2"
PUBLISHED_METRICS = {"accuracy": "accuracy", "macro_f1": "f1", "auroc": "auc"}
"""Our metric → its column in published.csv. `Row.f1` gives the averaging of a row's published F1."""
F1_READINGS = {
    "macro_f1": "macro",
    "f1_real": "of the real class",
    "f1_weighted": "weighted",
    "f1_open": "macro or of the real class",
    "f1_impossible": "fits no averaging",
}
"""Name of a published F1 → the averaging that its row's accuracy and F1 fit, according to the paper audit."""


SIZES = ("small", "lite", "full")
"""Choices of the config group ``size``."""


@dataclass(frozen=True)
class Row:
    """A row of a table.

    Attributes:
        experiment: its name in ``conf/experiment``.
        title: shown in the report.
        published: the row's name in the paper; None if the paper does not have it.
        f1: averaging of the published F1, a key of `F1_READINGS`.
        sizes: those that its model has, of `SIZES`.
        varied: further keys of the protocol (`experiments.report.protocol`) in which this row alone may differ.
    """

    experiment: str
    title: str
    published: str | None = None
    f1: str = "macro_f1"
    sizes: tuple[str, ...] = SIZES
    varied: tuple[str, ...] = ()


@dataclass(frozen=True)
class Comparison:
    """`row` minus `other` (experiments of the table), and a description of what differs."""

    row: str
    other: str
    factor: str


@dataclass(frozen=True)
class PaperTable:
    """A table of the paper with our additional rows.

    Attributes:
        number: in the paper.
        title: of the report.
        rows: in reading order.
        varied: configuration keys in which rows may differ, with dots as in Hydra. All others must be equal.
        comparisons: pairs of rows.
        differences: heading of the comparisons.
        control: experiment whose gain from the validation-chosen threshold is shown; None for none.

    Raises:
        UserError: a comparison names a row that the table does not have.
    """

    number: str
    title: str
    rows: tuple[Row, ...]
    varied: tuple[str, ...]
    comparisons: tuple[Comparison, ...]
    control: str | None = None
    differences: str = "Effects, one factor at a time"

    def __post_init__(self) -> None:
        known = {row.experiment for row in self.rows}
        named = {name for each in self.comparisons for name in (each.row, each.other)} | {self.control} - {None}
        if unknown := sorted(named - known):
            raise UserError(f"Table {self.number} compares {unknown[0]}, which is not one of its rows: add the row.")

    @property
    def has_several_models(self) -> bool:
        """Whether its runs are in the folders of several models, ``<runs_root>/<data>/<model>``."""
        return "model" in self.varied

    @property
    def mixes_f1(self) -> bool:
        """Whether the published F1 scores of its rows use different averagings."""
        return len({row.f1 for row in self.rows if row.published}) > 1

    def row(self, experiment: str) -> Row:
        """The row of an experiment."""
        return next(row for row in self.rows if row.experiment == experiment)

    def title_of(self, experiment: str) -> str:
        """The row's title."""
        return self.row(experiment).title


def published_numbers(table: PaperTable, published: pd.DataFrame) -> dict[str, dict[str, str]]:
    """Experiment → metric → value as printed, for the rows that the paper has.

    The metric of a published F1 is `Row.f1`: ``macro_f1``, which can be compared with ours, or another key of
    `F1_READINGS`.

    Args:
        published: experiments/published.csv, all strings.

    Raises:
        UserError: the file lacks a row of the table.
    """
    printed = published[published["table"] == table.number].set_index("row")
    found = {}
    for row in table.rows:
        if row.published is None:
            continue
        if row.published not in printed.index:
            raise UserError(f"published.csv has no row '{row.published}' of Table {table.number}: correct its name.")
        values = printed.loc[row.published]
        names = {"macro_f1": row.f1}
        found[row.experiment] = {names.get(name, name): values[column] for name, column in PUBLISHED_METRICS.items()}
    return found


def _row(name: str, title: str, published: bool = True) -> Row:
    return Row(f"table2_{name}", title, title if published else None)


def _compare(row: str, other: str, factor: str) -> Comparison:
    return Comparison(f"table2_{row}", f"table2_{other}", factor)


TABLE_2 = PaperTable(
    number="2",
    title="What each part of the method adds to GenConViT",
    rows=(
        _row("base", "base"),
        _row("wl", "WL"),
        _row("na", "NA"),
        _row("rst", "RST"),
        _row("mep", "MEP"),
        _row("wl_na", "WL+NA"),
        _row("wl_na_rst", "WL+NA+RST"),
        _row("wl_na_mep", "WL+NA+MEP"),
        _row("na_mep", "NA+MEP"),
        _row("wl_rf_mep", "WL+RF+MEP"),
        _row("rf", "RF", published=False),
        _row("wl_rf", "WL+RF", published=False),
        _row("rf_mep", "RF+MEP", published=False),
        _row("random_mask", "WL+RF+random mask", published=False),
        _row("mouth_mask", "WL+RF+mouth mask", published=False),
        _row("rst_as_released", "Swin as released", published=False),
        Row("table2_wl_rf_mep_as_released", "WL+RF+MEP as released", varied=("curriculum.stages.carry",)),
    ),
    varied=("augmentation", "loss", "mask", "curriculum.name", "curriculum.stages", "model.swin"),
    comparisons=(
        _compare("wl", "base", "weighted loss"),
        _compare("wl_na", "na", "weighted loss, without augmentation"),
        _compare("wl_rf", "rf", "weighted loss, with random flips"),
        _compare("wl_rf_mep", "rf_mep", "weighted loss, with random flips and masked-eye stages"),
        _compare("na", "base", "no augmentation instead of standard"),
        _compare("wl_na", "wl", "no augmentation instead of standard, weighted loss"),
        _compare("rf", "base", "random flips instead of standard augmentation"),
        _compare("mep", "base", "masked-eye stages"),
        _compare("na_mep", "na", "masked-eye stages, without augmentation"),
        _compare("wl_na_mep", "wl_na", "masked-eye stages, weighted loss without augmentation"),
        _compare("rf_mep", "rf", "masked-eye stages, with random flips"),
        _compare("wl_rf_mep", "wl_rf", "masked-eye stages, weighted loss with random flips"),
        _compare("random_mask", "wl_rf", "boxes masked at random places"),
        _compare("mouth_mask", "wl_rf", "mouth masked"),
        _compare("wl_rf_mep", "random_mask", "eyes masked instead of random boxes"),
        _compare("wl_rf_mep", "mouth_mask", "eyes masked instead of the mouth"),
        _compare("rst", "base", "Swin removed"),
        _compare("wl_na_rst", "wl_na", "Swin removed, weighted loss without augmentation"),
        _compare("rst_as_released", "rst", "null control: a Swin that is never called instead of none"),
        _compare("wl_rf_mep_as_released", "wl_rf_mep", "as released instead of as described"),
    ),
    control="table2_base",
)


def _detector(name: str, title: str, f1: str = "macro_f1", sizes: tuple[str, ...] = SIZES) -> Row:
    return Row(f"table1_{name}", title, title, f1, sizes)


_NOT_LITE = ("small", "full")


_PAPERS_DETECTORS = (
    _detector("resnet50", "ResNet-50", "f1_real", _NOT_LITE),
    _detector("senet", "SENet", "f1_open", _NOT_LITE),
    _detector("efficientnet_b7", "EfficientNet-b7", "f1_real"),
    _detector("bit", "BiT", "f1_real", _NOT_LITE),
    _detector("vit", "ViT", "f1_open", _NOT_LITE),
    _detector("recce", "RECCE", "f1_weighted", _NOT_LITE),
    _detector("caddm", "CADDM", "f1_impossible"),
)
_FURTHER_DETECTORS = (
    Row("table1_genconvit_vae", "GenConViT-VAE"),
    Row("table1_genconvit_ensemble", "GenConViT, both networks"),
    Row("table1_linear_probe", "Linear probe", sizes=("lite", "full")),
    Row("table1_senet154", "SENet-154", sizes=("full",)),
)
_GENCONVIT, _OURS = _detector("genconvit", "GenConViT"), _detector("ours", "ours")

TABLE_1 = PaperTable(
    number="1",
    title="Detectors compared",
    rows=(*_PAPERS_DETECTORS, _GENCONVIT, _OURS, *_FURTHER_DETECTORS),
    varied=(
        "model",
        "starting_weights",
        "optimization",
        "augmentation",
        "loss",
        "mask",
        "curriculum.name",
        "curriculum.stages",
    ),
    comparisons=(
        Comparison(_OURS.experiment, _GENCONVIT.experiment, "the same network, with WL, RF and MEP"),
        *(Comparison(_OURS.experiment, row.experiment, "the paper's claim") for row in _PAPERS_DETECTORS),
        *(
            Comparison(row.experiment, _GENCONVIT.experiment, "another detector")
            for row in (*_PAPERS_DETECTORS, *_FURTHER_DETECTORS)
        ),
    ),
    differences="Differences between detectors",
)
TABLES = {table.number: table for table in (TABLE_1, TABLE_2)}
