"""The HTTP doors: find, authorise, one call, shape the reply. docs/protocol.md describes them.

Not yours and not there are the same answer, byte for byte.
"""

from exports.views.downloads import download_view, file_view, hand_over
from exports.views.replies import answer, over_limit, refuse
from exports.views.requests import (
    cancel_view,
    detail_view,
    expire_view,
    form_view,
    list_view,
    page_view,
    retry_view,
    revoke_view,
    seen_view,
)
from exports.views.sharing import public_view, share_view
from exports.views.tokens import SignatureHasExpired, SuspiciousToken, UserIsNotRequester, evaluate_request, serve_file

__all__ = [
    "SignatureHasExpired",
    "SuspiciousToken",
    "UserIsNotRequester",
    "answer",
    "cancel_view",
    "detail_view",
    "download_view",
    "evaluate_request",
    "expire_view",
    "file_view",
    "form_view",
    "hand_over",
    "list_view",
    "over_limit",
    "page_view",
    "public_view",
    "refuse",
    "retry_view",
    "revoke_view",
    "seen_view",
    "serve_file",
    "share_view",
]
