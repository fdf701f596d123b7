"""The README's views: the pattern's, and those that serve its files."""

from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import render

from exports.patterns import InvalidForm
from exports.views import SignatureHasExpired, SuspiciousToken, UserIsNotRequester, evaluate_request, serve_file
from tests.seed.exports import GeneralExport, LoginEventExport, my_signer
from tests.seed.forms import LoginExportFilterForm


def export_login_events(request: HttpRequest, exporter: type[LoginEventExport] = LoginEventExport) -> HttpResponseBase:
    if request.method == "POST":
        try:
            _delayed, response = exporter("login-events.xlsx").respond_to(request)
            return response
        except InvalidForm as exc:
            form = exc.form
    else:
        form = LoginExportFilterForm()
    return render(request, "reports/login_events_filter.html", context={"form": form})


def export_general(request: HttpRequest) -> HttpResponseBase:
    return export_login_events(request, GeneralExport)


def serve(request: HttpRequest, token: str) -> HttpResponseBase:
    try:
        return serve_file(request, token, require_requester=True, verify_requester=True)
    except SuspiciousToken:
        # The token is invalid.
        return render(request, "errors/naughty.html")
    except SignatureHasExpired:
        # Actually a subclass of PermissionDenied.
        return render(request, "errors/signature_expired.html")
    except UserIsNotRequester:
        # Also a PermissionDenied subclass.
        return render(request, "errors/access_denied.html")


def serve_anyone(request: HttpRequest, token: str) -> HttpResponseBase:
    return serve_file(request, token, require_requester=False, verify_requester=False)


def serve_own(request: HttpRequest, token: str) -> HttpResponseBase:
    return serve_file(request, token, require_requester=True, verify_requester=True, signer=my_signer)


def preview(request: HttpRequest, token: str) -> HttpResponse:
    """What a preview page shows before the file is served."""
    file_request, data = evaluate_request(request, token)
    return HttpResponse(f"{file_request.filename}: {sorted(data)}")
