"""Links for anyone, where an export offers them: made and ended by POST, good for whoever has one, asked of the row."""

from typing import Any
from urllib.parse import urljoin
from uuid import UUID

from django.http import Http404, HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.http import require_POST, require_safe

from exports import services
from exports.conf import config
from exports.http.downloads import hand_over
from exports.http.replies import answer, changeable, door, not_found, refuse
from exports.models import FileRequest, Status


@require_POST
@door
def share_view(request: HttpRequest, pk: UUID) -> HttpResponse:
    """Make a link for anyone; the one before it ends."""
    file_request = changeable(request, pk)
    if not services.may_share(request.user, file_request):
        return refuse(request, 403, "not_shareable", _("You may make no link for anyone to this file."))
    try:
        services.share(file_request)
    except services.TransitionNotAllowed:
        return answer(request, file_request, status=409)
    return answer(request, file_request, public_link=address_of(request, file_request))


@require_safe
def public_view(request: HttpRequest, link: str) -> HttpResponseBase:
    """The bytes, for anyone who has the link. It can be used often, so that nobody's look at it takes it away."""
    try:
        return hand_over(request, services.find_public(link), is_public=True)
    except (FileRequest.DoesNotExist, Http404):
        return not_found(request)


def address_of(request: HttpRequest, file_request: FileRequest) -> str | None:
    """The whole address of the link for anyone, to be copied from the page; None where there is no good one."""
    link = services.public_link_of(file_request)
    if link is None:
        return None
    return urljoin(config.BASE_URL or request.build_absolute_uri("/"), reverse("exports:public", args=[link]))


def sharing_of(request: HttpRequest, file_request: FileRequest) -> dict[str, Any] | None:
    """What the page says about links for anyone, to whoever may make one; None for everybody else.

    It is on the page before there is a file: the stylesheet shows it once there is.
    """
    is_possible = file_request.is_active or file_request.status == Status.READY
    if not is_possible or not services.may_share(request.user, file_request):
        return None
    return {"address": address_of(request, file_request), "until": file_request.public_until}
