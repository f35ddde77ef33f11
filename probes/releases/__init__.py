"""Other releases of Debian: their root file systems, and machines to start their programs in."""
