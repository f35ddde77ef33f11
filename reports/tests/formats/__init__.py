"""Tests of ``reports/formats``."""
