"""Audit evidence: the kernel's SECCOMP records, and the collectors that bring them."""
