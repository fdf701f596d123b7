"""To which addresses a webhook may be sent, and that it is sent to the one that was checked."""

import socket
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import httpcore
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from exports.webhooks import addresses, client
from tests.office.receiver import Receiver
from tests.shop.runs import configure

REFUSED = [
    # This host, and what is not routed
    *("127.0.0.1", "127.255.255.254", "0.0.0.0", "0.1.2.3", "255.255.255.255", "240.0.0.1", "::", "::1"),
    # Private networks, carrier-grade NAT, link-local
    *("10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1", "100.64.0.1", "100.127.255.255", "169.254.1.1"),
    *("fc00::1", "fd12:3456::1", "fe80::1", "fec0::1"),
    # Metadata of clouds
    *("169.254.169.254", "100.100.100.200", "192.0.0.192", "168.63.129.16", "fd00:ec2::254"),
    # Multicast, documentation, benchmarks
    *("224.0.0.1", "239.255.255.250", "ff02::1", "ff0e::1", "192.0.2.1", "198.51.100.1", "198.18.0.1", "2001:db8::1"),
    # IPv4 in IPv6: mapped, compatible, NAT64, 6to4, Teredo
    *("::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "::127.0.0.1", "::10.0.0.1"),
    *("64:ff9b::127.0.0.1", "64:ff9b::169.254.169.254", "64:ff9b:1::1", "2002:7f00:1::1", "2002:a9fe:a9fe::1"),
    *("2001:0:7f00:1::1", "2001:0:4136:e378:8000:63bf:80ff:fffe", "3fff::1", "5f00::1"),
]
ALLOWED = ["8.8.8.8", "93.184.215.14", "100.63.255.255", "172.32.0.1", "2606:4700::1111", "::ffff:8.8.8.8"]
ALLOWED += ["64:ff9b::8.8.8.8"]


@pytest.mark.parametrize("address", REFUSED)
def test_no_webhook_goes_to_an_address_that_is_not_public(address: str) -> None:
    assert not addresses.is_allowed(ip_address(address), scheme="https")
    host = f"[{address}]" if ":" in address else address
    with pytest.raises(ValueError, match="not sent to this network"):
        addresses.check_url(f"https://{host}/hook")


@pytest.mark.parametrize("address", ALLOWED)
def test_webhooks_go_to_public_addresses_over_https(address: str) -> None:
    assert addresses.is_allowed(ip_address(address), scheme="https")
    assert not addresses.is_allowed(ip_address(address), scheme="http")


def test_a_setting_allows_networks_also_without_https(settings: Any) -> None:
    configure(settings, WEBHOOK_ALLOWED_NETWORKS=["10.1.0.0/16"])
    for scheme in ("http", "https"):
        assert addresses.is_allowed(ip_address("10.1.2.3"), scheme=scheme)
        assert addresses.is_allowed(ip_address("::ffff:10.1.2.3"), scheme=scheme)
        assert not addresses.is_allowed(ip_address("10.2.0.1"), scheme=scheme)
    addresses.check_url("http://intranet.example/hook")


BAD = {
    "ftp://hooks.example/": "https://",
    "http://hooks.example/": "https://",
    "//hooks.example/": "https://",
    "hooks.example": "no|not an address",
    "https://": "not an address",
    "https://[::1/": "not an address",
    "https://hooks.example:port/": "not an address",
    "https://hooks.example:99999/": "not an address",
    "https://hooks.example/a b": "not an address",
    "https://hooks.example/\r\nX-Evil: 1": "not an address",
    "https://hööks.example/": "not an address",
    "https://hooks.example/" + "x" * 500: "not an address",
    "https://user:secret@hooks.example/": "no user",
    "https://hooks.example@10.0.0.1/": "no user",
    "https://hooks.example/#part": "no fragment",
    "https://127.1/": "this network",
    "https://0x7f000001/": "this network",
    "https://2130706433/": "this network",
    "https://0177.0.0.1/": "this network",
}


@pytest.mark.parametrize("url", BAD)
def test_the_reason_is_said_why_an_address_cannot_be_used(url: str) -> None:
    with pytest.raises(ValueError, match=BAD[url]):
        addresses.check_url(url)


@pytest.mark.parametrize(
    "url", ["https://hooks.example", "https://hooks.example:8443/a/b?c=d%20e", "HTTPS://Hooks.example/"]
)
def test_addresses_of_the_web_are_accepted(url: str) -> None:
    addresses.check_url(url)


# Names


Names = dict[str, list[list[str]]]


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Names:
    """Names and what each look-up of them finds, one after the other; a real name server cannot be used here."""
    found: Names = {}
    look_up = socket.getaddrinfo

    def getaddrinfo(host: Any, *args: Any, **kwargs: Any) -> Any:
        if host not in found:
            return look_up(host, *args, **kwargs)
        answer = found[host].pop(0)
        return [each for address in answer for each in look_up(address, *args, **kwargs)]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    return found


def post(url: str) -> int:
    return client.post(url, b"{}", {"content-type": "application/json"}, seconds=2)


def test_the_address_that_was_checked_is_the_one_that_is_used(settings: Any, names: Names) -> None:
    """The second look-up, which never happens, would find an address that is not allowed: DNS rebinding."""
    configure(settings, WEBHOOK_ALLOWED_NETWORKS=["127.0.0.2/32"])
    with Receiver(host="127.0.0.2") as receiver:
        names["rebind.example"] = [["127.0.0.2"], ["127.0.0.1"]]
        assert post(f"http://rebind.example:{receiver.port}/hook") == 204
        assert names["rebind.example"] == [["127.0.0.1"]]
        assert receiver.received[0].headers["host"] == f"rebind.example:{receiver.port}"


@pytest.mark.parametrize("found", [["127.0.0.1"], ["127.0.0.2", "127.0.0.1"], ["169.254.169.254"]])
def test_a_name_with_an_address_that_is_not_allowed_is_refused(settings: Any, names: Names, found: list[str]) -> None:
    configure(settings, WEBHOOK_ALLOWED_NETWORKS=["127.0.0.2/32"])
    with Receiver(host="127.0.0.2") as receiver:
        names["evil.example"] = [found]
        with pytest.raises(addresses.AddressRefused):
            post(f"http://evil.example:{receiver.port}/")
        assert receiver.received == []


def test_a_public_name_gets_nothing_without_https(settings: Any, names: Names) -> None:
    configure(settings, WEBHOOK_ALLOWED_NETWORKS=["127.0.0.2/32"])
    names["public.example"] = [["93.184.215.14"]]
    with pytest.raises(addresses.AddressRefused):
        post("http://public.example/")


def test_the_next_address_of_a_name_is_tried(settings: Any, names: Names) -> None:
    configure(settings, WEBHOOK_ALLOWED_NETWORKS=["127.0.0.0/8"])
    with Receiver(host="127.0.0.2") as receiver:
        names["two.example"] = [["127.0.0.3", "127.0.0.2"]]
        assert post(f"http://two.example:{receiver.port}/") == 204


def test_a_name_that_does_not_exist_is_an_error_of_the_network() -> None:
    with pytest.raises(httpcore.ConnectError):
        post("https://nowhere.invalid/")


def test_proxies_of_the_environment_do_not_count(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    configure(settings, WEBHOOK_ALLOWED_NETWORKS=["127.0.0.0/8"])
    with Receiver() as proxy, Receiver() as receiver:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, proxy.url)
        assert post(receiver.url) == 204
        assert (len(proxy.received), len(receiver.received)) == (0, 1)


# TLS


Certify = Callable[[str], str]


@pytest.fixture
def certify(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Certify:
    """Return a function that makes a certificate for a name and its key, which the system trusts."""

    def make(name: str) -> str:
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        now = datetime.now(UTC)
        made = (
            x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=1))
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(key, hashes.SHA256())
        )
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        path = tmp_path / f"{name}.pem"
        path.write_bytes(made.public_bytes(serialization.Encoding.PEM) + private)
        monkeypatch.setenv("SSL_CERT_FILE", str(path))
        return str(path)

    return make


def test_the_certificate_must_be_that_of_the_name(settings: Any, names: Names, certify: Certify) -> None:
    configure(settings, WEBHOOK_ALLOWED_NETWORKS=["127.0.0.0/8"])
    with Receiver(certificate=certify("hooks.example")) as receiver:
        for name in ("hooks.example", "other.example"):
            names[name] = [["127.0.0.1"]]
        assert post(f"https://hooks.example:{receiver.port}/") == 204
        with pytest.raises(httpcore.ConnectError, match="Hostname mismatch"):
            post(f"https://other.example:{receiver.port}/")


def test_a_certificate_that_the_system_does_not_trust_is_refused(
    settings: Any, names: Names, certify: Certify, monkeypatch: pytest.MonkeyPatch
) -> None:
    configure(settings, WEBHOOK_ALLOWED_NETWORKS=["127.0.0.0/8"])
    with Receiver(certificate=certify("hooks.example")) as receiver:
        monkeypatch.delenv("SSL_CERT_FILE")
        names["hooks.example"] = [["127.0.0.1"]]
        with pytest.raises(httpcore.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
            post(f"https://hooks.example:{receiver.port}/")
