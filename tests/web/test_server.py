"""Uploads: bounded, one at a time, forgotten; a process that hangs or dies is replaced."""

import os
import re
import socket
import time
from concurrent.futures import ThreadPoolExecutor

import odd_files
import orders
import pytest
from site_under_test import serve
from squares import squares

from deepfake_ms.errors import UserError
from deepfake_ms.web.bounds import Bounds
from deepfake_ms.web.server import _safe_name
from deepfake_ms.web.worker import CLOSED, FAILED, NOT_READY, Worker

BOUNDS = Bounds(megabytes=0.002, answer_s=3, upload_s=1, visitors=3)
GONE_S = 20
HEAD = b"POST /score HTTP/1.1\r\nHost: localhost\r\nX-File-Name: a.txt\r\n"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """The folder of all temporary folders."""
    folder = tmp_path_factory.mktemp("temporary")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tempfile.tempdir", str(folder))
        yield folder


@pytest.fixture(scope="module")
def site(place):
    with serve(orders.by_content, bounds=BOUNDS) as site:
        yield site


@pytest.fixture(autouse=True)
def _nothing_is_kept(place):
    """After each test, no upload is left."""
    yield
    wait_until(lambda: not list(place.iterdir()))


def wait_until(true) -> None:
    end = time.monotonic() + GONE_S
    while not true():
        assert time.monotonic() < end
        time.sleep(0.02)


def is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


def process_of(messages) -> int:
    return int(messages[-1]["report"].rpartition(" ")[2])


def test_upload_and_answer(site):
    status, messages = site.upload("hello", "my%20file.txt")
    assert status == 200
    assert messages[0] == {"scoring": True}
    assert re.fullmatch(r"my file\.txt in \d+", messages[1]["report"])
    assert len(messages) == 2


def test_drawn_video(place, tmp_path):
    """A real worker: upload, score, report; then a broken file."""
    content = odd_files.clip()(tmp_path / "clip.mp4").read_bytes()
    with serve(squares, Bounds()) as site:
        assert "SYNTHETIC DATA" in site.get()[2]
        status, messages = site.upload(content, "clip.mp4")
        assert (status, messages[0]) == (200, {"scoring": True})
        assert "Grad-CAM" in messages[-1]["report"]
        _, messages = site.upload(content[: len(content) // 2], "clip.mp4")
        assert messages[-1]["refused"].startswith("This file cannot be read: not a video, or cut off")


def test_a_folder_holds_one_file(site):
    """Of another visitor's file, not even the name is in reach."""
    with ThreadPoolExecutor() as pool:
        first = pool.submit(site.upload, "sleep 1", "first.txt")
        time.sleep(0.3)
        assert site.upload("list", "second.txt")[1][-1] == {"report": "second.txt"}
        first.result()


def test_two_at_once_get_their_own_answers(site):
    with ThreadPoolExecutor() as pool:
        first = pool.submit(site.upload, "sleep 1", "first.txt")
        time.sleep(0.3)
        second = pool.submit(site.upload, "hello", "second.txt")
        (_, ahead), (_, behind) = first.result(), second.result()
    assert ahead[0] == {"scoring": True}
    assert ahead[-1]["report"].startswith("first.txt")
    assert behind[:2] == [{"before": 1}, {"scoring": True}]
    assert behind[-1]["report"].startswith("second.txt")


def test_too_many_visitors(site):
    with ThreadPoolExecutor() as pool:
        running = [pool.submit(site.upload, "sleep 1") for _ in range(BOUNDS.visitors)]
        time.sleep(0.5)
        status, messages = site.upload("hello")
        assert (status, messages) == (503, [{"refused": "3 files are waiting already: try again in a few minutes."}])
        answers = [each.result()[1] for each in running]
    assert all("report" in each[-1] for each in answers)
    assert sorted(each[0].get("before", 0) for each in answers) == [0, 1, 2]


def test_too_large(site, place):
    refused = (413, [{"refused": "The file is larger than 0.002 MB: cut out a part."}])
    assert site.upload(b"x" * 2001) == refused
    assert site.upload(iter([b"x" * 1000, b"x" * 1001])) == refused, "its size is not announced"
    assert site.upload(b"x" * 2000)[0] == 200


def test_slow_upload(site):
    with socket.create_connection(("127.0.0.1", site.port), timeout=GONE_S) as visitor:
        visitor.sendall(HEAD + b"Content-Length: 10\r\n\r\nhe")
        reply = ""
        while "}" not in reply and (part := visitor.recv(4000).decode()):
            reply += part
    assert reply.startswith("HTTP/1.1 408")
    assert "The upload took longer than 1 s" in reply


def test_upload_that_breaks_off(site, place):
    with socket.create_connection(("127.0.0.1", site.port), timeout=GONE_S) as visitor:
        visitor.sendall(HEAD + b"Content-Length: 10\r\n\r\nhe")
        wait_until(lambda: list(place.iterdir()))
    wait_until(lambda: not list(place.iterdir()))
    assert site.upload("hello")[0] == 200


def test_answer_that_takes_too_long(site):
    before = process_of(site.upload("hello")[1])
    start = time.monotonic()
    _, messages = site.upload("sleep 60")
    assert time.monotonic() - start < 30
    assert messages[-1] == {
        "refused": "The answer took longer than 3 s and was stopped: try a shorter or smaller file."
    }
    assert not is_alive(before)
    assert process_of(site.upload("hello")[1]) != before


def test_visitor_who_does_not_read(site):
    """The next one does not wait, and the places in the queue are free again."""
    slow = []
    for _ in range(BOUNDS.visitors):
        visitor = socket.socket()
        visitor.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        visitor.connect(("127.0.0.1", site.port))
        visitor.sendall(HEAD + b"Content-Length: 12\r\n\r\nlong 8000000")
        slow.append(visitor)
        time.sleep(0.2)
    start = time.monotonic()
    while site.upload("hello")[0] == 503:
        time.sleep(0.1)
    assert time.monotonic() - start < GONE_S
    for visitor in slow:
        visitor.close()


def test_page_from_elsewhere(site):
    """A form or a script of another page can send no header of ours without asking first, which is refused."""
    with socket.create_connection(("127.0.0.1", site.port), timeout=GONE_S) as visitor:
        visitor.sendall(b"POST /score HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nhello")
        assert visitor.recv(4000).startswith(b"HTTP/1.1 403")
    with socket.create_connection(("127.0.0.1", site.port), timeout=GONE_S) as visitor:
        visitor.sendall(b"OPTIONS /score HTTP/1.1\r\nHost: localhost\r\nOrigin: http://evil.example\r\n\r\n")
        reply = visitor.recv(4000)
    assert reply.startswith(b"HTTP/1.1 405")
    assert b"access-control" not in reply.lower()


def test_connections_without_a_request_are_closed(monkeypatch):
    monkeypatch.setattr("deepfake_ms.web.server.REQUEST_S", 0.5)
    with serve(orders.by_content) as site:
        for beginning in (
            b"",
            b"POST /score HTTP/1.1\r\nHost: local",
            b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\nGET /",
        ):
            with socket.create_connection(("127.0.0.1", site.port), timeout=4) as visitor:
                visitor.sendall(beginning)
                while visitor.recv(4000):  # ends with the connection
                    pass
        assert site.upload("sleep 2")[1][-1]["report"], "a request in progress is not idle"


def test_visitor_who_leaves(site):
    """The process does not go on with a file that nobody waits for."""
    before = process_of(site.upload("hello")[1])
    connection = site.send("sleep 2.5")
    time.sleep(0.3)
    connection.close()
    assert process_of(site.upload("hello")[1]) != before
    assert not is_alive(before)


def test_process_that_dies(site):
    assert site.upload("die")[1][-1] == {"refused": FAILED}
    assert site.upload("hello")[1][-1]["report"].startswith("a.txt")


def test_unforeseen_error(site, place):
    status, messages = site.upload("fail", "mine.txt")
    assert (status, messages[-1]) == (200, {"refused": FAILED})
    assert "secret" not in str(messages)
    assert str(place) not in str(messages)


def test_refused_file(site):
    assert site.upload("refuse It is broken.")[1][-1] == {"refused": "It is broken."}


def test_page(site):
    status, headers, page = site.get()
    assert status == 200
    for text in ("SYNTHETIC DATA", "a &amp; b", "there is no face.", "0.002 MB", "300 s", "34 megapixels", "2 more"):
        assert text in page
    assert re.search(r"Crop</th><td>tight", page)
    assert "default-src 'none'" in headers["content-security-policy"]
    assert "://" not in page + site.get("/page.js")[2], "no address of another server"


def test_other_addresses(site):
    """A page elsewhere that renames itself to this machine's address gets nothing; nor does one that lists files."""
    assert site.get(host="evil.example")[0] == 400
    assert site.get(host=f"localhost:{site.port}")[0] == 200
    assert [site.get(path)[0] for path in ("/score", "/page.html.j2", "/../setup.py", "/docs")] == [405, 404, 404, 404]


@pytest.mark.parametrize(
    ("header", "name"),
    [
        ("clip.mp4", "clip.mp4"),
        ("..%2F..%2Fetc%2Fpasswd", "passwd"),
        ("C%3A%5CUsers%5Cme%5Cclip.mp4", "clip.mp4"),
        ("", "upload"),
        ("..", "upload"),
        ("%2F", "upload"),
        ("a%00b%0Ac.mp4", "a%00b%0Ac.mp4"),
        ("%E4%BD%A0.mp4", "你.mp4"),
        ("%FF.mp4", "\ufffd.mp4"),
        ("x" * 300 + ".mp4", "x" * 133 + "~"),
        ("a." + "y" * 300, "a.yyyyyyyyy"),
    ],
)
def test_names(header, name, tmp_path):
    safe = _safe_name(header)
    assert safe.startswith(name)
    assert safe == name or len(header) > 300
    (tmp_path / safe).write_text("can be written")


def test_detector_that_cannot_be_loaded():
    for load, sentence in ((orders.refusing, "no such run"), (orders.dying, "ended while it started")):
        worker = Worker(load)
        with pytest.raises(UserError, match=sentence):
            worker.start()
        worker.close()


def test_page_that_is_closed(caplog):
    """Whoever is scored or waits gets a sentence, and the process ends."""
    with ThreadPoolExecutor() as pool:
        with serve(orders.by_content) as site:
            process = process_of(site.upload("hello")[1])
            visitors = [pool.submit(site.upload, "sleep 60") for _ in range(2)]
            time.sleep(0.5)
        assert [each.result()[1][-1] for each in visitors] == [{"refused": CLOSED}] * 2
    assert not is_alive(process)
    assert "Traceback" not in caplog.text


def test_detector_that_is_deleted_meanwhile(place, tmp_path):
    with serve(orders.once, tmp_path) as site:
        assert site.upload("die")[1][-1] == {"refused": FAILED}
        assert site.upload("hello")[1][-1] == {"refused": NOT_READY}
        (tmp_path / "loaded").unlink()
        assert "report" in site.upload("hello")[1][-1]
