"""What must hold: one module per claim, one policy file per document."""
