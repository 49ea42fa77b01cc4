"""The plan of a sweep: what is finished, what is shared, how long the rest takes."""

import json
import sys
from dataclasses import replace
from io import StringIO
from pathlib import Path

import hydra
import pytest
from rich.console import Console

sys.path.insert(0, str(Path(__file__).parents[2] / "experiments" / "sweep"))
import plan

from deepfake_ms.assembly import deciding_config
from deepfake_ms.cli import CONFIG_FOLDER
from deepfake_ms.errors import UserError
from deepfake_ms.files import sha256_of
from deepfake_ms.launcher.jobs import JobRecord, Status, folder_name
from deepfake_ms.training.run_folder import config_hash
from deepfake_ms.training.shared_stages import publish_stages


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def finish(cell: plan.Cell, stages: int, **changed) -> None:
    """Leave what a run leaves that has finished so many stages."""
    with hydra.initialize_config_dir(str(CONFIG_FOLDER), version_base="1.3"):
        cfg = hydra.compose("train", overrides=[f"experiment={cell.experiment}", f"seed={cell.seed}"])
    config = deciding_config(cfg, "not prepared yet") | changed
    cell.run.mkdir(parents=True)
    (cell.run / "run.json").write_text(json.dumps({"config": config, "config_sha256": config_hash(config)}))
    entry = {"stage": "1", "checkpoint": "1/best.ckpt", "sha256": "", "score": 0.5, "steps": 3}
    (cell.run / "chain.json").write_text(json.dumps({"stages": [entry] * stages}))


def record(cell: plan.Cell, seconds: float, status: Status = Status.FINISHED) -> None:
    overrides = (f"experiment={cell.experiment}", f"seed={cell.seed}")
    folder = Path("runs/multirun") / folder_name(plan.PROGRAM, overrides)
    JobRecord(plan.PROGRAM, overrides, status, 1, "1.0", "then", "now", seconds, 0).write(folder)


def printed(cells) -> str:
    console = Console(file=StringIO(), width=200)
    plan.print_plan(cells, 2, console)
    return console.file.getvalue()


def test_nothing_done_yet(here):
    cells = plan.plan_cells(["table2_base", "table2_mep"], [0, 1], [])
    assert [(cell.experiment, cell.seed, len(cell.stages), cell.finished) for cell in cells] == [
        ("table2_base", 0, 1, 0),
        ("table2_base", 1, 1, 0),
        ("table2_mep", 0, 3, 0),
        ("table2_mep", 1, 3, 0),
    ]
    assert cells[0].run == Path("runs/miniature/genconvit_ed_small/table2_base/seed_0")
    assert plan.count_stages(cells) == (8, 8)
    assert plan.estimate_seconds(cells, 1) is None
    assert "shows once the first run is finished" in printed(cells)


def test_finished_stages_are_counted_and_pace_the_rest(here):
    for cell, stages in zip(plan.plan_cells(["table2_base", "table2_mep"], [0], []), (1, 2), strict=True):
        finish(cell, stages)
        record(cell, 48.0, Status.FINISHED if stages == 1 else Status.KILLED)
    cells = plan.plan_cells(["table2_base", "table2_mep"], [0], [])
    assert [cell.finished for cell in cells] == [1, 2]
    assert plan.count_stages(cells) == (1, 1)
    assert sum(cells[0].epochs) == sum(cells[1].epochs)
    assert plan.estimate_seconds(cells, 2) == pytest.approx(48 / sum(cells[0].epochs) * cells[1].epochs[2] / 2)
    assert "1 stages are left" in printed(cells)
    assert "About 1 minutes with 2 at once" in printed(cells)


def test_each_experiment_keeps_its_own_pace(here):
    rows = ["table1_resnet50", "table1_recce", "table1_senet"]
    for cell, seconds in zip(plan.plan_cells(rows[:2], [0], []), (24.0, 72.0), strict=True):
        finish(cell, 1)
        record(cell, seconds)
    cells = plan.plan_cells(rows, [0, 1], [])
    assert plan.estimate_seconds(cells, 1) == pytest.approx(24 + 72 + 2 * 48)  # senet: the median of all
    assert "Stages finished · runs/miniature " in printed(cells)


def test_equal_stages_are_trained_once(here):
    cells = plan.plan_cells(["table2_base", "loss_weight", "table2_mep"], [0], ["loss.class_weights.fake=1.0"])
    assert cells[0].stages == cells[1].stages
    assert plan.count_stages(cells) == (5, 4)
    assert "1 are shared with other runs" in printed(cells)
    assert plan.count_stages([replace(cells[0], finished=1), *cells[1:]]) == (4, 3)


def test_stages_of_runs_outside_the_sweep_are_known(here):
    (before,) = plan.plan_cells(["table2_base"], [0], [])
    finish(before, 1)
    folder = before.run / "1"
    folder.mkdir()
    for name in ("best.ckpt", "last.ckpt"):
        (folder / name).write_bytes(b"weights")
    (before.run / "metrics.csv").write_text("stage\n")
    chain = json.loads((before.run / "chain.json").read_text())
    chain["stages"][0]["sha256"] = sha256_of(folder / "best.ckpt")
    (before.run / "chain.json").write_text(json.dumps(chain))
    publish_stages(before.run, Path("runs"), list(before.stages))
    cells = plan.plan_cells(["table1_genconvit", "table1_resnet50"], [0], [])
    assert plan.count_stages(cells) == (2, 1)
    assert "1 are shared with other runs" in printed(cells)


def test_a_folder_with_another_configuration_is_an_obstacle(here):
    finish(plan.plan_cells(["table2_base"], [0], [])[0], 1, seed=7)
    cells = plan.plan_cells(["table2_base"], [0], [])
    assert cells[0].finished == 0
    assert "0/1 !" in printed(cells)
    assert "1 runs: their folders hold runs with another configuration" in printed(cells)


def test_experiments_by_pattern():
    assert len(plan.find_experiments("table2_*")) == 14
    both, left_out = plan.find_experiments("table1_*"), ["table1_senet154", "*probe"]
    assert set(both) - set(plan.find_experiments("table1_*", left_out)) == {"table1_senet154", "table1_linear_probe"}
    with pytest.raises(UserError, match="No experiment is called table9"):
        plan.find_experiments("table9")


def test_the_program_prints_its_plan_and_refuses_unknown_experiments(here, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["plan.py", "--experiments", "table2_wl*", "--seeds", "3"])
    plan.main()
    assert "table2_wl_rf_mep" in capsys.readouterr().out
    monkeypatch.setattr(sys, "argv", ["plan.py", "--experiments", "nothing"])
    with pytest.raises(SystemExit) as stop:
        plan.main()
    assert stop.value.code == 2
