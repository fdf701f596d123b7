"""The secrets that sign links and bells: set, long, and each for one purpose. No message shows one."""

from collections.abc import Iterable
from itertools import combinations
from typing import Any

from django.conf import settings
from django.core import checks
from django.core.checks import CheckMessage

from exports.conf import config
from exports.contrib.operations.doctor.choices import SHORTEST_KEY, flaws, secrets

MAKE_ONE = "python -c 'import secrets; print(secrets.token_hex(32))' makes one."


def check_keys(**kwargs: Any) -> Iterable[CheckMessage]:
    """Keys of their own, so that one that leaks or is rotated takes nothing else with it."""
    signing = {"TICKET_KEYS": "download links"} | (
        {"QUEUE_KEYS": "messages in the queue"} if config.QUEUE_BACKEND else {}
    )
    for name, what in signing.items():
        if not getattr(config, name):
            hint = f"Set EXPORTS[{name!r}] to a list of long random texts, the newest first. {MAKE_ONE}"
            yield checks.Warning(f"SECRET_KEY signs {what} as well.", hint=hint, id="exports.W039")
    for name, given in secrets().items():
        for flaw in flaws(given):
            hint = f"Each must be a random text of its own, of {SHORTEST_KEY} characters at least. {MAKE_ONE}"
            yield checks.Error(f"EXPORTS[{name!r}] {flaw}.", hint=hint, id="exports.E030")
    yield from _shared()


def _shared() -> Iterable[CheckMessage]:
    """A secret that serves two purposes lets whoever learns it for one do the other."""
    given = {f"EXPORTS[{name!r}]": set(keys) for name, keys in secrets().items()}
    given["EXPORTS['TOKEN_KEY']"] = {config.TOKEN_KEY} - {None}
    given["SECRET_KEY"] = {settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS}
    for (one, ours), (other, theirs) in combinations(given.items(), 2):
        if ours & theirs:
            hint = f"Give each a secret of its own. {MAKE_ONE}"
            yield checks.Error(f"{one} and {other} share a secret.", hint=hint, id="exports.E031")
