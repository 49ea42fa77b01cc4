"""The page and its one action: a file is uploaded, waits for its turn, is scored and forgotten."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import unquote

import uvicorn
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route
from starlette.types import Message, Receive, Scope, Send
from uvicorn.protocols.http.auto import AutoHTTPProtocol

from deepfake_ms.datasets.source import portable
from deepfake_ms.errors import UserError
from deepfake_ms.files import limit_name
from deepfake_ms.web.bounds import Bounds
from deepfake_ms.web.worker import Worker

CLOSING_S = 2
"""Seconds that open connections have when the server is stopped."""
REQUEST_S = 20
"""Seconds until a connection must have sent the head of a request."""
LOOPBACK = ("127.0.0.1", "localhost")
FOLDER_PREFIX = "deepfake-ms-app-"
NAME_HEADER = "x-file-name"
HEADERS = {
    # The page and the report need nothing from elsewhere; the report has no scripts.
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'unsafe-inline'; img-src data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-store",
}
_HERE = Path(__file__).parent
_LONGEST_STEM, _LONGEST_SUFFIX = 150, 10


class PageServer(uvicorn.Server):
    """Serves the page until it is stopped; answers in progress then end with a sentence.

    Args:
        worker, facts, bounds, host: as in `make_app`.
    """

    def __init__(self, worker: Worker, facts: Mapping[str, Any], bounds: Bounds, host: str) -> None:
        self._worker = worker
        super().__init__(
            uvicorn.Config(
                make_app(worker, facts, bounds, host),
                log_level="warning",
                access_log=False,
                lifespan="off",
                server_header=False,
                http=_Protocol,
                timeout_graceful_shutdown=CLOSING_S,
            )
        )

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._worker.close()
        await super().shutdown(sockets)


class _Protocol(AutoHTTPProtocol):
    """HTTP that closes connections on which no request begins, so that they cannot use up the server's files."""

    def connection_made(self, transport: asyncio.Transport) -> None:
        super().connection_made(transport)
        self.loop.call_later(REQUEST_S, self._close_if_idle, None)

    def _close_if_idle(self, before: Any) -> None:
        """Close unless a request is in progress or has begun since `before`, the last one at the time before."""
        if self.transport.is_closing():
            return
        if self.cycle is None or (self.cycle is before and before.response_complete):
            self.transport.close()
        else:
            self.loop.call_later(REQUEST_S, self._close_if_idle, self.cycle)


def make_app(worker: Worker, facts: Mapping[str, Any], bounds: Bounds, host: str) -> Starlette:
    """The application.

    Args:
        worker: answers; it has started.
        facts: from `worker.start()`.
        bounds: of the uploads.
        host: that the server listens on. On a loopback one, requests must be addressed to it by name, so that no page
            from elsewhere can reach it by renaming itself.
    """
    template = Environment(
        loader=FileSystemLoader(_HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    ).get_template("page.html.j2")
    page, script = template.render(bounds=bounds, **facts), (_HERE / "page.js").read_text()

    async def show_page(request: Request) -> Response:
        return Response(page, headers=HEADERS, media_type="text/html")

    async def show_script(request: Request) -> Response:
        return Response(script, headers=HEADERS, media_type="text/javascript")

    hosts = list(LOOPBACK) if host in LOOPBACK else ["*"]
    return Starlette(
        routes=[
            Route("/", show_page),
            Route("/page.js", show_script),
            Route("/score", Scoring(worker, bounds), methods=["POST"]),
        ],
        middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=hosts)],
    )


class _Refusal(Exception):
    """An upload that is not taken: status of HTTP and a sentence."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status


class Scoring:
    """An ASGI application: the body of a request is a file, and the answer is a stream of JSON lines.

    ``{"before": N}`` while N other files are ahead, ``{"scoring": true}``, and in the end ``{"report": HTML}`` or
    ``{"refused": SENTENCE}``. The file lies in a folder of its own, which is removed with the end of the request,
    however it ends. A request must name its file in a header, which a page of another site cannot send.

    Args:
        worker: answers.
        bounds: of the uploads.
    """

    def __init__(self, worker: Worker, bounds: Bounds) -> None:
        self._worker, self._bounds = worker, bounds
        self._visitors = 0
        self._queue: list[asyncio.Event] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        if NAME_HEADER not in request.headers:
            line = _line(refused="Files are accepted from the page only.")
            await Response(line, 403, HEADERS, "application/x-ndjson")(scope, receive, send)
            return

        async def in_time(message: Message) -> None:
            async with asyncio.timeout(self._bounds.upload_s):
                await send(message)

        self._visitors += 1
        try:
            with TemporaryDirectory(prefix=FOLDER_PREFIX, ignore_cleanup_errors=True) as folder:
                path = Path(folder) / _safe_name(request.headers.get(NAME_HEADER, ""))
                try:
                    await self._save(request, path)
                except _Refusal as refusal:
                    line = _line(refused=str(refusal))
                    await Response(line, refusal.status, HEADERS, "application/x-ndjson")(scope, receive, send)
                    return
                except ClientDisconnect:
                    return
                async with aclosing(self._answer(path)) as lines:
                    await StreamingResponse(lines, 200, HEADERS, "application/x-ndjson")(scope, receive, in_time)
        except (TimeoutError, ClientDisconnect):  # starlette takes the first for the second
            return  # whoever does not read the answer loses it, and the place in the queue
        finally:
            self._visitors -= 1

    async def _save(self, request: Request, path: Path) -> None:
        """Write the body of the request into a file.

        Raises:
            _Refusal: it is too large or too slow, or there are too many visitors.
        """
        bounds = self._bounds
        if self._visitors > bounds.visitors:
            raise _Refusal(503, f"{bounds.visitors} files are waiting already: try again in a few minutes.")
        too_large = _Refusal(413, bounds.too_large)
        if int(request.headers.get("content-length", 0)) > bounds.bytes:
            raise too_large
        written = 0
        try:
            async with asyncio.timeout(bounds.upload_s):
                with path.open("wb") as file:
                    async for chunk in request.stream():
                        written += len(chunk)
                        if written > bounds.bytes:
                            raise too_large
                        file.write(chunk)
        except TimeoutError as error:
            raise _Refusal(408, f"The upload took longer than {bounds.upload_s:g} s: try a smaller file.") from error
        except OSError as error:
            raise _Refusal(507, "There is no space left for uploads: tell whoever runs this page.") from error

    async def _answer(self, path: Path) -> AsyncIterator[str]:
        """The lines of the answer, when all earlier files have theirs."""
        turn = asyncio.Event()
        self._queue.append(turn)
        try:
            while before := self._queue.index(turn):
                yield _line(before=before)
                turn.clear()
                await turn.wait()
            yield _line(scoring=True)
            try:
                last = _line(report=await self._worker.answer(path, self._bounds.answer_s))
            except UserError as error:
                last = _line(refused=str(error))
        finally:
            self._queue.remove(turn)
            for other in self._queue:
                other.set()
        yield last  # the next one does not wait until this visitor has read it


def _line(**message: Any) -> str:
    return f"{json.dumps(message)}\n"


def _safe_name(header: str) -> str:
    """The visitor's own file name, without folders, short, and safe on every file system."""
    name = portable(Path(Path(unquote(header).replace("\\", "/")).name))
    if name in (".", ".."):
        return "upload"
    return limit_name(Path(name).stem, _LONGEST_STEM) + Path(name).suffix[:_LONGEST_SUFFIX]
