"""The page of a report: it is well-formed, loads nothing, and a browser shows it without errors."""

import html
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser

import pandas as pd
import pytest
from fake_runs import STAGES, make_run, run_report, scores_of
from sklearn.metrics import confusion_matrix

VOID = {"meta", "link", "br", "path", "use", "rect", "circle", "line"}


class Reader(HTMLParser):
    """Checks that elements are closed in order; collects ids, addresses and the text of titles and headings."""

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
    assert all(part in curves for name in STAGES for part in name.replace("_", " ").rsplit(" ", 1))
    label, p, _ = scores_of(written, "wl", 0)
    hits = confusion_matrix(label, p > 0.5)[0, 0]
    start = page.index("WL, seed 0</figcaption>", page.index('id="confusion"'))
    assert re.search(r'<td class="measured">(\d+)<br>', page[start:])[1] == str(hits)


def test_the_page_of_table_2_leads_to_that_of_figure_2(tmp_path, monkeypatch):
    runs = tmp_path / "drawn" / "tiny"
    make_run(runs, "base", 0)
    monkeypatch.setattr("experiments.report.page.FIGURE_2", tmp_path / "figure2")
    run_report(runs, tmp_path / "output")
    assert "Figure 2" not in (tmp_path / "output/table2_SYNTHETIC.html").read_text()
    (tmp_path / "figure2").mkdir()
    (tmp_path / "figure2/figure2_SYNTHETIC.html").touch()
    run_report(runs, tmp_path / "output")
    assert 'href="../figure2/figure2_SYNTHETIC.html"' in (tmp_path / "output/table2_SYNTHETIC.html").read_text()


@pytest.fixture
def browser():
    found = shutil.which("chromium") or shutil.which("chromium-browser")
    if not found:
        pytest.skip("needs chromium")
    return found


@pytest.mark.parametrize("width", [360, 1200])
def test_page_in_a_browser(browser, page, tmp_path, width):
    """In a frame as wide as a phone or a desktop: no error on the console, nothing wider than the page."""
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


def test_a_run_stopped_after_one_epoch_has_room_for_its_learning_curve(tmp_path, recwarn):
    runs = tmp_path / "tiny" / "genconvit_ed_small"
    make_run(runs, "base", 0)
    stopped = make_run(runs, "mep", 0, stages=3, done=0)
    curves = pd.read_csv(stopped / "metrics.csv")
    curves.head(1).to_csv(stopped / "metrics.csv", index=False)
    run_report(runs, tmp_path / "output")
    assert not [warning for warning in recwarn if "constrained_layout" in str(warning.message)]
