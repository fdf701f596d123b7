"""The app's pages in Django's admin. Django imports this package when it looks for them."""

from exports.admin.logs import AuditEntryAdmin, NotificationAdmin
from exports.admin.requests import FileRequestAdmin

__all__ = ["AuditEntryAdmin", "FileRequestAdmin", "NotificationAdmin"]
