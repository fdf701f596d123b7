"""The tables of the app. Only `transitions` changes the columns of FileRequest.TRANSITION_COLUMNS."""

from exports.models.artifact import Artifact
from exports.models.audit import Actor, AuditEntry
from exports.models.feed import Feed
from exports.models.idempotency import IdempotencyKey
from exports.models.job import DelegatedJob
from exports.models.notification import Notification
from exports.models.preset import Preset
from exports.models.request import ACTIVE, TERMINAL, FileRequest, FileRequestQuerySet, Status
from exports.models.token import AccessToken
from exports.models.webhook import Webhook, WebhookCallback, WebhookDelivery

__all__ = [
    "ACTIVE",
    "TERMINAL",
    "AccessToken",
    "Actor",
    "Artifact",
    "AuditEntry",
    "DelegatedJob",
    "Feed",
    "FileRequest",
    "FileRequestQuerySet",
    "IdempotencyKey",
    "Notification",
    "Preset",
    "Status",
    "Webhook",
    "WebhookCallback",
    "WebhookDelivery",
]
