"""A request that no browser has sent, for code of a project that asks a request for its user and its filters."""

from urllib.parse import urlsplit

from django.http import HttpRequest, QueryDict

from exports.access import tenants
from exports.models.request import AnyUser


class ReplayedRequest(HttpRequest):
    """A GET request of the owner of an export: `user`, `GET`, `path` and the host; it has no session and no cookies."""

    def __init__(self, user: AnyUser, query: str = "", path: str = "/") -> None:
        super().__init__()
        site = urlsplit(tenants.base_url(tenants.current()) or "http://localhost")
        port = site.port or (443 if site.scheme == "https" else 80)
        self.method = "GET"
        self.user = user  # type: ignore[assignment]  # A user of the project's own model.
        self.GET = QueryDict(query)
        self.path = self.path_info = path
        self.META = {"SERVER_NAME": site.hostname, "SERVER_PORT": str(port), "QUERY_STRING": query}
        if site.scheme == "https":
            self.META["wsgi.url_scheme"] = "https"

    def _get_scheme(self) -> str:
        return str(self.META.get("wsgi.url_scheme", "http"))
