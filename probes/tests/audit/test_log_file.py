"""What holds for every collector that follows a log."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from probes.audit.auditbeat import AuditbeatCollector
from probes.audit.auditd import AuditdCollector
from probes.audit.collector import CollectorUnavailableError
from probes.audit.laurel import LaurelCollector
from probes.audit.osquery import OsqueryCollector

COLLECTORS = (
    AuditdCollector,
    lambda path: LaurelCollector(path, lambda: None),
    OsqueryCollector,
    AuditbeatCollector,
)


@pytest.mark.parametrize("kind", ["missing", "folder", "pipe", "link to nothing", "{braces}/x"])
@pytest.mark.parametrize("opened", COLLECTORS, ids=["auditd", "laurel", "osquery", "auditbeat"])
def test_what_is_no_log_is_refused_in_one_sentence(
    opened: Callable[[Path], object], kind: str, tmp_path: Path
) -> None:
    path = tmp_path / kind
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "link to nothing":
        path.symlink_to("nothing")

    with pytest.raises(CollectorUnavailableError) as caught:
        opened(path)

    assert f" {path} " in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1
