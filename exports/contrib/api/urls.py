"""The URLs of the API: path("exports/api/v1/", include("exports.contrib.api.urls")), before those of `exports.urls`."""

from collections.abc import Callable
from functools import wraps
from typing import Any, NoReturn

from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.urls import URLPattern, path, re_path, reverse
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_safe
from ninja import NinjaAPI
from ninja.parser import Parser
from ninja.utils import check_csrf

from exports.access.authentication import carries_token
from exports.contrib.api import presets, problems, requests, types
from exports.contrib.api.documented import document_text
from exports.contrib.api.problems import Forged, NotSignedIn
from exports.exceptions import without_stop_iteration
from exports.http.bodies import read_json
from exports.http.decorators import identify
from exports.models.request import AnyUser

app_name = "exports_api"


class JsonObjects(Parser):
    """Reads bodies as the pages do: a JSON object, in which no name stands twice and numbers keep their digits."""

    # Any: what JSON can hold.
    def parse_body(self, request: HttpRequest) -> dict[str, Any]:
        return read_json(request)


def admit(request: HttpRequest) -> AnyUser:
    """Return the user of the session or the token. Raise NotSignedIn, Forged, or BadBody for an unreadable body."""
    identify(request)
    if not request.user.is_authenticated:
        raise NotSignedIn
    if request.method not in ("GET", "HEAD"):
        # Here, since django-ninja would answer 400 for every body that cannot be read.
        read_json(request)
        if not carries_token(request) and check_csrf(request) is not None:
            raise Forged
    return request.user


def pass_on(request: HttpRequest, error: Exception) -> NoReturn:
    """Let Django answer an error of the code, as it does for the pages; with DEBUG django-ninja would itself."""
    raise error


api = NinjaAPI(
    title="Live Exports",
    version="1",
    description="Request files that take a while, follow them, and get them.",
    openapi_url=None,
    docs_url=None,
    auth=admit,
    parser=JsonObjects(),
    urls_namespace=app_name,
)
api.add_router("/types", types.router)
api.add_router("/exports", requests.router)
api.add_router("", presets.router)
api.add_exception_handler(Exception, pass_on)  # type: ignore[arg-type] # it is given exceptions alone
for _error in problems.ANSWERED:
    api.add_exception_handler(_error, problems.answer)  # type: ignore[arg-type] # it is given exceptions alone


@require_safe
def openapi_view(request: HttpRequest) -> HttpResponseBase:
    """Return the OpenAPI document, for anyone."""
    match = request.resolver_match
    root = reverse(f"{match.namespace if match else app_name}:openapi").removesuffix("openapi.json")
    return HttpResponse(document_text(api, root), content_type="application/json")


def answering_each_method(view: Callable[..., HttpResponseBase]) -> Callable[..., HttpResponseBase]:
    """Answer HEAD as GET, whose body the server leaves out, and a method that an address lacks with a problem."""

    @wraps(view)
    def respond(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        method = request.method
        # django-ninja (checked against 1.7.1) has no HEAD.
        if method == "HEAD":
            request.method = "GET"
        try:
            response = view(request, *args, **kwargs)
        finally:
            request.method = method
        if response.status_code == 405:
            # django-ninja takes them from a set.
            allowed = {*response.headers["Allow"].split(", ")}
            listed = ", ".join(sorted(allowed | ({"HEAD"} if "GET" in allowed else set())))
            response = problems.problem(405, "method_not_allowed", f"Allowed: {listed}.")
            response.headers["Allow"] = listed
        return response

    return respond


urlpatterns: list[URLPattern] = [
    path("openapi.json", openapi_view, name="openapi"),
    *(each for each in api.urls[0] if isinstance(each, URLPattern) and each.name != "api-root"),
    re_path("", csrf_exempt(problems.not_found)),
]

for _pattern in urlpatterns:
    _pattern.callback = answering_each_method(without_stop_iteration(_pattern.callback))
