"""How the demo site reads its environment and writes its log."""

import logging
import logging.config
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
from project.logs import OneLine, configuration

DEFAULTS = {"LEASE_SECONDS": 60.0, "MAX_ATTEMPTS": 3, "WORK_DIR": "", "STORAGE": None, "IS_OPEN": True}


def test_numbers_of_the_environment_take_the_type_of_their_default() -> None:
    given = {
        "EXPORTS_LEASE_SECONDS": "2",
        "EXPORTS_MAX_ATTEMPTS": "7",
        "EXPORTS_PORT": "tcp://10.0.0.1:80",
        "LEASE_SECONDS": "9",
    }
    assert environment.numbers(given, DEFAULTS, prefix="EXPORTS_") == {"LEASE_SECONDS": 2.0, "MAX_ATTEMPTS": 7}


def test_an_empty_number_is_none_at_all() -> None:
    assert environment.numbers({"EXPORTS_LEASE_SECONDS": ""}, DEFAULTS, prefix="EXPORTS_") == {}


@pytest.mark.parametrize(
    ("name", "text", "wanted"), [("LEASE_SECONDS", "soon", "a number"), ("MAX_ATTEMPTS", "2.5", "a whole")]
)
def test_what_is_no_number_is_a_sentence(name: str, text: str, wanted: str) -> None:
    with pytest.raises(ImproperlyConfigured, match=f"EXPORTS_{name} must be {wanted}"):
        environment.numbers({f"EXPORTS_{name}": text}, DEFAULTS, prefix="EXPORTS_")


def test_without_a_secret_key_only_development_starts() -> None:
    assert environment.secret_key("given", debug=False) == "given"
    assert environment.secret_key("", debug=True).startswith("django-insecure-")
    with pytest.raises(ImproperlyConfigured, match="SECRET_KEY is not set"):
        environment.secret_key("", debug=False)


def failure() -> logging.LogRecord:
    try:
        raise ValueError("two\nlines")
    except ValueError:
        return logging.LogRecord("exports", logging.ERROR, "here.py", 1, "It failed", None, sys.exc_info())


def test_of_an_exception_its_type_and_places_are_logged_and_not_its_words() -> None:
    record = failure()
    # Another handler has left the whole of it on the record.
    assert "two" in logging.Formatter().format(record)
    line = OneLine("%(levelname)s %(message)s").format(record)
    assert line.startswith("ERROR It failed | ValueError | ")
    assert line.endswith("in failure")
    assert "two" not in line


def test_while_developing_a_whole_traceback_stays_on_the_line_of_its_record() -> None:
    line = OneLine("%(levelname)s %(message)s", exceptions="full").format(failure())
    assert line.startswith("ERROR It failed | Traceback")
    assert line.endswith("ValueError: two | lines")
    assert "\n" not in line


@pytest.mark.parametrize("format", ["text", "json"])
def test_both_formats_can_be_configured(format: str) -> None:
    chosen = configuration("INFO", format=format)["formatters"][format]
    formatter = logging.config.DictConfigurator({"version": 1}).configure_formatter(chosen)
    assert "ValueError" in formatter.format(failure())


def test_queries_with_their_values_are_never_logged() -> None:
    assert configuration("DEBUG")["loggers"]["django.db.backends"]["level"] == "INFO"


@pytest.mark.parametrize("name", ["boto3", "botocore", "s3transfer", "urllib3"])
def test_requests_to_a_bucket_with_their_signatures_are_never_logged(name: str) -> None:
    assert configuration("DEBUG")["loggers"][name]["level"] == "INFO"


@pytest.mark.parametrize(
    ("content_type", "status"),
    [
        *((f"text/plain; charset={name}", 415) for name in ("rot13", "idna", "undefined", "hex", "punycode", "zip")),
        *((f"text/plain; charset={name}", 404) for name in ("UTF-8", "latin-1", '"us-ascii"', "nowhere", "\xe9")),
        *((text, 404) for text in ("", ";", "text/plain", "multipart/form-data; boundary=x")),
    ],
)
async def test_a_charset_that_is_none_is_refused_before_django_fails_at_it(content_type: str, status: int) -> None:
    headers = {"content-type": content_type.encode("latin-1")}
    async with httpx.AsyncClient(transport=httpx.ASGITransport(TextCharsets(get_asgi_application()))) as browser:
        answer = await browser.get("http://testserver/nowhere/", headers=headers)
    assert answer.status_code == status


# A site that the deployment check has nothing to say of.
DEPLOYED = {
    "HTTPS": "1",
    "BASE_URL": "https://exports.example",
    "SECRET_KEY": "kC" * 20 + "0123456789-ABCDEF",
    "TICKET_KEYS": "aT" * 20 + "0123456789",
    "QUEUE_KEYS": "bQ" * 20 + "0123456789",
    "EMAIL_URL": "smtp+tls://exports:secret@mail.example:587",
}


def test_https_is_one_switch_that_the_deployment_check_accepts(tmp_path: Path) -> None:
    own = DEPLOYED | {"VAR_DIR": str(tmp_path)}
    inherited = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    finished = subprocess.run(
        [sys.executable, "manage.py", "check", "--deploy", "--fail-level", "WARNING"],
        cwd=Path(__file__).parent.parent,
        env=inherited | own,
        capture_output=True,
        text=True,
    )
    assert finished.returncode == 0, finished.stderr
