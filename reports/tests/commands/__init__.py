"""Tests of ``reports/commands``."""
