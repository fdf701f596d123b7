"""Sessions that end when their user is away, and browsers that keep nothing after a logout."""

import time
from typing import Any

from django.contrib.auth import SESSION_KEY
from django.contrib.auth import views as auth_views
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils.deprecation import MiddlewareMixin

KEPT = "kept_at"
KEEP_AGAIN_SECONDS = 300


class KeepSessions(MiddlewareMixin):
    """Let a session last SESSION_COOKIE_AGE from when its user last opened a page, at most once in five minutes.

    What a page asks for by itself (JSON) does not count: an open page would keep its session for ever.
    """

    def process_request(self, request: HttpRequest) -> None:
        if request.get_preferred_type(["text/html", "application/json"]) != "text/html":
            return
        session, now = request.session, time.time()
        if SESSION_KEY in session and now - session.get(KEPT, 0) > KEEP_AGAIN_SECONDS:
            session[KEPT] = now


class LogoutView(auth_views.LogoutView):
    """Django's view, after which browsers delete what they have stored of this site."""

    # Not for other methods, which a foreign page can send as well.
    def post(self, *args: Any, **kwargs: Any) -> HttpResponseBase:
        response = super().post(*args, **kwargs)
        response.headers["Clear-Site-Data"] = '"cache", "storage"'
        return response
