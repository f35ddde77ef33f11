"""Debian kernels of other architectures and releases, booted by QEMU to run the suite inside."""
