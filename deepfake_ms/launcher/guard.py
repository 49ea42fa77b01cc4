"""A small process around one job of a sweep, which ends the job when the sweep ends."""

import json
import math
import os
import select
import signal
import socket
import time

POLL_S = 0.1


def guard_job(log: int, channel: int) -> list[str]:
    """Fork the job from this process, which becomes its guard. Returns only in the job: its arguments.

    The guard leads the process group of the job. It reads from the sweep one line of JSON: `arguments`, `environment`
    and `grace_s`. It writes its process id and, once the job has ended, the exit status, or minus the signal.

    The sweep requests a stop by sending any further byte. End of file, which means that the sweep no longer exists, and
    SIGTERM request one as well. The guard then sends SIGTERM to the job and, after the grace period, SIGKILL to the
    whole group. SIGTERM goes to the job only: Lightning forwards it to the ranks, and loader workers must stay alive
    until the checkpoint is written. Processes that outlive the job are killed by the sweep, or by the guard if the
    sweep no longer exists. Linux can signal a process when its parent dies (``PR_SET_PDEATHSIG``), but not the ranks
    that this process has started, and other systems have no such signal.

    Args:
        log: open file for everything that the job prints.
        channel: open socket to the sweep.
    """
    os.setsid()
    sweep = socket.socket(fileno=channel)
    with sweep.makefile("rb", buffering=0) as lines:
        request = json.loads(lines.readline())
    sweep.sendall(f"{os.getpid()}\n".encode())
    os.environ.update(request["environment"])
    nothing = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((nothing, 0), (log, 1), (log, 2)):
        os.dup2(source, target)
    os.close(nothing)
    os.close(log)
    job = os.fork()
    if not job:
        sweep.close()
        return request["arguments"]
    status = _wait(job, sweep, request["grace_s"])
    try:
        sweep.sendall(f"{os.waitstatus_to_exitcode(status)}\n".encode())
    except OSError:
        os.killpg(0, signal.SIGKILL)
    os._exit(0)


def _wait(job: int, sweep: socket.socket, grace_s: float) -> int:
    """Wait for the job, and stop it on request; its wait status."""
    stop_requested = False

    def request_stop(*_) -> None:
        nonlocal stop_requested
        stop_requested = True

    signal.signal(signal.SIGTERM, request_stop)
    kill_at = math.inf
    while True:
        ended, status = os.waitpid(job, os.WNOHANG)
        if ended:
            return status
        if kill_at < math.inf:
            time.sleep(POLL_S)
        elif stop_requested or select.select([sweep], [], [], POLL_S)[0]:
            os.kill(job, signal.SIGTERM)
            kill_at = time.monotonic() + grace_s
        if time.monotonic() > kill_at:
            os.killpg(0, signal.SIGKILL)
