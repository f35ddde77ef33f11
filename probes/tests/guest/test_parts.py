"""What guests are made of: the kernel's archive, packages, modules, compiled Python."""

import io
import os
import stat
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import pytest

from probes.errors import BadInputError, InstrumentError
from probes.guest import boot, choice, cpio, machines, packages
from probes.guest.cpio import ArchiveMember
from probes.guest.machines import MACHINES
from probes.tests.support.oracles import require


def archive(entries: list[ArchiveMember]) -> bytes:
    return b"".join(cpio.pack(iter(entries)))


def unpacked(raw: bytes, folder: Path) -> list[str]:
    """What the program cpio makes of an archive."""
    folder.mkdir()
    subprocess.run(
        ["cpio", "--extract", "--make-directories", "--quiet"], input=raw, cwd=folder, check=True
    )
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "tree"
    (root / "usr/lib").mkdir(parents=True)
    (root / "usr/lib/odd name\n").write_bytes(b"x" * 513)
    (root / "usr/empty").touch()
    (root / "usr/tool").write_bytes(b"#!")
    (root / "usr/tool").chmod(0o755)
    (root / "lib").symlink_to("usr/lib")
    return root


def test_cpio_reads_what_we_write(tree: Path, tmp_path: Path) -> None:
    require("cpio", "cpio")
    names = unpacked(archive(list(cpio.tree(tree, "a/b"))), tmp_path / "out")
    there = tmp_path / "out/a/b"

    assert [name.removeprefix("a/b/") for name in names if name.startswith("a/b/")] == sorted(
        str(path.relative_to(tree)) for path in tree.rglob("*")
    )
    assert (there / "usr/lib/odd name\n").read_bytes() == b"x" * 513
    assert stat.S_IMODE((there / "usr/tool").stat().st_mode) == 0o755
    assert (there / "lib").readlink() == Path("usr/lib")


def test_archives_stand_behind_one_another(tmp_path: Path) -> None:
    """The kernel ignores what follows an archive that is not padded to a block."""
    one = archive([cpio.file("first", b"1")])

    assert len(one) % 512 == 0
    assert one[-512:].strip(b"\0") == b"" or b"TRAILER!!!" in one[-1024:]
    require("cpio", "cpio")
    assert unpacked(one, tmp_path / "out") == ["first"]


def test_a_folder_comes_before_its_content_and_once() -> None:
    entries = [cpio.file("a/b/c", b""), cpio.directory("a"), cpio.file("a/d", b"")]

    assert [e.name for e in cpio.with_parents(iter(entries))] == ["a", "a/b", "a/b/c", "a/d"]


def test_equal_trees_give_equal_bytes(tree: Path) -> None:
    first = archive(list(cpio.tree(tree)))
    for path in tree.rglob("*"):
        os.utime(path, (1, 1), follow_symlinks=False)

    assert archive(list(cpio.tree(tree))) == first


@pytest.mark.root("makes a device")
def test_a_device_has_its_numbers(tmp_path: Path) -> None:
    require("cpio", "cpio")
    unpacked(archive([cpio.character_device("dev/null", 1, 3)]), tmp_path / "out")
    made = (tmp_path / "out/dev/null").stat()

    assert stat.S_ISCHR(made.st_mode)
    assert (os.major(made.st_rdev), os.minor(made.st_rdev)) == (1, 3)


def package(folder: Path, members: list[tarfile.TarInfo]) -> Path:
    """A Debian package with these members."""
    control = folder / "root/DEBIAN/control"
    control.parent.mkdir(parents=True)
    control.write_text("Package: p\nVersion: 1\nArchitecture: all\nMaintainer: m\nDescription: d\n")
    subprocess.run(["dpkg-deb", "--build", folder / "root", folder / "p.deb"], check=True)
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as made:
        for member in members:
            made.addfile(member, io.BytesIO(b"\x7fELF"[: member.size]))
    (folder / "data.tar").write_bytes(data.getvalue())
    subprocess.run(["ar", "d", folder / "p.deb", "data.tar.xz"], check=True)
    subprocess.run(["ar", "q", "p.deb", "data.tar"], cwd=folder, check=True)
    return folder / "p.deb"


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    made.type, made.linkname = kind, link
    made.size = 4 if kind == tarfile.REGTYPE else 0
    return made


def test_a_link_to_a_folder_stays_one(tmp_path: Path) -> None:
    """Debian's root has /lib as a link, and not all of its packages know."""
    require("ar", "binutils")
    made = package(tmp_path, [member("./lib", tarfile.DIRTYPE), member("./lib/x")])
    root = tmp_path / "there"
    (root / "usr/lib").mkdir(parents=True)
    (root / "lib").symlink_to("usr/lib")

    packages.unpack(made, root, lambda _: True)

    assert (root / "lib").is_symlink()
    assert (root / "usr/lib/x").read_bytes() == b"\x7fELF"


def test_nothing_is_unpacked_outside(tmp_path: Path) -> None:
    require("ar", "binutils")
    outside = tmp_path / "outside"
    outside.mkdir()
    made = package(tmp_path, [member("./way", tarfile.SYMTYPE, str(outside)), member("./way/x")])
    root = tmp_path / "there"
    root.mkdir()

    with pytest.raises(InstrumentError, match=r"way/x would be unpacked elsewhere"):
        packages.unpack(made, root, lambda _: True)
    assert not list(outside.iterdir())


def test_what_is_no_package_is_told(tmp_path: Path) -> None:
    bad = tmp_path / "bad.deb"
    bad.write_bytes(b"no package")

    with pytest.raises(InstrumentError, match=r"bad\.deb: not a Debian package"):
        packages.unpack(bad, tmp_path, lambda _: True)


def test_a_machine_without_the_tools_is_told_how_to_get_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")

    with pytest.raises(BadInputError, match=r"apt-get install apt dpkg$"):
        packages.check_tools()


def test_a_cache_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.touch()

    with pytest.raises(BadInputError, match=r"--cache-dir .*file: cannot be written"):
        packages.Archive("bookworm", "amd64", blocked)


def test_lists_are_fetched_again_before_it_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A mirror that is being synchronized contradicts itself for a while."""
    tried: list[str] = []
    monkeypatch.setattr(time, "sleep", lambda _: None)
    monkeypatch.setenv(packages.MIRROR_VARIABLE, "file:/nowhere")
    archive = packages.Archive("bookworm", "amd64", tmp_path)

    def fails(*command: str, **_: object) -> str:
        tried.append(command[2])
        raise InstrumentError("unexpected size")

    monkeypatch.setattr(archive, "_apt", fails)
    with pytest.raises(InstrumentError, match="unexpected size"):
        archive.update()
    assert tried == ["update"] * 3


def test_an_archive_that_is_not_there_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "sleep", lambda _: None)
    monkeypatch.setenv(packages.MIRROR_VARIABLE, f"file:{tmp_path}/nowhere")

    with pytest.raises(
        InstrumentError, match=r"Debian's bookworm for amd64 cannot be had from file:.*try again$"
    ):
        packages.Archive("bookworm", "amd64", tmp_path).update()


@pytest.mark.parametrize(
    ("image", "release"),
    [
        ("boot/vmlinuz-6.1.0-50-5kc-malta", "6.1.0-50-5kc-malta"),
        ("boot/vmlinux-6.12.117+deb13-riscv64", "6.12.117+deb13-riscv64"),
        ("usr/lib/modules/7.2.13+deb14-amd64/vmlinuz", "7.2.13+deb14-amd64"),
        ("usr/lib/modules/7.3-cloud-amd64/vmlinux", "7.3-cloud-amd64"),
    ],
)
def test_a_kernel_has_its_release_wherever_its_image_is(image: str, release: str) -> None:
    """As Debian's packages have them; from Linux 7 on the file's name says nothing."""
    assert boot.DebianKernel(Path("/cache") / image, Path("/modules"), ()).release == release


def module(folder: Path, name: str, *depends: str) -> None:
    info = f"\x7fELF\0license=GPL\0depends={','.join(depends)}\0name={name}\0"
    (folder / f"{name}.ko").write_bytes(info.encode())


def test_modules_load_after_what_they_need(tmp_path: Path) -> None:
    module(tmp_path, "virtio_pci", "virtio", "virtio_ring")
    module(tmp_path, "virtio", "virtio_ring")
    module(tmp_path, "virtio_ring")
    module(tmp_path, "never_needed")

    found = boot.in_load_order(tmp_path, ["virtio-pci", "built_in"])

    assert found == ("virtio_ring.ko", "virtio.ko", "virtio_pci.ko")


def test_compiled_python_is_taken_as_it_is(tmp_path: Path) -> None:
    """A guest must neither compile nor check: the source may even be another one."""
    (tmp_path / "answer.py").write_text("VALUE = 42\n")
    boot.compile_python(tmp_path, Path("/there"), (sys.executable, "-I", "-S"))
    (tmp_path / "answer.py").write_text("VALUE = 43\n")
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import answer; print(answer.VALUE)"
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-B", "-c", code], capture_output=True, text=True, check=True
    )

    assert done.stdout == "42\n"
    found = next(tmp_path.rglob("answer.*.pyc")).read_bytes()
    assert b"/there/answer.py" in found


def test_python_that_does_not_compile_is_told(tmp_path: Path) -> None:
    (tmp_path / "bad.py").write_text("def\n")

    with pytest.raises(InstrumentError, match=r"failed while a guest was made"):
        boot.compile_python(tmp_path, Path("/there"), (sys.executable, "-I", "-S"))


def test_words_stand_for_guests() -> None:
    words = ["aarch64", "x86_64@bullseye", "aarch64", "riscv64", "riscv64@sid"]
    found = choice.read(words)

    assert [str(one) for one in found] == list(dict.fromkeys(words))
    assert [one.kernel_suite for one in found] == ["bookworm", "bullseye", "trixie", "sid"]
    assert [one.userland_suite for one in found] == ["bookworm", "bookworm", "trixie", "sid"]


def test_experimental_has_kernels_and_no_python() -> None:
    found = choice.read([f"{name}@experimental" for name in ("x86_64", "riscv64", "loongarch64")])

    assert {one.kernel_suite for one in found} == {"experimental"}
    assert [one.userland_suite for one in found] == ["bookworm", "trixie", "sid"]


def test_the_whole_fleet_has_every_machine() -> None:
    assert {one.machine.name for one in choice.read(["all"])} == set(MACHINES)


@pytest.mark.parametrize(
    ("word", "sentence"),
    [
        ("arm64", r"^unknown guest 'arm64'.*the guests are x86_64, x32, i386, aarch64"),
        ("s390", r"^unknown guest 's390' \(did you mean s390x\?\)"),
        ("x86_64@", r"'' is no suite of Debian: write such as x86_64@bullseye"),
        ("x86_64@../x", r"'../x' is no suite of Debian"),
    ],
)
def test_a_word_that_is_no_guest_is_refused(word: str, sentence: str) -> None:
    with pytest.raises(BadInputError, match=sentence):
        choice.read([word])


@pytest.mark.parametrize("name", MACHINES)
def test_the_machine_itself_serves_only_where_it_is_of_the_kind(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = os.uname_result(("Linux", "here", "6.1", "#1", machines.get(name).native or "other"))
    monkeypatch.setattr(os, "uname", lambda: seen)

    assert choice.read([name])[0].is_native == bool(machines.get(name).native)
    assert not choice.read([f"{name}@sid"])[0].is_native


def test_the_guest_gets_the_packages_of_the_suite_and_no_others() -> None:
    found = boot.needed_distributions()

    assert {"pytest", "pluggy", "pytest-html", "jinja2", "rich", "system-calls"} <= found
    assert not {"hypothesis", "mypy", "ruff", "pyseccomp"} & found
