from django.apps import AppConfig


class SeedConfig(AppConfig):
    name = "tests.seed"

    def ready(self) -> None:
        from exports.patterns import registry
        from tests.seed.exports import LoginEventExport

        registry.register(LoginEventExport, [LoginEventExport.file_type])
