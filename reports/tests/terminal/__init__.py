"""Tests of ``reports/terminal``."""
