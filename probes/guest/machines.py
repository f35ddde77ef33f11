"""The machines that guests run on: what Debian calls their parts, and how QEMU boots them. Pure.

Measured with QEMU 7.2 and Debian's kernels from 5.10 to 7.x. The options that are not plain are
those without which a machine does not boot or is several times slower under emulation: pointer
authentication (``-cpu max`` on arm64), page-table isolation, mitigations that pseries cannot offer.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from probes.errors import BadInputError
from probes.text import did_you_mean, in_brackets

DEFAULT_SUITE: Final = "bookworm"


@dataclass(frozen=True, slots=True)
class Machine:
    """A machine, and what is booted on it.

    Attributes:
        name: what this project calls it: the ABI that it is for, where that has a name here.
        userland: the Debian architecture of the Python that runs the suite.
        kernel: the Debian architecture of the kernel.
        package: the package that depends on the newest kernel.
        qemu: QEMU's program.
        qemu_package: the Debian package that has it; of releases that differ, the newest's.
        options: its options for the machine and the processor.
        console: the serial console, as the kernel calls it.
        append: what else stands on the kernel's command line.
        bus: the bus of virtio devices; "" where the kernel has none.
        suite: the first Debian suite that has all this, where DEFAULT_SUITE has not.
        native: uname(2)'s machine on which no emulation is needed; "" where it always is.
        bookworm_qemu_package: the package that has the emulator in Debian 12, where it is another.
        qemu_suite: the Debian suite whose emulator serves where this machine's own is older than
            ``qemu_since``; "" where any will do.
        qemu_since: the first release of QEMU that boots the kernel.
        kvm_on: uname(2)'s machine whose processors can run the kernel by KVM; "" where none can.
        kvm_options: QEMU's options for that, where they are not ``options``.
    """

    name: str
    userland: str
    kernel: str
    package: str
    qemu: str
    qemu_package: str
    options: tuple[str, ...]
    console: str
    append: str = ""
    bus: str = "pci"
    suite: str = DEFAULT_SUITE
    native: str = ""
    bookworm_qemu_package: str = ""
    qemu_suite: str = ""
    qemu_since: int = 0
    kvm_on: str = ""
    kvm_options: tuple[str, ...] = ()


_PC: Final = ("qemu-system-x86_64", "qemu-system-x86", ("-M", "pc", "-cpu", "max"), "ttyS0")
_ARM64: Final = (
    *("qemu-system-aarch64", "qemu-system-arm"),
    ("-M", "virt", "-cpu", "cortex-a72"),
    *("ttyAMA0", "kpti=off"),
)
_ARM: Final = ("-M", "virt", "-cpu", "cortex-a15")
_POWER: Final = (
    "-M",
    "pseries,x-vof=on,cap-cfpc=broken,cap-sbbc=broken,cap-ibs=broken,cap-ccf-assist=off",
    "-cpu",
    "power9",
)
_S390: Final = ("-M", "s390-ccw-virtio", "-cpu", "max")
_MALTA: Final = ("-M", "malta", "-cpu", "MIPS64R2-generic")
_LOONGSON: Final = ("-M", "virt", "-cpu", "la464")
_CLOUD: Final = "linux-image-cloud-amd64"
_CLOUD_ARM: Final = "linux-image-cloud-arm64"

_ALL: Final = (
    Machine("x86_64", "amd64", "amd64", _CLOUD, *_PC, native="x86_64", kvm_on="x86_64"),
    # Only the generic kernel is built with the x32 ABI, which is off unless it is asked for.
    Machine(
        *("x32", "amd64", "amd64", "linux-image-amd64", *_PC, "syscall.x32=y"),
        kvm_on="x86_64",
    ),
    Machine("i386", "i386", "amd64", _CLOUD, *_PC, kvm_on="x86_64"),
    Machine(
        *("aarch64", "arm64", "arm64", _CLOUD_ARM, *_ARM64),
        native="aarch64",
        kvm_on="aarch64",
        kvm_options=("-M", "virt,gic-version=max", "-cpu", "host"),
    ),
    # Not by KVM: many processors of that kind run no programs of 32 bits any more.
    Machine("arm", "armhf", "arm64", _CLOUD_ARM, *_ARM64),
    Machine(
        *("armv7", "armhf", "armhf", "linux-image-armmp-lpae"),
        *("qemu-system-arm", "qemu-system-arm", _ARM, "ttyAMA0"),
    ),
    Machine(
        *("ppc64le", "ppc64el", "ppc64el", "linux-image-powerpc64le"),
        *("qemu-system-ppc64", "qemu-system-ppc", _POWER, "hvc0"),
        native="ppc64le",
        kvm_on="ppc64le",
        kvm_options=("-M", "pseries", "-cpu", "host"),
    ),
    Machine(
        *("s390x", "s390x", "s390x", "linux-image-s390x"),
        *("qemu-system-s390x", "qemu-system-s390x", _S390, "ttysclp0"),
        bus="ccw",
        native="s390x",
        bookworm_qemu_package="qemu-system-misc",
        kvm_on="s390x",
        kvm_options=("-M", "s390-ccw-virtio", "-cpu", "host"),
    ),
    Machine(
        *("riscv64", "riscv64", "riscv64", "linux-image-riscv64"),
        *("qemu-system-riscv64", "qemu-system-riscv", ("-M", "virt"), "ttyS0"),
        suite="trixie",
        native="riscv64",
        bookworm_qemu_package="qemu-system-misc",
        kvm_on="riscv64",
        kvm_options=("-M", "virt", "-cpu", "host"),
    ),
    # Its kernel's image is packed by zstd, which QEMU up to 10.0 cannot unpack. The machine has no
    # keyboard controller, over whose ports the kernel falls; without firmware it finds no PCI bus.
    Machine(
        *("loongarch64", "loong64", "loong64", "linux-image-loong64"),
        *("qemu-system-loongarch64", "qemu-system-misc", _LOONGSON, "ttyS0"),
        append="initcall_blacklist=i8042_init",
        bus="",
        suite="sid",
        native="loongarch64",
        qemu_suite="sid",
        qemu_since=11,
        kvm_on="loongarch64",
        kvm_options=("-M", "virt", "-cpu", "max"),
    ),
    Machine(
        *("mips64el", "mips64el", "mips64el", "linux-image-5kc-malta"),
        *("qemu-system-mips64el", "qemu-system-mips", _MALTA, "ttyS0"),
        bus="",
        native="mips64",
    ),
)

MACHINES: Mapping[str, Machine] = MappingProxyType({one.name: one for one in _ALL})
"""Every machine by name."""


def get(name: str) -> Machine:
    """The machine of that name.

    Raises:
        BadInputError: there is none; the sentence lists them.
    """
    if name in MACHINES:
        return MACHINES[name]
    hint = in_brackets(did_you_mean(name, MACHINES))
    raise BadInputError(f"unknown guest {name!r}{hint}: the guests are {', '.join(MACHINES)}")
