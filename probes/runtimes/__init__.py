"""Targets that are containers: started under a runtime, held, and read from outside."""
