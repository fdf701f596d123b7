"""Check the secrets that sign links and queue messages: set, long, each for one purpose. No message shows a secret."""

from collections.abc import Iterator
from itertools import combinations

from django.conf import settings
from django.core import checks
from django.core.checks import CheckMessage
from django.utils.encoding import force_str

from exports.checks.registration import register
from exports.conf import config

MIN_LENGTH = 20
KEYS = ("TICKET_KEYS", "QUEUE_KEYS", "AUDIT_KEYS", "WEBHOOK_KEYS", "METRICS_TOKEN")
GENERATE_ONE = "Generate one: python -c 'import secrets; print(secrets.token_hex(32))'."


@register(deploy=True)
def check_secrets() -> Iterator[CheckMessage]:
    """Report secrets that are missing, weak or used for two purposes.

    With a secret for each purpose, one that leaks or is rotated affects nothing else.
    """
    purposes = {"TICKET_KEYS": "download links"}
    if config.QUEUE_BACKEND:
        purposes["QUEUE_KEYS"] = "queue messages"
    if config.WEBHOOKS:
        purposes["WEBHOOK_KEYS"] = "webhooks"
    for name, purpose in purposes.items():
        if not getattr(config, name):
            hint = f"Set EXPORTS[{name!r}] to a list of long random secrets, the newest first. {GENERATE_ONE}"
            yield checks.Warning(f"SECRET_KEY also signs {purpose}.", hint=hint, id="exports.W039")
    secrets = {f"EXPORTS[{name!r}]": _secrets_of(name) for name in KEYS}
    hint = f"Each must be random and at least {MIN_LENGTH} characters long. {GENERATE_ONE}"
    for name, given in secrets.items():
        if not all(secret.strip() for secret in given):
            message = f"{name} contains an empty secret, with which anyone can sign."
            yield checks.Error(message, hint=hint, id="exports.E030")
        elif any(len(secret) < MIN_LENGTH for secret in given):
            message = f"{name} contains a secret of fewer than {MIN_LENGTH} characters."
            yield checks.Error(message, hint=hint, id="exports.E030")
        elif len(set(given)) < len(given):
            yield checks.Error(f"{name} contains a secret twice.", hint=hint, id="exports.E030")
    secrets["EXPORTS['TOKEN_KEY']"] = _secrets_of("TOKEN_KEY")
    secrets["SECRET_KEY"] = [force_str(key) for key in (settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS)]
    for (one, ours), (other, theirs) in combinations(secrets.items(), 2):
        if set(ours) & set(theirs):
            hint = f"Use a different secret for each. {GENERATE_ONE}"
            yield checks.Error(f"{one} and {other} share a secret.", hint=hint, id="exports.E031")


def _secrets_of(name: str) -> list[str]:
    """Return the secrets of one setting, which is a list, one text, or None."""
    value = getattr(config, name)
    return [force_str(value)] if isinstance(value, str | bytes) else list(value or ())
