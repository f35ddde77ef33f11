"""Tests of ``probes/audit``."""
