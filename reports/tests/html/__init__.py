"""Tests of ``reports/html``."""
