"""Where webhooks may be sent: to public addresses, and to the networks of EXPORTS["WEBHOOK_ALLOWED_NETWORKS"]."""

import socket
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final
from urllib.parse import urlsplit

from django.utils.translation import gettext as _

from exports.conf import config

MAX_URL_LENGTH: Final = 500
NAT64: Final = IPv6Network("64:ff9b::/96")
# Not public by IANA's registries, which Python knows in part, depending on its version; and the address, public by its
# number, at which Azure answers its own machines.
RESERVED: Final = tuple(
    ip_network(each)
    for each in (
        *("192.0.0.0/24", "192.88.99.0/24", "168.63.129.16/32"),
        *("64:ff9b:1::/48", "100::/64", "2001::/23", "2002::/16", "3fff::/20", "5f00::/16"),
    )
)

Address = IPv4Address | IPv6Address


class AddressRefused(Exception):
    """Raised for an address to which no webhook may be sent."""


def check_url(url: str) -> None:
    """Raise ValueError, with a sentence for users, if this cannot be the address of a webhook.

    A name is not looked up here, but whenever a webhook is sent: what it stands for may change.
    """
    try:
        parts = urlsplit(url)
        host, _port = parts.hostname or "", parts.port
    except ValueError:
        raise ValueError(_("This is not an address of the web.")) from None
    if not host or not url.isascii() or not url.isprintable() or " " in url or len(url) > MAX_URL_LENGTH:
        raise ValueError(_("This is not an address of the web."))
    if parts.scheme != "https" and not (parts.scheme == "http" and config.WEBHOOK_ALLOWED_NETWORKS):
        raise ValueError(_("The address must begin with https://."))
    if parts.username is not None or parts.password is not None or parts.fragment:
        raise ValueError(_("The address must have no user, no password and no fragment."))
    try:
        # Numbers in every notation that the system reads, such as 127.1 or 0x7f000001, but no names.
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    except (OSError, UnicodeError):
        found = []
    if not all(is_allowed(_parsed(each), scheme=parts.scheme) for each in found):
        raise ValueError(_("Webhooks are not sent to this network."))


def resolve(host: str, port: int, *, scheme: str) -> list[str]:
    """Look a name up and return its addresses as numbers.

    Raises:
        AddressRefused: One of them may not get a webhook.
        OSError: The name cannot be looked up.

    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except UnicodeError as error:
        raise OSError("The name is not valid.") from error
    for each in found:
        if not is_allowed(_parsed(each), scheme=scheme):
            raise AddressRefused(f"{each[4][0]} is not a public address.")
    return list(dict.fromkeys(str(each[4][0]) for each in found))


def is_allowed(address: Address, *, scheme: str) -> bool:
    """Return True if a webhook may be sent here: over https to public addresses, also unencrypted to allowed networks.

    An IPv6 address that stands for an IPv4 address is as public as that one.
    """
    inner = list(_embedded(address))
    allowed = [ip_network(network) for network in config.WEBHOOK_ALLOWED_NETWORKS]
    if any(each in network for each in (address, *inner) for network in allowed):
        return True
    return scheme == "https" and all(map(_is_public, (address, *inner)))


def _is_public(address: Address) -> bool:
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return True
    # Python calls some of these global.
    is_special = address.is_multicast or address.is_reserved or address.is_unspecified or address.is_loopback
    is_site_local = isinstance(address, IPv6Address) and address.is_site_local
    if isinstance(address, IPv6Address) and address in NAT64:
        is_special = False
    is_reserved = any(address in network for network in RESERVED)
    return address.is_global and not (is_special or is_site_local or is_reserved)


def _embedded(address: Address) -> Iterator[IPv4Address]:
    """Yield the IPv4 addresses that systems may reach under an IPv6 address: mapped, NAT64, 6to4 and Teredo."""
    if isinstance(address, IPv4Address):
        return
    if address.ipv4_mapped is not None:
        yield address.ipv4_mapped
    if address in NAT64:
        yield IPv4Address(int(address) & 0xFFFFFFFF)
    if address.sixtofour is not None:
        yield address.sixtofour
    if address.teredo is not None:
        yield from address.teredo


# Any: what getaddrinfo returns for each family.
def _parsed(found: tuple[object, ...]) -> Address:
    address: str = found[4][0]  # type: ignore[index]
    # Without the interface of a link-local address.
    return ip_address(address.partition("%")[0])
