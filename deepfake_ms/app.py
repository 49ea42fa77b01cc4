"""``deepfake-ms app run=RUN``: a page on this machine that scores videos and images."""

import argparse
import socket
import sys
from collections.abc import Mapping
from contextlib import suppress
from importlib.util import find_spec
from typing import Any

from deepfake_ms.cli import plain_entry_point
from deepfake_ms.errors import UserError
from deepfake_ms.prediction.source import is_prepared, is_source, source_folder
from deepfake_ms.web.bounds import Bounds
from deepfake_ms.web.worker import Answer, Worker

NEEDED = ("starlette", "uvicorn", "pytorch_grad_cam", "captum", "jinja2")
PORT = 7860


@plain_entry_point
def main() -> None:
    parser = _parser()
    arguments = parser.parse_args()
    if not is_source(arguments.source):
        parser.error("give run=FOLDER or model=FOLDER")
    if arguments.prepared and not is_prepared(arguments.prepared):
        parser.error(f"{arguments.prepared}: the page takes files in the browser; only prepared=FOLDER may follow")
    source = source_folder(arguments.source)
    prepared = source_folder(arguments.prepared) if arguments.prepared else None
    if missing := [name for name in NEEDED if not find_spec(name)]:
        raise UserError(f"{missing[0]} is not installed, and the page needs it: run `pip install -e '.[app]'`.")
    bounds = Bounds()
    with suppress(KeyboardInterrupt), _listen(arguments.host, arguments.port) as listener:
        print("Loading the detector ...", file=sys.stderr)
        worker = Worker(_load, source, arguments.device, bounds, prepared)
        try:
            _serve(worker, bounds, arguments.host, listener)
        finally:
            worker.close()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="deepfake-ms app",
        usage="deepfake-ms app (run=RUN [prepared=FACES] | model=DIR) [options]",
        description="Open a page that scores a video or image with a finished run and shows timeline, faces and "
        "attribution. Uploads are bounded, scored one at a time in a process of its own, and deleted.",
    )
    parser.add_argument(
        "source", metavar="run=RUN", help="run=FOLDER of a finished run or model=FOLDER of an exported one"
    )
    parser.add_argument(
        "prepared", metavar="prepared=FACES", nargs="?", help="folder of the run's faces, if they were moved"
    )
    parser.add_argument("--port", type=int, default=PORT, help=f"default: {PORT}; 0 takes a free one")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on; default: this machine only")
    parser.add_argument("--device", default="auto", help="cpu, cuda, ...; default: a GPU if there is one")
    return parser


def _listen(host: str, port: int) -> socket.socket:
    try:
        return socket.create_server((host, port))
    except (OSError, OverflowError) as error:
        raise UserError(f"{host}:{port} cannot be used ({error}): choose another --port or --host.") from error


def _load(*arguments: Any) -> tuple[Mapping[str, Any], Answer]:
    from deepfake_ms.web.scoring import load_scorer  # torch, which this process does not need

    return load_scorer(*arguments)


def _serve(worker: Worker, bounds: Bounds, host: str, listener: socket.socket) -> None:
    from deepfake_ms.web.server import LOOPBACK, PageServer  # the extra `app`

    server = PageServer(worker, worker.start(), bounds, host)
    if host not in LOOPBACK:
        print("Everyone who can reach this address can use the page.", file=sys.stderr)
    print(f"http://{host}:{listener.getsockname()[1]}/   (Ctrl-C ends it)", flush=True)
    server.run(sockets=[listener])


if __name__ == "__main__":
    main()
