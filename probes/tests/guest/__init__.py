"""Tests of ``probes/guest``."""
