"""The report: what it says of finished, missing and mixed runs, and that its page holds what a browser needs."""

import html
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
from fake_runs import REPOSITORY, STAGES, THRESHOLD, make_predictions, make_run, module, run_report
from sklearn.metrics import accuracy_score, confusion_matrix, f1_score, roc_auc_score

from deepfake_ms.errors import UserError

pytest.importorskip("matplotlib")
pytest.importorskip("jinja2")

PUBLISHED = pd.read_csv(REPOSITORY / "experiments" / "published.csv", dtype=str, keep_default_na=False)
VOID = {"meta", "link", "br", "path", "use", "rect", "circle", "line"}


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """base with both seeds, WL without seed 1, MEP unfinished with seed 1, and the report on them."""
    root = tmp_path_factory.mktemp("report")
    runs = root / "runs" / "drawn" / "tiny"
    for seed in (0, 1):
        make_run(runs, "base", seed)
    make_run(runs, "wl", 0, skill=2.0)
    make_run(runs, "mep", 0, stages=3)
    make_run(runs, "mep", 1, stages=3, done=1)
    run_report(runs, root / "output")
    return root


@pytest.fixture(scope="module")
def numbers(written):
    return pd.read_csv(written / "output" / "results_SYNTHETIC.csv", dtype={"threshold": str, "seeds": str})


@pytest.fixture(scope="module")
def page(written):
    return (written / "output" / "table2_SYNTHETIC.html").read_text()


def line(numbers, **wanted):
    chosen = numbers
    for column, value in wanted.items():
        chosen = chosen[chosen[column] == value]
    assert len(chosen) == 1, wanted
    return chosen.iloc[0]


def scores_of(written, row, seed):
    folder = written / "runs" / "drawn" / "tiny" / f"table2_{row}" / f"seed_{seed}"
    table = pd.read_parquet(folder / "evaluation" / "test_handoff" / "predictions.parquet")
    return table["label"], table["fake_probability"], table


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


def test_cells_tell_what_is_with_them(numbers):
    cells = numbers[numbers["kind"] == "cell"].set_index(["experiment", "seeds"])["status"]
    assert len(cells) == 2 * 14
    assert cells["table2_base", "1"] == "complete"
    assert cells["table2_wl", "1"] == "missing"
    assert cells["table2_mep", "1"] == "unfinished: stage 2 of 3"


def test_published_numbers_are_as_printed_and_apart(numbers, page):
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


class Reader(HTMLParser):
    """Checks that elements close in order; collects ids, addresses and the text of titles and headings."""

    def __init__(self):
        super().__init__()
        self.open, self.ids, self.addresses, self.headings, self.figures = [], [], [], [], []

    def handle_starttag(self, tag, attributes):
        if tag not in VOID:
            self.open.append(tag)
        for name, value in attributes:
            if name == "id":
                self.ids.append(value)
            if name in ("src", "href", "xlink:href", "data", "action", "srcset"):
                self.addresses.append(value)
        if tag == "svg":
            self.figures.append(dict(attributes).get("aria-label", ""))
        if tag in ("title", "h1", "h2"):
            self.headings.append("")

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data):
        if {"title", "h1", "h2"} & set(self.open[-2:]):
            self.headings[-1] += data


@pytest.fixture(scope="module")
def read(page):
    reader = Reader()
    reader.feed(page)
    reader.close()
    return reader


def test_page_is_well_formed_and_loads_nothing(page, read):
    assert read.open == []
    assert len(read.ids) == len(set(read.ids))
    assert all(address == "data:," or address[1:] in read.ids for address in read.addresses)
    assert not re.search(r"@import|url\((?!#)|<script", page)
    assert "/secret/place" not in page


def test_page_says_synthetic_everywhere(page, read):
    assert len(read.headings) > 8
    assert all("SYNTHETIC" in heading for heading in read.headings)
    assert len(read.figures) > 12
    assert all("SYNTHETIC" in label for label in read.figures)
    drawn = re.findall(r"<svg.*?</svg>", page, re.DOTALL)
    assert all("SYNTHETIC" in re.sub(r'aria-label="[^"]*"', "", svg) for svg in drawn)


def test_page_shows_stage_borders_and_confusion(written, page):
    curves = next(svg for svg in re.findall(r"<svg.*?</svg>", page, re.DOTALL) if "Learning curves: MEP" in svg)
    assert all(name.replace("_", " ") in curves for name in STAGES)
    label, p, _ = scores_of(written, "wl", 0)
    hits = confusion_matrix(label, p > 0.5)[0, 0]
    start = page.index("WL, seed 0</figcaption>", page.index('id="confusion"'))
    assert re.search(r'<td class="measured">(\d+)<br>', page[start:])[1] == str(hits)


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
        ({"recipe__epochs": 7}, "optimization.epochs"),
        ({"synthetic": False}, "synthetic or real data"),
        ({"code_sha256": "9"}, "code"),
        ({"loss__name": "weighted"}, "loss.name"),
    ],
)
def test_other_protocols_are_put_apart(tmp_path, changes, named):
    make_run(tmp_path, "base", 0)
    make_run(tmp_path, "base", 1, **changes)
    make_run(tmp_path, "wl", 0)
    tables = module("paper_tables")
    cells = module("cells").collect(tables.TABLE_2, tmp_path, tmp_path / "sweep")
    settled = module("protocol").settle_protocol(tables.TABLE_2, cells)
    sentence = f"table2_base/seed_1 is not in the table: it differs from the other cells in {named}."
    assert settled.apart == [sentence]
    assert {cell.name for cell in settled.cells if cell.complete} == {"table2_base/seed_0", "table2_wl/seed_0"}


def test_other_test_faces_are_put_apart(tmp_path):
    make_run(tmp_path, "base", 0)
    folder = make_run(tmp_path, "base", 1)
    make_run(tmp_path, "wl", 0)
    make_predictions(1, 5, videos=10).to_parquet(folder / "evaluation" / "test_handoff" / "predictions.parquet")
    tables = module("paper_tables")
    cells = module("cells").collect(tables.TABLE_2, tmp_path, tmp_path / "sweep")
    settled = module("protocol").settle_protocol(tables.TABLE_2, cells)
    assert [cell.name for cell in settled.cells if cell.status == "apart: other test faces"] == ["table2_base/seed_1"]


def test_other_code_stands_in_the_table_on_demand(tmp_path, capsys):
    runs = tmp_path / "drawn" / "tiny"
    make_run(runs, "base", 0)
    make_run(runs, "base", 1, code_sha256="9", code="deepfake_ms 0.1.0 (bbbb)")
    run_report(runs, tmp_path / "output", "--any-code")
    assert "2 of 28 runs are in the numbers" in capsys.readouterr().out
    text = (tmp_path / "output" / "table2_SYNTHETIC.md").read_text()
    assert "runs of different code stand together: deepfake_ms 0.1.0 (aaaa), deepfake_ms 0.1.0 (bbbb)" in text


def test_launcher_tells_why_a_cell_has_no_numbers(tmp_path):
    runs = tmp_path / "drawn" / "tiny"
    make_run(runs, "base", 0)
    make_run(runs, "mep", 0, stages=3, done=2)
    told = [
        ("table2_wl", ["seed=0"], {"status": "failed", "exit_code": 3, "attempt": 2}),
        ("table2_mep", ["seed=0", "model=tiny"], {"status": "killed", "signal": "SIGKILL", "exit_code": None}),
        ("table2_na", ["seed=0", "model=another"], {"status": "failed", "exit_code": 1}),
        ("table2_rf", [], {"status": "timeout"}),
    ]
    for experiment, overrides, record in told:
        folder = tmp_path / "multirun" / experiment
        folder.mkdir(parents=True)
        record |= {"program": "train train", "overrides": [f"experiment={experiment}", *overrides]}
        (folder / "job.json").write_text(json.dumps(record))
    (tmp_path / "multirun" / "table2_rf" / "log.txt").write_text("")
    cells = module("cells").collect(module("paper_tables").TABLE_2, runs, tmp_path / "multirun")
    status = {cell.experiment: cell.status for cell in cells}
    assert status["table2_wl"] == "failed: exit status 3, attempt 2"
    assert status["table2_mep"] == "unfinished: stage 3 of 3; killed: SIGKILL, attempt 1"
    assert status["table2_na"] == "missing"
    assert status["table2_rf"] == "timeout"


@pytest.mark.parametrize(
    ("name", "content", "status"),
    [
        ("run.json", "{", "damaged: run.json (JSONDecodeError)"),
        ("run.json", '{"config": {"curriculum": {"stages": [1]}}}', "damaged: run.json (KeyError)"),
        (
            "run.json",
            '{"synthetic": true, "config": {"curriculum": {"stages": [1]}}}',
            "damaged: run.json has no config_sha256",
        ),
        ("chain.json", "[]", "damaged: chain.json (TypeError)"),
        ("metrics.csv", "", "damaged: metrics.csv (EmptyDataError)"),
        ("evaluation/test_handoff/scores.json", None, "trained, not scored"),
        ("evaluation/test_handoff/predictions.parquet", "x", "damaged: predictions.parquet (ArrowInvalid)"),
    ],
)
def test_a_damaged_run_is_marked(tmp_path, name, content, status):
    path = make_run(tmp_path, "base", 0) / name
    path.unlink() if content is None else path.write_text(content)
    cells = module("cells").collect(module("paper_tables").TABLE_2, tmp_path, tmp_path / "sweep")
    assert cells[0].status == status
    assert cells[0].synthetic or "synthetic" not in (tmp_path / "table2_base" / "seed_0" / "run.json").read_text()


def test_runs_scored_before_thresholds_were_recorded(tmp_path):
    runs = tmp_path / "drawn" / "tiny"
    make_run(runs, "base", 0, thresholds=None)
    make_run(runs, "wl", 0, thresholds={"frame": 0.4, "video": None})
    run_report(runs, tmp_path / "output")
    numbers = pd.read_csv(tmp_path / "output" / "results_SYNTHETIC.csv", dtype=str)
    chosen = numbers[numbers["threshold"] == "validation"]
    assert set(chosen["experiment"]) == {"table2_wl"}
    assert set(chosen["level"]) == {"frame"}
    assert (
        "Without a validation-chosen threshold: table2_base/seed_0"
        in (tmp_path / "output" / "table2_SYNTHETIC.md").read_text()
    )


@pytest.mark.parametrize(
    ("arguments", "sentence"), [((), "holds no run of Table 2"), (("--resamples", "9"), "--resamples 9 is too few")]
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
    collect, table = module("cells").collect, module("paper_tables").TABLE_2
    cells = collect(table, tmp_path, tmp_path / "sweep", seeds=(0, 7))
    assert {cell.seed for cell in cells} == {0, 7}
    assert [cell.name for cell in cells if cell.complete] == ["table2_base/seed_0"]
    make_run(tmp_path / "other", "base", 0)
    with pytest.raises(UserError, match="table2_base under several models"):
        collect(table, tmp_path, tmp_path / "sweep")


def test_tables_are_checked():
    tables = module("paper_tables")
    row, lost = tables.Row("a", "A", "no such row"), tables.Comparison("a", "b", "x")
    with pytest.raises(UserError, match="compares b"):
        tables.PaperTable("9", "t", (row,), (), (lost,))
    with pytest.raises(UserError, match="no row 'no such row'"):
        tables.published_numbers(tables.PaperTable("2", "t", (row,), (), ()), PUBLISHED)


def test_experiments_exist_and_carry_the_same_published_numbers():
    tables = module("paper_tables")
    published = tables.published_numbers(tables.TABLE_2, PUBLISHED)
    files = {path.stem: path.read_text() for path in (REPOSITORY / "conf" / "experiment").glob("table2_*.yaml")}
    assert set(files) == {row.experiment for row in tables.TABLE_2.rows}
    for experiment, values in published.items():
        assert all(value.removeprefix("0") in files[experiment] for value in values.values()), experiment


@pytest.fixture
def browser():
    found = shutil.which("chromium") or shutil.which("chromium-browser")
    if not found:
        pytest.skip("needs chromium")
    return found


@pytest.mark.parametrize("width", [360, 1200])
def test_page_in_a_browser(browser, page, tmp_path, width):
    """In a frame of a phone's and of a desk's width: no error on the console, nothing wider than the page."""
    measure = """
        frame.onload = () => {
            const inside = frame.contentDocument, root = inside.documentElement;
            const boxes = [...inside.querySelectorAll("svg")].map(each => each.getBoundingClientRect());
            const seen = boxes.filter(box => box.width > 100 && box.height > 50 && box.right <= root.clientWidth);
            document.body.dataset.found = JSON.stringify({
                width: root.clientWidth, needed: Math.max(root.scrollWidth, inside.body.scrollWidth),
                figures: seen.length,
            });
        };"""
    frame = f'<iframe id="frame" style="width:{width}px;height:800px;border:0"></iframe>'
    outer = tmp_path / "outer.html"
    content = f"frame.srcdoc = {json.dumps(page).replace('</', '<' + chr(92) + '/')};"
    outer.write_text(
        f'<!DOCTYPE html><meta charset="utf-8"><link rel="icon" href="data:,"><body>{frame}'
        f"<script>{measure}{content}</script></body>"
    )
    flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"]
    flags += ["--disable-background-networking", "--enable-logging=stderr", "--virtual-time-budget=5000"]
    done = subprocess.run(
        [browser, *flags, f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom", outer.as_uri()],
        capture_output=True,
        text=True,
        timeout=120,
    )
    found = re.search(r'<body data-found="([^"]*)"', done.stdout)
    assert found, done.stderr[-2000:]
    seen = json.loads(html.unescape(found[1]))
    assert seen["width"] <= width
    assert seen["needed"] <= seen["width"]
    assert seen["figures"] == page.count("<svg")
    assert "CONSOLE" not in done.stderr
