"""Receivers that re-check a user's open sockets on logout, deactivation, deletion and password change.

Django sends no signal for a queryset's `update()` and for sessions that are deleted directly. Sockets notice those
within EXPORTS["SOCKET_RECHECK_SECONDS"] and before they send a ticket, or when `events.recheck_sockets` is called.
"""

from typing import Any

from django.apps import apps
from django.contrib.auth import get_user_model
from django.contrib.auth.signals import user_logged_out
from django.db import DEFAULT_DB_ALIAS, transaction
from django.db.models.signals import post_delete, post_save

from exports.realtime import events

# A login saves the user too, but only last_login.
WATCHED_FIELDS = {"password", "is_active"}


def connect_all() -> None:
    """Connect the receivers to the user model and its proxies; `ExportsConfig.ready` calls this."""
    user_logged_out.connect(_on_logout, dispatch_uid="exports")
    for model in apps.get_models():
        if issubclass(model, get_user_model()):
            post_save.connect(_on_save, sender=model, dispatch_uid="exports")
            post_delete.connect(_on_delete, sender=model, dispatch_uid="exports")


def _on_logout(*, user: Any, **kwargs: Any) -> None:
    if user is not None:
        _recheck_on_commit(user.pk)


def _on_save(*, instance: Any, created: bool, raw: bool, update_fields: Any, using: str, **kwargs: Any) -> None:
    may_have_changed = update_fields is None or not WATCHED_FIELDS.isdisjoint(update_fields)
    if may_have_changed and not created and not raw:
        _recheck_on_commit(instance.pk, using=using)


def _on_delete(*, instance: Any, using: str, **kwargs: Any) -> None:
    _recheck_on_commit(instance.pk, using=using)


def _recheck_on_commit(user_id: object, *, using: str = DEFAULT_DB_ALIAS) -> None:
    transaction.on_commit(lambda: events.recheck_sockets(user_id), using=using, robust=True)
