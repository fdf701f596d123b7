"""The tables of the app. Only `transitions` changes the columns of FileRequest.TRANSITION_COLUMNS."""

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
