"""The language, the time zone and the tenant in which an export was requested."""

import zoneinfo
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime

from django.conf import settings
from django.utils import timezone, translation

from exports.access import tenants
from exports.models.request import FileRequest


@contextmanager
def locale_of(export: FileRequest) -> Iterator[None]:
    """Activate the language, the time zone and the tenant of `export` within the block.

    With USE_TZ = False the time zone is the site's.
    """
    language = export.requester_language or translation.get_language()
    zone = zone_named(export.requester_timezone if settings.USE_TZ else "")
    with translation.override(language), timezone.override(zone), tenants.active(export.tenant):
        yield


def zone_named(name: str) -> zoneinfo.ZoneInfo:
    """Return the time zone with this IANA name, or the site's own if `name` is empty or unknown."""
    try:
        return zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        return timezone.get_default_timezone()


def local_time(moment: datetime) -> datetime:
    """Return a time of the database in the active time zone; with USE_TZ = False it is local already."""
    return timezone.localtime(moment) if timezone.is_aware(moment) else moment


def zone_name(name: str) -> str:
    """Return the name of a time zone as it is stored: that of the active zone if it is empty or unknown."""
    try:
        return zoneinfo.ZoneInfo(name).key
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        return timezone.get_current_timezone_name()
