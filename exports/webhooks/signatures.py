"""The secrets and signatures of webhooks, as Standard Webhooks 1.0 describes them.

The database has no secret, only a random seed for each: the secret is an HMAC of the seed with a key of
EXPORTS["WEBHOOK_KEYS"]. With several keys, and while a secret is replaced, a message has several signatures.
"""

import base64
import hmac
from typing import Final

from django.utils import timezone

from exports.conf import secret_keys
from exports.models.webhook import Webhook

PREFIX: Final = "whsec_"


def secret_of(webhook: Webhook) -> str:
    """Return the newest secret, as its owner is shown it."""
    return PREFIX + base64.b64encode(_secret(secret_keys("WEBHOOK_KEYS")[0], webhook.seed)).decode()


def headers_of(webhook: Webhook, message_id: str, body: bytes, *, at: int | None = None) -> dict[str, str]:
    """Return the three headers of a message that is sent at this second since 1970, by default now."""
    now = timezone.now()
    at = int(now.timestamp()) if at is None else at
    seeds = [webhook.seed]
    if webhook.old_until is not None and webhook.old_until > now:
        seeds.append(webhook.old_seed)
    signed = f"{message_id}.{at}.".encode() + body
    secrets = [_secret(key, seed) for seed in seeds for key in secret_keys("WEBHOOK_KEYS")]
    digests = [hmac.digest(secret, signed, "sha256") for secret in secrets]
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(at),
        "webhook-signature": " ".join(f"v1,{base64.b64encode(digest).decode()}" for digest in digests),
    }


def _secret(key: str, seed: str) -> bytes:
    return hmac.digest(key.encode(), f"exports.webhook:{seed}".encode(), "sha256")
