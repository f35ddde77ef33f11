"""What ``syscall-conformance guest`` says of a guest: programs stand in for emulators."""

from dataclasses import replace
from pathlib import Path

import pytest

from probes.errors import ExitStatus
from probes.guest import choice, emulators
from probes.guest.runner import Limits
from probes.tests.guest import test_runner as fakes
from reports import results
from reports.commands import guest as command
from reports.commands import main as cli
from reports.tests.support import samples

IMAGES = {
    "boot/vmlinuz-6.1.0-50-s390x": "6.1.0-50-s390x",
    "usr/lib/modules/7.2.13+deb14-s390x/vmlinuz": "7.2.13+deb14-s390x",
}


def said(
    image: str,
    body: str,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> tuple[int, str, str]:
    """The exit status of a guest, what is said of it in the end, and what before."""
    made = fakes.guest(folder, body, Limits())
    place = folder / image
    place.parent.mkdir(parents=True)
    place.touch()
    made = replace(made, kernel=replace(made.kernel, image=place))
    monkeypatch.setattr(choice, "prepare", lambda *_: made)
    monkeypatch.setattr(emulators, "check", lambda _: None)
    monkeypatch.setattr(command, "SUITE", fakes.tree(folder))
    status = cli.run(["guest", "s390x", "--emulate", "--report-dir", str(folder / "reports")])
    told = capsys.readouterr()
    (line,) = (line for line in told.out.splitlines() if line.startswith("s390x: "))
    return status, line, told.err


@pytest.mark.parametrize("image", IMAGES)
def test_the_kernel_that_is_booted_is_named(
    image: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    status, line, before = said(image, "print('no disk')", tmp_path, monkeypatch, capsys)

    assert status == ExitStatus.BROKEN
    assert f"booting Linux {IMAGES[image]}\n" in before
    assert f"({IMAGES[image]}; emulated; over after " in line
    assert "its last line: no disk" in line


@pytest.mark.slow
def test_the_kernel_that_ran_is_named_by_its_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is booted may be called otherwise than the kernel calls itself."""
    run = samples.passing()
    release = run.environment.kernel.partition(" ")[0]
    bundle = fakes.bundle(results_json=results.to_json(run))
    done = "@@UP 1.0\n@@READY 1.1\n@@ENDED 0 0 2.0\n" + fakes.over_the_console("out", bundle)
    body = f"sys.stdout.write({done + '@@HOME 2.5' + chr(10)!r})"
    image = "usr/lib/modules/7.2.13+deb14-s390x/vmlinuz"
    status, line, _ = said(image, body, tmp_path, monkeypatch, capsys)

    assert release not in IMAGES.values()
    assert status == ExitStatus.CONFORMANT, line
    assert f"({release}; emulated; up after " in line
