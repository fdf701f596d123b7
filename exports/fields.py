"""The import path that dj-bgfiles' users know for the file field."""

from exports.storage.field import ConfigurableFileField, get_storage, get_upload_to

__all__ = ["ConfigurableFileField", "get_storage", "get_upload_to"]
