"""The site with a router that reads from a replica, which is empty here: a read that goes there finds nothing."""

from typing import Any

from django.db.models import Model

from tests.stacks.people.settings import *  # noqa: F403
from tests.stacks.people.settings import DATABASES, FOLDER

DATABASES = {**DATABASES, "replica": {**DATABASES["default"], "NAME": FOLDER / "replica.sqlite3"}}
DATABASE_ROUTERS = ["exports.models.routers.SameDatabase", "tests.stacks.people.replica.ReplicaRouter"]


class ReplicaRouter:
    def db_for_read(self, model: type[Model], **hints: Any) -> str | None:
        return "replica" if model._meta.app_label == "exports" else None

    def db_for_write(self, model: type[Model], **hints: Any) -> str:
        return "default"

    def allow_relation(self, *models: Model, **hints: Any) -> bool:
        return True
