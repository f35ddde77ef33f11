"""Tests of ``probes/judging``."""
