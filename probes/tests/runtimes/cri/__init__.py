"""Tests of pods by CRI: what is pure, and what a runtime refuses."""
