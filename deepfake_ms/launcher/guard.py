"""A small wrapper process around one job of a sweep, which ends the job when the sweep ends.

python guard.py SWEEP_PID GRACE_S COMMAND...

It leads the job's process group. Its standard input is a pipe whose other end is held only by the sweep: end of file
requests a stop, whether the sweep closed the pipe (timeout, Ctrl-C) or was killed. Linux can signal a process when its
parent dies (``PR_SET_PDEATHSIG``), but not the ranks that this process has started, and other systems have no such
signal. This file imports only the standard library, to start fast and use little memory.
"""

import math
import os
import resource
import select
import signal
import subprocess
import sys
import time

POLL_S = 0.1


def main() -> None:
    """Run the command, and end with its exit status or signal.

    A stop is requested by end of file on standard input or by SIGTERM. The guard then sends SIGTERM to the command and,
    after the grace period, SIGKILL to the whole group. SIGTERM goes to the command only: Lightning forwards it to the
    ranks, and loader workers must stay alive until the checkpoint is written. Processes that outlive the command are
    killed by the sweep, or by the guard if the sweep no longer exists.
    """
    sweep, grace_s, command = int(sys.argv[1]), float(sys.argv[2]), sys.argv[3:]
    stop_requested = False

    def request_stop(*_) -> None:
        nonlocal stop_requested
        stop_requested = True

    signal.signal(signal.SIGTERM, request_stop)
    job = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    kill_at = math.inf
    while job.poll() is None:
        if kill_at < math.inf:
            time.sleep(POLL_S)
        elif stop_requested or select.select([sys.stdin], [], [], POLL_S)[0]:
            job.terminate()
            kill_at = time.monotonic() + grace_s
        if time.monotonic() > kill_at:
            os.killpg(0, signal.SIGKILL)
    if os.getppid() != sweep:
        os.killpg(0, signal.SIGKILL)
    if job.returncode < 0:
        die_by_signal(-job.returncode)
    sys.exit(job.returncode)


def die_by_signal(number: int) -> None:
    """Terminate this process with the signal that ended the job, without a core dump."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if number != signal.SIGKILL:
        signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)


if __name__ == "__main__":
    main()
