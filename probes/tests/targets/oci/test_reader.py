"""Who reads a profile: what each release knows, and how releases are named."""

import pytest

from probes.errors import BadInputError
from probes.targets.oci.reader import (
    NEWEST,
    OLDEST,
    AskedReaders,
    Engine,
    Reader,
    Release,
    Runtime,
    newest,
    newest_reader,
    release,
    version_of,
)
from probes.targets.oci_file import readers

HERE = {
    Engine.DOCKER: Release(Engine.DOCKER, (20, 10, 24)),
    Runtime.RUNC: Release(Runtime.RUNC, (1, 1, 5)),
}


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("20.10.24+dfsg1,", (20, 10, 24)),
        ("1.6.20~ds1", (1, 6, 20)),
        ("v2.1.9", (2, 1, 9)),
        ("1.21", (1, 21)),
        ("28", (28,)),
        ("19.03.15", (19, 3, 15)),
        ("1.2.0-rc.1", (1, 2, 0)),
        ("version", ()),
        ("1.2.3.4", ()),
        ("", ()),
        ("1.", ()),
    ],
)
def test_versions(text: str, version: tuple[int, ...]) -> None:
    assert version_of(text) == version


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        (Engine.DOCKER, "latest", "that is no version; write the release, as in docker@"),
        (Engine.DOCKER, "", "that is no version"),
        (Engine.DOCKER, "1.13", "releases before 19.3 .* is not known here"),
        (Engine.CONTAINERD, "1.3.9", "releases before 1.4"),
        (Runtime.RUNC, "1.1", r"runc 1.1 changed .* with 1.1.3 and 1.1.8 and 1.1.15; name"),
        (Engine.PODMAN, "4", "podman 4 changed how it reads profiles with 4.1; name"),
        (Engine.BUNDLE, "1.0", "has no version of its own"),
        (Engine.PODMAN, "\x1b[2J", r"\\x1b"),
    ],
)
def test_a_release_that_is_none_is_refused(name: Engine | Runtime, text: str, words: str) -> None:
    with pytest.raises(BadInputError, match=words):
        release("engine", name, text)


@pytest.mark.parametrize("name", NEWEST)
def test_the_oldest_and_the_newest_release_can_be_named(name: str) -> None:
    one = Engine(name) if name in list(Engine) else Runtime(name)
    for version in (OLDEST[name], NEWEST[name]):
        spelled = ".".join(map(str, version))
        assert release("engine", one, spelled) == Release(one, version)


def test_a_series_stands_for_all_its_releases() -> None:
    series = release("engine", Engine.DOCKER, "20.10")
    assert series.has("errnoRet")
    assert not series.has("flags")


@pytest.mark.parametrize(
    ("engine", "version", "lacking"),
    [
        (Engine.DOCKER, (20, 10, 24), {"has_default_errno", "has_flags", "has_listener"}),
        (Engine.DOCKER, (23, 0, 0), set()),
        (Engine.PODMAN, (4, 0, 3), {"has_flags", "has_listener"}),
        (Engine.PODMAN, (4, 3, 1), set()),
        (Engine.CRI_O, (1, 24, 0), {"has_flags", "has_listener"}),
        (Engine.CONTAINERD, (1, 5, 18), {"has_default_errno", "has_listener"}),
        (Engine.CONTAINERD, (1, 6, 20), set()),
    ],
)
def test_what_a_release_passes_over(
    engine: Engine, version: tuple[int, ...], lacking: set[str]
) -> None:
    dialect = Reader(Release(engine, version), newest(Runtime.RUNC)).dialect
    keys = ("has_errno", "has_default_errno", "has_flags", "has_listener")
    assert {key for key in keys if not getattr(dialect, key)} == lacking
    assert dialect.is_conditional is (engine is not Engine.CONTAINERD)
    assert dialect.has_min_kernel is (engine is Engine.DOCKER)


@pytest.mark.parametrize(
    ("runtime", "version", "word", "refused"),
    [
        (Runtime.RUNC, (1, 1, 5), "SECCOMP_FILTER_FLAG_LOG", True),
        (Runtime.RUNC, (1, 2, 0), "SECCOMP_FILTER_FLAG_LOG", False),
        (Runtime.RUNC, (1, 3, 6), "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV", True),
        (Runtime.RUNC, (1, 5, 0), "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV", False),
        (Runtime.CRUN, (1, 6), "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV", True),
        (Runtime.CRUN, (1, 8, 1), "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV", False),
        (Runtime.CRUN, (1, 8, 1), "SECCOMP_FILTER_FLAG_LOG", False),
        (Runtime.RUNC, (1, 1, 2), "SCMP_ACT_KILL_PROCESS", True),
        (Runtime.RUNC, (1, 1, 3), "SCMP_ACT_KILL_PROCESS", False),
        (Runtime.RUNC, (1, 0, 3), "SCMP_ACT_NOTIFY", True),
        (Runtime.RUNC, (1, 1, 7), "SCMP_ARCH_RISCV64", True),
        (Runtime.RUNC, (1, 1, 5), "SCMP_ARCH_LOONGARCH64", True),
        (Runtime.RUNC, (1, 3, 6), "SCMP_ARCH_LOONGARCH64", False),
        (Runtime.RUNC, (1, 5, 1), "SCMP_ARCH_SH", True),
        (Runtime.CRUN, (1, 8, 1), "SCMP_ARCH_SH", False),
        (Runtime.RUNC, (1, 0, 0), "SCMP_ACT_ERRNO", False),
    ],
)
def test_what_a_runtime_refuses(
    runtime: Runtime, version: tuple[int, ...], word: str, *, refused: bool
) -> None:
    one = Reader(newest(Engine.DOCKER), Release(runtime, version))
    assert one.refuses(word) is refused


def test_without_a_word_everybody_may_read_a_profile() -> None:
    found = readers(AskedReaders(), HERE.get, is_bundle=False)
    assert [one.words for one in found[:3]] == [
        "docker@20.10.24, runc@1.1.5",
        f"docker@20.10.24, {newest(Runtime.CRUN).word}",
        # crun, which podman prefers, is not installed, and runc is.
        f"{newest(Engine.PODMAN).word}, runc@1.1.5",
    ]
    assert [(one.engine.name, one.runtime.name) for one in found[2:]] == [
        (engine, runtime) for engine in list(Engine)[1:] for runtime in Runtime
    ]


def test_where_nothing_is_installed_the_newest_releases_count() -> None:
    found = readers(AskedReaders(), lambda _name: None, is_bundle=False)
    assert found[0] == newest_reader()
    assert found[2] == newest_reader(Engine.PODMAN, Runtime.CRUN)
    assert found[6] == newest_reader(Engine.CRI_O, Runtime.CRUN)


def test_old_cri_o_has_runc() -> None:
    asked = AskedReaders(Release(Engine.CRI_O, (1, 30, 0)))
    (one,) = readers(asked, lambda _name: None, is_bundle=False)
    assert one.runtime == newest(Runtime.RUNC)


def test_who_was_named_is_the_only_one() -> None:
    asked = AskedReaders(Release(Engine.DOCKER, (28, 0)), Runtime.RUNC)
    (one,) = readers(asked, HERE.get, is_bundle=False)
    assert one.words == "docker@28.0, runc@1.1.5"


def test_of_a_bundle_the_runtimes_are_the_readers() -> None:
    found = readers(AskedReaders(), HERE.get, is_bundle=True)
    assert [one.runtime.name for one in found] == [Runtime.RUNC, Runtime.CRUN]
    (one,) = readers(AskedReaders(runtime=Runtime.CRUN), HERE.get, is_bundle=True)
    assert one.words == f"bundle, {newest(Runtime.CRUN).word}"
