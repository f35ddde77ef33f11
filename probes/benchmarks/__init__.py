"""What the instrument costs, as ratios against a reference."""
