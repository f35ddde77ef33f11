"""Tests of what the reader sees."""
