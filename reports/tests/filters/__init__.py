"""Tests of ``reports/filters``."""
