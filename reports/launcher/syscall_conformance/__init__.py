"""What an installation of the suite adds to a Python environment: this one name.

The suite's own folders (``cases``, ``probes``, ``reports``) stand below it where it was installed
from a wheel, and are found by its commands alone. Nothing of them is loaded in anybody else's runs.
"""
