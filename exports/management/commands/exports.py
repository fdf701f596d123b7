"""manage.py exports: run workers and housekeeping, process and clean from cron, make a file here and now."""

import signal
import sys
import threading
import time
from argparse import SUPPRESS, ArgumentParser
from typing import Any

from django.contrib.auth import get_user_model
from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError

from exports import audit, housekeeping
from exports.conf import LOCAL, config
from exports.contrib.operations import doctor
from exports.exceptions import UnsafeWorkDir
from exports.management import explain, run, setup, tokens
from exports.management.progress import Bar, ExportProgress
from exports.models import FileRequest
from exports.worker import loop


class Command(BaseCommand):
    """Run the processes of the app. Each verb is a method of this class."""

    help = "Run workers and housekeeping; or process and clean, for cron; or make a file here and now."

    def add_arguments(self, parser: ArgumentParser) -> None:
        verbs = parser.add_subparsers(dest="verb", required=True)
        work = verbs.add_parser("work", help="Run a worker that makes the files of one queue.")
        work.add_argument("queue_name", help=f"One of: {', '.join(config.QUEUES)}.")
        housekeep = verbs.add_parser(
            "housekeep", help="Recover, wake queues, expire, delete and send mails, until stopped."
        )
        housekeep.add_argument("--once", action="store_true", help="Do it once, for cron.")
        run.add_arguments(verbs.add_parser("run", help="Make a file here and now, as a user or as the system."))
        tokens.add_arguments(verbs.add_parser("tokens", help="List, create and revoke the API tokens of a user."))
        mcp = verbs.add_parser("mcp", help="Serve agents over stdin and stdout, by the Model Context Protocol.")
        mcp.add_argument("--user", required=True, help="The name of the user as whom they act.")
        mcp.add_argument("--tenant", default="", help="The key of the tenant, on a site that has several.")
        doctor = verbs.add_parser("doctor", help="Check everything that exports need and say how to fix what is wrong.")
        doctor.add_argument("--json", action="store_true", dest="is_json", help="Print JSON.")
        explain = verbs.add_parser(
            "explain", help="Print how the rows of an export are read, and why: docs/read-strategies.md."
        )
        explain.add_argument("file_type", help="The file type of a registered export.")
        explain.add_argument("--criteria", action="append", default=[], metavar="NAME=VALUE", help="As in its form.")
        explain.add_argument("--user", help="The name of the user who asks for the export; anonymous by default.")
        explain.add_argument("--database", help="The alias of the database to read from.")
        # The option of all commands is read before the verb only.
        explain.add_argument(
            "-v", "--verbosity", type=int, default=SUPPRESS, choices=range(4), help="2 and more: also the SQL."
        )
        setup = verbs.add_parser(
            "setup", help="Print what the settings, urls.py and asgi.py of the project still lack."
        )
        setup.add_argument("--write", action="store_true", dest="writes", help="Add it to the files of a new project.")
        check_audit = verbs.add_parser("audit", help="Check that no entry of the audit log was changed or removed.")
        check_audit.add_argument(
            "--head", metavar="NUMBER:SEAL", help="What this command printed before, kept elsewhere."
        )

        process = verbs.add_parser("process", help="Make the files that are due and send the mails, for cron.")
        clean = verbs.add_parser("clean", help="Expire and delete files and remove old rows, for cron.")
        for batch in (process, clean):
            batch.add_argument("--sleep", type=float, help="Seconds to sleep between items.")
            batch.add_argument("--timeout", type=int, help="Stop after about this many seconds.")
            batch.add_argument("--items", type=int, help="Stop after this many items.")
        clean.add_argument(
            "--leeway",
            type=int,
            default=config.FILE_DELETE_DELAY_SECONDS,
            help="Seconds to keep an expired file, for downloads in progress: "
            "EXPORTS['FILE_DELETE_DELAY_SECONDS'] by default, now %(default)s.",
        )
        # dj-bgfiles accepts it here as well and ignores it.
        process.add_argument("--leeway", type=int, help=SUPPRESS)

    def execute(self, *args: Any, **options: Any) -> str | None:
        # These report the results of the system checks themselves, so they must not stop them.
        skips = options.get("skip_checks", False) or options.get("verb") in ("doctor", "setup")
        return super().execute(*args, **options | {"skip_checks": skips})

    def handle(self, *args: Any, verb: str, **options: Any) -> None:
        try:
            getattr(self, verb)(**options)
        except (UnsafeWorkDir, ImproperlyConfigured) as error:
            raise CommandError(str(error)) from error

    def work(self, queue_name: str, **options: Any) -> None:
        if config.QUEUE_BACKEND == LOCAL:
            message = "The queue of development works in the process of the server: start runserver. For workers, set "
            raise CommandError(f"{message}EXPORTS['REDIS_URL'] or EXPORTS['QUEUE_BACKEND'].")
        if queue_name not in config.QUEUES:
            raise CommandError(f"There is no queue {queue_name!r}. Queues: {', '.join(config.QUEUES)}.")
        loop.work(queue_name, on_ready=lambda: self._print(f"worker {queue_name}: ready"))

    def housekeep(self, *, once: bool, **options: Any) -> None:
        if once:
            self._print(f"swept: {housekeeping.sweep()}")
            return
        stop = threading.Event()
        for signum in (signal.SIGTERM, signal.SIGINT):
            signal.signal(signum, lambda *_: stop.set())
        self._print("housekeeper: ready")
        housekeeping.run_forever(stop)

    def doctor(self, *, is_json: bool, **options: Any) -> None:
        """Print the findings. Exit with 1 if one of them is an error."""
        findings = []
        for finding in doctor.examine():
            findings.append(finding)
            if not is_json:
                self._print(str(finding))
        if is_json:
            self._print(doctor.as_json(findings))
        if doctor.worst(findings) is doctor.Level.ERROR:
            raise CommandError("There are errors: see the lines that say error.")

    def run(self, file_type: str, *, quiet: bool, **options: Any) -> None:
        """Print the path of the file. Exit as docs/client.md says."""
        given = {name: options[name] for name in ("criteria", "user", "format", "output", "option", "column", "tenant")}
        with ExportProgress(sys.stderr, is_quiet=quiet) as progress:
            path = run.run(file_type, **given, stdout=sys.stdout, on_change=progress)
        if path != run.STDOUT:
            self._print(path)

    def explain(self, file_type: str, *, verbosity: int, **options: Any) -> None:
        given = {name: options[name] for name in ("criteria", "user", "database")}
        for line in explain.lines(file_type, verbosity=verbosity, **given):
            self._print(line)

    def tokens(self, action: str, **options: Any) -> None:
        given = {name: options[name] for name in ("user", "name", "can_create", "type", "days", "tenant")}
        for line in tokens.run(action, **given):
            self._print(line)

    def mcp(self, *, user: str, tenant: str, **options: Any) -> None:
        try:
            from exports.contrib.mcp import server_for
        except ModuleNotFoundError as error:
            raise CommandError(f"{error}. Install django-live-exports[mcp].") from error
        if not get_user_model()._default_manager.filter(**{get_user_model().USERNAME_FIELD: user}).exists():
            raise CommandError(f"There is no user {user!r}.")
        server_for(user, tenant).run()

    def setup(self, *, writes: bool, **options: Any) -> None:
        for line in setup.run(writes=writes):
            self._print(line)

    def audit(self, *, head: str | None, **options: Any) -> None:
        """Print where the chain of the audit log is broken. Exit with 1 if it is."""
        if not config.AUDIT_KEYS:
            raise CommandError("EXPORTS['AUDIT_KEYS'] is not set, so the audit log is not sealed.")
        number, _, seal = (head or "").partition(":")
        if head and not (number.isdecimal() and seal):
            raise CommandError("--head is a number and a seal, such as 1200:5fd2...")
        findings = list(audit.verify((int(number), seal) if head else None))
        for finding in findings:
            self._print(finding)
        if findings:
            raise CommandError(f"The audit log is not complete: {len(findings)} findings.")
        self._print(f"The audit log is complete. Keep this for --head: {audit.head()}")

    def process(
        self, *, sleep: float | None, timeout: int | None, items: int | None, leeway: int | None, **options: Any
    ) -> None:
        if leeway is not None:
            raise CommandError("process deletes no files and has no --leeway: give it to clean.")
        with self._progress_bar(FileRequest.objects.to_handle().count()) as bar, loop.stop_on_sigterm():

            def report(export: FileRequest) -> None:
                bar.clear()
                reason = f" ({export.error_code})" if export.error_code else ""
                self._print(f"{export.file_type} {export.pk}: {export.status}{reason}")
                bar.update()
                bar.refresh()

            handled = housekeeping.process(_budget(sleep, timeout, items), on_handled=report)
        for file_type, count in housekeeping.unregistered().items():
            self.stderr.write(f"No exporter is registered for {file_type!r}: {count} waiting.")
        self._print(f"Handled {handled} requests.")

    def clean(
        self, *, sleep: float | None, timeout: int | None, items: int | None, leeway: float, **options: Any
    ) -> None:
        with self._progress_bar(None) as bar:

            def report(swept: housekeeping.Swept) -> None:
                bar.clear()
                self._print(f"Swept: {swept}.")

            def advance(done: int, total: int) -> None:
                bar.total = total
                bar.update()

            status, deleted, total = housekeeping.clean(
                _budget(sleep, timeout, items), delete_delay=leeway, on_swept=report, on_deleted=advance
            )
        ended = {"processed": "all of them", "max_items": "stopped at --items", "timeout": "stopped at --timeout"}
        self._print(f"Removed {deleted} of {total} expired requests: {ended[status]}.")

    def _print(self, line: str) -> None:
        self.stdout.write(line, ending="\n")
        self.stdout.flush()

    def _progress_bar(self, total: int | None) -> Bar:
        """Return a bar on a terminal, or one that prints nothing if stdout is a file or a pipe."""
        # tqdm ends its own lines.
        self.stdout.ending = ""
        return Bar(total=total, file=self.stdout, disable=None, leave=False, unit=" requests")


def _budget(sleep: float | None, timeout: int | None, items: int | None) -> housekeeping.Budget:
    return housekeeping.Budget(sleep=sleep, until=time.time() + timeout if timeout else None, items=items)
