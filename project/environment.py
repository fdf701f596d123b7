"""Read settings from environment variables; errors say which variable is wrong and what it must be."""

from collections.abc import Mapping, Sequence
from typing import Any

from django.core.exceptions import ImproperlyConfigured


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
