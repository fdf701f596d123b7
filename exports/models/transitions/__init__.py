"""The state transitions of a FileRequest. Each is one UPDATE guarded by the status that it expects.

The UPDATE of a worker, and of everything that must not act on a newer attempt, is guarded by the epoch as well. Most
functions return True if they won; `claim` returns a Claim and `renew_lease` the row, or None. A transition that lost
has changed nothing. `now` defaults to the database's clock; tests pass a datetime. Each transition adds an entry to the
audit log in the same transaction, except the renewal of a lease.
docs/architecture.md has the table of transitions.
"""

from exports.models.request import FileRequest
from exports.models.transitions.claims import Attempt, claim, claim_first, renew_lease
from exports.models.transitions.files import (
    erase_details,
    expire,
    keep_until,
    mark_seen,
    release_from_feed,
    remove,
    revoke_links,
    set_expiry_once,
    share,
)
from exports.models.transitions.requests import cancel, enqueue, mark_woken, time_out
from exports.models.transitions.runs import attach, attach_under, fail, publish, release, rescue, retry_later
from exports.models.transitions.updates import Claim

__all__ = [
    "Attempt",
    "Claim",
    "attach",
    "attach_under",
    "cancel",
    "claim",
    "claim_first",
    "enqueue",
    "erase_details",
    "expire",
    "fail",
    "keep_until",
    "mark_seen",
    "mark_woken",
    "publish",
    "release",
    "release_from_feed",
    "remove",
    "renew_lease",
    "rescue",
    "retry_later",
    "revoke_links",
    "set_expiry_once",
    "share",
    "time_out",
]

# `FileRequest.attach_file` calls it. The module of FileRequest cannot import this one.
FileRequest._attach = attach
