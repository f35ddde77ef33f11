"""Tests of ``probes/observe``."""
