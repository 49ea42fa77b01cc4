"""The W&B report as an object and the commands of the W&B sweep, without network."""

import sys
from pathlib import Path

import pytest
import yaml
from wandb.sdk.launch.sweeps.utils import create_sweep_command_args

from deepfake_ms.composition import compose
from deepfake_ms.errors import UserError
from deepfake_ms.files import write_json
from deepfake_ms.scoring.metrics import LEVELS, TITLES
from deepfake_ms.training.run_folder import new_record
from experiments.wandb import __main__ as dashboard

ROWS = dashboard.Rows("miniature", "small", ("table2_base", "table2_wl"), synthetic=True)
SWEEP = yaml.safe_load((Path(dashboard.__file__).parent / "sweep.yaml").read_text())


def write_runs(folder: Path, *names: str, data: str = "miniature") -> None:
    for name in names:
        for seed in (0, 1):
            run = folder / name / f"seed_{seed}"
            config = {"data": {"name": data}, "model": {"name": "small"}}
            about = dict.fromkeys(("prepared", "manifest_sha256", "code", "code_sha256"), "1") | {"libraries": {}}
            write_json(run / "run.json", new_record(config, {**about, "synthetic": data == "miniature"}))
            (run / "wandb_id.txt").write_text("abcd1234")


def test_rows_are_those_with_wandb_runs(tmp_path):
    write_runs(tmp_path, "table2_wl", "table2_base")
    write_json(tmp_path / "table2_na" / "seed_0" / "run.json", {})
    assert dashboard.find_rows(tmp_path) == ROWS


def test_runs_of_several_data_are_refused(tmp_path):
    write_runs(tmp_path, "table2_base")
    write_runs(tmp_path, "table2_wl", data="celebdf_v2")
    with pytest.raises(UserError, match="several datasets or models"):
        dashboard.find_rows(tmp_path)


def test_a_folder_without_wandb_runs_is_one_sentence(tmp_path, capsys):
    with pytest.raises(SystemExit) as stop:
        dashboard.main(["--runs", str(tmp_path), "--entity", "me"])
    assert stop.value.code == 2
    assert "contains no run trained with logger=wandb" in capsys.readouterr().err


def test_without_wandb_workspaces_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb_workspaces.reports.v2", None)
    with pytest.raises(UserError, match=r"pip install -e '.\[dashboard\]'"):
        dashboard.build_report(ROWS, "deepfake_ms", "me")


def flatten(condition) -> list:
    """The leaves of a tree of conditions."""
    return [leaf for part in condition.filters for leaf in flatten(part)] if condition.filters else [condition]


def test_the_report_has_curves_per_row_and_test_scores():
    reports = pytest.importorskip("wandb_workspaces.reports.v2")
    from wandb_workspaces.expr import expr_to_filters

    report = dashboard.build_report(ROWS, "deepfake_ms", "me")
    assert report.title.endswith("SYNTHETIC DATA")
    comparison, *curves = [block for block in report.blocks if isinstance(block, reports.PanelGrid)]
    assert [runset.name for runset in comparison.runsets] == list(ROWS.names)
    bars = {panel.metrics[0] for panel in comparison.panels}
    assert bars == {f"test/{level}/{metric}" for level in LEVELS for metric in dashboard.COMPARED}
    assert all("SYNTHETIC" in panel.title for panel in comparison.panels)
    columns = {f"summary:test/{level}/{metric}" for level in LEVELS for metric in TITLES}
    assert columns <= set(comparison.runsets[0].visible_columns)

    assert [grid.runsets[0].name for grid in curves] == list(ROWS.names)
    for grid in curves:
        assert {panel.y[0] for panel in grid.panels} == set(dashboard.CURVES)
        assert {panel.x for panel in grid.panels} == {"trainer/global_step"}
        conditions = {(each.key.name, str(each.value)) for each in flatten(expr_to_filters(grid.runsets[0].filters))}
        assert conditions == {("group", grid.runsets[0].name), ("tags", "['miniature']"), ("tags", "['small']")}
        for panel in grid.panels:
            assert panel._to_model().config.x_axis == "trainer/global_step"  # W&B's own form of it


def test_real_data_is_not_marked_as_synthetic():
    pytest.importorskip("wandb_workspaces")
    rows = dashboard.Rows("celebdf_v2", "genconvit_ed", ("table2_base",), synthetic=False)
    assert "SYNTHETIC" not in str(dashboard.build_report(rows, "deepfake_ms", "me"))


def sweep_command(**changed: int) -> list[str]:
    """The Hydra overrides of one run of the sweep, as W&B's agent composes them.

    Args:
        changed: parameter → index of its value; default: the first value of each.
    """
    values = {name: choices["values"][changed.get(name, 0)] for name, choices in SWEEP["parameters"].items()}
    macros = create_sweep_command_args({"args": {name: {"value": value} for name, value in values.items()}})
    command = []
    for part in SWEEP["command"]:
        command += macros.get(part[2:-1], [part]) if part.startswith("${") else [part]
    assert command[:4] == ["${env}", "${interpreter}", "-m", "deepfake_ms.train"]
    return command[4:]


def test_every_value_of_the_sweep_composes_and_has_a_folder_of_its_own():
    commands = [sweep_command()]
    for name, choices in SWEEP["parameters"].items():
        commands += [sweep_command(**{name: place}) for place in range(1, len(choices["values"]))]
    composed = [compose(*command) for command in commands]
    assert len({cfg.run_folder for cfg in composed}) == len(composed) == 9
    first = composed[0]
    assert (first.logger.wandb, first.logger.offline) == (True, False)
    assert (first.loss.class_weights.fake, first.augmentation.name, first.curriculum.name) == (1.0, "none", "cropped")
    assert first.logger.group == "sweep_fake1.0_none_cropped"


def test_the_sweep_optimizes_the_validation_metric_of_the_runs():
    """Never a test score; in the same direction as `optimization.mode`."""
    optimization = compose(*sweep_command()).optimization
    assert SWEEP["metric"] == {
        "name": "handoff/score",
        "goal": {"min": "minimize", "max": "maximize"}[optimization.mode],
    }
    assert optimization.monitor.startswith("validation/")
