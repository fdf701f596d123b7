"""The HTTP interface. `create_content_disposition` stays importable from here for dj-bgfiles' users."""

from exports.filenames import create_content_disposition

__all__ = ["create_content_disposition"]
