"""The rows: a request, the bytes made for it, the mail about it, the downloads of it. `moves` are the only writers."""

from exports.models.artifact import Artifact
from exports.models.download import Download
from exports.models.notification import Notification
from exports.models.request import ACTIVE, TERMINAL, FileRequest, FileRequestQuerySet, Status

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
