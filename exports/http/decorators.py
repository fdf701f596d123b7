"""Who may open a view, and what the others get: `signed_in` for pages of users, `answering` for those of anyone."""

from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, Any, cast

from django.contrib.auth.views import redirect_to_login
from django.http import Http404, HttpRequest
from django.http.response import HttpResponseBase
from django.utils.cache import patch_cache_control
from django.utils.translation import gettext as _
from django.views.decorators.csrf import csrf_exempt, csrf_protect

from exports.access import authentication
from exports.access.authentication import carries_token
from exports.conf import url_of
from exports.exceptions import ReadOnlyToken, UnknownFileType
from exports.http import bodies
from exports.http.bodies import wants_json
from exports.http.refusals import error_response, not_found, refusal_response, refuse
from exports.models import Feed, FileRequest, Preset
from exports.queue.base import QueueNotConfigured

if TYPE_CHECKING:
    from django.contrib.auth.models import User

View = Callable[..., HttpResponseBase]


def signed_in(view: View) -> View:
    """Require a user, by session or by token, and answer like `answering`.

    Django's check against forged requests is left to us: it is only for requests without a token.
    """
    answer = answering(view)

    @wraps(view)
    def respond(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        identify(request)
        if not request.user.is_authenticated:
            if wants_json(request):
                return error_response(401, "not_signed_in", _("Please sign in."))
            is_safe = request.method in ("GET", "HEAD")
            return redirect_to_login(request.get_full_path() if is_safe else url_of("list"))
        return answer(request, *args, **kwargs)

    protected = csrf_protect(respond)

    @csrf_exempt
    @wraps(view)
    def wrapper(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        return (respond if carries_token(request) else protected)(request, *args, **kwargs)

    return wrapper


def answering(view: View) -> View:
    """Answer 404 for exports that do not exist or that the user may not see, and let no cache store the response."""

    @wraps(view)
    def wrapper(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        try:
            if request.method == "POST":
                bodies.read_body(request)
            response = view(request, *args, **kwargs)
        except bodies.BadBody as error:
            return refuse(request, error.status, error.code, str(error), **error.extra)
        except (FileRequest.DoesNotExist, Preset.DoesNotExist, Feed.DoesNotExist, UnknownFileType, Http404):
            return not_found(request)
        except ReadOnlyToken as error:
            return refusal_response(request, error)
        except QueueNotConfigured:
            # The log says what to set.
            return refuse(request, 503, "no_queue", _("No files can be made on this site at the moment."))
        if "Cache-Control" not in response.headers:
            patch_cache_control(response, private=True, no_store=True)
        # With "no-referrer" browsers send "Origin: null" with forms, and Django's CSRF check fails.
        response.headers.setdefault("Referrer-Policy", "same-origin")
        return response

    return wrapper


def identify(request: HttpRequest) -> None:
    """Set `request.user` to the user of the token or the session."""
    session_user = request.user
    request.user = cast("User", authentication.user_of(request, lambda: session_user))
