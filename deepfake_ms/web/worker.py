"""A process that answers one request at a time and can be killed."""

import asyncio
import json
import signal
import sys
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from deepfake_ms.errors import UserError

LOAD_S = 300
"""Longest time in seconds until the process can answer."""
FAILED = "This file cannot be scored: the program failed on it. Try another file or format."
NOT_READY = "The detector could not be started again: tell whoever runs this page."
CLOSED = "The page was closed before the answer was there."
TOO_SLOW = "The answer took longer than {seconds:g} s and was stopped: try a shorter or smaller file."

Answer = Callable[[Path], str]
Load = Callable[..., tuple[Mapping[str, Any], Answer]]


class Worker:
    """Runs `load` in a process of its own, then calls the function that it returns for one file after the other.

    The process is killed and started again if an answer takes too long, if the asking task is cancelled, or if the
    process dies. It ends when its parent has ended. Messages are JSON, so that a decoder that was taken over by a file
    cannot make the parent run code.

    Args:
        load: a module-level function. It returns facts in plain values and the function that turns a file into HTML.
        arguments: of `load`.
    """

    def __init__(self, load: Load, *arguments: Any) -> None:
        self._target, self._closed = (load, *arguments), False
        self._spawn()

    def start(self) -> Mapping[str, Any]:
        """Wait for the process; call this once, before `answer`.

        Returns:
            The facts.

        Raises:
            UserError: `load` raises it, or the process dies.
        """
        try:
            reply = _receive(self._connection)
        except (EOFError, OSError) as error:
            raise UserError("The process that scores ended while it started; its message is above.") from error
        self._ready = True
        return _content(reply, "facts")

    async def answer(self, path: Path, seconds: float) -> str:
        """The answer to one file. Ask for one file at a time.

        Args:
            path: of the file.
            seconds: longest time, without the start of the process.

        Raises:
            UserError: there is no answer; the sentence says why.
        """
        try:
            if not self._ready:
                self._ready = "facts" in await self._reply(LOAD_S)
            if not self._ready:
                raise UserError(NOT_READY)
            self._connection.send_bytes(json.dumps(str(path)).encode())
            reply = await self._reply(seconds)
        except BaseException as error:
            self._kill()
            if not self._closed:
                self._spawn()
            if isinstance(error, TimeoutError):
                raise UserError(TOO_SLOW.format(seconds=seconds)) from error
            if isinstance(error, EOFError | OSError):
                raise UserError(CLOSED if self._closed else FAILED) from error
            raise
        return _content(reply, "answer")

    def close(self) -> None:
        """Kill the process for good; an answer in progress ends with a sentence."""
        self._closed = True
        self._kill()

    def _kill(self) -> None:
        self._process.kill()
        self._process.join()

    def _spawn(self) -> None:
        # Spawn, because a fork after threads were started can hang. The old connection closes with its last reader.
        context = get_context("spawn")
        self._ready = False
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=_work, args=(theirs, *self._target), daemon=True)
        self._process.start()
        theirs.close()  # so that the end of the process ends the connection

    async def _reply(self, seconds: float) -> Mapping[str, Any]:
        return await asyncio.wait_for(asyncio.to_thread(_receive, self._connection), seconds)


def _receive(connection: Connection) -> Mapping[str, Any]:
    return json.loads(connection.recv_bytes())


def _content(reply: Mapping[str, Any], name: str) -> Any:
    if "refused" in reply:
        raise UserError(reply["refused"])
    return reply[name]


def _work(connection: Connection, load: Load, *arguments: Any) -> None:
    """The process: load, then answer until the parent ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches both processes, and the parent ends this one

    def send(**reply: Any) -> None:
        with suppress(OSError):  # the parent has ended
            connection.send_bytes(json.dumps(reply).encode())

    try:
        facts, answer = load(*arguments)
    except UserError as error:
        send(refused=str(error))
        return
    send(facts=facts)
    while True:
        try:
            path = Path(json.loads(connection.recv_bytes()))
        except (EOFError, OSError):
            return
        try:
            reply = {"answer": answer(path)}
        except UserError as error:
            reply = {"refused": str(error)}
        except Exception:
            traceback.print_exc(file=sys.stderr)
            reply = {"refused": FAILED}
        send(**reply)
