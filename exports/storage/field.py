"""The file field, whose storage and folder come from the settings and stay out of migrations."""

from typing import Any

from django.core.files.storage import Storage
from django.db import models

from exports import storage
from exports.conf import config


def get_storage() -> Storage | None:
    """The storage named by the settings, or None when Django's default is meant."""
    return storage.configured_storage()


def get_upload_to() -> str:
    """The folder that generated keys begin with; '' is the root of the storage."""
    return config.UPLOAD_TO


class _Chosen:
    """The storage that the settings choose, whenever it is used. A FileField asks a callable once, at import."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(storage.exports_storage(), name)


def _in_folder(instance: models.Model, filename: str) -> str:
    """Where `filehandle.save` puts a file; what is attached or exported gets a generated key instead."""
    return f"{storage.folder()}{filename}"


class ConfigurableFileField(models.FileField):
    """A FileField whose migration says nothing about where files lie, so that changing it needs no migration."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.setdefault("storage", _Chosen())
        kwargs.setdefault("upload_to", _in_folder)
        kwargs.setdefault("max_length", 255)
        super().__init__(*args, **kwargs)

    def deconstruct(self) -> tuple[str, str, list[Any], dict[str, Any]]:
        name, path, args, kwargs = super().deconstruct()
        for key in ("storage", "upload_to"):
            kwargs.pop(key, None)
        return name, path, args, kwargs
