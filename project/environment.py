"""Read settings from environment variables; errors say which variable is wrong and what it must be."""

from collections.abc import Mapping, Sequence
from typing import Any

import django
from django.core.exceptions import ImproperlyConfigured

# What Django 6.1 calls the settings of its backends in MAILERS. It refuses options that a backend does not have.
MAIL_OPTIONS = {
    "filebased": {"file_path": "EMAIL_FILE_PATH"},
    "smtp": {
        "host": "EMAIL_HOST",
        "port": "EMAIL_PORT",
        "username": "EMAIL_HOST_USER",
        "password": "EMAIL_HOST_PASSWORD",
        "use_tls": "EMAIL_USE_TLS",
        "use_ssl": "EMAIL_USE_SSL",
        "timeout": "EMAIL_TIMEOUT",
    },
}


def secret_key(given: str, *, debug: bool) -> str:
    if given:
        return given
    if debug:
        # A constant, because all processes must use the same key.
        return "django-insecure-only-for-development"
    raise ImproperlyConfigured(
        "SECRET_KEY is not set. Set it to a long, random, secret text, the same for every process."
    )


def numbers(environment: Mapping[str, str], defaults: Mapping[str, Any], *, prefix: str) -> dict[str, int | float]:
    """Return the numbers of `defaults` that the environment sets: {"LEASE_SECONDS": 2.0} for EXPORTS_LEASE_SECONDS=2.

    Other variables with the prefix are ignored: Kubernetes sets EXPORTS_PORT for a service of that name.
    """
    return {
        name: number(environment[prefix + name], type(default), variable=prefix + name)
        for name, default in defaults.items()
        if isinstance(default, int | float) and not isinstance(default, bool) and environment.get(prefix + name)
    }


def number(text: str, kind: type[int | float], *, variable: str) -> int | float:
    try:
        return kind(text)
    except ValueError:
        wanted = "a whole number" if kind is int else "a number"
        raise ImproperlyConfigured(f"{variable} must be {wanted}, not {text!r}.") from None


def choice(text: str, known: Sequence[str], *, variable: str) -> str:
    if text not in known:
        raise ImproperlyConfigured(f"{variable} must be one of {', '.join(known)}, not {text!r}.")
    return text


def mail_settings(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return these EMAIL_* settings as the installed Django takes them: as they are, or as MAILERS from 6.1 on."""
    if django.VERSION < (6, 1):
        return dict(given)
    backend = given["EMAIL_BACKEND"]
    options = MAIL_OPTIONS.get(backend.split(".")[-2], {})
    found = {option: given[name] for option, name in options.items() if given.get(name)}
    return {"MAILERS": {"default": {"BACKEND": backend, "OPTIONS": found}}}
