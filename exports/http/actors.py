"""Who sends a request, for the audit log: the user, and the network of the client, also behind trusted proxies."""

import ipaddress
from typing import Any
from uuid import UUID

from django.http import HttpRequest

from exports.conf import config
from exports.models import Feed
from exports.models.audit import Actor, ActorKind, AuditEntry, record


def actor_of(request: HttpRequest) -> Actor:
    """Return the user of a request and the network it comes from."""
    return Actor.of(getattr(request, "user", None), network_of(client_address(request)))


def public_actor(request: HttpRequest) -> Actor:
    """Return the actor of a request with a public link, which is for no user, even if one is signed in."""
    return Actor(ActorKind.PUBLIC_LINK, address=network_of(client_address(request)))


def feed_actor(request: HttpRequest, feed: Feed) -> Actor:
    """Return the actor of a request with the address of a feed: its owner, by the feed."""
    return Actor(ActorKind.FEED, feed.owner_id, feed.name, network_of(client_address(request)))


def record_refusal(request: HttpRequest, verb: str, export_id: UUID | None = None, **about: Any) -> None:
    """Record that the user may not do this, or that there is no such export: the response does not tell which."""
    record(verb, export_id, actor_of(request), outcome=AuditEntry.Outcome.DENIED, **about)


def client_address(request: HttpRequest) -> str:
    """Return the address of the client: the last one in X-Forwarded-For that is not of EXPORTS["TRUSTED_PROXIES"].

    The header counts only if a trusted proxy sent the request, since any client can write it. "" is for what is no
    IP address.
    """
    address: str = request.META.get("REMOTE_ADDR", "")
    if header := request.headers.get("X-Forwarded-For"):
        forwarded = header.split(",")
        networks = [ipaddress.ip_network(network) for network in config.TRUSTED_PROXIES]
        while forwarded and any(parsed in network for network in networks if (parsed := _parsed(address))):
            address = forwarded.pop().strip() or address
    return address if _parsed(address) else ""


def network_of(address: str) -> str:
    """Return an IP address without its host part: the /24 network of IPv4, the /48 of IPv6; "" for anything else."""
    given = _parsed(address)
    if given is None:
        return ""
    return str(ipaddress.ip_network(f"{given}/{24 if given.version == 4 else 48}", strict=False).network_address)


def _parsed(address: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        given = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return None
    # A socket that accepts both versions shows IPv4 as ::ffff:203.0.113.7.
    return getattr(given, "ipv4_mapped", None) or given
