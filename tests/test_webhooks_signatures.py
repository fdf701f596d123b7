"""Each message of a webhook is signed, also while a secret or a key is replaced."""

from collections.abc import Iterator
from typing import Any

import pytest
from django.utils import timezone
from standardwebhooks import Webhook as Reader
from standardwebhooks import WebhookVerificationError

from exports import housekeeping
from exports.models import Actor, Webhook
from exports.webhooks import signatures, verbs
from tests.office.receiver import Received, Receiver
from tests.shop.runs import configure
from tests.test_webhooks_sending import ended, webhook

pytestmark = [pytest.mark.both_databases, pytest.mark.django_db]


@pytest.fixture
def receiver(settings: Any) -> Iterator[Receiver]:
    configure(settings, WEBHOOKS=True, WEBHOOK_ALLOWED_NETWORKS=["127.0.0.0/8"])
    with Receiver() as found:
        yield found


def reads(secret: str, received: Received) -> bool:
    try:
        Reader(secret).verify(received.body, dict(received.headers))
    except WebhookVerificationError:
        return False
    return True


def test_the_old_and_the_new_secret_both_sign_for_a_while(receiver: Receiver, settings: Any) -> None:
    configure(settings, WEBHOOK_ROTATION_SECONDS=3600)
    found = webhook(receiver)
    old = signatures.secret_of(found)
    verbs.rotate(found, Actor.of(found.owner))
    new = signatures.secret_of(found)
    ended()
    housekeeping.send_webhooks()
    Webhook.objects.update(old_until=timezone.now())
    ended()
    housekeeping.send_webhooks()
    during, later = receiver.received
    assert [reads(old, during), reads(new, during)] == [True, True]
    assert [reads(old, later), reads(new, later)] == [False, True]


def test_a_new_key_of_the_site_is_added_in_front(receiver: Receiver, settings: Any) -> None:
    configure(settings, WEBHOOK_KEYS=["first " * 8])
    found = webhook(receiver)
    old = signatures.secret_of(found)
    configure(settings, WEBHOOK_KEYS=["second " * 8, "first " * 8])
    ended()
    housekeeping.send_webhooks()
    assert reads(old, receiver.received[0])
    assert reads(signatures.secret_of(found), receiver.received[0])


def test_a_changed_message_or_time_is_not_valid(receiver: Receiver) -> None:
    found = webhook(receiver)
    ended()
    housekeeping.send_webhooks()
    [received] = receiver.received
    secret = signatures.secret_of(found)
    assert reads(secret, received)
    assert not reads(secret, Received(received.path, received.headers, received.body.replace(b"ready", b"stale")))
    received.headers.replace_header("webhook-timestamp", str(int(received.headers["webhook-timestamp"]) + 1))
    assert not reads(secret, received)
