"""What a run does: its options, its order to other machines, its instrument."""
