"""Run a command that ends when its parent does: tether.py PARENT-PID COMMAND ARGUMENT...

Linux sends SIGTERM to the command once its parent thread is gone, even if that was killed by SIGKILL. This is a
separate program because code between fork and exec is not safe in a parent with threads. On other systems the command
just runs.
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
        # The signal is not sent for a parent that ended before the call.
        if os.getppid() != parent:
            sys.exit(1)
    os.execvp(command[0], command)


if __name__ == "__main__":
    main()
