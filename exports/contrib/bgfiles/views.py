"""Serve files by token from a project's own views, as dj-bgfiles did."""

from typing import Any

from django.core.exceptions import PermissionDenied, SuspiciousOperation
from django.core.signing import BadSignature, SignatureExpired
from django.http import Http404, HttpRequest
from django.http.response import HttpResponseBase
from django.utils.translation import gettext as _

from exports.contrib.bgfiles import toolbox
from exports.contrib.bgfiles.toolbox import TokenSigner
from exports.exporters import permissions
from exports.http import responses
from exports.http.actors import actor_of, record_refusal
from exports.http.downloads import record_download
from exports.models import AuditEntry, FileRequest, Status


class SuspiciousToken(SuspiciousOperation):
    """The token was not made by this signer."""


class SignatureHasExpired(PermissionDenied):
    """The token was valid once and has expired."""


class UserIsNotRequester(PermissionDenied):
    """The file belongs to another user."""


def evaluate_request(
    request: HttpRequest,
    token: str,
    require_requester: bool = True,
    verify_requester: bool = True,
    signer: TokenSigner | None = None,
) -> tuple[FileRequest, dict[str, Any]]:
    """Return the FileRequest that this token names, and the data in the token, without serving the file.

    Checks the token first, then the requester, then the file. With both flags False anyone with the token may have the
    file.

    Raises:
        SuspiciousToken: the token was not made by this signer.
        SignatureHasExpired: the token has expired.
        UserIsNotRequester: the user of `request` is not the requester.
        Http404: there is no file (any more), or its export no longer grants it to the requester.

    """
    try:
        file_request, data = toolbox.decode(token, require_requester=require_requester, signer=signer)
    except SignatureExpired as error:
        raise SignatureHasExpired("This link has expired.") from error
    except BadSignature as error:
        raise SuspiciousToken("This link is not valid.") from error
    except FileRequest.DoesNotExist as error:
        raise Http404(_("There is no such file.")) from error
    if verify_requester and (file_request.requester_id is None or file_request.requester_id != request.user.pk):
        record_refusal(request, AuditEntry.Verb.DOWNLOAD, file_request.pk)
        raise UserIsNotRequester("This file belongs to another user.")
    is_gone = not file_request.filehandle or file_request.status == Status.EXPIRED
    if not is_gone and permissions.is_withdrawn(file_request):
        record_refusal(request, AuditEntry.Verb.DOWNLOAD, file_request.pk)
        is_gone = True
    if is_gone:
        raise Http404(_("There is no such file."))
    return file_request, data


def serve_file(
    request: HttpRequest,
    token: str,
    require_requester: bool = True,
    verify_requester: bool = True,
    signer: TokenSigner | None = None,
) -> HttpResponseBase:
    """Return the file that this token names as a streaming response. Raise like evaluate_request."""
    file_request, _data = evaluate_request(request, token, require_requester, verify_requester, signer)
    response = toolbox.serve(file_request, http_request=request)
    if request.method == "GET" and response.status_code in responses.DELIVERING:
        record_download(request, file_request, response, actor_of(request))
    return response
