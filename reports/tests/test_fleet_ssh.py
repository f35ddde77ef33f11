"""A fleet by GNU parallel over ssh: the lines of the page, on three hosts that are this machine."""

import subprocess
from pathlib import Path
from typing import Final

import pytest

from probes.errors import ExitStatus
from probes.tests.support.oracles import require
from reports.tests.support import fleets, markdown, ssh
from reports.tests.support.fleets import NODES
from reports.tests.support.job import CHECKOUT

PATIENCE_SECONDS: Final = 120
PAGE: Final = CHECKOUT / "docs/fleets.md"
GIVEN: Final = "--target=bpf:/etc/platform.bpf --profile=errno"
"""What is judged in the page's line."""

pytestmark = pytest.mark.root("logs in by a key as root", machine="x86_64")


def lines(programs: Path) -> str:
    """The lines of the page, with the filter of each host at a place of its own."""
    section = markdown.section(PAGE.read_text(encoding="utf-8"), "GNU parallel over ssh")
    (block,) = section.blocks
    assert block.count(GIVEN) == 1
    selected = f'-k "\\"{fleets.SELECTION}\\""'  # for the shell here, and for the one there
    job = " ".join([*fleets.JOB[:3], selected, fleets.JOB[-1]])
    return block.replace(GIVEN, f"--target=bpf:{programs}/{{}}.bpf {job}")


@pytest.mark.slow
def test_the_host_that_lost_a_rule_is_named(tmp_path: Path) -> None:
    """Each logs in to a home of its own, and ssh and scp know the hosts by a configuration."""
    require("parallel", "parallel")
    programs, far, near, tools = (tmp_path / name for name in ("programs", "far", "near", "tools"))
    for folder in (far, near, tools):
        folder.mkdir()
    fleets.programs(programs)
    variables = fleets.environment()
    more = (
        "Subsystem sftp /usr/lib/openssh/sftp-server",
        f"SetEnv PATH={variables['PATH']}",
        f'ForceCommand cd {far} && exec sh -c "$SSH_ORIGINAL_COMMAND"',
    )
    with ssh.server(tmp_path / "sshd", NODES, *more) as config:
        for name in ("ssh", "scp"):
            tool = tools / name
            tool.write_text(f'#!/bin/sh\nexec {require(name, "openssh-client")} -F {config} "$@"\n')
            tool.chmod(0o755)
        ended = subprocess.run(
            ["sh", "-c", lines(programs)],
            cwd=near,
            env=variables | {"PATH": f"{tools}:{variables['PATH']}", "HOME": str(near)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE_SECONDS,
            check=False,
        )
    said = ended.stdout + ended.stderr
    assert ended.returncode == ExitStatus.NOT_CONFORMANT, said
    assert sorted(one.name for one in near.glob("record-*")) == [f"record-{one}" for one in NODES]
    fleets.check(near / "fleet.json", near / "fleet.html")
    assert "\nn2: denies (errno): failed; most: passed: mount (x86_64)\n" in ended.stdout
