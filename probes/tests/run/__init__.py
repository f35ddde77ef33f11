"""Tests of ``probes/run``."""
