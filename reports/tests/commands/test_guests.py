"""Real kernels of other architectures and releases: the main job and mutants inside of guests.

Booting takes a minute or more, so it is done where it is asked for: SYSCALL_CONFORMANCE_GUESTS
names guests, separated by blanks, or all; where every oracle is required, as in CI, some are.
"""

import errno
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from probes import arch
from probes.action import Profile
from probes.arch import ARCHES, Arch
from probes.cell import Cell, Claim, Outcome
from probes.documents import policy
from probes.errors import ExitStatus
from probes.files import DEFAULT_POLICY, SUITE
from probes.filters import bpf
from probes.guest import boot, choice, cpio, runner
from probes.guest.runner import Ended, GuestJob, Limits
from probes.instrument import harmless
from probes.judging.claims import documented
from probes.tests.support import mutants
from probes.tests.support.mutants import ALLOW, EPERM, Mutant, Table
from probes.tests.support.oracles import REQUIRE_VARIABLE, require
from reports import results
from reports.results import Run, Verdict

VARIABLE = "SYSCALL_CONFORMANCE_GUESTS"
IN_CI = "aarch64 s390x x32@bullseye"
"""Another machine, another byte order, and the x32 ABI on the oldest kernel that has users."""

COMMAND = [sys.executable, "-m", "syscall_conformance"]
CHECKOUT = SUITE
SAMPLE = "acct"
SELECTED = f"{SAMPLE} or setsid or controls or default_action"
PYTEST = (*runner.PYTEST, "-q")
WITHOUT_AUDIT = {"mips64el"}
"""Kernels that were built without the audit subsystem."""

RECORD_CLAIMS = {Claim.IS_REPORTED, Claim.IS_SILENT, Claim.IS_RECORDED}


def asked_for() -> list[str]:
    """The guests to boot."""
    named = os.environ.get(VARIABLE, "")
    if not named and os.environ.get(REQUIRE_VARIABLE) == "1":
        named = IN_CI
    return [str(one) for one in choice.read(named.replace(",", " ").split())]


def abis_of(name: str) -> tuple[Arch, ...]:
    """The ABIs by which a guest's kernel is entered there."""
    machine = choice.read([name])[0].machine
    if machine.userland in {"i386", "armhf"}:
        return (ARCHES["i386" if machine.userland == "i386" else "arm"],)
    native = {"mips64el": "mips64", "x32": "x86_64"}.get(machine.name, machine.name)
    return tuple(one for one in arch.offered_by(native) if one.entry is not arch.Entry.NONE)


def wrong_filters(abis: tuple[Arch, ...]) -> Iterator[Mutant]:
    """One rule less, the token of no architecture, and the milder action."""
    documented = policy.load(DEFAULT_POLICY, arch.all_names())
    table = mutants.conforming(documented, abis, Profile.KILL)
    first = abis[0]
    number = first.numbers[SAMPLE]
    yield from _mutant("no_rule", table.changed({(first.audit_arch, number): ALLOW}))
    calls = mutants.documented(documented, abis)
    yield from _mutant("errno", table.changed(dict.fromkeys(calls, EPERM)))
    deny = {mutants.NO_ARCHITECTURE: dict.fromkeys((n for _, n in calls), table.otherwise)}
    yield from _mutant("wrong_token", Table(deny, ALLOW))


def _mutant(name: str, table: Table) -> Iterator[Mutant]:
    yield Mutant(name, Profile.KILL, table.program(), table.lookup)


def job(made: list[Mutant], *, big_endian: bool) -> GuestJob:
    """The main job, and part of it for each wrong filter."""
    commands: list[tuple[str, ...]] = [(*PYTEST, f"--report-dir={runner.OUT_FOLDER}/main")]
    shipped = {}
    for mutant in made:
        path = f"/files/{mutant.name}.bpf"
        shipped[path] = bpf.to_bytes(mutant.program, big_endian=big_endian)
        words = (f"--target=bpf:{path}", "--profile=kill", "-k", SELECTED)
        commands.append((*PYTEST, *words, f"--report-dir={runner.OUT_FOLDER}/{mutant.name}"))
    return GuestJob(CHECKOUT, tuple(commands), shipped)


def say(line: str) -> None:
    """Shown where the test fails."""
    sys.stdout.write(f"{line}\n")


@pytest.mark.guests
@pytest.mark.parametrize("name", asked_for() or [None])
def test_a_real_kernel_is_judged_rightly(name: str | None, tmp_path: Path) -> None:
    if name is None:
        pytest.skip(f"boots guests: set {VARIABLE}, such as to {IN_CI}")
    wanted = choice.read([name])[0]
    abis = abis_of(name)
    made = list(wrong_filters(abis))
    guest = choice.prepare(wanted, choice.default_cache(), Limits())
    ended = runner.run(guest, job(made, big_endian=abis[0].big_endian), tmp_path, say)

    assert not ended.fault, ended
    say(f"{name}: {dict(ended.seconds)}")
    run = results.load(tmp_path / "main/results.json")
    check_main_job(run, ended, name, abis)
    check_answers(run)
    assert run.environment.host == wanted.machine.name
    for mutant in made:
        check_mutant(results.load(tmp_path / mutant.name / "results.json"), mutant)


@pytest.mark.guests
@pytest.mark.root("changes its root folder", machine="x86_64")
@pytest.mark.skipif(not asked_for(), reason=f"takes the packages of a guest: set {VARIABLE}")
def test_a_python_of_32_bits_on_this_kernel(tmp_path: Path) -> None:
    """Natively: the kernel is this one, and every process that judges has 32 bits."""
    abis = abis_of("i386")
    made = list(wrong_filters(abis))
    work = job(made, big_endian=False)
    install(tmp_path, work)
    there = f'mount -t proc proc {tmp_path}/proc && exec chroot {tmp_path} "$@"'
    go = f"import os, sys; os.chdir('/{runner.SUITE_FOLDER}'); os.execvp(sys.argv[1], sys.argv[1:])"
    statuses = []
    for command in work.commands:
        inside = ["unshare", "--mount", "sh", "-c", there, "sh", "python3", "-c", go, *command]
        done = subprocess.run(inside, capture_output=True, text=True, check=False, timeout=600)
        say(done.stdout + done.stderr)
        statuses.append(done.returncode)

    out = tmp_path / runner.OUT_FOLDER.strip("/")
    ended = Ended(tuple(statuses), "", {}, ())
    check_main_job(results.load(out / "main/results.json"), ended, "i386", abis)
    for mutant in made:
        check_mutant(results.load(out / mutant.name / "results.json"), mutant)


def install(root: Path, work: GuestJob) -> None:
    """Unpacks what a guest of i386 boots, with what it shall do."""
    wanted = choice.read(["i386"])[0]
    userland = boot.userland(wanted.machine, wanted.userland_suite, choice.default_cache())
    for layer in userland.layers:
        unpack(layer.read_bytes(), root)
    unpack(b"".join(cpio.pack(boot.tree_layer(CHECKOUT, runner.SUITE_FOLDER, userland))), root)
    for name, content in work.files.items():
        place = root / name.strip("/")
        place.parent.mkdir(exist_ok=True)
        place.write_bytes(content)


def unpack(archive: bytes, root: Path) -> None:
    words = ["cpio", "--quiet", "-idm", "--no-absolute-filenames"]
    subprocess.run(words, input=archive, cwd=root, check=True, timeout=300)


def check_main_job(run: Run, ended: Ended, name: str, abis: tuple[Arch, ...]) -> None:
    ruling = results.summarize(run).ruling
    undecided = {cell.key.claim for cell in run.cells if cell.outcome is Outcome.CANNOT_TELL}

    assert run.environment.arches == tuple(one.name for one in abis)
    assert {cell.outcome for cell in run.cells} <= {
        Outcome.PASSED,
        Outcome.NOT_APPLICABLE,
        Outcome.CANNOT_TELL,
    }
    if name in WITHOUT_AUDIT:
        assert ruling.verdict is Verdict.INCOMPLETE
        assert undecided >= RECORD_CLAIMS
        assert not undecided & {Claim.TERMINATES, Claim.DENIES}
    else:
        assert ruling.verdict is Verdict.PASS, ruling
        assert not undecided
    assert ended.statuses[0] == ruling.exit_status
    for one in abis:
        for profile in Profile:
            calls = {call.name for call in run.policy.calls if one.number(call.name) is not None}
            for claim in documented(profile):
                judged = {
                    cell.key.syscall
                    for cell in run.cells
                    if (cell.key.claim, cell.key.profile, cell.key.arch)
                    == (claim, profile.value, one.name)
                    and cell.outcome is not Outcome.NOT_APPLICABLE
                }
                assert judged == calls


def check_answers(run: Run) -> None:
    """Without a filter this kernel answers, too, what the catalogue says."""
    prefix = "without a filter: "
    answers = {
        (cell.key.arch, cell.key.syscall): evidence.text.removeprefix(prefix)
        for cell in run.cells
        if cell.key.claim is Claim.RUNS
        for evidence in cell.evidence
        if evidence.source == "control"
    }
    assert answers
    shut = {"x32"} if {a for (abi, _), a in answers.items() if abi == "x32"} == {"ENOSYS"} else {}
    for (abi, call), answer in answers.items():
        if abi in shut:  # this kernel has no x32, and says so after any filter
            continue
        row = harmless.probe_for(call)
        assert row is not None
        told = "PID" if answer == "the caller's pid" else answer
        assert told in row.answers(root=False), f"{call} on {abi} answers {answer}"


def check_mutant(run: Run, mutant: Mutant) -> None:
    documented = policy.load(DEFAULT_POLICY, arch.all_names())
    decided = [cell for cell in run.cells if cell.key.claim is not Claim.CONTROLS]
    decided = [cell for cell in decided if cell.outcome is not Outcome.CANNOT_TELL]
    red = {cell.key for cell in decided if cell.outcome is Outcome.FAILED}

    assert red, f"{mutant.name} survives"
    assert not [cell for cell in run.cells if cell.outcome is Outcome.BROKEN]
    assert red == {c.key for c in decided if mutant.red(c.key, _token(c), documented)}


def _token(cell: Cell) -> int:
    name = cell.key.arch
    return ARCHES[name].audit_arch if name in ARCHES else mutants.NO_ARCHITECTURE


@pytest.mark.guests
@pytest.mark.parametrize("name", [name for name in asked_for() if "@" in name] or [None])
def test_siblings_do_there_what_the_table_says(name: str | None, tmp_path: Path) -> None:
    """What a call of a family did on that kernel while the others were refused.

    Of calls that this machine's own kernel does not have yet, such as Linux 7.3's fchroot.
    """
    if name is None or choice.read([name])[0].machine.name != "x86_64":
        pytest.skip(f"boots an x86_64 kernel of another suite: set {VARIABLE}=x86_64@experimental")
    program = tmp_path / "gaps"
    source = CHECKOUT / "probes/tests/data/gaps.c"
    words = [require("gcc", "gcc"), "-O1", "-static", "-o", str(program), str(source)]
    subprocess.run(words, check=True)
    go = "import os; os.chmod('/files/gaps', 0o700); os.execv('/files/gaps', ['gaps', '/tmp'])"
    work = GuestJob(CHECKOUT, (("python3", "-c", go),), {"/files/gaps": program.read_bytes()})
    guest = choice.prepare(choice.read([name])[0], choice.default_cache(), Limits())
    said: list[str] = []
    ended = runner.run(guest, work, tmp_path / "home", said.append)

    assert (ended.fault, ended.statuses) == ("", (0,)), ended
    rows = [line.split() for line in said if re.fullmatch(r"\w+ \w+ [01] \d+", line)]
    made = {call: did == "1" for _, call, did, error in rows if int(error) != errno.ENOSYS}
    assert {"chroot", "fchdir", "renameat2"} <= made.keys()
    assert ("fchroot" in made) == (release(guest) >= (7, 3))
    assert all(made.values()), made


def release(guest: runner.Guest) -> tuple[int, ...]:
    """The kernel's release, as far as it is a number."""
    return tuple(int(word) for word in re.findall(r"^\d+|(?<=\.)\d+", guest.kernel.release)[:2])


ENOUGH = 10
"""The percent of the tests after which the plug is pulled."""


def emulator_of(process: subprocess.Popen[str]) -> int | None:
    """The emulator that a command has started, once it has."""
    children = Path(f"/proc/{process.pid}/task").glob("*/children")
    for child in (int(word) for path in children for word in path.read_text().split()):
        if Path(f"/proc/{child}/comm").read_text().startswith("qemu"):
            return child
    return None


@pytest.mark.guests
@pytest.mark.skipif(not asked_for(), reason=f"boots a guest: set {VARIABLE}")
def test_what_was_judged_stays_when_the_plug_is_pulled(tmp_path: Path) -> None:
    command = [*COMMAND, "guest", "aarch64", "--emulate", "--report-dir", str(tmp_path)]
    with subprocess.Popen(command, cwd=CHECKOUT, stderr=subprocess.PIPE, text=True) as process:
        deadline = threading.Timer(900, process.kill)
        deadline.start()
        for line in process.stderr or ():
            # The first lines of verdicts come together, and what was judged a moment later.
            if (share := re.search(r"\[ *(\d+)%\]", line)) and int(share[1]) >= ENOUGH:
                emulator = emulator_of(process)
                assert emulator is not None
                os.kill(emulator, signal.SIGKILL)
                break
        said = process.stderr.read() if process.stderr else ""
        status = process.wait(60)
        deadline.cancel()
    run = results.load(tmp_path / "aarch64/results.json")

    assert status == ExitStatus.BROKEN, said
    assert not run.complete
    judged = [cell for cell in run.cells if cell.outcome is not Outcome.BROKEN]
    assert 0 < len(judged) < len(run.cells) == run.planned
    assert {cell.outcome for cell in judged} <= {Outcome.PASSED, Outcome.NOT_APPLICABLE}
    assert results.summarize(run).ruling.verdict is not Verdict.PASS
