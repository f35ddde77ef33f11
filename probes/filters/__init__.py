"""Seccomp programs as values: run, analysed, compared. Pure; no I/O."""
