"""What users do with exports: request, retry, cancel, expire, share, revoke. Views, sockets and the admin call these.

Each verb makes one transition, with an entry in the audit log that names its actor, and publishes it when the
transaction commits. A verb that comes too late for the status of the export raises TransitionNotAllowed and changes
nothing. A verb that the user may not do is recorded as denied; one that an API token may not do, since it only reads,
raises ReadOnlyToken.
"""

from exports.models.transitions import mark_seen
from exports.services.files import (
    find_public,
    may_download,
    may_go_on,
    may_share,
    public_link_of,
    sign_ticket,
    state_for,
)
from exports.services.requests import (
    Asked,
    can_regenerate,
    check_request,
    counts_toward_quota,
    regenerate,
    request_export,
    request_rows,
    retry,
)
from exports.services.verbs import (
    NotAllowed,
    Verb,
    cancel,
    expire,
    remove,
    remove_ended,
    remove_replaced,
    resend_mail,
    revoke,
    share,
)

__all__ = [
    "Asked",
    "NotAllowed",
    "Verb",
    "can_regenerate",
    "cancel",
    "check_request",
    "counts_toward_quota",
    "expire",
    "find_public",
    "mark_seen",
    "may_download",
    "may_go_on",
    "may_share",
    "public_link_of",
    "regenerate",
    "remove",
    "remove_ended",
    "remove_replaced",
    "request_export",
    "request_rows",
    "resend_mail",
    "retry",
    "revoke",
    "share",
    "sign_ticket",
    "state_for",
]
