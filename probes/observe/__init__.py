"""What a real workload asks of the kernel: it runs unhindered, and each watched call is noted.

A filter lets everything run but reports the watched calls to a supervisor by
SECCOMP_RET_USER_NOTIF, which looks at the caller and answers "continue". seccomp_unotify(2)
describes the mechanism, and why it is no security boundary: here it need not be one.
"""
