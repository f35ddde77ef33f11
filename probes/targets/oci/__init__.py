"""Seccomp profiles of the OCI runtime specification, as each engine reads them."""
