"""Who runs the suite: the user, who logged in, and the job of a build system that it is part of."""

import os
import pwd
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_NOBODY_LOGGED_IN: Final = 0xFFFFFFFF
"""The audit login uid of a process that no login is above, ``AUDIT_UID_UNSET``."""


@dataclass(frozen=True, slots=True)
class Pipeline:
    """The job of a build system that a run was part of, as its environment variables say.

    Attributes:
        system: ``GitHub Actions``, ``GitLab CI/CD`` or ``Jenkins``.
        actor: the account that set it off; None where nobody says.
        job: where the job is to be seen; None where nobody says.
    """

    system: str
    actor: str | None
    job: str | None


@dataclass(frozen=True, slots=True)
class RunBy:
    """Who ran the suite. No real name and no address is taken from anywhere.

    Attributes:
        uid: the real user id; None where it was to be left out.
        user: that user's login name; None where there is none, or it was to be left out.
        login: the login name of who logged in, which sudo(8) and su(1) do not change: the audit
            login uid of proc(5)'s ``loginuid``; None where nobody did, or it was to be left out.
        pipeline: the job of a build system; None where the run was part of none.
    """

    uid: int | None = None
    user: str | None = None
    login: str | None = None
    pipeline: Pipeline | None = None


def read(variables: Mapping[str, str], root: Path = Path("/")) -> RunBy:
    """Finds out who runs this process.

    Args:
        variables: the environment variables.
        root: the directory that holds ``proc``.
    """
    uid = os.getuid()
    return RunBy(uid, _name(uid), _login(root / "proc/self/loginuid"), pipeline(variables))


def pipeline(variables: Mapping[str, str]) -> Pipeline | None:
    """The job of a build system; None where the variables speak of none.

    The variables are those that GitHub Actions ("Default environment variables"), GitLab CI/CD
    ("Predefined variables") and Jenkins (and its plug-in build-user-vars) document.
    """

    def get(name: str) -> str | None:
        return variables.get(name) or None

    if get("GITHUB_ACTIONS") == "true":
        server, repository, run = map(
            get, ("GITHUB_SERVER_URL", "GITHUB_REPOSITORY", "GITHUB_RUN_ID")
        )
        job = f"{server}/{repository}/actions/runs/{run}" if server and repository and run else None
        return Pipeline("GitHub Actions", get("GITHUB_ACTOR"), job)
    if get("GITLAB_CI") == "true":
        return Pipeline("GitLab CI/CD", get("GITLAB_USER_LOGIN"), get("CI_JOB_URL"))
    if get("JENKINS_URL"):
        return Pipeline("Jenkins", get("BUILD_USER_ID"), get("BUILD_URL"))
    return None


def _login(path: Path) -> str | None:
    """The name of the audit login uid; None where none is set, or the kernel has no audit."""
    try:
        uid = int(path.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None
    return None if uid == _NOBODY_LOGGED_IN else _name(uid)


def _name(uid: int) -> str | None:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:  # a container's user often has no entry
        return None
