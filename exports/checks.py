"""What Django can check at start: settings that cannot work, and storage that anybody can read."""

from collections.abc import Iterable
from typing import Any

from django.core import checks
from django.core.checks import CheckMessage
from django.utils.module_loading import import_string

from exports import storage
from exports.conf import DEFAULTS, config


def register_all() -> None:
    checks.register(check_settings, "exports")
    checks.register(check_storage, "exports")
    checks.register(check_base_url, "exports", deploy=True)


def check_settings(**kwargs: Any) -> Iterable[CheckMessage]:
    for name in config.unknown():
        known = ", ".join(sorted(DEFAULTS))
        yield checks.Error(f"EXPORTS has no setting {name!r}.", hint=f"Known settings: {known}.", id="exports.E001")
    if config.HEARTBEAT * 2 > config.LEASE:
        hint = "Set EXPORTS['HEARTBEAT'] to a quarter of EXPORTS['LEASE'], or less."
        yield checks.Error("A lease must outlive at least two heartbeats.", hint=hint, id="exports.E002")
    yield from _check_doorbell()


def check_storage(**kwargs: Any) -> Iterable[CheckMessage]:
    if storage.configured() is None:
        hint = "Add STORAGES['exports'] with a private location; Django's default storage is often public."
        yield checks.Warning("Exports are kept in Django's default storage.", hint=hint, id="exports.W001")


def check_base_url(**kwargs: Any) -> Iterable[CheckMessage]:
    if not config.BASE_URL.startswith("https://"):
        hint = "Set EXPORTS['BASE_URL'] to the address people use, such as 'https://example.com'."
        yield checks.Warning("Mails need an https address to lead to.", hint=hint, id="exports.W002")


def _check_doorbell() -> Iterable[CheckMessage]:
    if config.DOORBELL is None:
        return
    try:
        import_string(config.DOORBELL)
    except ImportError:
        hint = "Give the dotted path of a function that takes a lane, or None for cron alone."
        yield checks.Error(f"EXPORTS['DOORBELL'] {config.DOORBELL!r} cannot be imported.", hint=hint, id="exports.E003")
