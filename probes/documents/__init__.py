"""Files that people write: policies, waivers, and the table of siblings."""
