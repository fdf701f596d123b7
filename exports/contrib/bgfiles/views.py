"""Doors for a host's own token views, as dj-bgfiles had them: whoever holds a token that this signer made."""

from typing import Any

from django.core.exceptions import PermissionDenied, SuspiciousOperation
from django.core.signing import BadSignature, SignatureExpired
from django.http import Http404, HttpRequest
from django.http.response import HttpResponseBase

from exports.contrib.bgfiles import toolbox
from exports.exporters import registry
from exports.http import responses
from exports.http.downloads import record_download
from exports.models import FileRequest, Status


class SuspiciousToken(SuspiciousOperation):
    """The token is not one that this signer made."""


class SignatureHasExpired(PermissionDenied):
    """The token was good once."""


class UserIsNotRequester(PermissionDenied):
    """The file is somebody else's."""


def evaluate_request(
    request: HttpRequest,
    token: str,
    require_requester: bool = True,
    verify_requester: bool = True,
    signer: Any = None,
) -> tuple[FileRequest, Any]:
    """The request of this token, and the data in it, for a view of the host's own.

    Looks at the token, then at the requester, then at the file, which an export must not refuse its owner now. Raises
    SuspiciousToken, SignatureHasExpired, UserIsNotRequester or Http404. With both flags False whoever holds a token of
    this signer is let in.
    """
    try:
        file_request, data = toolbox.decode(token, require_requester=require_requester, signer=signer)
    except SignatureExpired as error:
        raise SignatureHasExpired("This link has expired.") from error
    except BadSignature as error:
        raise SuspiciousToken("This link is not one of ours.") from error
    except FileRequest.DoesNotExist as error:
        raise Http404("There is no such file.") from error
    if verify_requester and (file_request.requester_id is None or file_request.requester_id != request.user.pk):
        raise UserIsNotRequester("This file is somebody else's.")
    is_gone = not file_request.filehandle or file_request.status == Status.EXPIRED
    if is_gone or registry.is_withdrawn(file_request):
        raise Http404("There is no such file.")
    return file_request, data


def serve_file(
    request: HttpRequest,
    token: str,
    require_requester: bool = True,
    verify_requester: bool = True,
    signer: Any = None,
) -> HttpResponseBase:
    """The file of this token, streamed. Raises like evaluate_request."""
    file_request, _data = evaluate_request(request, token, require_requester, verify_requester, signer)
    response = toolbox.serve(file_request, http_request=request)
    if request.method == "GET" and response.status_code in responses.DELIVERING:
        record_download(request, file_request, response)
    return response
