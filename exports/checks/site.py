"""Check what the app expects of the site around it: the database, the URLs, the time zone."""

from collections.abc import Iterator
from datetime import datetime

from django.conf import settings
from django.core import checks
from django.core.checks import CheckMessage
from django.db import connections, router
from django.urls import NoReverseMatch
from django.utils import timezone

from exports.checks.registration import register
from exports.conf import config, url_of
from exports.models import FileRequest

DATABASES = ("postgresql", "sqlite")
SQLITE_OPTIONS = {
    "timeout": 20,
    "transaction_mode": "IMMEDIATE",
    "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
}


@register()
def check_database() -> Iterator[CheckMessage]:
    """Refuse a database in which transitions and unique requests are not safe. Rows of exports may be in any other."""
    connection = connections[router.db_for_write(FileRequest)]
    if connection.vendor not in DATABASES:
        message = f"The tables of the app are in {connection.display_name}, where equal requests are not joined safely."
        hint = "Keep them in PostgreSQL or SQLite, by a database router; exports may read the rows of any database."
        yield checks.Error(message, hint=hint, id="exports.E024")


@register()
def check_sqlite() -> Iterator[CheckMessage]:
    """Warn about SQLite with Django's own options, with which the processes of a site refuse each other's writes."""
    connection = connections[router.db_for_write(FileRequest)]
    if connection.vendor != "sqlite":
        return
    options = connection.settings_dict["OPTIONS"]
    is_wal = "journal_mode=wal" in options.get("init_command", "").lower().replace(" ", "")
    if not is_wal or str(options.get("transaction_mode")).upper() != "IMMEDIATE":
        name = f"DATABASES[{connection.alias!r}]"
        message = f"{name} is SQLite without WAL mode or immediate transactions: writes fail with 'database is locked'."
        hint = f"Set {name}['OPTIONS'] = {SQLITE_OPTIONS!r}."
        yield checks.Warning(message, hint=hint, id="exports.W023")


@register()
def check_connection_pool() -> Iterator[CheckMessage]:
    """Warn about a pool that hands out connections without a look at them: after a restart of the server all are dead.

    The pool then makes one request, or one look of a worker, fail for each of its connections.
    """
    connection = connections[router.db_for_write(FileRequest)]
    given, name = connection.settings_dict, f"DATABASES[{connection.alias!r}]"
    if connection.vendor == "postgresql" and given["OPTIONS"].get("pool") and not given["CONN_HEALTH_CHECKS"]:
        message = f"The connection pool of {name} has no health checks: a restart of PostgreSQL breaks requests later."
        hint = f"Set {name}['CONN_HEALTH_CHECKS'] = True."
        yield checks.Warning(message, hint=hint, id="exports.W024")


@register()
def check_urls() -> Iterator[CheckMessage]:
    """Report URLs of the app that are not included, or that have parameters. Every state of an export has URLs."""
    # Without it, Django's own check and each request fail.
    if not getattr(settings, "ROOT_URLCONF", None):
        return
    try:
        url_of("list")
    except NoReverseMatch:
        message = "The URLs of the app are missing, or have a parameter in front."
        hint = 'Add path("exports/", include("exports.urls")) to ROOT_URLCONF, below any fixed path and namespace.'
        yield checks.Error(message, hint=hint, id="exports.E025")


@register()
def check_tenants() -> Iterator[CheckMessage]:
    """Report tenants without the middleware that finds them: all would share what each user has requested."""
    name = "exports.access.tenants.TenantMiddleware"
    if config.TENANT_OF and name not in settings.MIDDLEWARE:
        hint = f"Add {name!r} to MIDDLEWARE, below what finds the tenant of a request."
        yield checks.Error("EXPORTS['TENANT_OF'] is set, but its middleware is not.", hint=hint, id="exports.E048")


@register()
def check_time_zone() -> Iterator[CheckMessage]:
    """Warn about times without a zone: in the hour that the clock repeats, leases and expiries go wrong."""
    zone = timezone.get_default_timezone()
    offsets = {datetime(timezone.now().year, month, 1, tzinfo=zone).utcoffset() for month in (1, 7)}
    if not settings.USE_TZ and len(offsets) > 1:
        message = f"USE_TZ is False, and the clock of {settings.TIME_ZONE} repeats an hour each year."
        hint = "Set USE_TZ = True, or a TIME_ZONE without daylight saving time, such as 'UTC'."
        yield checks.Warning(message, hint=hint, id="exports.W021")
