"""The records of the page about alerts are what real collectors make of the kernel's."""

import contextlib
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import pytest

from probes.audit.netlink import NetlinkCollector
from probes.releases import machine
from probes.releases.roots import SUITES
from probes.tests.support import journald_daemon, releases
from probes.tests.support.auditd_releases import HERE, printed
from probes.tests.support.emitter import (
    ERRNO_EPERM,
    KILL_PROCESS,
    LOG,
    Emitter,
    sharing_records,
    wait_for,
)
from probes.tests.support.laurel_plugin import configure, fed
from probes.tests.support.oracles import require
from probes.tests.support.sentinels import nonce
from reports.tests.support import alert_records

pytestmark = [
    pytest.mark.root("starts collectors, and reads the kernel's audit records"),
    pytest.mark.containers,
]

PATIENCE: Final = 10
OF_THE_MACHINE: Final = frozenset({"_HOSTNAME", "_MACHINE_ID", "_BOOT_ID", "_RUNTIME_SCOPE"})
"""What journald adds to every entry, whatever it is about; and what it numbers them by."""

each_release = pytest.mark.parametrize("suite", [HERE, *SUITES[1:]])


@contextlib.contextmanager
def laurel_of(suite: str, folder: Path) -> Iterator[Callable[..., Sequence[str]]]:
    """What makes a command line of the release's laurel."""
    if suite == HERE:
        executable = require("laurel", "laurel")
        yield lambda *words: (executable, *words[1:])
    else:
        with machine.started(releases.root_of_collectors(suite), shared=(folder,)) as made:
            yield made.words


@each_release
def test_laurel_writes_what_the_page_shows(suite: str, tmp_path: Path) -> None:
    configuration = configure(tmp_path / "log")
    shown = [alert_records.KILL, alert_records.LOG, alert_records.ERRNO]
    expected = sorted(map(alert_records.laurel, shown), key=identity)
    with laurel_of(suite, tmp_path) as words, fed(words, configuration) as plugin:
        for text in shown:
            plugin.write(f"type=SECCOMP msg={text}\n")
        plugin.begin()

        def written() -> list[Mapping[str, Any]]:
            lines = plugin.log.read_text(encoding="utf-8").splitlines()
            ours = {identity(event) for event in expected}
            return [one for one in map(json.loads, lines) if identity(one) in ours]

        end = time.monotonic() + PATIENCE
        # Once a second laurel looks through what it holds back, when another event comes.
        while len(written()) < len(shown) and time.monotonic() < end:
            plugin.feed('"push"')
            time.sleep(0.3)
        found = sorted(written(), key=identity)

    assert found == expected


def identity(event: Mapping[str, Any]) -> str:
    return str(event["ID"])


@each_release
def test_journald_keeps_what_the_page_shows(suite: str, emitter: Emitter, tmp_path: Path) -> None:
    require("journalctl", "systemd")
    root = None if suite == HERE else releases.root_of_runtimes(suite).path
    with (
        sharing_records(),
        journald_daemon.running(tmp_path, "journalctl", release=root) as daemon,
        contextlib.closing(NetlinkCollector()) as kernel,
    ):
        name = nonce("j")
        for action, logged in ((KILL_PROCESS, False), (LOG, False), (ERRNO_EPERM, True)):
            emitter.emit(name, action, logged=logged)
        end = nonce("z")
        emitter.emit(end)
        texts = [one.raw for one in kernel.read_until(end, PATIENCE).records if one.comm == name]
        ask = (str(daemon.path / "journalctl"), "--quiet", "--output=json", "--all")

        def entries() -> list[Mapping[str, str]]:
            return [json.loads(line) for line in printed([*ask, f"_COMM={name}"]).splitlines()]

        wait_for(lambda: len(entries()) == len(texts), "journald did not keep them")
        kept = entries()

    assert [text.rpartition("=")[2] for text in texts] == ["0x80000000", "0x7ffc0000", "0x50000"]
    assert [of_the_record(one) for one in kept] == [alert_records.journal(one) for one in texts]


def of_the_record(entry: Mapping[str, str]) -> Mapping[str, str]:
    return {
        name: value
        for name, value in entry.items()
        if name not in OF_THE_MACHINE and not name.startswith("__")
    }
