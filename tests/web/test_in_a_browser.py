"""A visitor with a browser. Needs Chromium."""

import shutil
import time
from concurrent.futures import ThreadPoolExecutor

import odd_files
import pytest
from browser import Browser
from site_under_test import serve
from squares import squares

from deepfake_ms.web.bounds import Bounds

pytestmark = pytest.mark.slow
DESKTOP, PHONE = (1280, 900), (390, 844)
ANSWERED = "!!document.querySelector('iframe, .status.refused')"
STATUS = "document.querySelector('.status').textContent"
REPORT = "document.querySelector('iframe').contentDocument"


@pytest.fixture(scope="module")
def program():
    found = shutil.which("chromium") or shutil.which("google-chrome")
    if not found:
        pytest.skip("needs Chromium, e.g. `apt-get install chromium`")
    return found


@pytest.fixture(scope="module")
def site():
    bounds = Bounds(megabytes=1, seconds=20)
    with serve(squares, bounds, bounds=bounds) as site:
        yield site


@pytest.fixture
def browser(program, tmp_path):
    with Browser(program, tmp_path / "profile") as browser:
        yield browser


@pytest.mark.parametrize("size", [DESKTOP, PHONE])
def test_report(browser, site, tmp_path, size):
    """By drop on a desktop and by the file dialog on a phone; nothing is wider than the window."""
    clip = odd_files.clip()(tmp_path / "my <b>clip</b>.mp4".replace("/", "\u2215"))
    browser.open(site.url, *size)
    (browser.drop if size == DESKTOP else browser.choose)(clip)
    browser.wait(ANSWERED)
    browser.wait(f"{REPORT}.readyState === 'complete' && {REPORT}.images.length > 0")
    assert browser.evaluate(STATUS) == ""
    assert browser.evaluate(f"{REPORT}.querySelector('h1').textContent") == clip.name
    assert browser.evaluate(f"{REPORT}.querySelector('.synthetic').textContent").startswith("SYNTHETIC DATA")
    assert browser.evaluate(f"[...{REPORT}.images].every(image => image.complete && image.naturalWidth > 0)")
    assert browser.evaluate(f"{REPORT}.querySelectorAll('svg circle').length") == 5
    for document in ("document", REPORT):
        root = f"{document}.documentElement"
        assert browser.evaluate(f"{root}.scrollWidth <= {root}.clientWidth"), document
    shown = browser.evaluate("document.querySelector('iframe').clientHeight")
    assert shown >= browser.evaluate(f"{REPORT}.documentElement.scrollHeight")
    assert browser.problems == []


def test_refusals_then_a_good_file(browser, site, tmp_path):
    odd_files.content(odd_files.HTML)(tmp_path / "page.mp4")
    odd_files.content(bytes(1_000_001))(tmp_path / "large.mp4")
    odd_files.long_video(tmp_path / "long.mp4")
    odd_files.clip()(tmp_path / "good.mp4")
    browser.open(site.url, *PHONE)
    sentences = {
        "page.mp4": "This file cannot be read: not a video",
        "large.mp4": "The file is larger than 1 MB",
        "long.mp4": "The video lasts",
    }
    for name, sentence in sentences.items():
        browser.evaluate("document.querySelector('.status').classList.remove('refused')")
        browser.choose(tmp_path / name)
        browser.wait(ANSWERED)
        assert browser.evaluate(STATUS).startswith(sentence)
        assert browser.evaluate("!document.querySelector('input').disabled")
    browser.choose(tmp_path / "good.mp4")
    browser.wait("!!document.querySelector('iframe')")
    assert browser.evaluate(STATUS) == ""


def test_two_visitors(program, site, tmp_path):
    """Both ask at once, and both get the report on their own file."""

    def visit(name: str) -> str:
        clip = odd_files.clip(4)(tmp_path / f"{name}.mp4")
        with Browser(program, tmp_path / name) as browser:
            browser.open(site.url, *DESKTOP)
            time.sleep(1)
            browser.choose(clip)
            browser.wait(ANSWERED)
            browser.wait(f"{REPORT}.readyState === 'complete' && !!{REPORT}.querySelector('h1')")
            return browser.evaluate(f"{REPORT}.querySelector('h1').textContent")

    with ThreadPoolExecutor() as pool:
        assert list(pool.map(visit, ("first", "second"))) == ["first.mp4", "second.mp4"]


def test_waiting_visitor_sees_the_queue(program, site, browser, tmp_path):
    slow, quick = odd_files.clip(18)(tmp_path / "slow.mp4"), odd_files.clip()(tmp_path / "quick.mp4")
    content = slow.read_bytes()
    with ThreadPoolExecutor() as pool:
        browser.open(site.url, *PHONE)
        others = [pool.submit(site.upload, content, "slow.mp4") for _ in range(3)]
        time.sleep(0.2)
        browser.choose(quick)
        browser.wait(f"/waiting in the queue; \\d files? (is|are) ahead of yours/.test({STATUS})")
        browser.wait(ANSWERED)
        assert all("report" in each.result()[1][-1] for each in others)
    assert browser.evaluate(f"{REPORT}.querySelector('h1').textContent") == "quick.mp4"


def test_server_that_ends(browser, tmp_path):
    bounds = Bounds()
    clip = odd_files.clip()(tmp_path / "a.mp4")
    with serve(squares, bounds, bounds=bounds) as site:
        browser.open(site.url, *DESKTOP)
    browser.choose(clip)
    browser.wait(ANSWERED)
    assert browser.evaluate(STATUS) == "The connection to the server was lost: try again."
