"""manage.py exports work|housekeep: the processes beside the web."""

import signal
import threading
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from exports import housekeeping
from exports.conf import config


class Command(BaseCommand):
    help = "The processes of exports: workers and the housekeeper."

    def add_arguments(self, parser: ArgumentParser) -> None:
        verbs = parser.add_subparsers(dest="verb", required=True)
        work = verbs.add_parser("work", help="Make files, for the requests of one lane.")
        work.add_argument("lane", help=f"One of: {', '.join(config.LANES)}.")
        housekeep = verbs.add_parser("housekeep", help="Rescue, ring again, expire, collect, mail; for ever.")
        housekeep.add_argument("--once", action="store_true", help="One round, for cron.")

    def handle(self, *args: Any, verb: str, **options: Any) -> None:
        getattr(self, verb)(**options)

    def work(self, lane: str, **options: Any) -> None:
        if lane not in config.LANES:
            raise CommandError(f"There is no lane {lane!r}. Lanes: {', '.join(config.LANES)}.")
        from exports import tasks

        consumer = tasks.consumer(lane)
        self._say(f"worker {lane}: ready")
        consumer.run()

    def housekeep(self, *, once: bool, **options: Any) -> None:
        if once:
            self._say(f"swept: {housekeeping.sweep()}")
            return
        stop = threading.Event()
        for signum in (signal.SIGTERM, signal.SIGINT):
            signal.signal(signum, lambda *_: stop.set())
        self._say("housekeeper: ready")
        housekeeping.keep_house(stop)

    def _say(self, line: str) -> None:
        self.stdout.write(line)
        self.stdout.flush()
