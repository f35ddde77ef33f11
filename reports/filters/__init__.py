"""What a reader is told about filters without a run."""
