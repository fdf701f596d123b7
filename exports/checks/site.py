"""Check what the app expects of the site around it: the database, the URLs, the time zone."""

from collections.abc import Iterator
from datetime import datetime
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urlsplit

from django.conf import settings
from django.core import checks
from django.core.checks import CheckMessage
from django.db import DEFAULT_DB_ALIAS, connections, router
from django.shortcuts import resolve_url
from django.urls import NoReverseMatch, Resolver404, get_script_prefix, resolve
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
        hint = "Use PostgreSQL or SQLite as DATABASES['default']; exports may read the rows of any database."
        yield checks.Error(message, hint=hint, id="exports.E024")


@register()
def check_default_database() -> Iterator[CheckMessage]:
    """Refuse to write the tables of the app to another database than the one whose transactions the app begins."""
    alias = router.db_for_write(FileRequest)
    if alias != DEFAULT_DB_ALIAS:
        message = f"A database router writes the tables of the app to {alias!r}, where transitions are not safe."
        hint = f"Let it write them to {DEFAULT_DB_ALIAS!r}; exports may read the rows of any database."
        yield checks.Error(message, hint=hint, id="exports.E061")


@register()
def check_replicas() -> Iterator[CheckMessage]:
    """Refuse to read the tables of the app from another database than they are written to."""
    read, written = router.db_for_read(FileRequest), router.db_for_write(FileRequest)
    if read != written:
        message = f"The tables of the app are read from {read!r} and written to {written!r}: changes are seen too late."
        hint = "Put 'exports.models.routers.SameDatabase' first in DATABASE_ROUTERS."
        yield checks.Error(message, hint=hint, id="exports.E049")


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
def check_login() -> Iterator[CheckMessage]:
    """Warn about a LOGIN_URL that no URL of the site answers. The pages send users there who are not signed in."""
    if not getattr(settings, "ROOT_URLCONF", None):
        return
    try:
        login = urlsplit(resolve_url(settings.LOGIN_URL))
        if not login.netloc and login.path.startswith(get_script_prefix()):
            resolve(f"/{login.path.removeprefix(get_script_prefix())}")
    except (NoReverseMatch, Resolver404):
        message = f"LOGIN_URL is {str(settings.LOGIN_URL)!r}, which no URL of the site answers: users cannot sign in."
        hint = "Set LOGIN_URL to the path or the name of your login page; 'admin:login' is that of the admin."
        yield checks.Warning(message, hint=hint, id="exports.W044")


@register(deploy=True)
def check_sockets() -> Iterator[CheckMessage]:
    """Note an asgi.py that serves no sockets at all, as startproject makes it: pages then poll."""
    name = asgi_module()
    if find_spec("channels") is None or name is None or (spec := find_spec(name)) is None or spec.origin is None:
        return
    source = Path(spec.origin).read_text()
    if not any(word in source for word in ("websocket", "ProtocolTypeRouter", "with_exports")):
        message = f"{name} serves no sockets: pages ask for the progress every second or two instead."
        hint = "Wrap its application: application = with_exports(get_asgi_application()); see docs/quickstart.md."
        yield checks.Info(message, hint=hint, id="exports.I003")


def asgi_module() -> str | None:
    """Return the module of the ASGI application: of ASGI_APPLICATION, or `asgi` beside that of WSGI_APPLICATION."""
    if application := getattr(settings, "ASGI_APPLICATION", None):
        return str(application).rpartition(".")[0]
    package, _, name = str(settings.WSGI_APPLICATION or "").rpartition(".")[0].rpartition(".")
    return f"{package}.asgi" if package and name == "wsgi" else None


@register()
def check_time_zone() -> Iterator[CheckMessage]:
    """Warn about times without a zone: in the hour that the clock repeats, leases and expiries go wrong."""
    zone = timezone.get_default_timezone()
    offsets = {datetime(timezone.now().year, month, 1, tzinfo=zone).utcoffset() for month in (1, 7)}
    if not settings.USE_TZ and len(offsets) > 1:
        message = f"USE_TZ is False, and the clock of {settings.TIME_ZONE} repeats an hour each year."
        hint = "Set USE_TZ = True, or a TIME_ZONE without daylight saving time, such as 'UTC'."
        yield checks.Warning(message, hint=hint, id="exports.W021")
