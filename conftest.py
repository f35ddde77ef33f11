"""Names the plug-in, which brings the others."""

pytest_plugins = ("cases.run",)
