"""The Django app `exports`."""

import logging
from importlib import import_module

from django.apps import AppConfig
from django.core.signals import request_started
from django.utils.module_loading import autodiscover_modules
from django.utils.translation import gettext_lazy as _

LOGGERS_OF_PATHS = ("django.request", "django.server", "django.security.csrf", "uvicorn.access")


class ExportsConfig(AppConfig):
    """Register the system checks, the signal receivers and the adapter of dj-bgfiles' handlers."""

    name = "exports"
    verbose_name = _("Exports")
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from exports import failures, signals, signing
        from exports.http import development

        # Importing these registers the checks and the adapter.
        import_module("exports.checks")
        import_module("exports.contrib.bgfiles.adapter")
        signals.connect_all()
        request_started.connect(development.on_request, dispatch_uid="exports.development")
        # As Django finds `admin.py`.
        autodiscover_modules("exports")
        # It logs a traceback each second while its server is down.
        logging.getLogger("channels_redis.pubsub").addFilter(failures.WithoutOutages())
        # Django logs the path of a request that it refuses, and that of a link opens the file.
        for name in LOGGERS_OF_PATHS:
            logging.getLogger(name).addFilter(signing.WithoutLinks())
