"""Inside of a guest: a server of execnet's, by which pytest-xdist on another machine runs tests.

    python3 -m probes.guest.serve PORT MODULE...

For each connection there is a process of its own, one after the other: what one run of pytest has
imported and changed is not there for the next. The modules are imported beforehand, while nobody
waits: under emulation that takes seconds.
"""

import importlib
import socket
import subprocess
import sys
from collections.abc import Sequence
from typing import Final

READY: Final = "ready for connections"
"""What is printed once connections are taken."""

_CHILD: Final = "--one-of"


def listen(port: int, modules: Sequence[str]) -> None:
    """Serves connections until it is ended."""
    with socket.create_server(("", port)) as listening:
        sys.stdout.write(f"{READY}\n")
        sys.stdout.flush()
        number = listening.fileno()
        words = (sys.executable, "-m", __spec__.name, _CHILD, str(number), *modules)
        while True:
            subprocess.run(words, pass_fds=[number], check=False)


def serve_one(listening: socket.socket, modules: Sequence[str]) -> None:
    """Serves the next connection, as execnet's own server would do."""
    from execnet import gateway_base  # noqa: PLC0415 - only a guest's Python needs to have it
    from execnet.script import socketserver  # noqa: PLC0415 - likewise

    for name in modules:
        importlib.import_module(name)
    # pytest is to run in the main thread, as in every other process of xdist's.
    model = gateway_base.get_execmodel("main_thread_only")
    vars(socketserver).update(execmodel=model, print_=lambda *_: None)
    socketserver.exec_from_one_connection(listening)


if __name__ == "__main__":
    if sys.argv[1] == _CHILD:
        serve_one(socket.socket(fileno=int(sys.argv[2])), sys.argv[3:])
    else:
        listen(int(sys.argv[1]), sys.argv[2:])
