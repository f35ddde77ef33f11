"""Addresses of sockets, and which daemons are behind them. No processes."""

import random
import socket
import struct
import tomllib
from pathlib import Path

import pytest

from probes import arch
from probes.observe import addresses, daemons
from probes.observe.addresses import InternetAddress, UnixAddress, VirtualAddress, named, parsed
from probes.observe.caller import memory
from probes.observe.contacts import Work, judged
from probes.observe.peers import Listener, Peer

FILE = Path(daemons.__file__).with_name("daemons.toml")


def test_every_table_has_known_keys_only() -> None:
    data = tomllib.loads(FILE.read_text(encoding="utf-8"))
    keys = {"name", "starts", "programs", "paths", "ports", "clients", "image"}
    assert set(data) == {"daemon", "spool"}
    for row in data["daemon"]:
        assert set(row) <= keys, row["name"]
        assert {"programs", "paths", "ports"} & set(row), row["name"]
        assert "starts" in row or not {"clients", "image"} & set(row), row["name"]
    names = [row["name"] for row in data["daemon"]]
    assert len(names) == len(set(names))


def test_no_port_is_of_two() -> None:
    ports = [port for one in daemons.daemons() for port in one.ports]
    assert len(ports) == len(set(ports))


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/run/docker.sock", "Docker's daemon"),
        ("/var/run/docker.sock", "Docker's daemon"),
        ("/run/user/1000/docker.sock", "Docker's daemon"),
        ("/home/me/.docker/run/docker.sock", "Docker's daemon"),
        ("/run/containerd/containerd.sock", "containerd"),
        ("/run/k3s/containerd/containerd.sock", "containerd"),
        ("/run/docker/containerd/containerd.sock.ttrpc", "containerd"),
        ("/run/podman/podman.sock", "podman's service"),
        ("/run/user/1000/podman/podman.sock", "podman's service"),
        ("/run/crio/crio.sock", "CRI-O"),
        ("/run/buildkit/buildkitd.sock", "BuildKit"),
        ("/var/run/libvirt/libvirt-sock", "libvirt"),
        ("/var/snap/lxd/common/lxd/unix.socket", "LXD or Incus"),
        ("/var/lib/incus/unix.socket", "LXD or Incus"),
        ("/run/systemd/private", "systemd"),
        ("/run/user/1000/systemd/private", "systemd"),
        ("/run/dbus/system_bus_socket", "D-Bus, and with it systemd"),
        ("/run/user/1000/bus", "D-Bus, and with it systemd"),
        ("/run/snapd.socket", "snapd"),
        ("/run/supervisor.sock", "Supervisor"),
        ("/tmp/tmux-0/default", "a terminal's server"),  # noqa: S108 - no file is made
    ],
)
def test_a_path_tells_who_starts_work(path: str, name: str) -> None:
    found = daemons.by_path([path])
    assert found is not None
    assert (found.name, bool(found.starts)) == (name, True)


@pytest.mark.parametrize(
    "path",
    [
        "/run/nscd/socket",
        "/var/run/nscd/socket",
        "/dev/log",
        "/run/systemd/journal/stdout",
        "/run/systemd/journal/dev-log",
        "/run/systemd/notify",
        "/run/systemd/resolve/io.systemd.Resolve",
        "/run/systemd/userdb/io.systemd.DynamicUser",
        "/tmp/.X11-unix/X0",  # noqa: S108 - no file is made
        "@/tmp/.X11-unix/X0",
        "/run/user/1000/wayland-0",
        "/run/user/1000/pulse/native",
        "/run/postgresql/.s.PGSQL.5432",
        "/run/mysqld/mysqld.sock",
        "/run/user/1000/gnupg/S.gpg-agent",
        "/var/lib/sss/pipes/nss",
    ],
)
def test_a_path_tells_who_starts_nothing(path: str) -> None:
    found = daemons.by_path([path])
    assert found is not None
    assert found.starts == ""


def _peer(host: str, port: int, *programs: str, here: bool = False) -> Peer:
    listeners = tuple(Listener((7, 1), (name,), f"/bin/{name}") for name in programs)
    return Peer(InternetAddress(host, port), (), port, here=here, listeners=listeners)


@pytest.mark.parametrize(
    ("client", "peer", "work"),
    [
        ("/bin/x", _peer("10.0.0.1", 22), Work.STARTS),
        ("/bin/x", _peer("10.0.0.1", 6443), Work.STARTS),
        ("/bin/x", _peer("10.0.0.1", 2376), Work.STARTS),
        ("/bin/x", _peer("10.0.0.1", 443), None),
        ("/bin/x", _peer("10.0.0.1", 54321), None),
        ("/usr/bin/ssh", _peer("10.0.0.1", 2222), Work.STARTS),
        ("/usr/bin/kubectl", _peer("10.0.0.1", 443), Work.STARTS),
        ("/usr/bin/kubectl", _peer("10.0.0.1", 53), None),
        ("/bin/x", _peer("127.0.0.1", 22, "nginx", here=True), None),
        ("/bin/x", _peer("127.0.0.1", 22, "own", here=True), Work.STARTS),
        ("/bin/x", _peer("127.0.0.1", 5432, "own", here=True), Work.NONE),
        ("/bin/x", _peer("127.0.0.1", 5432, "nginx", "dockerd", here=True), Work.STARTS),
        ("/bin/x", Peer(VirtualAddress(2, 1024), here=False), Work.UNKNOWN),
        ("/bin/x", Peer(UnixAddress(b"/run/x"), ("/run/x",)), Work.UNKNOWN),
        ("/usr/bin/docker", Peer(UnixAddress(b"/dev/log"), ("/dev/log",)), None),
    ],
)
def test_what_a_peer_is_taken_for(client: str, peer: Peer, work: Work | None) -> None:
    found = judged(client, peer)
    assert (found.contact.work if found else None) is work


def test_an_address_is_read_as_the_kernel_has_it() -> None:
    """The oracle are the addresses that the kernel gives real sockets."""
    port = struct.pack(">H", 8080)
    four = struct.pack("=H", socket.AF_INET) + port + socket.inet_aton("10.1.2.3") + bytes(8)
    assert str(parsed(four)) == "10.1.2.3:8080"
    for host, shown in (("::1", "[::1]:8080"), ("::ffff:10.1.2.3", "10.1.2.3:8080")):
        packed = socket.inet_pton(socket.AF_INET6, host)
        raw = struct.pack("=H", socket.AF_INET6) + port + bytes(4) + packed + bytes(4)
        assert str(parsed(raw)) == shown
    unix = struct.pack("=H", socket.AF_UNIX)
    assert parsed(unix + b"/run/x\0\0garbage") == UnixAddress(b"/run/x")
    assert parsed(unix + b"\0name") == UnixAddress(b"name", abstract=True)
    virtual = struct.pack("=HHIII", socket.AF_VSOCK, 0, 1024, 3, 0)
    assert parsed(virtual) == VirtualAddress(3, 1024)
    for nobody in (b"", b"\1", unix, struct.pack("=H14x", 0), struct.pack("=H10x", 16), four[:6]):
        assert parsed(nobody) is None


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(arch.ARCHES))
def test_whatever_the_registers_hold_is_no_trouble(name: str) -> None:
    """As a workload may put anything there: what cannot be read names nobody."""
    chance = random.Random(11)  # noqa: S311 - no secret

    def some(address: int, size: int) -> bytes:
        assert address >= 0
        return chance.randbytes(chance.randrange(size + 1))

    for _ in range(300):
        args = tuple(chance.choice((0, 3, 11, 16, 20, chance.getrandbits(64))) for _ in range(6))
        for call in ("connect", "sendto", "sendmsg", "sendmmsg", "socketcall"):
            for raw in named(call, arch.get(name), args, some):
                assert len(raw) <= 128
                parsed(raw)
            for raw in named(call, arch.get(name), args, lambda at, size: memory(0, at, size)):
                pytest.fail(f"{raw!r} was read from nowhere")


def test_a_pointer_is_as_wide_as_its_abi() -> None:
    assert addresses.pointer(arch.get("i386"), 1 << 32 | 7) == 7
    assert addresses.pointer(arch.get("x32"), 1 << 32 | 7) == 1 << 32 | 7
    assert [addresses.word_size(arch.get(one)) for one in ("x86_64", "x32", "i386")] == [8, 4, 4]
    # 31-bit s390 code has a flag where the highest bit of an address would be.
    assert addresses.pointer(arch.get("s390"), 0x80000007) == 7
