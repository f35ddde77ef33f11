"""What the reader sees: results, pages and the run's closing words."""
