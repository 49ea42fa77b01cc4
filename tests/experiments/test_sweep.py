"""The plan of a sweep: finished stages, shared stages, and the estimated time."""

from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from deepfake_ms.assembly import run_config
from deepfake_ms.composition import compose
from deepfake_ms.errors import UserError
from deepfake_ms.files import sha256_of, write_json
from deepfake_ms.launcher.jobs import JobRecord, Status, folder_name
from deepfake_ms.provenance import code_digest
from deepfake_ms.training.run import Run
from deepfake_ms.training.run_folder import new_record
from deepfake_ms.training.shared_stages import publish_stages
from experiments.sweep.__main__ import main
from experiments.sweep.plan import (
    PROGRAM,
    PlannedRun,
    estimate_seconds,
    find_experiments,
    plan_runs,
    print_plan,
    stages_to_train,
)


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def finish(run: PlannedRun, stages: int, **changed) -> dict:
    """Write what a run with so many finished stages writes; returns its record."""
    cfg = compose(f"experiment={run.experiment}", f"seed={run.seed}")
    config = run_config(cfg, "not prepared yet") | changed
    entry = {"stage": "1", "checkpoint": "1/best.ckpt", "sha256": "", "score": 0.5, "steps": 3}
    write_json(run.folder / "chain.json", {"stages": [entry] * stages})
    about = {"code": "1.0", "code_sha256": code_digest(), "libraries": {}}
    record = new_record(config, {**about, "prepared": "", "manifest_sha256": "", "synthetic": True})
    write_json(run.folder / "run.json", record)
    return record


def record(run: PlannedRun, seconds: float, status: Status = Status.FINISHED, *shared: str) -> None:
    """Write the launcher's record of a job."""
    overrides = (*shared, f"experiment={run.experiment}", f"seed={run.seed}")
    folder = Path("runs/multirun") / folder_name(PROGRAM, overrides)
    JobRecord(PROGRAM, overrides, status, 1, "1.0", "then", "now", seconds, 0).write(folder)


def printed(runs: list[PlannedRun]) -> str:
    console = Console(file=StringIO(), width=200)
    print_plan(runs, 2, console)
    return console.file.getvalue()


def test_nothing_done_yet():
    runs = plan_runs(["table2_base", "table2_mep"], [0, 1], [])
    assert [(run.experiment, run.seed, len(run.stages), run.finished) for run in runs] == [
        ("table2_base", 0, 1, 0),
        ("table2_base", 1, 1, 0),
        ("table2_mep", 0, 3, 0),
        ("table2_mep", 1, 3, 0),
    ]
    assert runs[0].folder == Path("runs/miniature/genconvit_ed_small/table2_base/seed_0")
    assert len(stages_to_train(runs)) == 8
    assert estimate_seconds(runs, 1) is None
    assert "4 runs with 8 stages: 8 unfinished, of which 8 have to be trained and 0 are shared" in printed(runs)
    assert "can be estimated once the first run has finished" in printed(runs)


def test_finished_stages_are_counted_and_pace_the_rest():
    for run, stages in zip(plan_runs(["table2_base", "table2_mep"], [0], []), (1, 2), strict=True):
        finish(run, stages)
        record(run, 48.0, Status.FINISHED if stages == 1 else Status.KILLED)
    runs = plan_runs(["table2_base", "table2_mep"], [0], [])
    assert [run.finished for run in runs] == [1, 2]
    assert stages_to_train(runs) == {runs[1].stages[2]}
    assert sum(runs[0].epochs) == sum(runs[1].epochs)
    assert estimate_seconds(runs, 2) == pytest.approx(48 / sum(runs[0].epochs) * runs[1].epochs[2] / 2)
    assert "2 runs with 4 stages: 1 unfinished, of which 1 have to be trained" in printed(runs)
    assert "About 1 minute with 2 runs at a time" in printed(runs)


def test_each_experiment_keeps_its_own_pace():
    rows = ["table1_resnet50", "table1_recce", "table1_senet"]
    for run, seconds in zip(plan_runs(rows[:2], [0], []), (24.0, 72.0), strict=True):
        finish(run, 1)
        record(run, seconds)
    runs = plan_runs(rows, [0, 1], [])
    assert estimate_seconds(runs, 1) == pytest.approx(24 + 72 + 2 * 48)  # senet: the median of all
    assert "Finished stages · runs/miniature " in printed(runs)


def test_jobs_are_found_under_the_overrides_that_the_launcher_gets():
    """The command line completes a key that the files do not have: ``++trainer.lightning...``."""
    shared = "trainer.lightning.profiler=simple"
    (run,) = plan_runs(["table2_base"], [0], [shared])
    assert run.seconds is None
    record(run, 30.0, Status.FINISHED, f"++{shared}")
    assert plan_runs(["table2_base"], [0], [shared])[0].seconds == 30


def test_equal_stages_are_trained_once():
    runs = plan_runs(["table2_base", "loss_weight", "table2_mep"], [0], ["loss.class_weights.fake=1.0"])
    assert runs[0].stages == runs[1].stages
    assert len(stages_to_train(runs)) == 4
    assert "5 unfinished, of which 4 have to be trained and 1 are shared with other runs" in printed(runs)
    assert len(stages_to_train([replace(runs[0], finished=1), *runs[1:]])) == 3


def test_stages_of_runs_outside_the_sweep_are_taken_over_in_no_time():
    (before,) = plan_runs(["table2_base"], [0], [])
    made = finish(before, 1)
    folder = before.folder / "1"
    folder.mkdir()
    for name in ("best.ckpt", "last.ckpt"):
        (folder / name).write_bytes(b"weights")
    (before.folder / "metrics.csv").write_text("stage\n")
    sha256 = sha256_of(folder / "best.ckpt")
    entry = {"stage": "1", "checkpoint": "1/best.ckpt", "sha256": sha256, "score": 0.5, "steps": 3}
    write_json(before.folder / "chain.json", {"stages": [entry]})
    publish_stages(Run(before.folder, made, None, None), Path("runs"))
    record(plan_runs(["table1_resnet50"], [1], [])[0], 60.0)
    runs = plan_runs(["table1_genconvit", "table1_resnet50"], [0, 1], [])
    assert {run.experiment for run in runs if run.published} == {"table1_genconvit"}
    assert "4 unfinished, of which 3 have to be trained and 1 are shared" in printed(runs)
    assert estimate_seconds(runs, 1) == pytest.approx(3 * 60)


def test_a_folder_with_another_configuration_is_an_obstacle():
    finish(plan_runs(["table2_base"], [0], [])[0], 1, seed=7)
    runs = plan_runs(["table2_base"], [0], [])
    assert runs[0].finished == 0
    assert "0/1 !" in printed(runs)
    assert "1 run: their folders contain runs with another configuration" in printed(runs)


def test_a_run_of_an_earlier_version_is_an_obstacle():
    (run,) = plan_runs(["table2_base"], [0], [])
    write_json(run.folder / "run.json", {"config": {}, "config_sha256": "1"})
    assert "contain runs of an earlier version" in printed(plan_runs(["table2_base"], [0], []))


def test_experiments_by_pattern():
    assert len(find_experiments("table2_*")) == 17
    both, excluded = find_experiments("table1_*"), ["table1_senet154", "*probe"]
    assert set(both) - set(find_experiments("table1_*", excluded)) == {"table1_senet154", "table1_linear_probe"}
    with pytest.raises(UserError, match="No experiment is called table9"):
        find_experiments("table9")


def test_the_program_prints_its_plan(capsys):
    main(["--experiments", "table2_wl_rf*", "--seeds", "3"])
    assert "table2_wl_rf_mep" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--experiments", "nothing"], "No experiment is called nothing"),
        (["--seeds", "0,a"], "0,a are not whole numbers separated by commas"),
        (["sede=1"], "sede"),
        (["mask=hat"], "hat"),
    ],
)
def test_the_program_refuses_unknown_names(capsys, arguments, message):
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2
    assert message in capsys.readouterr().err
