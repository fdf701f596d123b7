from django.apps import AppConfig


class BucketConfig(AppConfig):
    name = "tests.bucket"

    def ready(self) -> None:
        from exports.exporters import registry
        from tests.bucket.exports import BigExport

        registry.register(BigExport)
