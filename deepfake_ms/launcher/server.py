"""The server of a sweep: a process that has loaded the program's modules, and forks the jobs.

python -m deepfake_ms.launcher.server -m MODULE | SCRIPT

Loading the modules takes seconds; a fork of this process has them at once. Standard input is a socket to the sweep.
Each message on it is one byte and two open files: the job's log, and a socket between the sweep and the job's guard.
End of file means that the sweep no longer exists.
"""

import gc
import importlib
import os
import runpy
import signal
import socket
import sys
from contextlib import suppress
from pathlib import Path

from deepfake_ms.launcher.guard import guard_job


def main() -> None:
    """Load the modules, fork a job for each message from the sweep, and run the program in the job."""
    start = sys.argv[1:]
    as_module = start[0] == "-m"
    # On other systems, some libraries do not survive a fork.
    if as_module and sys.platform == "linux":
        with suppress(BaseException):  # the job meets the same error, and has a log for it
            importlib.import_module(start[1])
        sys.modules.pop(start[1], None)  # each job runs it as its main module
    gc.freeze()  # a search for garbage in these modules would copy memory that all jobs share
    gc.enable()
    sys.argv[1:] = _serve()
    if as_module:
        runpy.run_module(start[1], run_name="__main__", alter_sys=True)
    else:
        if not sys.flags.safe_path:
            sys.path[0] = str(Path(start[0]).parent)
        runpy.run_path(start[0], run_name="__main__")


def _serve() -> list[str]:
    """Fork a guard for each message. Returns only in the processes of the jobs: the arguments of the job."""
    sweep = socket.socket(fileno=os.dup(sys.stdin.fileno()))
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the system removes guards that have ended
    while True:
        message, files, *_ = socket.recv_fds(sweep, 1, 2)
        if not message:
            os._exit(0)
        if os.fork() == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            sweep.close()
            return guard_job(*files)
        for file in files:
            os.close(file)


if __name__ == "__main__":
    main()
