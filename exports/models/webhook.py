"""Webhook: where the owner of exports wants to be told of their ends, and the outbox of these messages."""

import secrets
from typing import Final, Self
from uuid import UUID, uuid4

from django.conf import settings
from django.db import connection, models
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from exports.access import tenants
from exports.models.outbox import OutboxEntry, OutboxQuerySet
from exports.models.request import AnyUser, DatabaseTime, FileRequest, Status
from exports.models.token import AccessToken

EVENTS: Final = {
    Status.READY: "export.ready",
    Status.FAILED: "export.failed",
    Status.CANCELLED: "export.cancelled",
    Status.EXPIRED: "export.expired",
}
"""The type of the message about each end of an export."""


def new_seed() -> str:
    """Return a random text from which the secret of a webhook is made."""
    return secrets.token_hex(32)


def new_webhook_id() -> str:
    """Return an id that no other message has."""
    return f"msg_{uuid4().hex}"


class WebhookQuerySet(models.QuerySet["Webhook"]):
    """Queries of the pages."""

    def owned_by(self, user: AnyUser) -> Self:
        """Keep the user's own webhooks in the current tenant."""
        return self.filter(owner=user.pk, tenant=tenants.current())

    def active(self) -> Self:
        return self.filter(is_active=True)


class Webhook(models.Model):
    """An address to which messages about a user's exports are sent.

    Without a `url` it signs the messages to the `callback_url` of single requests. `exporters` are file types, empty
    for all. That of a `token` ends with it, and tells of no type that the token does not open. `failing_since` is when
    the first of a row of failures happened; `disabled_at` when it was disabled for that, or because the address
    answered that it is gone.
    """

    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL, verbose_name=_("owner"), on_delete=models.CASCADE, related_name="export_webhooks"
    )
    token = models.ForeignKey(
        AccessToken,
        verbose_name=_("API token"),
        null=True,
        blank=True,
        on_delete=models.CASCADE,
        related_name="webhooks",
    )
    url = models.CharField(_("address"), max_length=500, blank=True)
    exporters = models.JSONField(_("exports"), default=list, blank=True)
    is_active = models.BooleanField(_("is active"), default=True)
    seed = models.CharField(max_length=64, default=new_seed, editable=False)
    old_seed = models.CharField(max_length=64, blank=True, editable=False)
    old_until = models.DateTimeField(null=True, editable=False)
    created_at = models.DateTimeField(_("created at"), default=timezone.now)
    failing_since = models.DateTimeField(_("failing since"), null=True, editable=False)
    disabled_at = models.DateTimeField(_("disabled at"), null=True, editable=False)
    tenant = models.CharField(max_length=100, blank=True, editable=False, default=tenants.current)

    objects = WebhookQuerySet.as_manager()

    class Meta:
        verbose_name = _("webhook")
        verbose_name_plural = _("webhooks")
        ordering = ("pk",)

    def __str__(self) -> str:
        return self.url or "callback_url"

    def wants(self, file_type: str) -> bool:
        """Return True if it tells of exports of this type."""
        opened = self.token.exporters if self.token else []
        return all(not types or file_type in types for types in (self.exporters, opened))


class WebhookCallback(models.Model):
    """The `callback_url` of a request, the webhook that signs its messages, and the API token that named it, if any.

    It ends with that token.
    """

    request = models.ForeignKey(FileRequest, on_delete=models.CASCADE, related_name="callbacks")
    webhook = models.ForeignKey(Webhook, on_delete=models.CASCADE, related_name="callbacks")
    token = models.ForeignKey(AccessToken, null=True, on_delete=models.CASCADE, related_name="callbacks")
    url = models.CharField(_("address"), max_length=500)

    class Meta:
        verbose_name = _("callback")
        verbose_name_plural = _("callbacks")
        constraints = (models.UniqueConstraint(fields=["request", "url"], name="exports_one_callback_per_url"),)

    def __str__(self) -> str:
        return self.url


class WebhookDeliveryQuerySet(OutboxQuerySet["WebhookDelivery"]):
    """Queries of the sender and of the pages."""

    def next_due(self, now: DatabaseTime) -> Self:
        """Keep due messages of webhooks to which none is being sent, first those of webhooks that work, not tried yet.

        All others take turns, also those to a callback_url, whose webhook is never said to fail.
        """
        sent_now = WebhookDelivery.objects.filter(
            webhook=models.OuterRef("webhook"), state=OutboxEntry.State.SENDING, due_at__gt=now
        )
        is_hopeful = Q(webhook__failing_since=None, attempts=0)
        place = models.Case(models.When(is_hopeful, then=0), default=1)
        return self.due(now).filter(~models.Exists(sent_now)).order_by(place, "due_at", "pk")

    def settled(self) -> Self:
        return self.filter(state__in=(OutboxEntry.State.SENT, OutboxEntry.State.SUPPRESSED))


class WebhookDelivery(OutboxEntry):
    """One message about one end of an export, to one address. Its `message_id` is the header `webhook-id`.

    `response_status` is the HTTP status of the last attempt, NULL if there was no response.
    """

    webhook = models.ForeignKey(Webhook, verbose_name=_("webhook"), on_delete=models.CASCADE, related_name="deliveries")
    request = models.ForeignKey(
        FileRequest, verbose_name=_("request"), on_delete=models.CASCADE, related_name="webhook_deliveries"
    )
    event = models.CharField(_("event"), max_length=20)
    url = models.CharField(_("address"), max_length=500)
    happened_at = models.DateTimeField(_("happened at"))
    response_status = models.PositiveSmallIntegerField(_("response status"), null=True)

    objects = WebhookDeliveryQuerySet.as_manager()

    class Meta:
        verbose_name = _("webhook delivery")
        verbose_name_plural = _("webhook deliveries")
        constraints = (
            models.UniqueConstraint(
                fields=["request", "webhook", "event", "url"], name="exports_one_delivery_per_event"
            ),
        )
        indexes = (models.Index(fields=["state", "due_at"], name="exports_webhook_outbox"),)

    def __str__(self) -> str:
        return f"{self.event} to {self.url}: {self.state}"


def queue_deliveries(request_id: UUID, status: Status, now: DatabaseTime) -> None:
    """Put the messages about this end of an export into the outbox, in the transaction that ends it."""
    export = FileRequest.objects.only("requester", "tenant", "file_type").get(pk=request_id)
    if export.requester_id is None:
        return
    own = Webhook.objects.active().filter(owner=export.requester_id, tenant=export.tenant)
    # Locked, so that none is deleted before the messages that refer to it are there.
    locked = own.select_for_update(no_key=connection.features.has_select_for_no_key_update)
    webhooks = {each.pk: each for each in locked if each.wants(export.file_type)}
    if not webhooks:
        return
    to = [(webhook.pk, webhook.url) for webhook in webhooks.values() if webhook.url]
    callbacks = WebhookCallback.objects.filter(request=request_id, webhook__in=webhooks)
    to += callbacks.values_list("webhook_id", "url")
    _queue(export, EVENTS[status], to, now)


def add_callback(
    export: FileRequest, webhook: Webhook, url: str, now: DatabaseTime, *, token: AccessToken | None = None
) -> None:
    """Let `url` be told of the ends of this export, and at once if it has ended. Call this in a transaction.

    What a token has named already lasts as long as the newest request that names it; without a token, for ever.
    """
    # Locked, so that it cannot end in between.
    current = FileRequest.objects.select_for_update().only("status").get(pk=export.pk)
    named = WebhookCallback.objects.filter(request=export, url=url)
    if not named.exists():
        WebhookCallback.objects.create(request=export, url=url, webhook=webhook, token=token)
    else:
        named.exclude(token=None).update(webhook=webhook, token=token)
    if current.status in EVENTS:
        _queue(export, EVENTS[Status(current.status)], [(webhook.pk, url)], now)


def _queue(export: FileRequest, event: str, to: list[tuple[int, str]], now: DatabaseTime) -> None:
    rows = [
        WebhookDelivery(
            webhook_id=webhook_id,
            request=export,
            event=event,
            url=url,
            message_id=new_webhook_id(),
            happened_at=now,
            due_at=now,
        )
        for webhook_id, url in to
    ]
    WebhookDelivery.objects.bulk_create(rows, ignore_conflicts=True)
