"""Tests of the instrument, mutants among them."""
