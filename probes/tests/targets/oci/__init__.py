"""Tests of ``probes/targets/oci``."""
