"""A database router for sites that read from replicas."""

from typing import Any

from django.db import router
from django.db.models import Model


class SameDatabase:
    """Reads the tables of the app where they are written: a worker must see what was changed a moment ago.

    DATABASE_ROUTERS = ["exports.models.routers.SameDatabase", "yours.routers.ReplicaRouter"]
    """

    def db_for_read(self, model: type[Model], **hints: Any) -> str | None:
        """Return the database that the other routers write to, for models of the app only."""
        return router.db_for_write(model, **hints) if model._meta.app_label == "exports" else None
