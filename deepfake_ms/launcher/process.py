"""Starts the processes of a sweep's jobs: the server that forks them, and the connections to their guards."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import BinaryIO

from deepfake_ms.provenance import code_digest

SERVER = "deepfake_ms.launcher.server"


class JobServer:
    """Starts jobs as forks of a server process, which has loaded the modules of the program.

    The first job starts the server, and so does the next job after the server was killed or the code has changed.

    Args:
        start: arguments of Python that start the program: ``-m`` and a module, or the path of a script.
        environment: environment variables of all jobs.
    """

    def __init__(self, start: Sequence[str], environment: Mapping[str, str]):
        self.start, self.environment = start, environment
        self.process: subprocess.Popen | None = None
        self.code = ""

    def start_job(
        self, arguments: Sequence[str], environment: Mapping[str, str], grace_s: float, log: BinaryIO
    ) -> "JobProcess":
        """Start a job.

        Args:
            arguments: command line of the program.
            environment: further environment variables.
            grace_s: seconds between SIGTERM and SIGKILL if the job is stopped.
            log: file for all that the job prints.
        """
        code = code_digest()
        if self.process is None or self.process.poll() is not None or code != self.code:
            self.close()
            self.channel, its = socket.socketpair()
            with its:
                self.process = subprocess.Popen(
                    [sys.executable, "-m", SERVER, *self.start],
                    stdin=its,
                    stdout=subprocess.DEVNULL,  # jobs print to their logs
                    stderr=subprocess.DEVNULL,
                    env=self.environment,
                    start_new_session=True,
                )
            self.code = code
        ours, its = socket.socketpair()
        with its:
            socket.send_fds(self.channel, [b"j"], [log.fileno(), its.fileno()])
        request = {"arguments": list(arguments), "environment": dict(environment), "grace_s": grace_s}
        ours.sendall(json.dumps(request).encode() + b"\n")
        return JobProcess(ours)

    def close(self) -> None:
        """End the server."""
        if self.process is not None:
            self.channel.close()
            self.process.kill()
            self.process.wait()


class JobProcess:
    """A running job, as its guard reports it: process id and exit status, each on a line of the socket `guard`."""

    def __init__(self, guard: socket.socket):
        guard.setblocking(False)
        self.guard, self.received = guard, b""
        self.status: int | None = None

    def poll(self) -> int | None:
        """The exit status of the job, or minus the signal that ended it; None while its guard is running."""
        try:
            while self.status is None and (received := self.guard.recv(64)):
                self.received += received
        except BlockingIOError:
            return None
        except ConnectionResetError:
            pass
        if self.status is None:
            self._end(*self.received.split()[1:])
        return self.status

    def request_stop(self) -> None:
        """Let the guard end the job within the grace period."""
        if self.poll() is None and not self.received:
            self._end(-signal.SIGTERM)  # the server is still loading; without this socket, the guard starts no job
            return
        with contextlib.suppress(OSError):
            self.guard.send(b"s")

    def _end(self, status: int | bytes = -signal.SIGKILL) -> None:
        """Note the status; a guard that was killed reports none."""
        self.status = int(status)
        self.guard.close()

    def kill(self) -> None:
        """Kill the guard, the job and all of its processes."""
        if self.received:
            # PermissionError: a group of zombies on macOS
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(int(self.received.split()[0]), signal.SIGKILL)
