"""Tests of ``probes/filters``."""
