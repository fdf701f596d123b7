"""Send the webhooks that are due, at least once each, with the same id each time."""

import json
import logging
import threading
import time
from datetime import timedelta
from typing import Any, Final

from django.db import transaction
from django.db.models.functions import Coalesce

from exports import failures
from exports.access.tenants import absolute_url
from exports.conf import config
from exports.exporters import permissions
from exports.models import AccessToken, AuditEntry, Webhook, WebhookDelivery
from exports.models.audit import HOUSEKEEPING, record
from exports.models.clock import Now
from exports.models.locale import locale_of
from exports.models.outbox import GAVE_UP
from exports.state import rfc3339, serialize
from exports.webhooks import signatures
from exports.webhooks.addresses import AddressRefused

log = logging.getLogger("exports.webhooks")

GONE: Final = 410
USER_AGENT: Final = "django-live-exports"


def send_due(stop: threading.Event | None = None, *, seconds: float) -> int:
    """Send what is due, for at most `seconds`; return how many messages were accepted. Begin none once `stop` is set.

    A webhook gets one message at a time, so several processes and threads can send side by side.
    """
    if not config.WEBHOOKS:
        return 0
    ends_at, sent = time.monotonic() + seconds, 0
    while time.monotonic() < ends_at and not (stop is not None and stop.is_set()):
        delivery = WebhookDelivery.objects.next_due(Now()).first()
        if delivery is None:
            break
        sent += claim(delivery) and deliver(delivery)
    return sent


def claim(delivery: WebhookDelivery) -> bool:
    """Claim a message that was due when it was read; return False if another process has it."""
    unclaimed = WebhookDelivery.objects.open().filter(pk=delivery.pk, attempts=delivery.attempts)
    return unclaimed.claim(delivery.attempts) == 1


def deliver(delivery: WebhookDelivery) -> bool:
    """Send a claimed message and return True if it was accepted by a status of 200 to 299.

    Anything else is tried again, with a growing pause, for EXPORTS["WEBHOOK_RETRY_SECONDS"] after the end of the export
    or after its owner asked for it again.
    """
    # Imported here: only sites with webhooks need httpcore.
    from exports.webhooks.client import post

    rows = WebhookDelivery.objects.select_related("webhook__token", "request__requester")
    current = rows.filter(pk=delivery.pk, state=WebhookDelivery.State.SENDING).first()
    if current is None:
        return False
    try:
        if reason := _reason_not_to_send(current):
            _settle(current, WebhookDelivery.State.SUPPRESSED, reason)
            return False
        body = json.dumps(message_of(current), separators=(",", ":")).encode()
        headers = {"content-type": "application/json", "user-agent": USER_AGENT}
        headers |= signatures.headers_of(current.webhook, current.message_id, body)
        status = post(current.url, body, headers, seconds=config.WEBHOOK_TIMEOUT_SECONDS)
    except AddressRefused:
        _note_failure(current, None, "address not allowed", gives_up=True)
    except Exception as error:
        if failures.is_outage(error):
            raise
        failures.report(log, "webhook %s not sent, attempt %d: %s", current.message_id, current.attempts, error=error)
        _note_failure(current, None, type(error).__name__)
    else:
        if 200 <= status < 300:
            _settle(current, WebhookDelivery.State.SENT, "", response_status=status)
            Webhook.objects.filter(pk=current.webhook_id).exclude(failing_since=None).update(failing_since=None)
            return True
        _note_failure(current, status, f"HTTP {status}", gives_up=status == GONE)
    return False


# Any: JSON.
def message_of(delivery: WebhookDelivery) -> dict[str, Any]:
    """Return the message: its type, when it happened, and the export as its owner may see it now.

    The URLs in it are those of pages, with the address of the site; none opens the file without signing in. An owner
    who may not have the file any more learns its id and its status.
    """
    export = delivery.request
    data: dict[str, Any] = {"id": str(export.pk), "status": export.status}
    with locale_of(export):
        if permissions.is_still_granted(export):
            data = {**serialize(export)}
            data["urls"] = {name: url and absolute_url(url, export.tenant) for name, url in data["urls"].items()}
    return {"type": delivery.event, "timestamp": rfc3339(delivery.happened_at), "data": data}


def _reason_not_to_send(delivery: WebhookDelivery) -> str:
    owner = delivery.request.requester
    if owner is None or not owner.is_active or owner.pk != delivery.webhook.owner_id:
        return "no requester"
    if not delivery.webhook.is_active:
        return "webhook not active"
    token = delivery.webhook.token
    if token is None and not delivery.webhook.url:
        # The token whose request named this callback_url.
        named = AccessToken.objects.filter(callbacks__request=delivery.request_id, callbacks__url=delivery.url)
        token = named.first()
    if token is not None and not token.is_valid:
        return "token not valid"
    return ""


def _note_failure(delivery: WebhookDelivery, status: int | None, reason: str, *, gives_up: bool = False) -> None:
    """Give the message up, or try again later, and disable a webhook that has failed for too long or is gone."""
    since = Coalesce("resent_at", "happened_at")
    began_before = Now() - timedelta(seconds=config.WEBHOOK_RETRY_SECONDS)
    same = WebhookDelivery.objects.annotate(since=since).filter(pk=delivery.pk)
    if gives_up or same.filter(since__lt=began_before).exists():
        _settle(delivery, WebhookDelivery.State.SUPPRESSED, f"{GAVE_UP}: {reason}", response_status=status)
    else:
        own = WebhookDelivery.objects.filter(pk=delivery.pk)
        own.retry_later(delivery.attempts, reason, response_status=status)
    # The next request may name another address.
    if not delivery.webhook.url:
        return
    own_webhook = Webhook.objects.active().filter(pk=delivery.webhook_id)
    own_webhook.update(failing_since=Coalesce("failing_since", Now()))
    failing_before = Now() - timedelta(seconds=config.WEBHOOK_DISABLE_SECONDS)
    useless = own_webhook if status == GONE else own_webhook.filter(failing_since__lt=failing_before)
    with transaction.atomic():
        if useless.update(is_active=False, disabled_at=Now()):
            why = f"disabled {delivery.webhook_id}: {reason}"
            record(AuditEntry.Verb.WEBHOOK, None, HOUSEKEEPING, outcome=AuditEntry.Outcome.FAILED, reason=why[:100])


# Any: the values of columns.
def _settle(delivery: WebhookDelivery, state: str, reason: str, **columns: Any) -> None:
    WebhookDelivery.objects.filter(pk=delivery.pk, attempts=delivery.attempts).settle(state, reason, **columns)
