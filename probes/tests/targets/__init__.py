"""Tests of ``probes/targets``."""
