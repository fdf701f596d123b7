"""The tenant of a request and of its exports, for a site that serves several organisations.

EXPORTS["TENANT_OF"] takes an HttpRequest and returns the key of its tenant, a text. TenantMiddleware makes it the
current tenant of the request, and each export keeps the tenant in which it was requested: it is current again wherever
code of the project is asked about the export, in a worker too. EXPORTS["TENANT_CONTEXT"] takes a key and returns a
context manager, such as one that chooses the schema of the database; it is entered with the tenant.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from urllib.parse import urlsplit

from django.http import HttpRequest
from django.http.response import HttpResponseBase

from exports.conf import config, function_of

_current: ContextVar[str] = ContextVar("exports_tenant", default="")


def current() -> str:
    """Return the key of the current tenant, "" if there is none."""
    return _current.get()


@contextmanager
def active(tenant: str) -> Iterator[None]:
    """Make this the current tenant within the block."""
    context = function_of("TENANT_CONTEXT")
    token = _current.set(tenant)
    try:
        with context(tenant) if context is not None and tenant else nullcontext():
            yield
    finally:
        _current.reset(token)


def tenant_of(request: HttpRequest) -> str:
    """Return the key of the tenant of a request, "" without EXPORTS["TENANT_OF"]."""
    find = function_of("TENANT_OF")
    return "" if find is None else str(find(request))


class TenantMiddleware:
    """Makes the tenant of each request the current one."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        with active(tenant_of(request)):
            return self.get_response(request)


def base_url(tenant: str) -> str:
    """Return the URL that links to the pages of a tenant begin with, as EXPORTS["BASE_URL"] has it."""
    given: str = config.BASE_URL(tenant) if callable(config.BASE_URL) else config.BASE_URL
    return given


def absolute_url(path: str, tenant: str) -> str:
    """Return the URL of a path of this site under `base_url`, which may have a path, too."""
    base = base_url(tenant).rstrip("/")
    # Under FORCE_SCRIPT_NAME, `reverse` puts the same path in front.
    return base + path.removeprefix(urlsplit(base).path)
