"""Registers the exports of the site in the processes of the backoffice, whose admin finds this module."""

from exports.admin import ExportMixin
from exports.exporters import registry
from tests.backoffice.sites import site

for model_admin in site._registry.values():
    if isinstance(model_admin, ExportMixin):
        registry.register(model_admin.exporter_class)
