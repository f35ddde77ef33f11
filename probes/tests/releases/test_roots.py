"""Roots of releases are made once from the packages that their name is made of."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from probes.errors import BadInputError, InstrumentError
from probes.guest import packages
from probes.guest.choice import default_cache
from probes.guest.packages import Package
from probes.releases import roots
from probes.releases.roots import SUITES, Root
from probes.tests.support import releases

ROOT = pytest.mark.root("installs packages into a folder")


@ROOT
@pytest.mark.containers
@pytest.mark.slow
@pytest.mark.parametrize(
    "suite", [pytest.param(one, marks=releases.unless_asked_for(one)) for one in SUITES]
)
def test_a_root_has_the_packages_of_its_name_and_is_not_made_twice(suite: str) -> None:
    root = releases.root_of(suite, "seccomp")
    made = root.path.stat()
    listed = subprocess.run(
        ["dpkg-query", f"--admindir={root.path}/var/lib/dpkg", "-W", "-f=${Package} ${Version}\n"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert f"libseccomp2 {root.version('libseccomp2')}\n" in listed
    assert listed.count("\n") == len(root.origin)
    again = roots.build(suite, ["seccomp"], default_cache())
    assert again == root
    assert again.path.stat().st_ctime_ns == made.st_ctime_ns
    with releases.release_machine(suite, "seccomp") as machine:
        assert machine.run("scmp_sys_resolver", "-a", "x86_64", "bpf") == "321"
        assert suite in machine.run("cat", "/etc/os-release", "/etc/debian_version")


def test_a_version_is_that_of_the_root() -> None:
    root = Root("sid", Path("/nowhere"), (Package("runc", "1.3.6"),))
    assert root.version("runc") == "1.3.6"
    assert root.version("crun") == ""


def test_who_cannot_make_roots_is_told_what_is_missing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(packages, "check_tools", lambda: None)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(shutil, "which", {}.get)
    with pytest.raises(BadInputError, match="apt-get install --no-install-recommends mmdebstrap"):
        roots.build("sid", ["runc"], tmp_path)
    monkeypatch.setattr(shutil, "which", {"mmdebstrap": "/usr/bin/mmdebstrap"}.get)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(BadInputError, match="run this as root"):
        roots.build("sid", ["runc"], tmp_path)


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ("I: running apt-get update\nE: Release file is expired\n", "E: Release file is expired"),
        ("I: chroot\ndpkg: error: no space\n", "dpkg: error: no space"),
        ("I: chroot\n", "it does not say why"),
    ],
)
def test_the_reason_is_mmdebstraps_own(said: str, reason: str) -> None:
    with pytest.raises(InstrumentError, match="a root of sid") as raised:
        roots.run(("sh", "-c", 'printf %s "$1" >&2; exit 1', "sh", said), "sid", {})
    assert str(raised.value).endswith(f": {reason}")


@ROOT
def test_a_root_of_other_packages_is_no_root(tmp_path: Path) -> None:
    database = tmp_path / "var/lib/dpkg"
    (database / "updates").mkdir(parents=True)
    (database / "status").write_text(
        "Package: one\nStatus: install ok installed\nVersion: 1\nArchitecture: all\n"
        "Maintainer: nobody\nDescription: one\n"
    )
    roots.check(tmp_path, (Package("one", "1"),), "sid")
    for others in ((), (Package("one", "2"),), (Package("one", "1"), Package("two", "1"))):
        with pytest.raises(InstrumentError, match="the archive of sid changed"):
            roots.check(tmp_path, others, "sid")
