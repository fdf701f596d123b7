"""The app's pages in Django's admin, and ExportMixin for those of a project. Django imports this package by itself."""

from exports.admin.logs import AuditEntryAdmin, NotificationAdmin, PresetAdmin
from exports.admin.mixin import ExportMixin
from exports.admin.requests import FileRequestAdmin
from exports.admin.tokens import AccessTokenAdmin

__all__ = ["AccessTokenAdmin", "AuditEntryAdmin", "ExportMixin", "FileRequestAdmin", "NotificationAdmin", "PresetAdmin"]
