"""The subcommands of ``syscall-conformance``, one module each.

``reports.command_line`` lists them.
"""
