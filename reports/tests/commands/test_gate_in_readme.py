"""What README shows of a gate is what a gate says, but for numbers and folders."""

import re
import shlex
import shutil
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from probes.action import Profile
from probes.files import SUITE
from probes.tests.support.emitter import sharing_records
from probes.tests.support.machine import need
from reports.filters import allowlist
from reports.filters.allowlist import ExportFormat, ExportRequest
from reports.tests.commands.test_gate import SHIPPED, X86, starts_containers
from reports.tests.support import markdown
from reports.tests.support.job import run_command

_PROMPT = "$ "


def shown() -> list[str]:
    """README's lines, from the command to its exit status."""
    text = (SUITE / "README.md").read_text(encoding="utf-8")
    (block,) = markdown.section(text, "What it says").blocks
    return block.splitlines()


def compared(lines: Sequence[str]) -> list[str]:
    """Lines without what differs between machines: folders and numbers."""
    text = "\n".join(lines).replace(f"{SUITE}/", "")
    text = re.sub(r"reports in \S+:", "reports in FOLDER:", text)
    text = re.sub(r"Linux \S+,", "Linux RELEASE,", text)
    return re.sub(r"[0-9][0-9,.]*", "N", text).splitlines()


def test_readme_shows_ten_lines() -> None:
    lines = shown()
    assert len(lines) == 10
    assert lines[0].startswith(f"{_PROMPT}syscall-conformance gate ")
    assert lines[-2:] == [f"{_PROMPT}echo $?", "1"]


@starts_containers
def test_readme_shows_what_the_gate_says(tmp_path: Path) -> None:
    need("bwrap")
    root = tmp_path / "rootfs"
    for name in ("bin", "dev", "proc", "tmp"):
        (root / name).mkdir(parents=True)
    shutil.copy("/bin/true", root / "bin/shop")
    lax = replace(SHIPPED, calls=tuple(one for one in SHIPPED.calls if one.name != "mount"))
    program = allowlist.export(ExportRequest(lax, Profile.ERRNO, X86), ExportFormat.BPF)
    assert isinstance(program, bytes)
    (tmp_path / "platform.bpf").write_bytes(program)
    command, *said = shown()
    script = Path(sys.executable).parent / "syscall-conformance"

    with sharing_records():
        ended = run_command([script, *shlex.split(command.removeprefix(_PROMPT))[1:]], cwd=tmp_path)

    assert compared(ended.stdout.splitlines()) == compared(said[:-2])
    assert str(ended.returncode) == said[-1]


def test_another_line_is_seen() -> None:
    lines = shown()
    assert compared([*lines[:1], *lines[2:]]) != compared(lines)
    assert compared([line.replace("mount", "umount2") for line in lines]) != compared(lines)
