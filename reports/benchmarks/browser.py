"""Chromium without a window, for the tests and the benchmark of the pages: nothing else needs it.

It is driven by the DevTools protocol over a pair of pipes (``--remote-debugging-pipe``), in which
each message is JSON and ends with a zero byte. So neither a port nor a package is needed.
https://chromedevtools.github.io/devtools-protocol/ describes the methods.
"""

import argparse
import base64
import contextlib
import json
import os
import re
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

NAMES: Final = ("chromium", "chromium-browser", "google-chrome")
"""What the program is called on one system or another."""

DEADLINE: Final = 120.0
"""Seconds after which an answer is no longer waited for; machines can be very busy."""

# Chromium looks for its pipes at these two descriptors.
_READS_FROM, _WRITES_TO = 3, 4
_CHUNK = 1 << 16
_PAUSE = 0.05

_START = (
    "import os, sys\n"
    "commands, answers = int(sys.argv[1]), int(sys.argv[2])\n"
    # First out of the way of each other, and then to where they belong.
    "spare = [os.dup(commands), os.dup(answers)]\n"
    f"os.dup2(spare[0], {_READS_FROM}); os.dup2(spare[1], {_WRITES_TO})\n"
    # A descriptor that already was where it belongs would be closed by what follows.
    f"os.set_inheritable({_READS_FROM}, True); os.set_inheritable({_WRITES_TO}, True)\n"
    "os.execvp(sys.argv[3], sys.argv[3:])\n"
)

_OPTIONS = (
    "--headless=new",
    "--remote-debugging-pipe",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-extensions",
    "--disable-sync",
    "--hide-scrollbars",
    "--no-first-run",
    "--no-default-browser-check",
    "--font-render-hinting=none",
    # Whatever a page asks for, nothing leaves this machine.
    "--host-resolver-rules=MAP * ~NOTFOUND",
    "about:blank",
)


class BrowserError(Exception):
    """The browser gave no answer, or one that says that something is wrong."""


def find() -> str | None:
    """The path of the program, or None where there is none."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


class Browser:
    """A running browser with a profile of its own; a context manager, which ends it."""

    def __init__(self, program: str) -> None:
        """Starts it.

        Args:
            program: its path.
        """
        self._stack = contextlib.ExitStack()
        profile = self._stack.enter_context(
            tempfile.TemporaryDirectory(prefix="conformance-browser-", ignore_cleanup_errors=True)
        )
        theirs_in, self._to = os.pipe()
        self._from, theirs_out = os.pipe()
        # Chromium's sandbox refuses to serve root.
        sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []
        options = [*_OPTIONS[:-1], *sandbox, f"--user-data-dir={profile}", _OPTIONS[-1]]
        start = [sys.executable, "-c", _START, str(theirs_in), str(theirs_out)]
        self._process = subprocess.Popen(
            [*start, program, *options],
            pass_fds=(theirs_in, theirs_out),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            env={**os.environ, "HOME": profile},
        )
        os.close(theirs_in)
        os.close(theirs_out)
        self._left = b""
        self._last = 0
        self._events: list[dict[str, Any]] = []

    def __enter__(self) -> Self:
        """The browser itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Ends it and every process that it started."""
        # A group of its own: nothing else is in it.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(DEADLINE)
        os.close(self._to)
        os.close(self._from)
        self._stack.close()

    def page(self) -> "BrowserPage":
        """A new page."""
        target = self.send("Target.createTarget", None, url="about:blank")["targetId"]
        session = self.send("Target.attachToTarget", None, targetId=target, flatten=True)
        return BrowserPage(self, session["sessionId"])

    def send(self, method: str, session: str | None, **parameters: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
        """The answer to a command.

        Raises:
            BrowserError: it was refused, or no answer came.
        """
        self._last += 1
        message: dict[str, Any] = {"id": self._last, "method": method, "params": parameters}
        if session is not None:
            message["sessionId"] = session
        self._write(json.dumps(message).encode("ascii") + b"\0")
        deadline = time.monotonic() + DEADLINE
        while True:
            answer = self._next(deadline, method)
            if answer.get("id") == self._last:
                break
            self._events.append(answer)
        if "error" in answer:
            raise BrowserError(f"{method}: {answer['error'].get('message', answer['error'])}")
        result: dict[str, Any] = answer["result"]
        return result

    def wait(self, event: str, session: str, seconds: float = DEADLINE) -> dict[str, Any]:
        """Waits for an event of a page, and removes it from those that are kept.

        Raises:
            BrowserError: it did not.
        """
        deadline = time.monotonic() + seconds
        while True:
            for index, told in enumerate(self._events):
                if told.get("method") == event and told.get("sessionId") == session:
                    del self._events[index]
                    parameters: dict[str, Any] = told["params"]
                    return parameters
            self._events.append(self._next(deadline, event))

    def told(self, event: str, session: str) -> list[dict[str, Any]]:
        """All events of one kind that a page has sent so far."""
        return [
            told["params"]
            for told in self._events
            if told.get("method") == event and told.get("sessionId") == session
        ]

    def memory(self) -> int:
        """The most memory that its processes have had so far, all of them together, in bytes."""
        total = 0
        for status in Path("/proc").glob("[0-9]*/status"):
            # A process can end while it is looked at.
            with contextlib.suppress(OSError, ValueError):
                if os.getpgid(int(status.parent.name)) == self._process.pid:
                    found = re.search(r"^VmHWM:\s*(\d+) kB$", status.read_text(), re.MULTILINE)
                    total += 1024 * int(found[1]) if found else 0
        return total

    def forget(self) -> None:
        """Forgets the events of a page."""
        self._events.clear()

    def _write(self, data: bytes) -> None:
        while data:
            data = data[os.write(self._to, data) :]

    def _next(self, deadline: float, awaited: str) -> dict[str, Any]:
        pieces = [self._left]
        while b"\0" not in pieces[-1]:
            ready, _, _ = select.select([self._from], [], [], max(0.0, deadline - time.monotonic()))
            if not ready:
                raise BrowserError(f"{awaited}: no answer in time")
            pieces.append(os.read(self._from, _CHUNK))
            if not pieces[-1]:
                raise BrowserError(f"{awaited}: the browser has ended")
        last, _, self._left = pieces.pop().partition(b"\0")
        message: dict[str, Any] = json.loads(b"".join((*pieces, last)))
        return message


class BrowserPage:
    """A page of a browser."""

    def __init__(self, browser: Browser, session: str) -> None:
        """Takes the session that speaks with the page."""
        self._browser = browser
        self._session = session
        for domain in ("Page", "Runtime", "Log", "Network", "Performance"):
            self.send(f"{domain}.enable")

    def send(self, method: str, **parameters: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
        """The page's answer to a command."""
        return self._browser.send(method, self._session, **parameters)

    def told(self, event: str) -> list[dict[str, Any]]:
        """All events of one kind that the page has sent since it was opened."""
        return self._browser.told(event, self._session)

    def open(self, path: Path, deadline: float = DEADLINE) -> float:
        """Opens a file and waits until it is loaded; the seconds that it took.

        Raises:
            BrowserError: it was not loaded in so many seconds.
        """
        self._browser.forget()
        begin = time.perf_counter()
        self.send("Page.navigate", url=path.resolve().as_uri())
        self._browser.wait("Page.loadEventFired", self._session, deadline)
        return time.perf_counter() - begin

    def evaluate(self, expression: str) -> Any:  # noqa: ANN401 - JSON
        """The value of an expression, awaited where it is a promise.

        Raises:
            BrowserError: it threw.
        """
        answer = self.send(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True
        )
        if "exceptionDetails" in answer:
            raise BrowserError(str(answer["exceptionDetails"]))
        return answer["result"].get("value")

    def look(self, *, width: int = 1400, height: int = 900, scheme: str = "light") -> None:
        """Gives the page a size, in CSS pixels, and the reader's colour scheme."""
        self.send(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )
        self.send(
            "Emulation.setEmulatedMedia",
            features=[{"name": "prefers-color-scheme", "value": scheme}],
        )

    def scripts(self, *, allowed: bool) -> None:
        """Whether the page's own scripts may run; what is evaluated from here always does."""
        self.send("Emulation.setScriptExecutionDisabled", value=not allowed)

    def screenshot(self, path: Path, *, whole: bool = False) -> None:
        """Writes a PNG of what is seen, or of the whole page."""
        answer = self.send("Page.captureScreenshot", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(answer["data"]))

    def pdf(self) -> bytes:
        """The page as it is printed, in the sizes that its style asks for."""
        answer = self.send("Page.printToPDF", printBackground=True, preferCSSPageSize=True)
        return base64.b64decode(answer["data"])

    def until(self, condition: str) -> None:
        """Waits until an expression is true, also where the page's scripts may not run.

        Raises:
            BrowserError: it did not become true.
        """
        deadline = time.monotonic() + DEADLINE
        while not self.evaluate(condition):
            if time.monotonic() > deadline:
                raise BrowserError(f"{condition}: not so after {DEADLINE:.0f} s")
            time.sleep(_PAUSE)

    def frames(self, count: int = 2) -> None:
        """Waits until the page has been drawn so many times."""
        self.evaluate(
            "new Promise(done => { const next = left =>"
            f" left ? requestAnimationFrame(() => next(left - 1)) : done(); next({count}); }})"
        )


def main() -> int:
    """Writes pictures of a page as people see it: two widths, two colour schemes, and on paper."""
    parser = argparse.ArgumentParser(description="pictures of a page, to look at")
    parser.add_argument("page", type=Path)
    parser.add_argument("folder", type=Path)
    arguments = parser.parse_args()
    program = find()
    if program is None:
        sys.stderr.write(f"browser: none of {', '.join(NAMES)} is installed\n")
        return 1
    arguments.folder.mkdir(parents=True, exist_ok=True)
    with Browser(program) as browser:
        page = browser.page()
        for width in (360, 1400):
            for scheme in ("light", "dark"):
                page.look(width=width, scheme=scheme)
                page.open(arguments.page)
                page.screenshot(arguments.folder / f"{width}-{scheme}.png", whole=True)
        (arguments.folder / "paper.pdf").write_bytes(page.pdf())
    return 0


if __name__ == "__main__":
    sys.exit(main())
