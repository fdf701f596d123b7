"""The language and the time zone in which an export was requested."""

import zoneinfo
from collections.abc import Iterator
from contextlib import contextmanager

from django.utils import timezone, translation

from exports.models.request import FileRequest


@contextmanager
def locale_of(export: FileRequest) -> Iterator[None]:
    """Activate the language and the time zone of `export` within the block."""
    language = export.requester_language or translation.get_language()
    with translation.override(language), timezone.override(zone_named(export.requester_timezone)):
        yield


def zone_named(name: str) -> zoneinfo.ZoneInfo:
    """Return the time zone with this IANA name, or the site's own if `name` is empty or unknown."""
    try:
        return zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        return timezone.get_default_timezone()
