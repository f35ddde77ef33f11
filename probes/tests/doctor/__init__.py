"""Tests of ``probes/doctor``."""
