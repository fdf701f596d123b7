from django.apps import AppConfig


class OfficeConfig(AppConfig):
    name = "tests.office"

    def ready(self) -> None:
        from tests.office.exports import register_all

        register_all()
