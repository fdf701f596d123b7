"""The app `exports`."""

from importlib import import_module

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class ExportsConfig(AppConfig):
    name = "exports"
    verbose_name = _("Exports")
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from exports import checks, signals

        # Registers the adapter for handlers that are no exports themselves.
        import_module("exports.contrib.bgfiles.adapter")

        checks.register_all()
        signals.connect_all()
