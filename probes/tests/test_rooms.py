"""The order of the rooms, and each room's rule: they hold, and each is red where it is broken.

The imports are read here as text, and by import-linter, whose contracts are in pyproject.toml.
"""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping
from importlib.metadata import entry_points
from pathlib import Path

import grimp
import pytest

from probes.files import SUITE
from probes.tests.support import measures, sources
from probes.tests.support.sources import FOLDERS, Layer, Order, Source

EVERYTHING = sources.read(SUITE)
PRODUCT = sources.product(EVERYTHING)
ARROWS = sources.arrows(PRODUCT)


def test_no_modules_import_each_other_in_a_circle() -> None:
    assert len(ARROWS) > 500
    assert not sources.circles(ARROWS)
    assert not sources.circles(sources.arrows(EVERYTHING))


def test_no_rooms_import_each_other_in_a_circle() -> None:
    assert not sources.circles(sources.between_rooms(ARROWS, PRODUCT))


def test_no_import_runs_upwards() -> None:
    orders = {order.package: order for order in sources.orders(SUITE)}
    assert orders.keys() == {"", "probes", "reports"}
    for order in orders.values():
        assert not order.breaches(ARROWS)
        assert not order.missing(PRODUCT)


def test_nothing_that_users_run_imports_a_test_or_a_benchmark() -> None:
    others = EVERYTHING.keys() - PRODUCT.keys()
    assert others > {"probes.tests", "reports.tests", "cases.tests"}
    found = [arrow for arrow in sources.arrows(EVERYTHING) if arrow[0] in PRODUCT]
    assert not [arrow for arrow in found if arrow[1] in others]


def test_the_package_of_the_instrument_is_empty() -> None:
    """A child that is forked for a probe has all that was imported, and costs by it."""
    assert len(EVERYTHING["probes.instrument"].tree.body) == 1  # its docstring


def test_grimp_reads_the_same_imports() -> None:
    """It is what import-linter reads with."""
    graph = grimp.build_graph(*FOLDERS, cache_dir=None)
    theirs = [
        (importer, imported)
        for importer in graph.modules
        for imported in graph.find_modules_directly_imported_by(importer)
    ]
    # The launcher's folder is no package, but one of the paths to import from.
    ours = {
        name: one for name, one in EVERYTHING.items() if not name.startswith("reports.launcher.")
    }
    assert sources.arrows(ours) == sorted(theirs)


# Broken rules, as this module reads them.


def written(folder: Path, files: Mapping[str, str]) -> dict[str, Source]:
    for name, text in files.items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    return sources.read(folder)


def test_every_way_to_import_is_seen(tmp_path: Path) -> None:
    found = written(
        tmp_path,
        {
            "probes/__init__.py": "",
            "probes/low.py": "NAME = 1",
            "probes/room/__init__.py": "",
            "probes/room/a.py": "import probes.low, os",
            "probes/room/b.py": "from probes.low import NAME",
            "probes/room/c.py": "from probes import low as other, room",
            "probes/room/d.py": "def late():\n    if late:\n        from probes.low import *",
            "probes/room/e.py": "from . import a\nfrom .. import low\nfrom .b import low as l",
            "probes/room/f.py": "if TYPE_CHECKING:\n    import probes.room.a\nimport probes.gone",
            "probes/room/g.py": '"""import probes.low"""',
            "elsewhere/h.py": "import probes.low",
        },
    )
    assert sources.arrows(found) == [
        ("probes.room.a", "probes.low"),
        ("probes.room.b", "probes.low"),
        ("probes.room.c", "probes.low"),
        ("probes.room.c", "probes.room"),
        ("probes.room.d", "probes.low"),
        ("probes.room.e", "probes.low"),
        ("probes.room.e", "probes.room.a"),
        ("probes.room.e", "probes.room.b"),
        ("probes.room.f", "probes"),
        ("probes.room.f", "probes.room.a"),
    ]
    assert sources.between_rooms(sources.arrows(found), found) == [("probes.room", "probes")]


def test_circles_of_modules_and_of_rooms_are_found(tmp_path: Path) -> None:
    found = written(
        tmp_path,
        {
            "probes/x/a.py": "import probes.y.b",
            "probes/y/b.py": "import probes.y.c",
            "probes/y/c.py": "import probes.z.e",
            "probes/y/d.py": "",
            "probes/z/e.py": "import probes.y.c",
            "probes/x/f.py": "",
            "probes/z/g.py": "import probes.x.f",
        },
    )
    arrows = sources.arrows(found)
    assert sources.circles(arrows) == [("probes.y.c", "probes.z.e")]
    rooms = ("probes.x", "probes.y", "probes.z")
    assert sources.circles(sources.between_rooms(arrows, found)) == [rooms]


ORDER = Order("probes", (Layer(("top",), apart=True), Layer(("l", "r"), apart=True)))


@pytest.mark.parametrize(
    ("importer", "imported", "holds"),
    [
        ("probes.top.a", "probes.l.b", True),
        ("probes.l.a", "probes.top.b", False),
        ("probes.l", "probes.top", False),
        ("probes.l.a", "probes.l.deep.b", True),
        ("probes.l.deep.a", "probes.r.b", False),
        ("probes.left.a", "probes.top.b", True),  # of no place in the order
        ("reports.a", "probes.top.b", True),
    ],
)
def test_imports_against_the_order_are_found(importer: str, imported: str, *, holds: bool) -> None:
    arrow = (importer, imported)
    assert ORDER.breaches([arrow]) == ([] if holds else [arrow])


def layered(*layers: str) -> str:
    """The settings of a checkout with an order of the members of ``probes``."""
    contract = '[[tool.importlinter.contracts]]\ntype = "layers"\ncontainers = ["probes"]'
    return f"[tool.importlinter]\n{contract}\nlayers = {list(layers)}\n"


def test_members_of_one_height_may_be_told_to_stand_apart(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text(layered("a | (b)", "c : d"))
    (order,) = sources.orders(tmp_path)
    assert order.heights == {"probes.a": 1, "probes.b": 1, "probes.c": 0, "probes.d": 0}
    apart, either = ("probes.a", "probes.b.x"), ("probes.d", "probes.c.x")
    assert order.breaches([apart, either]) == [apart]
    assert order.missing(["probes", "probes.a.x", "probes.e.x", "reports.f"]) == ["probes.e"]


def measured(checkout: Path) -> list[str]:
    """What the script prints, with nothing in its environment but a Python."""
    bare = {"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin"}
    words = [SUITE / ".ci" / "measure", checkout]
    done = subprocess.run(words, env=bare, capture_output=True, text=True, check=True, timeout=60)
    return done.stdout.splitlines()


def test_the_measures_of_a_checkout(tmp_path: Path) -> None:
    """By hand: four functions of 1, 2, 3 and 5 lines; two names with two meanings."""
    written(
        tmp_path,
        {
            "pyproject.toml": layered("run", "filters", "text"),
            "probes/text.py": "class Twice:\n    def one(self): ...\n\n\nMOST = 3\n",
            "probes/room/high.py": "from probes import text\n\n\ndef two():\n    return text\n",
            "probes/filters/low.py": "import probes.run.lower\n",
            "probes/run/lower.py": "",
            "reports/high.py": (
                "Twice = int\n\n\n@cache\ndef five():\n    def three():\n        x = 1\n"
                "        return x\n    return three\n"
            ),
            "reports/tests/low.py": "class Twice: ...\n",
        },
    )
    lines = measured(tmp_path)
    assert lines == measures.report(tmp_path)
    assert lines[0].startswith("functions: 4, lines: median 2.5, ")
    assert lines[0].endswith(", most 5")
    assert lines[1:] == [
        "modules: 5, 20 lines",
        "rooms: 5, modules a room: median 1, most 1",
        "    probes: 1",
        "    probes.filters: 1",
        "    probes.room: 1",
        "    probes.run: 1",
        "    reports: 1",
        "arrows between modules: 2",
        "arrows between rooms: 2",
        "circles of modules: 0",
        "circles of rooms: 0",
        "imports that run upwards: 1",
        "    probes.filters.low -> probes.run.lower",
        "modules that have no place in the order: 1",
        "    probes.room",
        "types that more than one module defines: 1",
        "    Twice: probes.text, reports.high",
        "file names in more than one room: 1",
        "    high.py: probes.room, reports",
        "names with two meanings: 2",
    ]


# Broken rules, as lint sees them.

CONTRACTS = {
    one["id"]: one["name"]
    for one in tomllib.loads((SUITE / "pyproject.toml").read_text(encoding="utf-8"))["tool"][
        "importlinter"
    ]["contracts"]
}

NEW = "fresh.py"
"""A module of its own, so that a mutant breaks nothing else by what imports it."""

MUTANTS = {
    ("probes/run/fresh.py", "import reports.results.model"): {"folders"},
    ("reports/results/fresh.py", "import cases"): {"folders"},
    ("probes/judging/fresh.py", "import probes.observe.watch"): {"probes"},
    ("probes/runtimes/fresh.py", "import probes.targets.builtin"): {"probes", "circles"},
    ("probes/fresh.py", ""): {"probes"},
    ("reports/html/fresh.py", "import reports.terminal.gate_lines"): {"reports"},
    ("reports/results/fresh.py", "import reports.summary"): {"reports", "circles"},
    ("reports/fresh.py", ""): {"reports"},
    ("cases/run/fresh.py", "import cases.test_kill"): {"cases", "circles"},
    ("probes/filters/bdd.py", "import probes.filters.prover"): {"circles"},
    ("cases/fresh.py", "import cases.tests.conftest"): {"tests"},
    ("probes/text.py", "import probes.tests.support.oracles"): {"tests", "circles"},
    ("reports/commands/main.py", "import reports.benchmarks.page_cost"): {"tests", "reports"},
    ("reports/commands/gate.py", "def late():\n    from pytest import Item"): {"pytest"},
    ("probes/instrument/calls.py", "import pytest"): {"pytest"},
    ("cases/run/recorder.py", "import ctypes"): {"ctypes"},
    ("probes/guest/runner.py", "from ctypes import CDLL"): {"ctypes"},
    ("probes/filters/prover.py", "import os"): {"filters"},
    ("probes/filters/fresh.py", "from pathlib import Path"): {"filters"},
    ("reports/html/view.py", "import probes.instrument.kernel"): {"kernel"},
    ("reports/fresh.py", "import probes.audit.kmsg"): {"kernel", "reports"},
    ("probes/judging/plan.py", "import subprocess"): {"processes"},
    ("reports/html/view.py", "from multiprocessing import Pool"): {"processes"},
}
"""What is added to which file, and the contracts that this breaks."""


@pytest.fixture(scope="module")
def copied(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The modules and the settings of the checkout in a folder of their own."""
    folder = tmp_path_factory.mktemp("checkout")
    for top in FOLDERS:
        leave_out = shutil.ignore_patterns("__pycache__", "data", "out")
        shutil.copytree(SUITE / top, folder / top, ignore=leave_out)
    shutil.copy(SUITE / "pyproject.toml", folder)
    return folder


@pytest.fixture
def mutate(copied: Path, request: pytest.FixtureRequest) -> Iterator[Path]:
    """The copied checkout with a line more at the end of a file."""
    name, line = request.param
    file = copied / name
    before = file.read_text(encoding="utf-8") if file.exists() else None
    assert (before is None) is (file.name == NEW)
    file.write_text(f"{before or ''}\n{line}\n", encoding="utf-8")
    yield copied
    if before is None:
        file.unlink()
    else:
        file.write_text(before, encoding="utf-8")


def broken_contracts(folder: Path) -> set[str]:
    """The contracts that import-linter finds broken in a checkout."""
    (entry,) = entry_points(group="console_scripts", name="lint-imports")
    start = f"import sys; from {entry.module} import {entry.attr} as main; sys.exit(main())"
    words = [sys.executable, "-c", start, "--no-logo", "--no-cache"]
    settings = os.environ | {"PYTHONPATH": str(folder), "COLUMNS": "200"}
    done = subprocess.run(
        words, cwd=folder, env=settings, capture_output=True, text=True, check=False, timeout=120
    )
    states = dict(re.findall(r"^(.*) (KEPT|BROKEN)\b", done.stdout, re.MULTILINE))
    assert states.keys() == set(CONTRACTS.values()), done.stdout + done.stderr
    broken = {key for key, name in CONTRACTS.items() if states[name] == "BROKEN"}
    assert done.returncode == bool(broken), done.stdout
    return broken


def test_every_contract_holds(copied: Path) -> None:
    assert broken_contracts(copied) == set()


def test_every_contract_has_a_mutant() -> None:
    assert {one for broken in MUTANTS.values() for one in broken} == CONTRACTS.keys()


def test_a_mutant_imports_what_there_is() -> None:
    own = re.compile(r"import ((?:cases|probes|reports)\S*)")
    assert {name for _, line in MUTANTS for name in own.findall(line)} <= EVERYTHING.keys()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("mutate", "broken"),
    MUTANTS.items(),
    indirect=["mutate"],
    ids=lambda words: " ".join(sorted(words)),  # in every worker of xdist the same
)
def test_a_broken_rule_is_told(mutate: Path, broken: set[str]) -> None:
    assert broken_contracts(mutate) == broken


@pytest.mark.parametrize("name", ["cases/run/fresh.py", "probes/run/fresh.py", "reports/fresh.py"])
@pytest.mark.parametrize("line", ["import ctypes", "import os\n\nos.fork()"])
def test_ruff_keeps_the_kernel_in_its_room(name: str, line: str) -> None:
    assert "TID251" in complaints(name, line)
    assert "TID251" not in complaints("probes/instrument/fresh.py", line)


def complaints(name: str, text: str) -> set[str]:
    """The rules of ruff that a file of the checkout with such a text would break."""
    words = [sys.executable, "-m", "ruff", "check", "--output-format=concise", "--no-cache"]
    done = subprocess.run(
        [*words, f"--stdin-filename={SUITE / name}", "-"],
        cwd=SUITE,
        input=text,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.stdout.strip(), done.stderr
    return set(re.findall(r": ([A-Z]+[0-9]+) ", done.stdout))
