"""All that a reader sees of a run: its record, pages, other formats, and lines on a terminal."""
