"""The small program between a sweep and one of its jobs: when the sweep is gone, so is the job.

python guard.py SWEEP_PID GRACE_S COMMAND...

It leads the job's process group. Its standard input is a pipe whose other end only the sweep holds: the end of that
stream asks the job to stop, whether the sweep closed it (timeout, Ctrl-C) or was killed itself. Linux could tell a
process that its parent died (``PR_SET_PDEATHSIG``), but only that process, not the ranks that it has started, and no
other system can. It imports nothing but the standard library, to start at once and to hold little memory.
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
    """Run the command and end as it ends: with its exit status or by its signal.

    Asked to stop, by the end of standard input or SIGTERM, it sends SIGTERM to the command and after the grace period
    SIGKILL to the whole group. Only the command gets SIGTERM: Lightning passes it on to the ranks, and loader workers
    must live until its checkpoint is written. What the command leaves behind is killed by the sweep, or from here if
    there is no sweep any more.
    """
    sweep, grace_s, command = int(sys.argv[1]), float(sys.argv[2]), sys.argv[3:]
    asked = False

    def ask(*_) -> None:
        nonlocal asked
        asked = True

    signal.signal(signal.SIGTERM, ask)
    job = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    kill_at = math.inf
    while job.poll() is None:
        if kill_at < math.inf:
            time.sleep(POLL_S)
        elif asked or select.select([sys.stdin], [], [], POLL_S)[0]:
            job.terminate()
            kill_at = time.monotonic() + grace_s
        if time.monotonic() > kill_at:
            os.killpg(0, signal.SIGKILL)
    if os.getppid() != sweep:
        os.killpg(0, signal.SIGKILL)
    if job.returncode < 0:
        end_by(-job.returncode)
    sys.exit(job.returncode)


def end_by(number: int) -> None:
    """Die of the signal that the job died of, without a core dump of this program."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if number != signal.SIGKILL:
        signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)


if __name__ == "__main__":
    main()
