import os

from django.apps import AppConfig


class StormConfig(AppConfig):
    name = "tests.storm"

    def ready(self) -> None:
        from exports.exporters import registry
        from exports.models import outbox
        from tests.storm.exports import EXPORTS, NewerExport

        for exporter in (*EXPORTS, *([NewerExport] if os.environ.get("STORM_NEWER") else [])):
            registry.register(exporter)
        # A storm lasts minutes, so mails are sent again after seconds.
        outbox.CLAIM_SECONDS, outbox.RETRY_SECONDS = 4, 1
