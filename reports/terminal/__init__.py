"""What a run and a command print."""
