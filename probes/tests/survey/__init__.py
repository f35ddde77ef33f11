"""Tests of the survey of a whole machine."""
