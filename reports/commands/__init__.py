"""The subcommands of ``syscall-conformance``, one module each.

``reports.commands.main`` lists them.
"""
