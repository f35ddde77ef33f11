"""Who runs the suite."""

import os
import subprocess
from pathlib import Path

import pytest

from reports.results import provenance
from reports.results.provenance import Pipeline


def test_user_is_the_one_that_id_names() -> None:
    """Compared with id(1)."""
    said = provenance.read({})
    assert said.uid == int(subprocess.check_output(["id", "-ru"], text=True))
    assert said.user == subprocess.check_output(["id", "-run"], text=True).strip()
    assert said.pipeline is None


@pytest.mark.parametrize(
    ("text", "name"),
    [("4294967295", None), ("0", "root"), ("4000000000", None), ("", None)],
)
def test_login_is_the_audit_login_uid(text: str, name: str | None, tmp_path: Path) -> None:
    """Nobody's where none is set, where the user is unknown, and where the file says nothing."""
    folder = tmp_path / "proc/self"
    folder.mkdir(parents=True)
    (folder / "loginuid").write_text(text)
    assert provenance.read({}, tmp_path).login == name


def test_kernel_without_audit_has_no_login(tmp_path: Path) -> None:
    """There is no such file."""
    assert provenance.read(os.environ, tmp_path).login is None


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, None),
        ({"CI": "true", "GITHUB_ACTOR": "jane"}, None),
        ({"GITHUB_ACTIONS": "true"}, Pipeline("GitHub Actions", None, None)),
        (
            {
                "GITHUB_ACTIONS": "true",
                "GITHUB_ACTOR": "jane",
                "GITHUB_SERVER_URL": "https://github.com",
                "GITHUB_REPOSITORY": "o/r",
                "GITHUB_RUN_ID": "17",
            },
            Pipeline("GitHub Actions", "jane", "https://github.com/o/r/actions/runs/17"),
        ),
        (
            {"GITLAB_CI": "true", "GITLAB_USER_LOGIN": "jane", "CI_JOB_URL": "https://g/-/jobs/1"},
            Pipeline("GitLab CI/CD", "jane", "https://g/-/jobs/1"),
        ),
        (
            {"JENKINS_URL": "https://j/", "BUILD_URL": "https://j/job/x/1/"},
            Pipeline("Jenkins", None, "https://j/job/x/1/"),
        ),
    ],
)
def test_pipeline_is_what_its_variables_say(
    variables: dict[str, str], expected: Pipeline | None
) -> None:
    """Each build system that is known, and no guess."""
    assert provenance.pipeline(variables) == expected
