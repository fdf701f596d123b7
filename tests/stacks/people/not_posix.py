"""What users do, in a process without what only POSIX systems have; other libraries are imported before that goes."""

import os
import signal
import sys
from importlib import import_module
from pathlib import Path
from pkgutil import walk_packages

import django

MODULES = ("fcntl", "grp", "pwd", "resource", "termios", "syslog", "_posixshmem")
NAMES = {
    "os": (
        "O_NOFOLLOW", "O_NONBLOCK", "O_DIRECTORY", "chown", "fchmod", "fchown", "fork", "getegid", "geteuid", "getgid",
        "getloadavg", "getpgid", "getuid", "initgroups", "killpg", "lchown", "mkfifo", "nice", "posix_fadvise", "pread",
        "sched_getaffinity", "sched_setaffinity", "setgid", "setsid", "setuid", "sysconf", "uname", "wait",
    ),
    "signal": (
        "SIGALRM", "SIGCHLD", "SIGHUP", "SIGKILL", "SIGQUIT", "SIGSTOP", "SIGUSR1", "SIGUSR2", "alarm", "pthread_kill",
        "pthread_sigmask", "setitimer", "sigwait",
    ),
}  # fmt: skip


# Python's own modules, those of a POSIX system, need them.
KEPT = ("O_NONBLOCK", "sched_getaffinity")
LIBRARIES = (
    "asyncio", "boto3", "celery.app.base", "channels.testing", "channels_redis.pubsub", "daphne.server",
    "django.contrib.admin", "django.core.files.locks", "django.test", "health_check", "huey.consumer", "mcp.server",
    "multiprocessing.spawn", "multiprocessing.popen_spawn_posix", "multiprocessing.resource_tracker",
    "prometheus_client", "psycopg", "pyarrow.parquet", "redis", "rest_framework", "subprocess",
    "twisted.internet.reactor", "xlsxwriter",
)  # fmt: skip


def hide() -> None:
    """Remove these modules and names from Python, which Windows does not have."""
    for module in (os, signal):
        for name in NAMES[module.__name__]:
            if hasattr(module, name) and name not in KEPT:
                delattr(module, name)
    for name in MODULES:
        sys.modules[name] = None  # type: ignore[assignment]


if __name__ == "__main__":
    for name in LIBRARIES:
        import_module(name)
    hide()
    django.setup()
    import exports

    for found in walk_packages([str(Path(exports.__file__).parent)], "exports."):
        import_module(found.name)
    import_module("tests.stacks.people.visit")
