from typing import Any

from django.conf import settings
from django.contrib.auth import get_user_model
from django.contrib.auth.hashers import make_password
from django.contrib.auth.models import Permission
from django.core.management.base import BaseCommand

from project.demo import credentials


class Command(BaseCommand):
    help = "Create the demo's users with the passwords of var/demo.json, which is written once."

    def handle(self, *args: Any, **options: Any) -> None:
        path = settings.VAR_DIR / "demo.json"
        known = credentials.ensure(path)
        stored = known.get("stored", {})
        hashes = {name: ensure_user(name, password, stored.get(name)) for name, password in known["passwords"].items()}
        if hashes != stored:
            credentials.store(path, {**known, "stored": hashes})


def ensure_user(username: str, password: str, stored: str | None) -> str:
    """Make sure that the user exists and has this password. Returns the password's hash in the database.

    Verifying a password takes a third of a second, by design; comparing its hash with the last one takes no time.
    """
    defaults = {
        "email": f"{username}@example.com",
        "is_staff": username == "staff",
        # A callable, so that only a new user costs a hash.
        "password": lambda: make_password(password),
    }
    user, created = get_user_model().objects.get_or_create(username=username, defaults=defaults)
    if created and user.is_staff:
        user.user_permissions.set(Permission.objects.filter(content_type__app_label="exports"))
    if not created and user.password != stored:
        user.set_password(password)
        user.save(update_fields=["password"])
    return user.password
