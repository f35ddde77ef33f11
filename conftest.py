"""Puts the plug-ins together; what they do stands with them."""

pytest_plugins = ("cases.run.recorder", "cases.fixtures")
