"""What the reports cost, and the browser in which pages are looked at."""
