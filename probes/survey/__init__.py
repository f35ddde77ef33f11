"""A whole machine: its containers and services, what confines each, and whether that holds."""
