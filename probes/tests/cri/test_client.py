"""What is said of a runtime that cannot be asked: one sentence, and the exit status of it."""

import json
import sys
from collections.abc import Iterator, Mapping
from concurrent import futures
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from cri_api.v1 import api_pb2, api_pb2_grpc
from cri_api.v1alpha2 import api_pb2 as old_pb2
from cri_api.v1alpha2 import api_pb2_grpc as old_pb2_grpc

from probes.cri import client, connection
from probes.cri.client import Client
from probes.cri.messages import NotFoundError, PodRequest
from probes.errors import BadInputError, ExitStatus, InstrumentError


class Runtime(api_pb2_grpc.RuntimeServiceServicer):
    """A runtime that answers as it is told."""

    def __init__(self, refuses: grpc.StatusCode | None = None, words: str = "") -> None:
        self.refuses, self.words = refuses, words

    def Version(self, *_: object) -> api_pb2.VersionResponse:  # noqa: N802 - gRPC's name
        """Says that it is one."""
        return api_pb2.VersionResponse(runtime_name="fake", runtime_version="1\n2")

    def ListPodSandbox(self, _: object, context: Any) -> api_pb2.ListPodSandboxResponse:  # noqa: N802, ANN401
        """Refuses."""
        if self.refuses is not None:
            context.abort(self.refuses, self.words)
        return api_pb2.ListPodSandboxResponse()


class Unfinished(Runtime):
    """A runtime that cannot finish a pod, and keeps it until somebody removes it."""

    def __init__(self, *, removes: bool = True) -> None:
        super().__init__()
        self.kept, self.removes = {"1": "other"}, removes

    def RunPodSandbox(self, request: Any, context: Any) -> None:  # noqa: N802, ANN401 - gRPC's
        """Fails, without the id of what it keeps."""
        self.kept["2"] = request.config.metadata.name
        context.abort(grpc.StatusCode.UNKNOWN, "no network")

    def ListPodSandbox(self, *_: object) -> api_pb2.ListPodSandboxResponse:  # noqa: N802
        """Lists what is kept."""
        items = [
            api_pb2.PodSandbox(
                id=one, metadata=api_pb2.PodSandboxMetadata(name=name, namespace="tests")
            )
            for one, name in self.kept.items()
        ]
        return api_pb2.ListPodSandboxResponse(items=items)

    def StopPodSandbox(self, _: object, context: Any) -> api_pb2.StopPodSandboxResponse:  # noqa: N802, ANN401
        """Stops nothing; as containerd without its plug-ins for networks, where it is told so."""
        if not self.removes:
            context.abort(grpc.StatusCode.UNKNOWN, "no plug-in")
        return api_pb2.StopPodSandboxResponse()

    def RemovePodSandbox(self, request: Any, _: object) -> api_pb2.RemovePodSandboxResponse:  # noqa: N802, ANN401
        """Forgets a pod."""
        del self.kept[request.pod_sandbox_id]
        return api_pb2.RemovePodSandboxResponse()


class OldRuntime(old_pb2_grpc.RuntimeServiceServicer):
    """One that speaks v1alpha2 alone, as containerd 1.5 does."""

    def Version(self, *_: object) -> old_pb2.VersionResponse:  # noqa: N802 - gRPC's name
        """Says that it is one."""
        return old_pb2.VersionResponse(runtime_name="containerd", runtime_version="1.5.18")


@contextmanager
def serving(place: Path, runtime: Runtime | OldRuntime | None) -> Iterator[str]:
    """A server at a socket; of nothing at all where there is no runtime."""
    server = grpc.server(futures.ThreadPoolExecutor(2))
    if isinstance(runtime, Runtime):
        api_pb2_grpc.add_RuntimeServiceServicer_to_server(runtime, server)
    elif runtime is not None:
        old_pb2_grpc.add_RuntimeServiceServicer_to_server(runtime, server)
    server.add_insecure_port(f"unix:{place}")
    server.start()
    try:
        yield str(place)
    finally:
        server.stop(None).wait()


def test_a_runtime_says_what_it_is(tmp_path: Path) -> None:
    with serving(tmp_path / "s", Runtime()) as place:
        asked = Client(place)
        assert (asked.name, asked.version) == ("fake", "1\\n2")
        assert asked.sandboxes() == ()
        asked.close()


def test_a_runtime_of_the_old_version(tmp_path: Path) -> None:
    with serving(tmp_path / "s", OldRuntime()) as place:
        with pytest.raises(BadInputError) as caught:
            Client(place)
        assert str(caught.value) == (
            f"{place}: containerd 1.5.18 speaks version v1alpha2 of CRI only, and v1 is needed:"
            " install containerd 1.6, CRI-O 1.23 or newer"
        )


def test_a_daemon_without_cri(tmp_path: Path) -> None:
    with serving(tmp_path / "s", None) as place:
        with pytest.raises(
            BadInputError, match=r"does not offer CRI; .*disabled_plugins"
        ) as caught:
            Client(place)
        assert caught.value.exit_status is ExitStatus.USAGE


ANSWERS: Mapping[grpc.StatusCode, tuple[type[Exception], str]] = {
    grpc.StatusCode.NOT_FOUND: (NotFoundError, "there is none; its own words: of the fake"),
    grpc.StatusCode.DEADLINE_EXCEEDED: (InstrumentError, "no answer in time"),
    grpc.StatusCode.UNAVAILABLE: (BadInputError, "the runtime has ended, or speaks no gRPC"),
    grpc.StatusCode.PERMISSION_DENIED: (BadInputError, "run the suite as root"),
    grpc.StatusCode.UNKNOWN: (BadInputError, "its own words: of the fake"),
}


@pytest.mark.parametrize("code", ANSWERS, ids=str)
def test_a_request_that_is_refused(code: grpc.StatusCode, tmp_path: Path) -> None:
    kind, words = ANSWERS[code]
    with serving(tmp_path / "s", Runtime(code, "of the\nfake")) as place:
        asked = Client(place)
        with pytest.raises(kind) as caught:
            asked.sandboxes()
        asked.close()
    assert type(caught.value) is kind
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_a_runtime_has_not_finished_is_removed(tmp_path: Path) -> None:
    """No answer has its id, and so it is found by its name."""
    runtime = Unfinished()
    assert refused_pod(runtime, tmp_path).endswith("no network")
    assert runtime.kept == {"1": "other"}


def test_what_cannot_be_removed_either_is_told(tmp_path: Path) -> None:
    """So it is with containerd 1.6 where the plug-in ``loopback`` is missing."""
    runtime = Unfinished(removes=False)
    assert "no network; nor can it be removed: crictl rmp" in refused_pod(runtime, tmp_path)
    assert runtime.kept == {"1": "other", "2": "mine"}


def refused_pod(runtime: Runtime, folder: Path) -> str:
    """What is said of a pod that does not start."""
    with serving(folder / "s", runtime) as place:
        asked = Client(place)
        with pytest.raises(BadInputError) as caught:
            asked.run_sandbox(PodRequest("mine", "tests", {}, str(folder), None))
        asked.close()
    return str(caught.value)


def test_what_a_runtime_tells_only_when_asked_for_everything() -> None:
    told = {"pid": 7, "runtimeSpec": {"linux": {}}, "config": {"metadata": {}}}
    details = client._details_of({"info": json.dumps(told)})
    assert (details.pid, details.specification, details.request) == (
        7,
        {"linux": {}},
        told["config"],
    )


@pytest.mark.parametrize("text", ["", "nonsense", "[]", '{"pid": "x"}', "[" * 100_000])
def test_a_runtime_whose_details_nobody_understands(text: str) -> None:
    details = client._details_of({"info": text})
    assert (details.pid, details.specification) == (0, {})


def test_grpc_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "grpc", None)
    monkeypatch.delitem(sys.modules, connection._CLIENT, raising=False)
    with pytest.raises(BadInputError) as caught:
        connection.connect("/run/x.sock")
    assert str(caught.value).endswith("pip install container-runtime-interface-api grpcio")
