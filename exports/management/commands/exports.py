"""manage.py exports: work and housekeep beside the web; process and clean for cron in place of them."""

import itertools
import signal
import threading
import time
from argparse import ArgumentParser
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from exports import housekeeping
from exports.conf import config
from exports.contrib.operations import doctor
from exports.management import explain
from exports.models import FileRequest
from exports.worker import lease, runner


class Command(BaseCommand):
    help = "The processes of exports: workers and the housekeeper; or process and clean, for cron."

    def add_arguments(self, parser: ArgumentParser) -> None:
        verbs = parser.add_subparsers(dest="verb", required=True)
        work = verbs.add_parser("work", help="Make files, for the requests of one queue.")
        work.add_argument("queue_name", help=f"One of: {', '.join(config.QUEUES)}.")
        housekeep = verbs.add_parser("housekeep", help="Rescue, ring again, expire, collect, mail; for ever.")
        housekeep.add_argument("--once", action="store_true", help="One round, for cron.")

        doctor = verbs.add_parser("doctor", help="Look whether all that an export needs is here, and say what to do.")
        doctor.add_argument("--json", action="store_true", dest="is_json", help="For machines.")

        explain = verbs.add_parser(
            "explain", help="Which strategy the rows of an export take, and why: docs/read-strategies.md."
        )
        explain.add_argument("file_type", help="The file type of a registered export.")
        explain.add_argument("--criteria", action="append", default=[], metavar="NAME=VALUE", help="As in its form.")
        explain.add_argument("--user", help="The name of the user whose rows they are; nobody's by default.")
        explain.add_argument("--database", help="The alias of the database to read from.")

        self._add_batch(verbs, "process", "Make the files that wait and send the mails, for cron.")
        self._add_batch(verbs, "clean", "Expire and remove files and old requests, for cron.")

    def _add_batch(self, verbs: Any, name: str, summary: str) -> None:
        batch = verbs.add_parser(name, help=summary)
        batch.add_argument("--sleep", type=float, help="Seconds to sleep between items.")
        batch.add_argument("--timeout", type=int, help="About how many seconds to go on at the most.")
        batch.add_argument("--items", type=int, help="How many items at the most.")
        leeway = "Seconds for which the bytes of an expired file stay, for downloads under way (3600)."
        batch.add_argument("--leeway", type=int, default=3600, help=leeway)

    def execute(self, *args: Any, **options: Any) -> str | None:
        # The doctor reports what the system checks say, and goes on.
        skips = options.get("skip_checks", False) or options.get("verb") == "doctor"
        return super().execute(*args, **options | {"skip_checks": skips})

    def handle(self, *args: Any, verb: str, **options: Any) -> None:
        getattr(self, verb)(**options)

    def work(self, queue_name: str, **options: Any) -> None:
        if queue_name not in config.QUEUES:
            raise CommandError(f"There is no queue {queue_name!r}. Queues: {', '.join(config.QUEUES)}.")
        from exports.worker import consumer

        lease.expendable.set()
        consumer.consumer(queue_name, on_ready=lambda: self._say(f"worker {queue_name}: ready")).run()

    def housekeep(self, *, once: bool, **options: Any) -> None:
        if once:
            self._say(f"swept: {housekeeping.sweep()}")
            return
        stop = threading.Event()
        for signum in (signal.SIGTERM, signal.SIGINT):
            signal.signal(signum, lambda *_: stop.set())
        self._say("housekeeper: ready")
        housekeeping.run_forever(stop)

    def doctor(self, *, is_json: bool, **options: Any) -> None:
        """Exits with 1 where there is an error."""
        findings = []
        for finding in doctor.examine():
            findings.append(finding)
            if not is_json:
                self._say(str(finding))
        if is_json:
            self._say(doctor.as_json(findings))
        if doctor.worst(findings) is doctor.Level.ERROR:
            raise CommandError("Not everything is well: see the lines that say error.")

    def explain(self, file_type: str, *, verbosity: int, **options: Any) -> None:
        given = {name: options[name] for name in ("criteria", "user", "database")}
        for line in explain.lines(file_type, verbosity=verbosity, **given):
            self._say(line)

    def process(self, *, sleep: float | None, timeout: int | None, items: int | None, **options: Any) -> None:
        waiting = FileRequest.objects.to_handle().count()
        bar = Bar(self.stdout)
        numbers = itertools.count(1)
        bar.show(0, waiting)

        def tell(request: FileRequest) -> None:
            bar.clear()
            reason = f" ({request.error_code})" if request.error_code else ""
            self._say(f"{request.file_type} {request.pk}: {request.status}{reason}")
            bar.show(next(numbers), waiting)

        with _stopping_on_sigterm():
            handled = housekeeping.process(_budget(sleep, timeout, items), on_handled=tell)
        bar.clear()
        for file_type, count in housekeeping.unregistered().items():
            self.stderr.write(f"No exporter is registered for {file_type!r}: {count} waiting.")
        self._say(f"Handled {handled} requests.")

    def clean(
        self, *, leeway: int, sleep: float | None, timeout: int | None, items: int | None, **options: Any
    ) -> None:
        bar = Bar(self.stdout)
        budget = _budget(sleep, timeout, items)
        status, deleted, total = housekeeping.clean(
            budget, leeway=leeway, on_swept=lambda swept: self._say(f"Swept: {swept}."), on_deleted=bar.show
        )
        bar.clear()
        ended = {"processed": "all of them", "max_items": "stopped at --items", "timeout": "stopped at --timeout"}
        self._say(f"Removed {deleted} of {total} expired requests: {ended[status]}.")

    def _say(self, line: str) -> None:
        self.stdout.write(line)
        self.stdout.flush()


@contextmanager
def _stopping_on_sigterm() -> Iterator[None]:
    """Inside, SIGTERM lets the run in progress give its request back. Only the main thread may listen to signals."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, lambda *_: runner.stopping.set())
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _budget(sleep: float | None, timeout: int | None, items: int | None) -> housekeeping.Budget:
    return housekeeping.Budget(sleep=sleep, until=time.time() + timeout if timeout else None, items=items)


class Bar:
    """A progress bar on a terminal, nothing anywhere else."""

    WIDTH = 30

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def show(self, done: int, total: int) -> None:
        full = self.WIDTH * min(done, total) // max(total, 1)
        self._write(f"\r[{'#' * full}{'.' * (self.WIDTH - full)}] {done} of {total}")

    def clear(self) -> None:
        self._write("\r\033[K")

    def _write(self, text: str) -> None:
        if self._stream.isatty():
            self._stream.write(text, ending="")
            self._stream.flush()
