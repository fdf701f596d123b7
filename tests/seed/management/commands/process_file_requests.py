from typing import Any

from django.core.management.base import BaseCommand

from tests.seed.cron import process_file_requests


class Command(BaseCommand):
    def handle(self, *args: Any, **options: Any) -> None:
        process_file_requests()
