"""Filters explained, compared and exported, without a run."""
