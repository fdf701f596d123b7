from django.apps import AppConfig


class StormConfig(AppConfig):
    name = "tests.storm"

    def ready(self) -> None:
        from exports import notifications
        from exports.exporters import registry
        from tests.storm.exports import EXPORTS

        for exporter in EXPORTS:
            registry.register(exporter)
        # A storm lasts minutes, so mails are sent again after seconds.
        notifications.CLAIM_SECONDS, notifications.RETRY_SECONDS = 4, 1
