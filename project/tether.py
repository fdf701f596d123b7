"""Runs a command that ends when its parent does: tether.py PARENT-PID COMMAND ARGUMENT...

Linux sends the command SIGTERM when the parent is gone, even by SIGKILL. Asked for here, in a process of its own,
because code between fork and exec is not safe in a parent with threads. Elsewhere the command just runs.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main() -> None:
    parent, command = int(sys.argv[1]), sys.argv[2:]
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        # The signal is for deaths from now on. A parent that is gone already has left us to another one.
        if os.getppid() != parent:
            sys.exit(1)
    os.execvp(command[0], command)


if __name__ == "__main__":
    main()
