from pathlib import Path
from typing import Any

from django.conf import settings
from django.contrib.auth import get_user_model
from django.contrib.auth.hashers import make_password
from django.contrib.auth.models import AbstractUser, Permission
from django.core.management.base import BaseCommand

from project.demo import credentials


class Command(BaseCommand):
    help = "Makes the demo's users with the passwords of var/demo.json, which it makes up once."

    def handle(self, *args: Any, **options: Any) -> None:
        path: Path = settings.VAR_DIR / "demo.json"
        known = credentials.ensure(path)
        stored = known.get("stored", {})
        now_stored = {
            name: ensure_user(name, password, stored.get(name)) for name, password in known["passwords"].items()
        }
        if now_stored != stored:
            credentials.store(path, {**known, "stored": now_stored})


def ensure_user(username: str, password: str, stored: str | None) -> str:
    """The user has that password afterwards. Gives the form in which the database keeps it.

    Checking a password takes a third of a second, by design; comparing with the form stored last time takes none.
    """
    defaults = {
        "email": f"{username}@example.com",
        "is_staff": username == "staff",
        # Asked for only where the user is new.
        "password": lambda: make_password(password),
    }
    user, created = get_user_model().objects.get_or_create(username=username, defaults=defaults)
    if created and user.is_staff:
        allow_exports_in_admin(user)
    if not created and user.password != stored:
        user.set_password(password)
        user.save(update_fields=["password"])
    return user.password


def allow_exports_in_admin(user: AbstractUser) -> None:
    user.user_permissions.set(Permission.objects.filter(content_type__app_label="exports"))
