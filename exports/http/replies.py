"""What every door needs: who is let in, which row it is about, and the shape of the reply."""

from collections.abc import Callable
from functools import wraps
from math import ceil
from typing import Any
from uuid import UUID

from django.contrib.auth.views import redirect_to_login
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect, JsonResponse
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.urls import reverse
from django.utils.cache import patch_cache_control
from django.utils.translation import gettext as _

from exports import services
from exports.exceptions import LimitReached, UnknownFileType
from exports.models import FileRequest
from exports.state import State, limit_of

POLL_SECONDS = 2

View = Callable[..., HttpResponseBase]


def door(view: View) -> View:
    """Lets signed-in users in, and turns what is not theirs and what is not there into the same answer."""

    @wraps(view)
    def guarded(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        if not request.user.is_authenticated:
            return _sign_in(request)
        try:
            response = view(request, *args, **kwargs)
        except (FileRequest.DoesNotExist, UnknownFileType, Http404):
            return not_found(request)
        if "Cache-Control" not in response.headers:
            patch_cache_control(response, private=True, no_cache=True)
        # Not "no-referrer": browsers then send "Origin: null" with a form, and the CSRF check has nothing to go by.
        response.headers.setdefault("Referrer-Policy", "same-origin")
        return response

    return guarded


def json_door(request: HttpRequest, answer: Callable[[], HttpResponse]) -> HttpResponse:
    """A door that speaks JSON to everybody."""
    if not request.user.is_authenticated:
        return error(401, "not_signed_in", _("Please sign in."))
    try:
        response = answer()
    except FileRequest.DoesNotExist:
        return error(404, "not_found", _("There is no such export."))
    patch_cache_control(response, private=True, no_cache=True)
    return response


def wants_json(request: HttpRequest) -> bool:
    return request.get_preferred_type(["text/html", "application/json"]) == "application/json"


def find(request: HttpRequest, pk: UUID) -> FileRequest:
    return FileRequest.objects.visible_to(request.user).select_related("requester").get(pk=pk)


def changeable(request: HttpRequest, pk: UUID) -> FileRequest:
    file_request = find(request, pk)
    if not file_request.is_changeable_by(request.user):
        raise Http404
    return file_request


def state_for(request: HttpRequest, file_request: FileRequest) -> State:
    return services.state_for(request.user, file_request)


def answer(request: HttpRequest, file_request: FileRequest, *, status: int = 200, **more: Any) -> HttpResponse:
    """The state for a program, with what `more` there is to say beside it; the way to its page for a browser."""
    if wants_json(request):
        headers = {"Retry-After": str(POLL_SECONDS)} if file_request.is_active else {}
        if status in (201, 202):
            headers["Location"] = reverse("exports:detail", args=[file_request.pk])
        return JsonResponse({**state_for(request, file_request), **more}, status=status, headers=headers)
    response = HttpResponseRedirect(reverse("exports:page", args=[file_request.pk]))
    response.status_code = 303
    return response


def refuse(request: HttpRequest, status: int, code: str, message: str, **more: Any) -> HttpResponse:
    if wants_json(request):
        return error(status, code, message, **more)
    return render(request, "exports/refused.html", {"message": message}, status=status)


def over_limit(
    request: HttpRequest, reached: LimitReached, *, page: Callable[[str], HttpResponse] | None = None
) -> HttpResponse:
    """429, which limit it is, and when to ask again. `page` makes a browser's page with this sentence on it."""
    sentence = limit_of(reached)
    if page is None or wants_json(request):
        response = refuse(request, 429, reached.code, sentence, limit=reached.limit)
    else:
        response = page(sentence)
    response.headers["Retry-After"] = str(ceil(reached.seconds))
    return response


def error(status: int, code: str, message: str, **more: Any) -> JsonResponse:
    headers = {"Cache-Control": "private, no-cache", "Vary": "Accept"}
    return JsonResponse({"error": {"code": code, "message": message, **more}}, status=status, headers=headers)


def _sign_in(request: HttpRequest) -> HttpResponse:
    if wants_json(request):
        return error(401, "not_signed_in", _("Please sign in."))
    return redirect_to_login(request.get_full_path() if request.method in ("GET", "HEAD") else reverse("exports:list"))


def not_found(request: HttpRequest) -> HttpResponse:
    if wants_json(request):
        return error(404, "not_found", _("There is no such export."))
    raise Http404("There is no such export.")
