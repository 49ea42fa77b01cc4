"""The report: finished, unfinished and incomparable runs."""

import html
import json
import re
import shutil

import numpy as np
import pandas as pd
import pytest
from fake_runs import PUBLISHED, REPOSITORY, STAGES, THRESHOLD, make_predictions, make_run, run_report, scores_of
from sklearn.metrics import accuracy_score, f1_score, roc_auc_score

from deepfake_ms.assembly import run_config
from deepfake_ms.composition import compose
from deepfake_ms.errors import UserError
from experiments.report.cells import SCORED, collect
from experiments.report.paper_tables import TABLE_2, Comparison, PaperTable, Row, published_numbers
from experiments.report.protocol import check_protocol


@pytest.fixture(scope="module")
def numbers(written):
    return pd.read_csv(written / "output" / "results_SYNTHETIC.csv", dtype={"threshold": str, "seeds": str})


def line(numbers, **wanted):
    chosen = numbers
    for column, value in wanted.items():
        chosen = chosen[chosen[column] == value]
    assert len(chosen) == 1, wanted
    return chosen.iloc[0]


def test_rows_are_means_over_the_finished_seeds(written, numbers):
    truth = {seed: scores_of(written, "base", seed) for seed in (0, 1)}
    for metric, score in (
        ("accuracy", lambda label, p: accuracy_score(label, p > 0.5)),
        ("macro_f1", lambda label, p: f1_score(label, p > 0.5, average="macro")),
        ("auroc", roc_auc_score),
    ):
        expected = [score(label, p) for label, p, _ in truth.values()]
        row = line(numbers, kind="row", experiment="table2_base", level="frame", threshold=".5", metric=metric)
        assert row["mean"] == pytest.approx(np.mean(expected))
        assert row["sd"] == pytest.approx(np.std(expected, ddof=1))
        assert row["low"] <= row["mean"] <= row["high"]
        assert row["seeds"] == "0 1"
        assert row["fingerprint"] == "abc123"


def test_chosen_threshold_and_video_level(written, numbers):
    label, p, table = scores_of(written, "wl", 0)
    wanted = {"kind": "row", "experiment": "table2_wl", "threshold": "validation", "metric": "accuracy"}
    expected = accuracy_score(label, p > THRESHOLD["frame"])
    assert line(numbers, level="frame", **wanted)["mean"] == pytest.approx(expected)
    videos = table.groupby("video_id").agg({"label": "first", "fake_probability": "mean"})
    expected = accuracy_score(videos["label"], videos["fake_probability"] > THRESHOLD["video"])
    assert line(numbers, level="video", **wanted)["mean"] == pytest.approx(expected)


def test_differences_pair_the_seeds_that_both_rows_have(written, numbers):
    wanted = {"experiment": "table2_wl", "compared_with": "table2_base", "level": "frame", "threshold": ".5"}
    row = line(numbers, kind="difference", metric="auroc", **wanted)
    expected = roc_auc_score(*scores_of(written, "wl", 0)[:2]) - roc_auc_score(*scores_of(written, "base", 0)[:2])
    assert row["mean"] == pytest.approx(expected)
    assert row["seeds"] == "0"
    assert line(numbers, kind="seed_difference", metric="auroc", **wanted)["mean"] == pytest.approx(expected)


def test_base_at_its_own_threshold_is_the_control(written, numbers):
    row = line(
        numbers,
        kind="difference",
        experiment="table2_base",
        compared_with="table2_base at .5",
        level="frame",
        metric="accuracy",
    )
    expected = [
        accuracy_score(label, p > THRESHOLD["frame"]) - accuracy_score(label, p > 0.5)
        for label, p, _ in (scores_of(written, "base", seed) for seed in (0, 1))
    ]
    assert row["mean"] == pytest.approx(np.mean(expected))


def test_the_status_of_every_cell(numbers):
    cells = numbers[numbers["kind"] == "cell"].set_index(["experiment", "seeds"])["status"]
    assert len(cells) == 2 * 17
    assert cells["table2_base", "1"] == "complete"
    assert cells["table2_wl", "1"] == "missing"
    assert cells["table2_mep", "1"] == "unfinished: stage 2 of 3"


def test_published_numbers_are_as_printed_and_separate(numbers, page):
    published = numbers[numbers["kind"] == "published"]
    assert len(published) == 3 * (PUBLISHED["table"] == "2").sum()
    assert set(published["data"]) == {"Celeb-DF v2"}
    assert not published["synthetic"].any()
    assert set(numbers.loc[numbers["kind"] == "row", "data"]) == {"drawn"}
    first = page[page.index("<table") : page.index("</table>")]
    cells = re.findall(r'<td class="published">([^<]*)</td>', first)
    printed = PUBLISHED[PUBLISHED["table"] == "2"]
    assert sorted(cells) == sorted(printed[["accuracy", "f1", "auc"]].to_numpy().ravel())
    assert "published (Celeb-DF v2)" in first
    assert "measured (drawn, SYNTHETIC)" in first


def test_markdown_says_synthetic_and_marks_cells(written):
    text = (written / "output" / "table2_SYNTHETIC.md").read_text()
    assert text.startswith("# SYNTHETIC")
    assert all("SYNTHETIC" in heading for heading in re.findall(r"^##? .*", text, re.MULTILINE))
    assert "1 of 2<br>missing" in text
    assert "1 of 2<br>unfinished: stage 2 of 3" in text
    for block in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
        assert len({row.count("|") for row in block.splitlines()}) == 1


def test_nothing_says_synthetic_if_nothing_is(tmp_path):
    runs = tmp_path / "celebdf_v2" / "tiny"
    make_run(runs, "base", 0, synthetic=False)
    run_report(runs, tmp_path / "output")
    assert {path.name for path in (tmp_path / "output").iterdir()} == {"results.csv", "table2.md", "table2.html"}
    assert all("SYNTHETIC" not in path.read_text() for path in (tmp_path / "output").iterdir())


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"data__fingerprint": "other"}, "data fingerprint"),
        ({"manifest_sha256": "9"}, "prepared faces"),
        ({"optimization__epochs": 7}, "optimization.epochs"),
        ({"trainer__precision": "bf16-mixed"}, "trainer.precision"),
        ({"curriculum__carry": "last"}, "curriculum.carry"),
        ({"curriculum__stages__0__carry": "last"}, "curriculum.stages.carry"),
        ({"curriculum__stages__0__gradient_clip": {"value": 2}}, "curriculum.stages.gradient_clip"),
        ({"curriculum__stages__0__optimizer": {"name": "Adam"}}, "curriculum.stages.optimizer"),
        ({"curriculum__stages__0__freeze": ["backbone"]}, "curriculum.stages.freeze"),
        ({"synthetic": False}, "synthetic or real data"),
        ({"code_sha256": "9"}, "code"),
        ({"loss__name": "weighted"}, "loss.name"),
    ],
)
def test_runs_with_another_protocol_are_excluded(tmp_path, changes, named):
    make_run(tmp_path, "base", 0)
    make_run(tmp_path, "base", 1, **changes)
    make_run(tmp_path, "wl", 0)
    checked = check_protocol(TABLE_2, collect(TABLE_2, tmp_path, tmp_path / "sweep"))
    assert checked.excluded == [f"table2_base/seed_1 is excluded: it differs from the other runs in {named}."]
    assert {cell.name for cell in checked.cells if cell.complete} == {"table2_base/seed_0", "table2_wl/seed_0"}


def test_only_the_row_as_released_scores_its_last_epoch(tmp_path):
    released = "wl_rf_mep_as_released"
    for row, seeds in ((released, range(3)), ("wl_rf_mep", range(1)), ("mep", range(2))):
        for seed in seeds:
            last = row == released or (row, seed) == ("mep", 1)
            changes = {"curriculum__stages__2__carry": "last"} if last else {}
            make_run(tmp_path, row, seed, stages=3, **changes)
    checked = check_protocol(TABLE_2, collect(TABLE_2, tmp_path, tmp_path / "sweep"))
    assert checked.excluded == [
        "table2_mep/seed_1 is excluded: it differs from the other runs in curriculum.stages.carry."
    ]
    alone = check_protocol(TABLE_2, collect(TABLE_2, tmp_path, tmp_path / "sweep", size=None)[-3:])
    assert alone.excluded == []


def test_runs_with_other_test_faces_are_excluded(tmp_path):
    make_run(tmp_path, "base", 0)
    folder = make_run(tmp_path, "base", 1)
    make_run(tmp_path, "wl", 0)
    make_predictions(1, 5, videos=10).to_parquet(folder / SCORED / "predictions.parquet")
    checked = check_protocol(TABLE_2, collect(TABLE_2, tmp_path, tmp_path / "sweep"))
    excluded = [cell.name for cell in checked.cells if cell.status == "excluded: different test faces"]
    assert excluded == ["table2_base/seed_1"]


def test_runs_of_other_code_are_compared_on_demand(tmp_path, capsys):
    runs = tmp_path / "drawn" / "tiny"
    make_run(runs, "base", 0)
    make_run(runs, "base", 1, code_sha256="9", code="deepfake_ms 0.1.0 (bbbb)")
    run_report(runs, tmp_path / "output", "--any-code")
    assert "2 of 34 runs are included in the numbers" in capsys.readouterr().out
    text = (tmp_path / "output" / "table2_SYNTHETIC.md").read_text()
    assert "runs of different code versions are compared: deepfake_ms 0.1.0 (aaaa), deepfake_ms 0.1.0 (bbbb)" in text


def test_what_trained_a_stage_counts_and_not_what_began_the_run(tmp_path, capsys):
    runs = tmp_path / "drawn" / "tiny"
    make_run(runs, "base", 0)
    path = make_run(runs, "mep", 0, stages=3) / "chain.json"
    chain = json.loads(path.read_text())
    chain["stages"][2]["trained_by"][0] |= {"code": "deepfake_ms 0.1.0 (bbbb)", "code_sha256": "9", "device": "GPU"}
    path.write_text(json.dumps(chain))
    run_report(runs, tmp_path / "output")
    assert "table2_mep/seed_0 is excluded: it differs from the other runs in code." in capsys.readouterr().out
    run_report(runs, tmp_path / "output", "--any-code")
    text = (tmp_path / "output" / "table2_SYNTHETIC.md").read_text()
    assert "different code, libraries or hardware: table2_mep/seed_0." in text
    assert "- Hardware of the runs: GPU, 1 process; cpu, 1 process\n" in text
    assert "| complete | deepfake_ms 0.1.0 (aaaa); deepfake_ms 0.1.0 (bbbb) |" in text


def test_validation_auroc_after_the_last_epoch_of_every_stage(tmp_path):
    runs = tmp_path / "drawn" / "tiny"
    path = make_run(runs, "mep", 3, stages=3) / "metrics.csv"
    curves = pd.read_csv(path)
    assert curves["stage"].tolist() == [stage for stage in STAGES for _ in range(2)]
    curves["validation/auroc"] = [0.5, 0.6, 0.9, 0.7, 0.8, 0.75]
    curves.to_csv(path, index=False)
    run_report(runs, tmp_path / "output")
    numbers = pd.read_csv(tmp_path / "output" / "results_SYNTHETIC.csv")
    stages = numbers[(numbers["kind"] == "stage") & (numbers["seeds"] == 3)].set_index("status")["mean"]
    assert stages.to_dict() == dict(zip(STAGES, (0.6, 0.7, 0.75), strict=True))
    assert "| .6000, .7000, .7500 |" in (tmp_path / "output" / "table2_SYNTHETIC.md").read_text()


def test_the_launchers_records_explain_missing_numbers(tmp_path):
    runs = tmp_path / "celebdf_v2" / "genconvit_ed_small"
    make_run(runs, "base", 0)
    make_run(runs, "mep", 0, stages=3, done=2)
    corpus = "data=celebdf_v2"
    jobs = [
        ("table2_wl", [corpus, "seed=0"], {"status": "failed", "exit_code": 3, "attempt": 2}),
        ("table2_mep", [corpus, "model=genconvit_ed"], {"status": "killed", "signal": "SIGKILL", "exit_code": None}),
        ("table2_na", [corpus, "model=resnet50"], {"status": "failed", "exit_code": 1}),
        ("table2_wl_na", [corpus, "size=full"], {"status": "failed", "exit_code": 1}),
        ("table2_wl_rf", ["data=dfdc"], {"status": "failed", "exit_code": 1}),
        ("table2_na_mep", [corpus, "name=another_row"], {"status": "failed", "exit_code": 1}),
        ("table2_rst", [corpus, "recipe.epochs=3"], {"status": "failed", "exit_code": 1}),
        ("table2_rf", ["data=folder", "data.name=celebdf_v2"], {"status": "timeout"}),
    ]
    for experiment, overrides, record in jobs:
        folder = tmp_path / "multirun" / experiment
        folder.mkdir(parents=True)
        record |= {"program": "train train", "overrides": [f"experiment={experiment}", *overrides]}
        (folder / "job.json").write_text(json.dumps(record))
    cells = collect(TABLE_2, runs, tmp_path / "multirun")
    status = {cell.experiment: cell.status for cell in cells}
    assert status["table2_wl"] == "failed: exit status 3, attempt 2"
    assert status["table2_mep"] == "unfinished: stage 3 of 3; killed: SIGKILL, attempt 1"
    assert status["table2_rf"] == "timeout"
    elsewhere = ("na", "wl_na", "wl_rf", "na_mep", "rst")
    assert [status[f"table2_{name}"] for name in elsewhere] == ["missing"] * len(elsewhere)


def write_job(sweep, experiment, seed, **record):
    """The record of a job as the launcher leaves it."""
    folder = sweep / f"{experiment}-{seed}"
    folder.mkdir(parents=True)
    overrides = [f"experiment={experiment}", "data=celebdf_v2", f"seed={seed}"]
    (folder / "job.json").write_text(json.dumps({"program": "train train", "overrides": overrides, **record}))


def test_the_table_marks_what_is_missing_until_a_rerun_completes(tmp_path):
    """Crash, memory kill, hang, killed sweeper, never started, and a whole seed that never wrote a run."""
    runs, sweep = tmp_path / "celebdf_v2" / "genconvit_ed_small", tmp_path / "multirun"
    for row, seed in (("base", 0), ("base", 1), ("wl", 0), ("na", 0), ("rf", 0), ("wl_na", 0), ("rst", 0)):
        make_run(runs, row, seed)
    make_run(runs, "mep", 0, stages=3, done=1)
    write_job(sweep, "table2_wl", 1, status="failed", exit_code=1)
    write_job(sweep, "table2_na", 1, status="killed", signal="SIGKILL", exit_code=None, attempt=2)
    write_job(sweep, "table2_rf", 1, status="timeout")
    write_job(sweep, "table2_wl_na", 1, status="running")
    write_job(sweep, "table2_base", 7, status="failed", exit_code=1)
    expected = {
        "table2_base": ("2 of 3", "failed: exit status 1, attempt 1"),
        "table2_wl": ("1 of 3", "failed: exit status 1, attempt 1"),
        "table2_na": ("1 of 3", "killed: SIGKILL, attempt 2"),
        "table2_rf": ("1 of 3", "timeout"),
        "table2_wl_na": ("1 of 3", "running when last recorded"),
        "table2_rst": ("1 of 3", "missing"),
        "table2_mep": ("0 of 3", "unfinished: stage 2 of 3"),
    }
    titles = {row.experiment: row.title for row in TABLE_2.rows}
    assert marks(runs, tmp_path / "first", titles) == {titles[name]: mark for name, mark in expected.items()} | {
        title: ("0 of 3", "missing") for name, title in titles.items() if name not in expected
    }
    for row, seed in (("wl", 1), ("na", 1), ("rf", 1), ("wl_na", 1), ("rst", 1), ("base", 7)):
        make_run(runs, row, seed)
    shutil.rmtree(runs / "table2_mep")
    make_run(runs, "mep", 0, stages=3)
    after = marks(runs, tmp_path / "second", titles)
    assert after[titles["table2_base"]] == ("3 of 3",)
    for name in ("table2_wl", "table2_na", "table2_rf", "table2_wl_na", "table2_rst"):
        assert after[titles[name]] == ("2 of 3", "missing"), "only seed 7"
    assert after[titles["table2_mep"]] == ("1 of 3", "missing")


def marks(runs, output, titles):
    """Title of each row -> the marks in the first table, which Markdown and page share."""
    run_report(runs, output)
    markdown, page = next(output.glob("*.md")).read_text(), next(output.glob("*.html")).read_text()
    table = page[page.index("<table") : page.index("</table>")]
    found = {}
    for title in titles.values():
        line = next(each for each in markdown.splitlines() if each.startswith(f"| {title} |"))
        count, *statuses = line.split("|")[2].strip().split("<br>")
        found[title] = (count, *(each for each in statuses if each != "missing" or len(statuses) == 1))
        assert all(html.escape(each) in table for each in (count, *statuses)), title
    return found


def test_rows_differ_only_in_what_the_table_varies(tmp_path):
    """The resolved configurations of all rows of Table 2 have one protocol."""
    configs = [run_config(compose(f"experiment={row.experiment}"), "abc") for row in TABLE_2.rows]
    for row, config in zip(TABLE_2.rows, configs, strict=True):
        path = make_run(tmp_path, row.experiment.removeprefix("table2_"), 0) / "run.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"config": config}))
    checked = check_protocol(TABLE_2, collect(TABLE_2, tmp_path, tmp_path / "sweep"))
    assert checked.excluded == []
    masks = {cell.experiment: cell.record["config"]["curriculum"]["stages"][0]["mask"] for cell in checked.cells}
    names = {experiment: mask["name"] for experiment, mask in masks.items() if mask}
    assert names["table2_random_mask"] == "random_boxes"
    assert names["table2_mouth_mask"] == "mouth"
    assert names["table2_wl_rf_mep"] == "eyes"


def test_training_grid_has_a_line_per_stage_and_what_they_share_once(tmp_path):
    runs = tmp_path / "drawn" / "tiny"
    make_run(runs, "base", 0)
    changed = {"curriculum__stages__1__augmentation": {"name": "none"}, "curriculum__stages__2__mask__name": "mouth"}
    make_run(runs, "mep", 0, stages=3, **changed)
    released = {"curriculum__stages__0__mask__missed": 0.27, "curriculum__stages__2__carry": "last"}
    make_run(runs, "wl_rf_mep_as_released", 0, stages=3, **released)
    run_report(runs, tmp_path / "output")
    text = (tmp_path / "output" / "table2_SYNTHETIC.md").read_text()
    grid = text[text.index("### How each row was trained") :].split("\n\n")[1]
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in grid.splitlines()]
    names, _, base, *mep = lines[:-3]
    assert [(line[3], line[9]) for line in lines[-3:]] == [
        ("masked: eyes, 27% of videos missed", "best, by validation/loss"),
        ("cropped", "best, by validation/loss"),
        ("masked: eyes", "last"),
    ]
    shared = ["tiny", "from scratch"]
    optimization = ["SGD at 0.1, StepLR, batches of 8", "–", "best, by validation/loss"]
    assert names[3:7] == ["faces", "epochs", "augmentation", "loss, weight on fake"]
    assert base == ["base", *shared, "cropped", "2", "standard", "cross_entropy, 1", *optimization]
    assert mep == [
        ["MEP", *shared, "masked: eyes", "2", "standard", "cross_entropy, 1", *optimization],
        ["", "", "", "cropped", "", "none", "", "", "", ""],
        ["", "", "", "masked: mouth", "", "standard", "", "", "", ""],
    ]


@pytest.mark.parametrize(
    ("changes", "downloaded", "weights"),
    [
        (
            {"model__pretrained": True, "starting_weights": {"a_package": "0123456789ab"}},
            {},
            "pretrained, sha256 0123456789",
        ),
        ({"model__pretrained": True}, {"net.in1k": "0123456789ab"}, "pretrained, sha256 0123456789"),
        (
            {"model__pretrained": True, "model__checkpoint": "a.pth", "starting_weights": {"a.pth": "0123456789ab"}},
            {},
            "from a checkpoint, sha256 0123456789",
        ),
        ({"model__checkpoint": {"ed": None, "vae": None}}, {}, "from scratch"),
    ],
    ids=["package", "download", "checkpoint", "nothing"],
)
def test_training_grid_names_the_weights_that_training_started_from(tmp_path, changes, downloaded, weights):
    record = make_run(tmp_path / "drawn" / "tiny", "base", 0, **changes) / "run.json"
    record.write_text(json.dumps(json.loads(record.read_text()) | {"downloaded_weights": downloaded}))
    run_report(tmp_path / "drawn" / "tiny", tmp_path / "output")
    text = (tmp_path / "output" / "table2_SYNTHETIC.md").read_text()
    grid = text[text.index("### How each row was trained") :].split("\n\n")[1]
    assert grid.splitlines()[-1].split("|")[3].strip() == weights


@pytest.mark.parametrize(
    ("name", "content", "status"),
    [
        ("run.json", "{", "damaged: run.json (JSONDecodeError)"),
        ("run.json", "[]", "damaged: run.json (AttributeError)"),
        ("run.json", '{"synthetic": true, "config": {}}', "made by an earlier version"),
        ("run.json", '{"format": 2, "config": {"curriculum": {"stages": [1]}}}', "damaged: run.json (KeyError)"),
        (
            "run.json",
            '{"format": 2, "synthetic": true, "config": {"curriculum": {"stages": [1]}}}',
            "damaged: run.json has no config_sha256",
        ),
        ("chain.json", "[]", "damaged: chain.json (TypeError)"),
        ("metrics.csv", "", "damaged: metrics.csv (EmptyDataError)"),
        ("evaluation/test/selected/scores.json", None, "trained, not scored"),
        ("evaluation/test/selected/predictions.parquet", "x", "damaged: predictions.parquet (ArrowInvalid)"),
    ],
)
def test_a_damaged_run_is_marked(tmp_path, name, content, status):
    path = make_run(tmp_path, "base", 0) / name
    path.unlink() if content is None else path.write_text(content)
    cells = collect(TABLE_2, tmp_path, tmp_path / "sweep")
    assert cells[0].status == status
    assert cells[0].synthetic or "synthetic" not in (tmp_path / "table2_base" / "seed_0" / "run.json").read_text()


def test_runs_whose_validation_lacks_a_class_have_no_threshold(tmp_path):
    runs = tmp_path / "drawn" / "tiny"
    make_run(runs, "base", 0, thresholds={"frame": None, "video": None})
    make_run(runs, "wl", 0, thresholds={"frame": 0.4, "video": None})
    run_report(runs, tmp_path / "output")
    numbers = pd.read_csv(tmp_path / "output" / "results_SYNTHETIC.csv", dtype=str)
    chosen = numbers[numbers["threshold"] == "validation"]
    assert set(chosen["experiment"]) == {"table2_wl"}
    assert set(chosen["level"]) == {"frame"}
    text = (tmp_path / "output" / "table2_SYNTHETIC.md").read_text()
    assert "because validation lacks a class: table2_base/seed_0, table2_wl/seed_0." in text


@pytest.mark.parametrize(
    ("arguments", "sentence"), [((), "contains no run of Table 2"), (("--resamples", "9"), "--resamples 9 is too few")]
)
def test_program_refuses_with_one_sentence(tmp_path, capsys, arguments, sentence):
    with pytest.raises(SystemExit, match="2"):
        run_report(tmp_path, tmp_path / "output", *arguments)
    told = capsys.readouterr().err
    assert told.startswith("error: ")
    assert sentence in told
    assert told.count("\n") == 1


def test_rows_are_found_under_their_models(tmp_path):
    make_run(tmp_path / "one", "base", 0)
    make_run(tmp_path / "other", "wl", 4)
    cells = collect(TABLE_2, tmp_path, tmp_path / "sweep", seeds=(0, 7))
    assert {cell.seed for cell in cells} == {0, 7}
    assert [cell.name for cell in cells if cell.complete] == ["table2_base/seed_0"]
    make_run(tmp_path / "other", "base", 0)
    with pytest.raises(UserError, match="table2_base with several models"):
        collect(TABLE_2, tmp_path, tmp_path / "sweep")


def test_tables_are_checked():
    row, lost = Row("a", "A", "no such row"), Comparison("a", "b", "x")
    with pytest.raises(UserError, match="compares b"):
        PaperTable("9", "t", (row,), (), (lost,))
    with pytest.raises(UserError, match="no row 'no such row'"):
        published_numbers(PaperTable("2", "t", (row,), (), ()), PUBLISHED)


def test_experiments_exist_and_carry_the_same_published_numbers():
    published = published_numbers(TABLE_2, PUBLISHED)
    files = {path.stem: path.read_text() for path in (REPOSITORY / "conf" / "experiment").glob("table2_*.yaml")}
    assert set(files) == {row.experiment for row in TABLE_2.rows}
    for experiment, values in published.items():
        assert all(value.removeprefix("0") in files[experiment] for value in values.values()), experiment
