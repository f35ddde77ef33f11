"""Tests of the way to a runtime by CRI."""
