"""Tests of ``reports/causes``."""
