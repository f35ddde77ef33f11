"""Inside of a guest: a server of execnet's, by which pytest-xdist on another machine runs tests.

    python3 -m probes.guest.serve PORT

For each connection there is a process of its own, one after the other: what one run of pytest has
imported and changed is not there for the next.
"""

import socket
import subprocess
import sys
from typing import Final

READY: Final = "ready for connections"
"""What is printed once connections are taken."""

_PORT: Final = 2
_CHILD: Final = "child"


def listen(port: int) -> None:
    """Serves connections until it is ended."""
    with socket.create_server(("", port)) as listening:
        sys.stdout.write(f"{READY}\n")
        sys.stdout.flush()
        number = listening.fileno()
        words = (sys.executable, "-m", __spec__.name, str(number), _CHILD)
        while True:
            subprocess.run(words, pass_fds=[number], check=False)


def serve_one(listening: socket.socket) -> None:
    """Serves the next connection, as execnet's own server would do."""
    # Imported beforehand, while nobody waits: under emulation it takes seconds. But no plug-in of
    # pytest's, for it must be the one that imports these.
    import pytest  # noqa: F401, PLC0415, TID251 - likewise
    from execnet import gateway_base  # noqa: PLC0415 - likewise
    from execnet.script import socketserver  # noqa: PLC0415 - likewise

    from probes import examiner, settings  # noqa: F401, PLC0415 - likewise

    # pytest is to run in the main thread, as in every other process of xdist's.
    model = gateway_base.get_execmodel("main_thread_only")
    vars(socketserver).update(execmodel=model, print_=lambda *_: None)
    socketserver.exec_from_one_connection(listening)


if __name__ == "__main__":
    if sys.argv[_PORT:] == [_CHILD]:
        serve_one(socket.socket(fileno=int(sys.argv[1])))
    else:
        listen(int(sys.argv[1]))
