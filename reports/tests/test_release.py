"""What is said about releases: one version, a changelog by kinds, no index that has the suite."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from probes.version import DISTRIBUTION, VERSION
from reports.tests.support.job import CHECKOUT

CHANGELOG = (CHECKOUT / "CHANGELOG.md").read_text(encoding="utf-8")
KINDS = ("Added", "Changed", "Deprecated", "Removed", "Fixed", "Security")
"""The headings of Keep a Changelog, in its order."""

SAID = ("cases", "docs", "findings", "probes", "reports")
"""Folders with sentences, besides the dot-folders and the files at the top."""

KINDS_OF_FILES = frozenset(
    [".cfg", ".html", ".ini", ".md", ".py", ".sh", ".toml", ".yaml", ".yml", ""]
)


# The changelog.


def faults(changelog: str, version: str) -> list[str]:
    """What is wrong with a changelog.

    Args:
        changelog: its text.
        version: the version that its topmost part must be about.
    """
    parts = re.split(r"^## (.*)$", changelog, flags=re.MULTILINE)[1:]
    found = []
    for heading, text in zip(parts[::2], parts[1::2], strict=True):
        if not re.fullmatch(r"\d+\.\d+\.\d+( \(unreleased\)| - \d{4}-\d\d-\d\d)", heading):
            found.append(f"{heading!r} is no version with a date")
        kinds = re.findall(r"^### (.*)$", text, re.MULTILINE)
        if kinds != [kind for kind in KINDS if kind in kinds] or not kinds:
            found.append(f"{heading!r} has the headings {kinds}")
    versions = [heading.split()[0] for heading in parts[::2]]
    if not versions or versions[0] != version:
        found.append(f"the topmost version of {versions} is not {version}")
    if any("(unreleased)" in heading for heading in parts[2::2]):
        found.append("an earlier version is unreleased")
    return found


def test_the_changelog_is_about_this_version() -> None:
    assert faults(CHANGELOG, VERSION) == []


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "topmost version"),
        ("## 1.0.0 - 2026-01-02\n### Added\n", "topmost version"),
        ("## 2.0.0\n### Added\n", "no version with a date"),
        ("## 2.0.0 (unreleased)\n### Fixed\n### Added\n", "has the headings"),
        ("## 2.0.0 (unreleased)\n- A line.\n", "has the headings"),
        ("## 2.0.0 (unreleased)\n### A verdict\n", "has the headings"),
        ("## 2.0.0 (unreleased)\n### Added\n## 1.0.0 (unreleased)\n### Added\n", "an earlier"),
    ],
)
def test_a_wrong_changelog_is_found_out(text: str, words: str) -> None:
    (fault,) = faults(f"# Changelog\n{text}", "2.0.0")
    assert words in fault


# No public index has the suite: whoever installs it names a folder, a file or an address.

_BY_NAME = re.compile(
    r"""(?x)
    \b(?: pip[\d.]*\s+(?:install|download|wheel) | pipx\s+(?:install|run) | uvx | uv\s+add
        | uv\s+tool\s+(?:install|run) | poetry\s+add )\b
    [^\n`]*?
    (?<![\w./:+@-]) """
    + DISTRIBUTION
    + r"""(?![\w./-]) """
)


def by_name(text: str) -> list[str]:
    """The sentences that have somebody install the suite by its name alone."""
    return [found[0] for found in _BY_NAME.finditer(text)]


def files() -> Iterator[Path]:
    """Every file of the checkout that says something."""
    tops = [path for path in CHECKOUT.iterdir() if path.is_file()]
    hidden = [
        CHECKOUT / name for name in (".ci", ".containers", ".github", ".gitlab", ".kubernetes")
    ]
    for folder in (*(CHECKOUT / name for name in SAID), *hidden):
        tops += [path for path in folder.rglob("*") if path.is_file()]
    for path in tops:
        if path.suffix in KINDS_OF_FILES and "out" not in path.parts and path != Path(__file__):
            yield path


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("pip install syscall-conformance", 1),
        ("pip install 'syscall-conformance[libseccomp]'", 1),
        ("run pip3 install --quiet syscall-conformance==0.1.0 first", 1),
        ("pipx run syscall-conformance gate", 1),
        ("uv tool install syscall-conformance", 1),
        ("pip install ./syscall-conformance", 0),
        ("pip install dist/syscall_conformance-0.1.0-py3-none-any.whl", 0),
        ("pip install 'syscall-conformance @ git+https://example.org/x.git'", 1),
        ("pip install git+https://example.org/syscall-conformance.git", 0),
        ("pip install pyseccomp, says syscall-conformance", 1),
        ("pip install -e '.[dev]'", 0),
    ],
)
def test_a_sentence_that_counts_on_an_index_is_seen(text: str, count: int) -> None:
    assert len(by_name(text)) == count


def test_nobody_is_told_to_install_the_suite_by_its_name() -> None:
    found = {
        str(path.relative_to(CHECKOUT)): said
        for path in files()
        if (said := by_name(path.read_text(encoding="utf-8")))
    }
    assert found == {}


def test_releases_and_security_are_said_where_they_are_looked_for() -> None:
    for name in ("SECURITY.md", "docs/releasing.md"):
        assert (CHECKOUT / name).read_text().startswith("# ")
    assert "probes/version.py" in (CHECKOUT / "docs/releasing.md").read_text()
