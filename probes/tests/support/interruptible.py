"""How tests are interrupted here: as on a terminal, though a script may have started pytest with &.

A shell without job control has its background jobs ignore SIGINT and SIGQUIT (POSIX, Shell Command
Language, 2.11), and so would all that a test starts in order to interrupt it.
"""

import signal

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGQUIT) is signal.SIG_IGN:
    signal.signal(signal.SIGQUIT, signal.SIG_DFL)
