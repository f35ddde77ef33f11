"""How the kernel is asked: the only folder that touches ctypes, forks and traces."""
