"""A fleet from the records of its nodes."""

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from probes.cell import Cell, CellKey, Claim, Outcome
from probes.errors import BadInputError, ExitStatus
from reports import results
from reports.commands import main as cli
from reports.results import Run, fleet
from reports.results.changes import RANKS
from reports.results.fleet import Fleet, Gathering
from reports.terminal import fleet_lines
from reports.tests.support import samples
from reports.tests.support.strategies import RUNS

SCHEMA = json.loads(
    Path(results.__file__).with_name("fleet.schema.json").read_text(encoding="utf-8")
)
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)
KEY = CellKey(Claim.TERMINATES, "kill", "x86_64", "acct", 163)
CONTROL = Cell(
    CellKey(Claim.CONTROLS, "none", "x86_64", "getppid", 110, "LOG"),
    Outcome.PASSED,
    None,
    "s",
    "e",
    "o",
)


def digest(run: Run) -> str:
    """The digest of a run's file."""
    return hashlib.sha256(results.to_json(run).encode()).hexdigest()


def gathered(runs: Sequence[Run]) -> Fleet:
    """The fleet of these records."""
    gathering = Gathering()
    for run in runs:
        gathering.take_record(run, digest(run))
    return gathering.fleet()


def joined(*fleets: Fleet) -> Fleet:
    """The fleet of these fleets."""
    gathering = Gathering()
    for one in fleets:
        gathering.take_fleet(one)
    return gathering.fleet()


def node(name: str | None, *cells: Cell) -> Run:
    """A calibrated record of a host."""
    run = samples.run([CONTROL, *cells])
    return replace(run, environments=(replace(run.environment, host=name),))


def cell(outcome: Outcome, sentence: str = "s") -> Cell:
    """A cell of which only the outcome and the sentence matter."""
    return Cell(KEY, outcome, None, sentence, "e", "o")


SOME_RUNS = st.lists(RUNS, max_size=4)


@pytest.mark.slow
@given(SOME_RUNS, st.randoms())
def test_order_of_files_leaves_no_trace(runs: list[Run], random: object) -> None:
    """Nor does a file that is given twice."""
    shuffled = [*runs, *runs[:1]]
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert fleet.to_json(gathered(shuffled)) == fleet.to_json(gathered(runs))


@pytest.mark.slow
@given(SOME_RUNS, SOME_RUNS, SOME_RUNS)
def test_fleets_of_fleets_are_the_same(a: list[Run], b: list[Run], c: list[Run]) -> None:
    """However they were put together."""
    whole = gathered([*a, *b, *c])
    first, second, third = gathered(a), gathered(b), gathered(c)
    assert joined(joined(first, second), third) == whole
    assert joined(first, joined(third, second)) == whole
    assert joined(whole, first) == whole


@pytest.mark.slow
@given(SOME_RUNS)
def test_file_reads_back_and_obeys_the_schema(runs: list[Run]) -> None:
    """What is read is what was written."""
    made = gathered(runs)
    document = json.loads(fleet.to_json(made))
    VALIDATOR.validate(document)
    assert fleet.from_json(document) == made


@pytest.mark.slow
@given(SOME_RUNS)
def test_every_node_keeps_every_outcome(runs: list[Run]) -> None:
    """Compared with a plain count over the records themselves."""
    made = gathered(runs)
    counted: Counter[tuple[object, ...]] = Counter()
    for run in {digest(run): run for run in runs}.values():
        for index in range(len(run.environments)):
            worst: dict[object, Cell] = {}
            for one in run.cells:
                if one.environment != index:
                    continue
                identity = results.identity(one.key)
                rank = RANKS[one.outcome]
                if identity not in worst or RANKS[worst[identity].outcome] < rank:
                    worst[identity] = one
            counted.update((identity, one.outcome) for identity, one in worst.items())
    told: Counter[tuple[object, ...]] = Counter()
    for summed in made.cells:
        told.update({(results.identity(summed.key), o): n for o, n in summed.counts.items() if n})
    assert told == counted


def test_majority_and_who_differs_from_it() -> None:
    """By what most came to, and with the sentence of one that came to something else."""
    good = [node(f"n{number}", cell(Outcome.PASSED)) for number in range(3)]
    bad = [node("n3", cell(Outcome.FAILED, "zzz")), node("n4", cell(Outcome.FAILED, "aaa"))]
    made = gathered([*good, *bad, node("n5")])
    (summed,) = [one for one in made.cells if one.key == KEY]
    assert summed.majority is Outcome.PASSED
    assert summed.counts[Outcome.FAILED] == 2
    assert summed.sentences == {Outcome.FAILED: "aaa"}
    differing = {one.name: cells for one, _, cells in made.differing()}
    place = made.cells.index(summed)
    assert differing == {"n3": [place], "n4": [place], "n5": [place]}
    assert made.status is ExitStatus.NOT_CONFORMANT


@pytest.mark.parametrize("numbers", [(0, None), (None, 0), (None, 1, 0)])
def test_number_does_not_depend_on_the_order(numbers: tuple[int | None, ...]) -> None:
    """A table may know it on one node and not on another."""
    keys = [replace(KEY, number=number) for number in numbers]
    cells = [replace(cell(Outcome.PASSED), key=key) for key in keys]
    made = gathered([node(f"n{place}", one) for place, one in enumerate(cells)])
    (summed,) = [one for one in made.cells if one.key.claim is Claim.TERMINATES]
    assert summed.key.number == max(number for number in numbers if number is not None)
    assert summed.counts[Outcome.PASSED] == len(numbers)


def test_where_there_is_no_majority_nobody_differs_from_it() -> None:
    """The nodes are named with what each came to, and the file says that there is none."""
    made = gathered([node("a", cell(Outcome.FAILED, "open")), node("b", cell(Outcome.PASSED))])
    assert list(made.differing()) == []
    (division,) = made.divided()
    assert division.camps == ((Outcome.FAILED, ("a",)), (Outcome.PASSED, ("b",)))
    assert [one.key for one in division.cells] == [KEY]
    (summed,) = [one for one in made.cells if one.key == KEY]
    assert summed.majority is None
    three = [Outcome.FAILED, Outcome.PASSED, Outcome.CANNOT_TELL]
    nodes = [node(f"n{rank}", cell(outcome)) for rank, outcome in enumerate([*three, three[0]])]
    assert [len(one.camps) for one in gathered(nodes).divided()] == [3]
    assert gathered([*nodes, node("n9", cell(Outcome.FAILED))]).divided() == []


def of_kind(run: Run, kind: str) -> Run:
    """The record as one of another kind of target."""
    return replace(run, target=replace(run.target, kind=kind))


def test_kinds_of_targets_are_not_mixed() -> None:
    """Each node is compared with those of its own kind, and the text and the file say so."""
    builtin = [node(f"b{rank}", cell(Outcome.PASSED)) for rank in range(5)]
    docker = [of_kind(node(f"d{rank}", cell(Outcome.FAILED)), "docker") for rank in range(2)]
    odd = of_kind(node("odd", cell(Outcome.PASSED)), "docker")
    made = gathered([*builtin, *docker, odd])
    assert [one.name for one, _, _ in made.differing()] == ["odd"]
    assert made.kinds == ("builtin", "docker")
    assert {one.majority for one in made.cells} == {None}
    assert fleet.from_json(json.loads(fleet.to_json(made))) == made
    lines = fleet_lines.lines(made, 100)
    assert "of several kinds, each compared with its own: 5 builtin, 3 docker" in lines
    assert "claim of docker passed failed" in [" ".join(line.split()) for line in lines]
    # The oracle: one of the first kind that came to what most of the second did.
    mixed = gathered([*builtin[1:], *docker, odd, node("b0", cell(Outcome.FAILED))])
    assert [one.name for one, _, _ in mixed.differing()] == ["b0", "odd"]


def test_a_file_of_an_earlier_version_is_read() -> None:
    """It called the best of several outcomes the majority."""
    made = gathered([node("a", cell(Outcome.FAILED)), node("b", cell(Outcome.PASSED))])
    document = json.loads(fleet.to_json(made))
    (one,) = [one for one in document["cells"] if one["majority"] is None]
    one["majority"] = "passed"
    VALIDATOR.validate(document)
    assert fleet.from_json(document) == made


def test_lines_are_few_unless_all_are_asked_for() -> None:
    """However many nodes and reasons there are."""
    nodes = [node(f"n{rank:02}", cell(Outcome.PASSED)) for rank in range(60)]
    for rank in range(30):
        key = replace(KEY, syscall=f"call{rank}", number=rank)
        wrong = replace(cell(Outcome.FAILED, f"reason {rank}"), key=key)
        nodes += [node(f"bad{rank:02}", cell(Outcome.PASSED), wrong)]
    made = gathered(nodes)
    lines = fleet_lines.lines(made, 100)
    assert len(lines) == 20
    whole = fleet_lines.lines(made, 100, verbose=True)
    assert lines[-1].startswith("and ")
    assert all(any(line.startswith(f"bad{rank:02} ") for line in whole) for rank in range(30))


def test_cell_that_few_nodes_have_is_what_differs() -> None:
    """The others were never asked."""
    made = gathered([node("a"), node("b"), node("c", cell(Outcome.PASSED))])
    assert [one.name for one, _, _ in made.differing()] == ["c"]


def test_host_without_a_name_is_told_by_its_record() -> None:
    """Records can be anonymous."""
    run = node(None, cell(Outcome.PASSED))
    ((one, _),) = gathered([run]).nodes
    assert one.name == f"record {digest(run)[:12]}"


def test_each_environment_is_a_node() -> None:
    """A record may be of several kernels."""
    run = node("a", cell(Outcome.PASSED), replace(cell(Outcome.FAILED), environment=1))
    run = replace(run, environments=(run.environment, replace(run.environment, kernel="5.10")))
    made = gathered([run])
    assert [(one.kernel, one.environment) for one, _ in made.nodes] == [
        (run.environment.kernel, 0),
        ("5.10", 1),
    ]
    assert sum(summed.counts[Outcome.FAILED] for summed in made.cells) == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kinds", "status"),
    [
        (["passing"], ExitStatus.CONFORMANT),
        (["passing", "failing", "broken"], ExitStatus.NOT_CONFORMANT),
        (["passing", "broken", "unprivileged"], ExitStatus.BROKEN),
        (["passing", "unprivileged"], ExitStatus.CANNOT_TELL),
        (["passing", "empty"], ExitStatus.NOTHING_ASSESSED),
        (["passing", "interrupted"], ExitStatus.INTERRUPTED),
        (["waived"], ExitStatus.CONFORMANT),
        (["expired"], ExitStatus.NOT_CONFORMANT),
    ],
)
def test_command(
    kinds: list[str], status: ExitStatus, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The status is that of the worst node, and the file holds them all."""
    files = []
    for kind in kinds:
        run = samples.all_kinds()[kind]
        run = replace(run, environments=(replace(run.environment, host=kind),))
        files.append(tmp_path / f"{kind}.json")
        results.write(run, files[-1])
    out = tmp_path / "fleet.json"
    assert cli.run(["merge", *map(str, files), "-o", str(out)]) == status
    said = capsys.readouterr().out
    assert said.startswith(f"{len(kinds):,} nodes, ")
    document = json.loads(out.read_text())
    VALIDATOR.validate(document)
    assert [one["name"] for one in document["nodes"]] == sorted(kinds)
    first = out.read_bytes()
    # Its own output is a file like any other.
    assert cli.run(["merge", str(out), str(files[0]), "-o", str(out)]) == status
    assert out.read_bytes() == first


def test_damaged_file_stops_everything(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Or else a fleet would be told as whole that lacks a node."""
    results.write(samples.empty(), tmp_path / "a.json")
    (tmp_path / "b.json").write_text("{")
    files = [str(tmp_path / name) for name in ("a.json", "b.json")]
    assert cli.run(["merge", *files, "-o", str(tmp_path / "out")]) == ExitStatus.USAGE
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert f"merge: {files[1]}: line 1: damaged" in said
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        (("schema",), "syscall-conformance/fleet/2", "use the version of the suite"),
        (("patterns", 0), "pq", "is not a letter a cell"),
        (("patterns", 0), "p", "is not a letter a cell"),
        (("cells", 1, "counts", "passed"), 7, "the file was changed"),
        (("cells", 1, "majority"), "failed", "the file was changed"),
        (("nodes", 0, "pattern"), 9, "out of range"),
        (("nodes", 0, "verdict"), "OK", "is none of"),
    ],
)
def test_damaged_fleet_is_refused(path: tuple[str | int, ...], value: object, words: str) -> None:
    """With what is wrong and where."""
    document = json.loads(fleet.to_json(gathered([node("a", cell(Outcome.PASSED))])))
    place = document
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    with pytest.raises(BadInputError, match=words):
        fleet.from_json(document)
