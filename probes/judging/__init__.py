"""From what was seen to verdicts."""
