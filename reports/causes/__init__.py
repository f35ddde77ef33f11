"""What is not as documented, by cause, and the first line of every verdict, which says so."""
