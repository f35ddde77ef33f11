"""Tests of ``probes/documents``."""
