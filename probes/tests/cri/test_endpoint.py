"""The socket of a runtime: where it is said to be, and who is there."""

import os
import socket
import stat
from pathlib import Path

import pytest

from probes.cri import endpoint
from probes.errors import BadInputError


@pytest.fixture(autouse=True)
def nothing_is_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv(endpoint.VARIABLE, raising=False)
    monkeypatch.setattr(endpoint, "CRICTL", tmp_path / "crictl.yaml")
    monkeypatch.setattr(endpoint, "USUAL", (str(tmp_path / "one"), str(tmp_path / "two")))


def listening(path: Path) -> socket.socket:
    made = socket.socket(socket.AF_UNIX)
    made.bind(str(path))
    made.listen()
    return made


def test_what_is_said_counts_before_anything_else(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """As crictl has it: the option, the variable, its own file, the usual places."""
    with listening(tmp_path / "two"):
        assert endpoint.find("") == str(tmp_path / "two")
        endpoint.CRICTL.write_text(
            '# x\nruntime-endpoint: "unix:///of/crictl"  # why\ntimeout: 2\n'
        )
        assert endpoint.find("") == "/of/crictl"
        monkeypatch.setenv(endpoint.VARIABLE, "unix:///of/variable")
        assert endpoint.find("") == "/of/variable"
        assert endpoint.find("/of/option") == "/of/option"


def test_two_runtimes(tmp_path: Path) -> None:
    with (
        listening(tmp_path / "one"),
        listening(tmp_path / "two"),
        pytest.raises(BadInputError, match=r"several runtimes have a socket here .*one, .*two"),
    ):
        endpoint.find("")


def test_no_runtime() -> None:
    with pytest.raises(BadInputError, match="no container runtime's socket is in a usual place"):
        endpoint.find("")


def test_a_folder_that_this_user_may_not_search(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Containerd's own folder is of that kind: whoever asks then is told to be root."""

    def refuse(_: Path) -> bool:
        raise PermissionError(13, "Permission denied")

    (tmp_path / "one").touch()
    monkeypatch.setattr(endpoint, "USUAL", (str(tmp_path / "one"),))
    monkeypatch.setattr(Path, "is_socket", refuse)
    assert endpoint.find("") == str(tmp_path / "one")


@pytest.mark.parametrize("said", ["tcp://node:1", "npipe:////./x", "relative", "unix://x"])
def test_what_is_no_socket_here(said: str) -> None:
    with pytest.raises(BadInputError, match=f"^--runtime-endpoint {said}: a runtime on this"):
        endpoint.find(said)


def test_whoever_listens(tmp_path: Path) -> None:
    with listening(tmp_path / "one"):
        assert endpoint.daemon_of(str(tmp_path / "one")) == os.getpid()


def test_nobody_is_there(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="there is no such socket: start the runtime"):
        endpoint.daemon_of(str(tmp_path / "none"))


def test_nobody_listens(tmp_path: Path) -> None:
    listening(tmp_path / "left").close()
    assert stat.S_ISSOCK((tmp_path / "left").stat().st_mode)
    with pytest.raises(BadInputError, match="nobody listens there, or it is no socket"):
        endpoint.daemon_of(str(tmp_path / "left"))


def test_a_file_is_no_socket(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BadInputError, match="nobody listens there, or it is no socket"):
        endpoint.daemon_of(str(tmp_path / "file"))


def test_a_user_who_may_not(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    with pytest.raises(BadInputError, match="this user may not ask the runtime: run the suite as"):
        endpoint.daemon_of("/run/x.sock")
