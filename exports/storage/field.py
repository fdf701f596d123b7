"""The file field, whose storage and folder come from the settings and do not appear in migrations."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from django.core.files.storage import Storage
from django.db import models

from exports import storage
from exports.conf import config
from exports.filenames import shorten, visible_name

if TYPE_CHECKING:
    _CharField = models.CharField[str, str]
else:
    # Django's class cannot be subscripted at runtime without django-stubs-ext.
    _CharField = models.CharField


def get_storage() -> Storage | None:
    """Return the storage that the settings choose, or None for Django's default. A name of dj-bgfiles."""
    return storage.configured_storage()


def get_upload_to() -> str:
    """Return the folder that generated keys begin with, "" for the root of the storage. A name of dj-bgfiles."""
    return config.UPLOAD_TO


class _ConfiguredStorage:
    """A proxy for the storage in the settings at the time of use. A FileField calls a callable once, at import."""

    # Any: it passes on whatever the storage has.
    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(storage.exports_storage(), name)


def _upload_to(instance: models.Model, filename: str) -> str:
    """Return where `filehandle.save` puts a file. Attached and exported files have generated keys instead."""
    return f"{storage.folder()}{filename}"


class FileNameField(_CharField):
    """The name of a file, stored without characters that make it look like another, and shortened to `max_length`.

    See `filenames.visible_name`.
    """

    def get_prep_value(self, value: Any) -> Any:
        prepared = super().get_prep_value(value)
        if not isinstance(prepared, str):
            return prepared
        return shorten(visible_name(prepared), self.max_length or len(prepared))

    def deconstruct(self) -> tuple[str, str, Sequence[Any], dict[str, Any]]:
        name, _path, args, kwargs = super().deconstruct()
        return name, "django.db.models.CharField", args, kwargs


class ConfigurableFileField(models.FileField):
    """A FileField whose storage and folder can change without a migration."""

    # Any: passed on to FileField.
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.setdefault("storage", _ConfiguredStorage())
        kwargs.setdefault("upload_to", _upload_to)
        kwargs.setdefault("max_length", 255)
        super().__init__(*args, **kwargs)

    def deconstruct(self) -> tuple[str, str, Sequence[Any], dict[str, Any]]:
        name, path, args, kwargs = super().deconstruct()
        for key in ("storage", "upload_to"):
            kwargs.pop(key, None)
        return name, path, args, kwargs
