"""The main job on filters that are open on an ABI that nobody asked for, as users run it."""

import struct
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from probes import arch
from probes.action import Action, FilterReturn, Profile
from probes.arch import ARCHES
from probes.documents import policy
from probes.errors import ExitStatus
from probes.filters import bpf
from probes.targets import builtin
from reports.tests.support import job
from reports.tests.support.job import ALONE, POLICY, Job

ALLOW = FilterReturn(Action.ALLOW).value
ARCH_AND_NUMBER = ((0x20, 0, 0, 4), (0x20, 0, 0, 0))
"""BPF_LD | BPF_W | BPF_ABS of seccomp_data's arch and nr."""

RAN_ELSEWHERE = pytest.mark.skipif(not job.on_x86_64, reason="the filters are for other machines")


def opened(machine: str, *tokens: int, below: int | None = None) -> bytes:
    """The builtin filter of a machine's native ABI, open for the tokens.

    Args:
        machine: uname(2)'s.
        tokens: the architectures that are let through, by what they are named by.
        below: only numbers below that; None for all.
    """
    native = arch.offered_by(machine)[0]
    load_arch, load_number = ARCH_AND_NUMBER
    words = [load_arch]
    for token in tokens:
        if below is None:
            words += [(0x15, 0, 1, token), (0x06, 0, 0, ALLOW)]
        else:
            words += [(0x15, 0, 4, token), load_number, (0x35, 1, 0, below)]
            words += [(0x06, 0, 0, ALLOW), load_arch]
    order = ">" if native.big_endian else "<"
    code = b"".join(struct.pack(f"{order}HBBI", *word) for word in words)
    documented = policy.load(POLICY, arch.all_names())
    rest = builtin.build(documented, (native,), Profile.KILL)
    return code + bpf.to_bytes(rest, big_endian=native.big_endian)


def judged(tmp_path: Path, program: bytes, native: str, *options: str) -> Job:
    file = tmp_path / "filter.bpf"
    file.write_bytes(program)
    asked = (f"--target=bpf:{file}", f"--arch={native}", "--profile=kill", *options)
    return job.run(tmp_path / "reports", *asked, *ALONE)


@pytest.mark.slow
@RAN_ELSEWHERE
@pytest.mark.parametrize(
    ("machine", "tokens"),
    [
        ("mips64", ("mipsel", "mipsel64n32")),
        ("s390x", ("s390",)),
        ("riscv64", ("riscv32",)),
        ("ppc64", ("ppc",)),
    ],
)
def test_a_filter_that_is_open_on_a_second_abi_fails(
    machine: str, tokens: tuple[str, ...], tmp_path: Path
) -> None:
    """Every call of the second ABI runs; the same filter without that passes."""
    native = arch.offered_by(machine)[0]
    second = [ARCHES[name] for name in tokens]
    program = opened(machine, *(one.audit_arch for one in second))

    ended = judged(tmp_path, program, native.name)

    assert ended.status == ExitStatus.NOT_CONFORMANT, ended.output
    (failed,) = (cell for cell in ended.cells if cell["outcome"] == "failed")
    assert failed["syscall"] == "every other architecture"
    assert arch.token_text(second[0].audit_arch) in failed["sentence"]
    left_out = [line for line in ended.closing if "left out by --arch" in line]
    assert all(name in " ".join(left_out) for name in tokens)
    shut = judged(tmp_path, opened(machine), native.name)
    assert shut.status == ExitStatus.CONFORMANT, shut.output


SPARC = 0x2


def said_by_pytest(ended: Job) -> list[ET.Element]:
    """What pytest's own XML has about parts that nobody judged."""
    return [one for one in ended.test_cases if one.get("classname") == "cases.test_all_judged"]


@pytest.mark.slow
@RAN_ELSEWHERE
def test_an_allowlist_of_unknown_calls_cannot_be_told(tmp_path: Path) -> None:
    """Not even where the one test that says so was not selected."""
    program = opened("mips64", SPARC, below=100)

    ended = judged(tmp_path, program, "mips64el", "-k", "acct")

    assert ended.status == ExitStatus.CANNOT_TELL, ended.output
    (cell,) = (cell for cell in ended.cells if cell["claim"] == "is all judged")
    assert (cell["outcome"], cell["syscall"]) == ("cannot_tell", "architecture 0x2")
    assert "AUDIT_ARCH_SPARC" in cell["sentence"]
    assert "AUDIT_ARCH_SPARC" in ended.text("summary.md")
    (told,) = (one.find("skipped") for one in said_by_pytest(ended))
    assert told is not None
    assert "AUDIT_ARCH_SPARC" in told.get("message", "")


@pytest.mark.slow
def test_pytests_own_xml_has_what_no_selected_test_says(tmp_path: Path) -> None:
    """Once, whether the test about it was selected or not, and nothing where all was judged."""
    native = arch.of_this_process()[0]
    for name, tokens, words, wanted in (
        ("deselected", (SPARC,), "terminates and acct", 1),
        ("selected", (SPARC,), "(terminates and acct) or all_judged", 1),
        ("nothing to say", (), "terminates and acct", 0),
    ):
        folder = tmp_path / name.replace(" ", "_")
        folder.mkdir()
        program = opened(native.machine, *tokens, below=100)
        options = ("--arch=" + native.name, "--profile=kill", "-k", words)
        path = folder / "one.bpf"
        path.write_bytes(program)
        ended = job.run(folder, f"--target=bpf:{path}", *options)
        assert len(said_by_pytest(ended)) == wanted, (name, ended.output)


@pytest.mark.slow
@RAN_ELSEWHERE
def test_an_architecture_that_is_open_by_its_number_alone_fails(tmp_path: Path) -> None:
    ended = judged(tmp_path, opened("aarch64", 0x12345678), "aarch64")

    assert ended.status == ExitStatus.NOT_CONFORMANT, ended.output
    assert "architecture 0x12345678" in ended.text("summary.md")
