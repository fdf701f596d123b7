"""Headers of requests and responses: Prefer (RFC 7240), and RateLimit (draft-ietf-httpapi-ratelimit-headers)."""

from collections.abc import Iterable
from dataclasses import dataclass
from math import ceil

from django.http import HttpRequest, HttpResponse

from exports import services
from exports.models.quotas import Quota, quotas_of


@dataclass(frozen=True)
class Preference:
    """What a client prefers: to be answered before the work is done, and for how many seconds to wait for its end."""

    respond_async: bool = False
    wait: int = 0


def preference_of(header: str) -> Preference:
    """Return the preferences in a header Prefer. Of a repeated one the first counts; what is not understood, not."""
    found: dict[str, str] = {}
    for part in header.split(","):
        name, _equals, value = part.partition(";")[0].partition("=")
        found.setdefault(name.strip().lower(), value.strip().strip('"'))
    wait = found.get("wait", "")
    is_number = wait.isascii() and wait.isdecimal() and len(wait) < 6
    return Preference("respond-async" in found, int(wait) if is_number else 0)


def add_quotas(request: HttpRequest, response: HttpResponse) -> None:
    """Tell in the response how many more exports the user may ask for, unless they are exempt from the quotas."""
    if services.counts_toward_quota(request.user):
        add_rate_limit(response, quotas_of(request.user.pk))


def add_rate_limit(response: HttpResponse, quotas: Iterable[Quota]) -> None:
    """Add the headers RateLimit-Policy and RateLimit for these quotas."""
    policies, left = [], []
    for quota in quotas:
        name = quota.code.removeprefix("too_many_")
        window = f";w={quota.seconds}" if quota.seconds else ""
        policies.append(f'"{name}";q={quota.limit}{window}')
        left.append(f'"{name}";r={quota.left};t={ceil(quota.reset_seconds)}')
    if policies:
        response.headers["RateLimit-Policy"] = ", ".join(policies)
        response.headers["RateLimit"] = ", ".join(left)
