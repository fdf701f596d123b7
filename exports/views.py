"""Import path of dj-bgfiles' token views; the app's own views are in `exports.http`."""

from exports.contrib.bgfiles.views import (
    SignatureHasExpired,
    SuspiciousToken,
    UserIsNotRequester,
    evaluate_request,
    serve_file,
)

__all__ = ["SignatureHasExpired", "SuspiciousToken", "UserIsNotRequester", "evaluate_request", "serve_file"]
