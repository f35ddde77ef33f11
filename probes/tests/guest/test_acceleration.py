"""By which accelerator a guest runs: programs that stand in for QEMU tell how KVM does."""

import os
import textwrap
import time
from dataclasses import replace
from pathlib import Path

import pytest

from probes.guest import acceleration, choice, runner
from probes.guest.acceleration import AUTO, EMULATION, KVM
from probes.guest.machines import MACHINES, Machine
from probes.guest.runner import GuestJob, Limits
from probes.tests.guest import test_runner as fakes
from probes.tests.support.oracles import require

EMULATED = f"if 'tcg' in sys.argv: sys.stdout.write({fakes.DONE!r}); sys.exit()\n"
BANNER = "print('[    0.000000] Linux version 7.3', flush=True)\n"
TRIAL = "if '-initrd' not in sys.argv:\n"
HELD = "print('KVM internal error. Suberror: 1\\nEAX=0', flush=True); time.sleep(60)"
IMAGE = Path("/kernel")


@pytest.fixture
def device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What stands in for /dev/kvm."""
    made = tmp_path / "kvm"
    made.touch()
    monkeypatch.setattr(acceleration, "DEVICE", made)
    return made


def machine(folder: Path, body: str) -> Machine:
    """One of this very kind, whose emulator is a Python program."""
    made = fakes.guest(folder, textwrap.dedent(body), Limits()).machine
    return replace(made, kvm_on=os.uname().machine, kvm_options=("-cpu", "host"))


@pytest.fixture
def without_emulator(tmp_path: Path) -> Machine:
    """One of this very kind, whose emulator cannot be started."""
    return replace(machine(tmp_path, ""), qemu="/nowhere")


def chosen(one: Machine, asked: str = AUTO) -> acceleration.Accelerator:
    return acceleration.choose(one, (one.qemu,), IMAGE, asked)


@pytest.mark.usefixtures("device")
def test_kvm_is_chosen_where_the_kernel_starts_by_it(tmp_path: Path) -> None:
    shows = f"open({str(tmp_path / 'words')!r}, 'w').write(' '.join(sys.argv))\n"
    found = chosen(machine(tmp_path, f"{shows}{BANNER}time.sleep(60)"))

    assert (found.name, found.options, found.why) == (KVM, ("-cpu", "host"), "")
    words = (tmp_path / "words").read_text()
    assert "-cpu host -accel kvm" in words
    assert "-kernel /kernel" in words
    assert "-initrd" not in words


@pytest.mark.usefixtures("device")
@pytest.mark.parametrize(
    ("body", "why"),
    [
        ("time.sleep(60)", "its kernel did not start within 1 s"),
        ("while True: print('x' * 4000, flush=True)", "its kernel did not start within 1 s"),
        ("print('emulator: no such device'); sys.exit(1)", "emulator: no such device"),
        ("os.abort()", "QEMU ended without a word"),
        (HELD, "KVM internal error. Suberror: 1"),
    ],
    ids=["hangs", "talks", "ends", "aborts", "is held"],
)
def test_kvm_is_given_up_at_once_where_it_does_not_work(
    body: str, why: str, tmp_path: Path
) -> None:
    one = machine(tmp_path, body)
    began = time.monotonic()
    found = chosen(one)

    assert time.monotonic() - began < acceleration.TRIAL_SECONDS + 1
    assert (found.name, found.options) == (EMULATION, one.options)
    assert found.why == f"KVM does not do here: {why}"


@pytest.mark.parametrize("name", [EMULATION, KVM, "hvf"])
def test_what_is_asked_for_is_not_tried(name: str, without_emulator: Machine) -> None:
    one = without_emulator
    found = chosen(one, name)

    assert (found.name, found.why) == (name, "")
    assert found.options == (one.kvm_options if name == KVM else one.options)


def test_kvm_is_not_tried_where_there_is_none(
    without_emulator: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(acceleration, "DEVICE", tmp_path / "none")

    assert chosen(without_emulator).name == EMULATION


@pytest.mark.usefixtures("device")
def test_kvm_is_not_tried_for_a_processor_of_another_kind(without_emulator: Machine) -> None:
    assert chosen(replace(without_emulator, kvm_on="other")).name == EMULATION


def booted(folder: Path, body: str, asked: str = AUTO) -> tuple[runner.Ended, list[str]]:
    """A guest of this very kind that is booted, and what was said."""
    said: list[str] = []
    made = fakes.guest(folder, "", Limits(accelerator=asked))
    made = replace(made, machine=machine(folder, body))
    job = GuestJob(fakes.tree(folder), (("true",),))
    return runner.run(made, job, folder / "home", said.append), said


@pytest.mark.usefixtures("device")
def test_a_guest_that_runs_by_kvm_says_so(tmp_path: Path) -> None:
    body = f"{TRIAL}    {BANNER}    time.sleep(60)\nsys.stdout.write({fakes.DONE!r})"
    ended, said = booted(tmp_path, body)

    assert (ended.fault, ended.accelerator, said) == ("", "by KVM", ["hello"])


@pytest.mark.usefixtures("device")
@pytest.mark.parametrize(
    ("body", "why"),
    [
        (f"{EMULATED}time.sleep(60)", "KVM does not do here: its kernel did not start within 1 s"),
        (
            f"{EMULATED}{BANNER}{HELD}",
            "with KVM it was stopped: KVM internal error. Suberror: 1",
        ),
        (f"{EMULATED}{BANNER}", "with KVM it ended before it was done"),
    ],
    ids=["trial", "held", "ended"],
)
def test_a_guest_that_does_not_come_up_by_kvm_is_emulated(
    body: str, why: str, tmp_path: Path
) -> None:
    ended, said = booted(tmp_path, body)

    assert (ended.fault, ended.accelerator) == ("", "emulated")
    assert [line for line in said if line.startswith(why) and line.endswith("so it is emulated")]
    assert said[-1] == "hello"


@pytest.mark.usefixtures("device")
def test_a_guest_that_came_up_by_kvm_is_not_run_twice(tmp_path: Path) -> None:
    """What it had judged would be judged again, and a fault would vanish."""
    ended, said = booted(tmp_path, f"{EMULATED}{BANNER}print('@@UP 1', flush=True)")

    assert "ended before it was done" in ended.fault
    assert ended.accelerator == "by KVM"
    assert not [line for line in said if "emulated" in line]


@pytest.mark.usefixtures("device")
def test_a_guest_that_is_asked_to_run_by_kvm_is_not_emulated(tmp_path: Path) -> None:
    ended, _ = booted(tmp_path, f"{EMULATED}print('no')", KVM)

    assert ended.fault
    assert ended.accelerator == "by KVM"


@pytest.mark.guests
@pytest.mark.skipif(os.uname().machine != "x86_64", reason="has a PC's firmware")
def test_a_real_emulator_is_given_up_within_a_second(tmp_path: Path) -> None:
    """Whatever its KVM is like: an image that is no kernel never says a kernel's name."""
    one = MACHINES["x86_64"]
    emulator = require(one.qemu, one.qemu_package)
    image = tmp_path / "image"
    image.write_bytes(bytes(1 << 16))
    began = time.monotonic()
    fault = acceleration.try_kernel(
        acceleration._trial(one, (emulator,), image, acceleration.of(one, KVM))
    )

    assert fault
    assert time.monotonic() - began < acceleration.TRIAL_SECONDS + 1


@pytest.mark.guests
@pytest.mark.slow
def test_a_real_kernel_says_its_name_by_the_same_command(monkeypatch: pytest.MonkeyPatch) -> None:
    """Emulated, for that works everywhere, though it takes longer."""
    cache = choice.default_cache() / "kernels"
    kernels = sorted(cache.glob("linux-image-*amd64-*/boot/vmlinuz*"))
    if not kernels:
        pytest.skip("needs a kernel in the cache of guests")
    monkeypatch.setattr(acceleration, "TRIAL_SECONDS", 60.0)
    one = MACHINES["x86_64"]
    emulator = require(one.qemu, one.qemu_package)
    command = acceleration._trial(one, (emulator,), kernels[-1], acceleration.of(one, EMULATION))

    assert acceleration.try_kernel(command) == ""
