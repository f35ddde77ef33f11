"""Examining a machine: which audit records it would write, who would see them, and why not."""
