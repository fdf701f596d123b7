"""The rows: a request, the bytes made for it, the mail about it, the downloads of it. `moves` are the only writers."""

from exports.models.file_request import ACTIVE, TERMINAL, FileRequest, FileRequestQuerySet, Status
from exports.models.records import Artifact, Download, Notification

__all__ = [
    "ACTIVE",
    "TERMINAL",
    "Artifact",
    "Download",
    "FileRequest",
    "FileRequestQuerySet",
    "Notification",
    "Status",
]
