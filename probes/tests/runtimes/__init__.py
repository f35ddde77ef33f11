"""Tests of ``probes/runtimes``."""
