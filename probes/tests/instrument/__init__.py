"""Tests of ``probes/instrument``."""
