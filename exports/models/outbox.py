"""What the outboxes of mails and of webhooks share: a row for each message, claimed by the process that sends it."""

from datetime import timedelta
from typing import Any, Self, TypeVar

from django.db import models
from django.utils.translation import gettext_lazy as _

from exports.models.clock import Now
from exports.models.request import DatabaseTime

CLAIM_SECONDS = 120
RETRY_SECONDS = 30
MAX_RETRY_SECONDS = 3600

GAVE_UP = "gave up"
"""How the reason of a message begins that could not be sent."""

Entry = TypeVar("Entry", bound="OutboxEntry")


def pause(attempts: int) -> float:
    """Return the seconds to wait after this number of earlier attempts: 30, doubled each time, at most an hour."""
    return min(RETRY_SECONDS * 2.0 ** min(attempts, 16), MAX_RETRY_SECONDS)


class OutboxQuerySet(models.QuerySet[Entry]):
    """Queries and changes of the process that sends."""

    def due(self, now: DatabaseTime) -> Self:
        return self.open().filter(due_at__lte=now)

    def open(self) -> Self:
        return self.filter(state__in=(OutboxEntry.State.PENDING, OutboxEntry.State.SENDING))

    # Any: the values of columns.
    def claim(self, attempts: int, **columns: Any) -> int:
        """Claim these messages, each tried `attempts` times before, for this process. Return how many.

        If the process dies they are due again after CLAIM_SECONDS, later after each further time.
        """
        due_again = Now() + timedelta(seconds=max(CLAIM_SECONDS, pause(attempts)))
        return self.update(state=OutboxEntry.State.SENDING, attempts=attempts + 1, due_at=due_again, **columns)

    def settle(self, state: str, reason: str, **columns: Any) -> int:
        """End claimed messages in this state. Return how many."""
        claimed = self.filter(state=OutboxEntry.State.SENDING)
        return claimed.update(state=state, reason=reason, settled_at=Now(), **columns)

    def retry_later(self, attempts: int, reason: str, **columns: Any) -> int:
        """Let claimed messages, each tried `attempts` times, be sent again after a growing pause. Return how many.

        Nothing changes if another process has claimed them since.
        """
        due_again = Now() + timedelta(seconds=pause(attempts - 1))
        claimed = self.filter(state=OutboxEntry.State.SENDING, attempts=attempts)
        return claimed.update(state=OutboxEntry.State.PENDING, due_at=due_again, reason=reason, **columns)


class OutboxEntry(models.Model):
    """A message to send at least once. The row keeps the id that the message has each time it is sent.

    `due_at` is the time of the next attempt. A process that claims the row sets it to a later time, so that another
    one takes over if it dies. `resent_at` is when a person last asked to send it again.
    """

    class State(models.TextChoices):
        PENDING = "pending", _("Pending")
        SENDING = "sending", _("Sending")
        SENT = "sent", _("Sent")
        SUPPRESSED = "suppressed", _("Suppressed")

    state = models.CharField(_("state"), max_length=10, choices=State, default=State.PENDING)
    message_id = models.CharField(_("message id"), max_length=255)
    due_at = models.DateTimeField(_("due at"))
    attempts = models.PositiveSmallIntegerField(_("attempts"), default=0)
    settled_at = models.DateTimeField(_("settled at"), null=True)
    reason = models.CharField(_("reason"), max_length=100, blank=True)
    resent_at = models.DateTimeField(_("resent at"), null=True)

    class Meta:
        abstract = True
