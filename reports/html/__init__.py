"""The compliance page, its style and its fixed texts."""
