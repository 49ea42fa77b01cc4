"""A running page, and a visitor who speaks HTTP."""

import http.client
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from deepfake_ms.web.bounds import Bounds
from deepfake_ms.web.server import PageServer
from deepfake_ms.web.worker import Worker

WAIT_S = 60


@dataclass(frozen=True)
class Site:
    """Where the page is, and what its worker said first."""

    port: int
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    def get(self, path: str = "/", host: str | None = None) -> tuple[int, dict[str, str], str]:
        """Status, headers and body."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=WAIT_S)
        connection.request("GET", path, headers={"Host": host} if host else {})
        reply = connection.getresponse()
        return reply.status, {name.lower(): value for name, value in reply.getheaders()}, reply.read().decode()

    def upload(self, content: Any, name: str = "a.txt") -> tuple[int, list[dict[str, Any]]]:
        """Status and messages; `content` may be an iterable of chunks."""
        reply = self.send(content, name).getresponse()
        return reply.status, [json.loads(line) for line in reply.read().decode().splitlines()]

    def send(self, content: Any, name: str = "a.txt", **headers: str) -> http.client.HTTPConnection:
        """The connection after the upload."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=WAIT_S)
        connection.request("POST", "/score", content, {"X-File-Name": name, **headers})
        return connection


@contextmanager
def serve(load: Any, *arguments: Any, bounds: Bounds | None = None) -> Iterator[Site]:
    """The page with a worker of its own."""
    worker = Worker(load, *arguments)
    listener = socket.create_server(("127.0.0.1", 0))
    try:
        facts = worker.start()
        server = PageServer(worker, facts, bounds or Bounds(), "127.0.0.1")
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            yield Site(listener.getsockname()[1], dict(facts))
        finally:
            server.should_exit = True
            thread.join(WAIT_S)
    finally:
        worker.close()
        listener.close()
