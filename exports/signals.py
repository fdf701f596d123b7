"""What ends a reader's right to listen: logging out, another password, deactivation, deletion. Sockets look then.

Django says nothing of a queryset's `update()`, nor of a session that is deleted by hand: sockets notice those within
EXPORTS["SOCKET_RECHECK_SECONDS"] and before they hand out a ticket, or at once where the host calls
`events.look_again`.
"""

from typing import Any

from django.apps import apps
from django.contrib.auth import get_user_model
from django.contrib.auth.signals import user_logged_out
from django.db import DEFAULT_DB_ALIAS, transaction
from django.db.models.signals import post_delete, post_save

from exports.realtime import events

# A login writes only the time of it.
TELLING_FIELDS = {"password", "is_active"}


def connect_all() -> None:
    user_logged_out.connect(_logged_out, dispatch_uid="exports")
    for model in apps.get_models():
        if issubclass(model, get_user_model()):
            post_save.connect(_saved, sender=model, dispatch_uid="exports")
            post_delete.connect(_deleted, sender=model, dispatch_uid="exports")


def _logged_out(*, user: Any, **kwargs: Any) -> None:
    if user is not None:
        _look_again(user.pk)


def _saved(*, instance: Any, created: bool, raw: bool, update_fields: Any, using: str, **kwargs: Any) -> None:
    may_tell = update_fields is None or not TELLING_FIELDS.isdisjoint(update_fields)
    if may_tell and not created and not raw:
        _look_again(instance.pk, using=using)


def _deleted(*, instance: Any, using: str, **kwargs: Any) -> None:
    _look_again(instance.pk, using=using)


def _look_again(user_id: Any, *, using: str = DEFAULT_DB_ALIAS) -> None:
    """Once the change can be seen by others."""
    transaction.on_commit(lambda: events.look_again(user_id), using=using, robust=True)
