"""The subcommands of ``syscall-conformance``, one module each; ``reports.cli`` lists them."""
