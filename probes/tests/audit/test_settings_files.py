"""Why a collector gets nothing, by the configuration of the programs that write for it."""

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from probes.audit import auditd_settings, journald_settings, laurel_settings, taker
from probes.audit.auditd_settings import AuditdSettings
from probes.tests.support.oracles import require

LOG = Path("/var/log/audit/audit.log")
LAUREL_LOG = Path("/var/log/laurel/audit.log")
NETLINK = (
    "sk       Eth Pid    Groups   Rmem     Wmem     Dump      Locks     Drops    Inode\n"
    "0        9   0      00000000 0        0        0         2         0        5\n"
    "0        9   {pid}  {groups} 0        0        0         2         0        6\n"
)


def written(root: Path, files: Mapping[str, str]) -> Path:
    """A root directory with these files."""
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return root


# auditd


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", ""),
        ("log_file = /var/log/audit/audit.log\nwrite_logs = yes\n", ""),
        ("# write_logs = no\nlog_format = ENRICHED\n", ""),
        ("write_logs = no\n", "auditd writes no log (write_logs = no"),
        ("log_format = NOLOG\n", "auditd writes no log"),
        ("LOCAL_EVENTS=NO\n", "takes no records of this kernel (local_events = no"),
        ("log_file = /srv/a.log\n", "--audit-source=auditd:/srv/a.log"),
    ],
)
def test_what_auditd_conf_keeps_out_of_a_log(text: str, said: str, tmp_path: Path) -> None:
    root = written(tmp_path, {"etc/audit/auditd.conf": text})

    found = auditd_settings.why_not_in(LOG, root)

    assert bool(found) is bool(said)
    assert said in found


@pytest.mark.parametrize(
    ("action", "stops"),
    [("SUSPEND", True), ("single", True), ("ignore", False), ("exec /x", False)],
)
def test_a_full_disk_stops_auditd(action: str, *, stops: bool, tmp_path: Path) -> None:
    """More space than any disk has is asked for."""
    log = tmp_path / "audit.log"
    log.touch()
    text = f"log_file = {log}\nadmin_space_left = 999999999\nadmin_space_left_action = {action}\n"
    root = written(tmp_path, {"etc/audit/auditd.conf": text})

    found = auditd_settings.why_not_in(log, root)

    assert ("MiB left, and auditd stops to write" in found) is stops


def test_debian_s_configuration_is_read() -> None:
    """The one that auditd's package brings, which auditd itself reads."""
    require("/etc/audit/auditd.conf", "auditd")

    settings = auditd_settings.read()

    assert settings == AuditdSettings(LOG, least_space=50, action="suspend")


def test_without_a_configuration_nothing_is_claimed(tmp_path: Path) -> None:
    assert auditd_settings.read(tmp_path) is None
    assert not auditd_settings.why_not_in(LOG, tmp_path)
    assert not laurel_settings.why_not_in(LAUREL_LOG, tmp_path)
    assert not journald_settings.why_not_kept(tmp_path)


# laurel

PLUGIN = "active = yes\ndirection = out\npath = /usr/sbin/laurel\n"
CONFIGURATION = 'directory = "/var/log/laurel"\n[auditlog]\nfile = "audit.log"\n'


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({}, ""),
        ({"etc/audit/plugins.d/laurel.conf": PLUGIN, "etc/laurel/config.toml": CONFIGURATION}, ""),
        (
            {"etc/audit/plugins.d/laurel.conf": PLUGIN.replace("yes", "no")},
            "does not start its plug-in laurel (active = no in /etc/audit/plugins.d/laurel.conf)",
        ),
        (
            {"etc/laurel/config.toml": CONFIGURATION.replace("audit.log", "other.log")},
            "--audit-source=laurel:/var/log/laurel/other.log",
        ),
        ({"etc/laurel/config.toml": 'directory = "/var/log/laurel"\n'}, ""),
        ({"etc/laurel/config.toml": "directory = [\n"}, ""),
        ({"etc/laurel/config.toml": 'auditlog = "x"\ndirectory = "/x"\n'}, ""),
    ],
)
def test_what_keeps_laurel_from_a_log(files: Mapping[str, str], said: str, tmp_path: Path) -> None:
    found = laurel_settings.why_not_in(LAUREL_LOG, written(tmp_path, files))

    assert bool(found) is bool(said)
    assert said in found


# journald


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({}, ""),
        ({"etc/systemd/journald.conf": "[Journal]\n#Storage=none\nMaxLevelStore=notice\n"}, ""),
        ({"etc/systemd/journald.conf": "[Journal]\nMaxLevelStore=5\n"}, ""),
        (
            {"etc/systemd/journald.conf": "[Journal]\nMaxLevelStore=warning\n"},
            "(MaxLevelStore=warning in /etc/systemd/journald.conf)",
        ),
        ({"etc/systemd/journald.conf": "[Journal]\nMaxLevelStore=4\n"}, "MaxLevelStore=4"),
        (
            {"usr/lib/systemd/journald.conf.d/a.conf": "[Journal]\nStorage=none\n"},
            "(Storage=none in /usr/lib/systemd/journald.conf.d/a.conf)",
        ),
        (
            {
                "usr/lib/systemd/journald.conf.d/a.conf": "[Journal]\nStorage=none\n",
                "etc/systemd/journald.conf.d/a.conf": "[Journal]\n",
            },
            "",
        ),
        (
            {
                "usr/lib/systemd/journald.conf.d/a.conf": "[Journal]\nStorage=none\n",
                "etc/systemd/journald.conf.d/b.conf": "[Journal]\nStorage=auto\n",
            },
            "",
        ),
        (
            {
                "etc/systemd/journald.conf": "[Journal]\nStorage=volatile\n",
                "run/systemd/journald.conf.d/z.conf": "[Journal]\nStorage=none\n",
            },
            "Storage=none in /run/systemd/journald.conf.d/z.conf",
        ),
        ({"etc/systemd/journald.conf": "Storage=none\n"}, ""),
    ],
)
def test_what_journald_does_not_keep(files: Mapping[str, str], said: str, tmp_path: Path) -> None:
    found = journald_settings.why_not_kept(written(tmp_path, files))

    assert bool(found) is bool(said), found
    assert said in found


def running(root: Path, program: str = "systemd-journal", groups: str = "00000001") -> Path:
    """A root where journald runs and a program has opened an audit socket."""
    rows = NETLINK.format(pid=77, groups=groups)
    files = {"run/systemd/journal/socket": "", "proc/net/netlink": rows}
    return written(root, {**files, "proc/77/comm": f"{program}\n"})


def as_it_is(root: Path) -> None:
    assert root.is_dir()


def masked(root: Path) -> None:
    unit = root / "etc/systemd/system" / journald_settings.SOCKET
    unit.parent.mkdir(parents=True)
    unit.symlink_to("/dev/null")


def emptied(root: Path) -> None:
    written(root, {f"run/systemd/system/{journald_settings.SOCKET}": ""})


def enabled(root: Path) -> None:
    """A link of ``systemctl enable``, and a unit of the administrator's own."""
    unit = f"etc/systemd/system/{journald_settings.SOCKET}"
    written(root, {unit: "[Socket]\nListenNetlink=audit 1\n"})


@pytest.mark.parametrize(
    ("program", "groups", "change", "said"),
    [
        ("systemd-journal", "00000001", as_it_is, ""),
        ("systemd", "00000001", as_it_is, ""),
        ("systemd", "00000001", enabled, ""),
        ("systemd-journal", "00000000", as_it_is, "systemctl start systemd-journald-audit.socket"),
        ("auditbeat", "00000001", as_it_is, "nobody has opened systemd-journald-audit.socket"),
        ("systemd-journal", "00000001", masked, "systemctl unmask systemd-journald-audit.socket"),
        ("systemd", "00000001", emptied, "is masked (/run/systemd/system/systemd-journald-audit"),
    ],
)
def test_whether_journald_reads_audit_messages(
    program: str, groups: str, change: Callable[[Path], None], said: str, tmp_path: Path
) -> None:
    root = running(tmp_path, program, groups)
    change(root)

    found = journald_settings.why_not_read(root)

    assert bool(found) is bool(said), found
    assert said in found


def test_no_journald(tmp_path: Path) -> None:
    assert journald_settings.why_not_read(tmp_path).startswith("no systemd-journald runs here")


# Who takes the kernel's records.


@pytest.mark.parametrize(
    ("program", "by", "said"),
    [
        ("auditd", "auditd", ""),
        (
            "osqueryd",
            "auditd",
            "osqueryd (process 7) takes the records from the kernel, and auditd",
        ),
        (
            "auditd",
            "osqueryd",
            "and osqueryd gets none; name what it writes (--audit-source=auditd",
        ),
        ("go-audit", "auditd", "go-audit (process 7)"),
        ("", "auditd", ""),
    ],
)
def test_another_program_takes_the_records(
    program: str, by: str, said: str, tmp_path: Path
) -> None:
    root = written(tmp_path, {"proc/7/comm": f"{program}\n"} if program else {})

    found = taker.why_taken(7, by, root)

    assert bool(found) is bool(said)
    assert said in found


def test_nobody_takes_them(tmp_path: Path) -> None:
    assert not taker.why_taken(0, "auditd", written(tmp_path, {"proc/0/comm": "swapper\n"}))


@pytest.mark.parametrize(("state", "stopped"), [("T", True), ("t", True), ("S", False)])
def test_a_program_that_is_stopped(state: str, *, stopped: bool, tmp_path: Path) -> None:
    """Its name may have brackets and blanks."""
    root = written(tmp_path, {"proc/7/stat": f"7 (a) T (x) {state} 1 7 7\n"})

    assert taker.is_stopped(7, root) is stopped
    assert not taker.is_stopped(8, root)
