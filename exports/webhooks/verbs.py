"""What users do with their webhooks: create, replace the secret, enable, disable, delete, send again, name a callback.

Each has an entry in the audit log that names its actor.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, cast
from urllib.parse import urlsplit

from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from exports.conf import config
from exports.exceptions import BadOption, TransitionNotAllowed
from exports.models import ACTIVE, AccessToken, Actor, AuditEntry, FileRequest, Webhook, WebhookDelivery
from exports.models.audit import record
from exports.models.clock import Now
from exports.models.request import AnyUser
from exports.models.token import token_of_user
from exports.models.webhook import add_callback, new_seed
from exports.webhooks.addresses import check_url

if TYPE_CHECKING:
    from django.contrib.auth.models import User
MAX_CALLBACKS = 100
"""How many messages to addresses of single requests may wait for each webhook that signs them."""


def create(
    owner: AnyUser, url: str, actor: Actor, *, exporters: Sequence[str] = (), token: AccessToken | None = None
) -> Webhook:
    """Create a webhook for this user; `url` is "" for one that signs callbacks. The caller has checked the address."""
    with transaction.atomic():
        webhook = Webhook.objects.create(owner=cast("User", owner), url=url, exporters=list(exporters), token=token)
        _record(webhook, "created", actor)
    return webhook


def rotate(webhook: Webhook, actor: Actor) -> None:
    """Give a webhook a new secret. The old one signs beside it for EXPORTS["WEBHOOK_ROTATION_SECONDS"]."""
    with transaction.atomic():
        webhook.old_seed, webhook.seed = webhook.seed, new_seed()
        webhook.old_until = timezone.now() + timedelta(seconds=config.WEBHOOK_ROTATION_SECONDS)
        webhook.save(update_fields=["old_seed", "seed", "old_until"])
        _record(webhook, "secret replaced", actor)


def enable(webhook: Webhook, actor: Actor) -> None:
    """Let messages be sent again. Those about earlier ends are not, unless they are sent again one by one."""
    with transaction.atomic():
        webhook.is_active, webhook.failing_since, webhook.disabled_at = True, None, None
        webhook.save(update_fields=["is_active", "failing_since", "disabled_at"])
        _record(webhook, "enabled", actor)


def disable(webhook: Webhook, actor: Actor) -> None:
    """Send no messages until the webhook is enabled."""
    with transaction.atomic():
        webhook.is_active = False
        webhook.save(update_fields=["is_active"])
        _record(webhook, "disabled", actor)


def delete(webhook: Webhook, actor: Actor) -> None:
    """Delete a webhook and its messages."""
    with transaction.atomic():
        # Locked first, so that no end of an export adds a message between the deletion of these and of the webhook.
        locked = Webhook.objects.select_for_update().filter(pk=webhook.pk).first()
        if locked is not None:
            _record(locked, "deleted", actor)
            locked.delete()


def send_again(delivery: WebhookDelivery, actor: Actor) -> None:
    """Send a message once more that was sent or given up, with the same id.

    Raises TransitionNotAllowed if it still waits, or if its webhook is not active.
    """
    with transaction.atomic():
        settled = WebhookDelivery.objects.settled().filter(pk=delivery.pk, webhook__is_active=True)
        pending = {"state": WebhookDelivery.State.PENDING, "settled_at": None, "reason": ""}
        if not settled.update(due_at=Now(), resent_at=Now(), **pending):
            raise TransitionNotAllowed(_("This message still waits, or its webhook is disabled."))
        _record(delivery.webhook, "sent again", actor, delivery.request)


@dataclass(frozen=True)
class Callback:
    """The address that one request names, the webhook that signs its messages, and the token of the request."""

    webhook: Webhook
    url: str
    token: AccessToken | None = None

    def add(self, export: FileRequest, actor: Actor) -> None:
        """Let the address be told how this export ends, at once if it has ended. Call this in a transaction."""
        add_callback(export, self.webhook, self.url, Now(), token=self.token)
        _record(self.webhook, "callback", actor, export)


def callback_of(user: AnyUser, url: str, file_type: str) -> Callback:
    """Return the callback that a request for an export of this type names. Raise BadOption if it cannot be used."""
    if not config.WEBHOOKS:
        raise BadOption("callback_url", _("This site sends no webhooks."))
    try:
        check_url(url)
    except ValueError as error:
        raise BadOption("callback_url", str(error)) from None
    token = token_of_user(user)
    own = Webhook.objects.owned_by(user).active().filter(url="")
    # That of the token by which the user has come, else one of the user's.
    signing = own.filter(token=token) if token else own.none()
    for webhook in (*signing, *own.filter(token=None)):
        if webhook.wants(file_type):
            unsent = WebhookDelivery.objects.open().filter(webhook=webhook).count()
            if unsent + webhook.callbacks.filter(request__status__in=ACTIVE).count() >= MAX_CALLBACKS:
                raise BadOption("callback_url", _("Too many messages wait to be sent."))
            return Callback(webhook, url, token)
    raise BadOption("callback_url", _("Create a webhook without an address first: its secret signs these messages."))


def _record(webhook: Webhook, what: str, actor: Actor, export: FileRequest | None = None) -> None:
    # The path and the query of an address may be secret.
    reason = f"{what}: {webhook.pk} {urlsplit(webhook.url).hostname or 'callback_url'}"[:100]
    file_type = export.file_type if export else ""
    record(AuditEntry.Verb.WEBHOOK, export.pk if export else None, actor, file_type=file_type, reason=reason)
