"""Tests of ``reports/results``."""
