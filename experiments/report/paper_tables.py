"""What the paper's tables are: their rows, what a row may change, and which rows differ in one factor."""

from dataclasses import dataclass

import pandas as pd

from deepfake_ms.errors import UserError

PUBLISHED_ON = "Celeb-DF v2"
PUBLISHED_METRICS = {"accuracy": "accuracy", "macro_f1": "f1", "auroc": "auc"}
"""Our metric → its column in published.csv. That F1 is macro holds for the GenConViT rows, by the paper audit."""


@dataclass(frozen=True)
class Row:
    """A row: our experiment, and the paper's name of it; None if the paper leaves it out."""

    experiment: str
    title: str
    published: str | None = None


@dataclass(frozen=True)
class Comparison:
    """`row` minus `other`, both experiments of the table, and in words what differs."""

    row: str
    other: str
    factor: str


@dataclass(frozen=True)
class PaperTable:
    """A table of the paper and what we add to it.

    Attributes:
        number: in the paper.
        title: what it compares.
        rows: in reading order.
        varied: configuration keys in which rows may differ; with dots, as in Hydra. All others must be equal.
        comparisons: one factor at a time.
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

    def __post_init__(self) -> None:
        known = {row.experiment for row in self.rows}
        named = {name for each in self.comparisons for name in (each.row, each.other)} | {self.control} - {None}
        if unknown := sorted(named - known):
            raise UserError(f"Table {self.number} compares {unknown[0]}, which is none of its rows: add the row.")

    def title_of(self, experiment: str) -> str:
        """The row's title."""
        return next(row.title for row in self.rows if row.experiment == experiment)


def published_numbers(table: PaperTable, published: pd.DataFrame) -> dict[str, dict[str, str]]:
    """Experiment → metric → value as printed; rows that the paper leaves out are not in it.

    Args:
        published: experiments/published.csv, all strings.

    Raises:
        UserError: a row of the table is not in it.
    """
    printed = published[published["table"] == table.number].set_index("row")
    found = {}
    for row in table.rows:
        if row.published is None:
            continue
        if row.published not in printed.index:
            raise UserError(f"published.csv has no row '{row.published}' of Table {table.number}: correct its name.")
        values = printed.loc[row.published]
        found[row.experiment] = {metric: values[column] for metric, column in PUBLISHED_METRICS.items()}
    return found


def _row(name: str, title: str, published: bool = True) -> Row:
    return Row(f"table2_{name}", title, title if published else None)


def _compare(row: str, other: str, factor: str) -> Comparison:
    return Comparison(f"table2_{row}", f"table2_{other}", factor)


TABLE_2 = PaperTable(
    number="2",
    title="What each part of the recipe adds to GenConViT",
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
        _row("rst_as_released", "Swin as released", published=False),
    ),
    varied=("augmentation", "loss", "curriculum.name", "curriculum.stages", "model.swin"),
    comparisons=(
        _compare("wl", "base", "weighted loss"),
        _compare("wl_na", "na", "weighted loss, without augmentation"),
        _compare("wl_rf", "rf", "weighted loss, with random flips"),
        _compare("wl_rf_mep", "rf_mep", "weighted loss, with random flips and masked-eye stages"),
        _compare("na", "base", "no augmentation for standard"),
        _compare("wl_na", "wl", "no augmentation for standard, weighted loss"),
        _compare("rf", "base", "random flips for standard augmentation"),
        _compare("mep", "base", "masked-eye stages"),
        _compare("na_mep", "na", "masked-eye stages, without augmentation"),
        _compare("wl_na_mep", "wl_na", "masked-eye stages, weighted loss without augmentation"),
        _compare("rf_mep", "rf", "masked-eye stages, with random flips"),
        _compare("wl_rf_mep", "wl_rf", "masked-eye stages, weighted loss with random flips"),
        _compare("rst", "base", "Swin removed"),
        _compare("wl_na_rst", "wl_na", "Swin removed, weighted loss without augmentation"),
        _compare("rst_as_released", "rst", "null control: a Swin that is never called, for none"),
    ),
    control="table2_base",
)
TABLES = {table.number: table for table in (TABLE_2,)}
