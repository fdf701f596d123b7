"""The demo site: its environment variables, refused charsets, and the deployment check."""

import os
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from django.core.asgi import get_asgi_application
from django.core.exceptions import ImproperlyConfigured

from project import environment
from project.charsets import TextCharsets

DEFAULTS = {"LEASE_SECONDS": 60.0, "MAX_ATTEMPTS": 3, "WORK_DIR": "", "STORAGE": None, "IS_OPEN": True}
# Settings with which `check --deploy` has nothing to report.
DEPLOYED = {
    "HTTPS": "1",
    "BASE_URL": "https://exports.example",
    "SECRET_KEY": "kC" * 20 + "0123456789-ABCDEF",
    "TICKET_KEYS": "aT" * 20 + "0123456789",
    "QUEUE_KEYS": "bQ" * 20 + "0123456789",
    "EMAIL_URL": "smtp+tls://exports:secret@mail.example:587",
}


def test_numbers_take_the_type_of_their_default():
    given = {
        "EXPORTS_LEASE_SECONDS": "2",
        "EXPORTS_MAX_ATTEMPTS": "7",
        "EXPORTS_WORK_DIR": "",
        "EXPORTS_PORT": "tcp://10.0.0.1:80",
        "LEASE_SECONDS": "9",
    }
    assert environment.numbers(given, DEFAULTS, prefix="EXPORTS_") == {"LEASE_SECONDS": 2.0, "MAX_ATTEMPTS": 7}
    assert environment.numbers({"EXPORTS_LEASE_SECONDS": ""}, DEFAULTS, prefix="EXPORTS_") == {}


@pytest.mark.parametrize(
    ("name", "text", "expected"), [("LEASE_SECONDS", "soon", "a number"), ("MAX_ATTEMPTS", "2.5", "a whole number")]
)
def test_an_invalid_number_is_explained(name: str, text: str, expected: str):
    with pytest.raises(ImproperlyConfigured, match=f"EXPORTS_{name} must be {expected}"):
        environment.numbers({f"EXPORTS_{name}": text}, DEFAULTS, prefix="EXPORTS_")


def test_only_development_starts_without_a_secret_key():
    assert environment.secret_key("given", debug=False) == "given"
    assert environment.secret_key("", debug=True).startswith("django-insecure-")
    with pytest.raises(ImproperlyConfigured, match="SECRET_KEY is not set"):
        environment.secret_key("", debug=False)


@pytest.mark.parametrize(
    ("content_type", "status"),
    [
        *((f"text/plain; charset={name}", 415) for name in ("rot13", "idna", "undefined", "hex", "punycode", "zip")),
        *((f"text/plain; charset={name}", 404) for name in ("UTF-8", "latin-1", '"us-ascii"', "nowhere", "\xe9")),
        *((text, 404) for text in ("", ";", "text/plain", "multipart/form-data; boundary=x")),
    ],
)
async def test_charsets_that_are_not_text_are_refused(content_type: str, status: int):
    headers = {"content-type": content_type.encode("latin-1")}
    async with httpx.AsyncClient(transport=httpx.ASGITransport(TextCharsets(get_asgi_application()))) as browser:
        answer = await browser.get("http://testserver/nowhere/", headers=headers)
    assert answer.status_code == status
    if status == 415:
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert answer.headers["x-content-type-options"] == "nosniff"


def test_a_deployed_site_passes_the_deployment_check(tmp_path: Path):
    inherited = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    finished = subprocess.run(
        [sys.executable, "manage.py", "check", "--deploy", "--fail-level", "WARNING"],
        cwd=Path(__file__).parent.parent,
        env=inherited | DEPLOYED | {"VAR_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert finished.returncode == 0, finished.stderr
