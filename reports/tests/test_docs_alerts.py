"""The page about alerts shows real records as their readers really show them."""

import json
import re
from collections.abc import Mapping, Sequence

import pytest

from probes.files import SUITE
from probes.releases.roots import SUITES
from probes.tests.support import releases
from probes.tests.support.auditd_releases import HERE, ausearch_of, printed, version_of
from probes.tests.support.kernel_records import TEXTS
from reports.tests.support import markdown
from reports.tests.support.alert_records import (
    COLLECTORS,
    ERRNO,
    KILL,
    LOG,
    auditbeat,
    journal,
    kernel,
    laurel,
    of_the_action,
    osquery,
    paths,
)

PAGE = SUITE / "docs/alerts.md"


def pretty(record: Mapping[str, object]) -> str:
    return json.dumps(record, indent=2)


BLOCKS = {
    "kill": KILL,
    "log": LOG,
    "errno": ERRNO,
    "auditd": f"type=SECCOMP msg={KILL}",
    "laurel": pretty(laurel(KILL)),
    "osquery": pretty(osquery(KILL)),
    "auditbeat": pretty(auditbeat(KILL)),
    "journal": "\n".join(f"{name}={value}" for name, value in journal(KILL).items()),
}


def text_of_the_page() -> str:
    return PAGE.read_text(encoding="utf-8")


def tables_of(title: str) -> Sequence[Sequence[markdown.Row]]:
    """The tables below a heading."""
    (found,) = [one for one in markdown.sections(text_of_the_page()) if one.title == title]
    return found.tables


def blocks(text: str) -> list[str]:
    """The fenced blocks of a page."""
    return re.findall(r"^```\w+\n(.*?)\n```$", text, re.MULTILINE | re.DOTALL)


def test_the_page_shows_each_record_as_it_is() -> None:
    assert blocks(text_of_the_page()) == list(BLOCKS.values())


@pytest.mark.parametrize("name", sorted(BLOCKS))
def test_a_field_that_is_wrong_is_red(name: str) -> None:
    wrong = text_of_the_page().replace(BLOCKS[name], BLOCKS[name] + "0")

    assert blocks(wrong) != list(BLOCKS.values())


def test_every_field_of_the_record_is_explained() -> None:
    """With and without a security module's label."""
    ((*rows,),) = tables_of("What the kernel writes")
    explained = {code for row in rows for code in row.codes[0]}

    assert {name for one in (KILL, LOG, ERRNO) for name in kernel(one)} <= explained


ACTIONS, NAMES, OWN = tables_of("What others make of it")


def test_the_fields_of_each_action_are_those_of_each_collector() -> None:
    told = {(row.key, row.codes[1][0]): tuple(code for (code,) in row.codes[2:]) for row in ACTIONS}

    assert told == {
        (collector, name): values
        for collector in COLLECTORS
        for name, values in of_the_action(collector).items()
    }


@pytest.mark.parametrize("collector", [name for name in COLLECTORS if name != "auditd"])
def test_every_field_of_a_collector_is_explained(collector: str) -> None:
    column = [name for name in COLLECTORS if name != "auditd"].index(collector) + 1
    of_the_kernels = [code for row in NAMES for code in row.codes[column]]
    its_own = [code for row in OWN if row.key == collector for code in row.codes[1]]

    assert {name for name, _ in paths(COLLECTORS[collector](KILL))} == {*of_the_kernels, *its_own}


def test_a_field_of_the_kernels_has_the_kernels_value() -> None:
    """Where a collector does not spell it in its own way."""
    own_way = {"arch", "syscall", "sig", "code"}
    for row in NAMES:
        for place, collector in enumerate(name for name in COLLECTORS if name != "auditd"):
            values = dict(paths(COLLECTORS[collector](KILL)))
            for ours, theirs in zip(row.codes[0], row.codes[place + 1], strict=False):
                assert ours in own_way or kernel(KILL)[ours].strip('"') == values[theirs].strip('"')


# ausearch's own words.


(WORDS,) = tables_of("What misleads")
OF_AUSEARCH = [
    *("KILL_PROCESS", "KILL_THREAD", "LOG", "ERRNO"),
    *("a foreign call", "a call without subj"),
]
LOONGARCHS_BPF = " arch=c0000102 syscall=280 "


def words_of(ausearch: Sequence[str]) -> list[str]:
    """What this ausearch says of each of these records."""

    def interpreted(record: str, field: str) -> str:
        said = printed([*ausearch, "-m", "SECCOMP", "-i"], f"type=SECCOMP msg={record}\n")
        return dict(word.split("=", 1) for word in said.split() if "=" in word)[field]

    thread = KILL.replace("code=0x80000000", "code=0x0")
    bpf = KILL.replace(" arch=c000003e syscall=163 ", LOONGARCHS_BPF)
    nameless = KILL.replace(" subj=unconfined", "")
    assert len({KILL, thread, bpf, nameless}) == len([KILL, thread, bpf, nameless])
    listed = printed(
        [*ausearch, "-m", "SECCOMP", "--format", "csv"], f"type=SECCOMP msg={nameless}\n"
    )
    head, line = (row.split(",") for row in listed.splitlines())
    return [
        *(interpreted(record, "code") for record in (KILL, thread, LOG, ERRNO)),
        interpreted(bpf, "syscall"),
        dict(zip(head, line, strict=True))["OBJ_PRIME"],
    ]


@pytest.mark.root("starts programs of other releases")
@pytest.mark.containers
@pytest.mark.parametrize("suite", SUITES)
def test_ausearchs_words_are_those_of_the_page(suite: str) -> None:
    ausearch = ausearch_for(suite)
    (row,) = [one for one in WORDS if one.key.endswith(f"({suite})")]

    assert row.key.split()[0] == version_of(ausearch)
    assert dict(zip(OF_AUSEARCH, words_of(ausearch), strict=True)) == dict(
        zip(OF_AUSEARCH, (code for (code,) in row.codes[1:]), strict=True)
    )


def ausearch_for(suite: str) -> Sequence[str]:
    """The release's ausearch, which is this machine's own where it is the release."""
    if suite in releases.asked_for():
        return ausearch_of(suite)
    here = ausearch_of(HERE)
    (row,) = [one for one in WORDS if one.key.endswith(f"({suite})")]
    if version_of(here) != row.key.split()[0]:
        pytest.skip(f"uses packages of another release: set {releases.VARIABLE}={suite}")
    return here


def test_the_records_are_of_real_kernels() -> None:
    assert {KILL, LOG, ERRNO} <= set(TEXTS)
