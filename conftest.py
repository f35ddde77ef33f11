"""Puts the plug-ins together; what they do stands with them."""

pytest_plugins = ("reports.plugin", "cases.fixtures")
