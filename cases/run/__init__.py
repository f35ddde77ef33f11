"""The front end of the suite: how pytest starts a run, keeps its account and joins nodes.

This package is the plug-in to name; it brings its modules, whose assertions pytest then rewrites.
"""

pytest_plugins = (
    "cases.run.start",
    "cases.run.upcoming",
    "cases.run.fixtures",
    "cases.run.carried",
)
