from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class DemoConfig(AppConfig):
    name = "project.demo"
    verbose_name = _("Flights of New York, 2013")

    def ready(self) -> None:
        from exports.contrib.operations.audit import AuditExport
        from exports.exporters import registry
        from project.demo.exports import FlightExport, ReferenceExport, WeatherExport

        registry.register(FlightExport)
        registry.register(WeatherExport)
        registry.register(ReferenceExport)
        # For staff alone.
        registry.register(AuditExport)
