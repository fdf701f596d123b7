"""manage.py exports setup: what the project still lacks, as text to add to its files, by the rules of the checks."""

import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from textwrap import indent

from django.conf import ENVIRONMENT_VARIABLE, settings
from django.core.checks import CheckMessage, run_checks
from django.urls import NoReverseMatch, reverse

from exports.checks.site import SQLITE_OPTIONS, asgi_module

STORAGE = """{
        "BACKEND": "django.core.files.storage.FileSystemStorage",
        "OPTIONS": {"location": BASE_DIR / "var" / "exports"},
    }"""
NEW_STORAGES = f"""STORAGES = {{
    "default": {{"BACKEND": "django.core.files.storage.FileSystemStorage"}},
    "staticfiles": {{"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}},
    "exports": {STORAGE},
}}"""
URLS = 'path("exports/", include("exports.urls")),'
ASGI = """from exports.realtime.asgi import with_exports

application = with_exports(get_asgi_application())"""


@dataclass(frozen=True)
class Step:
    """One addition: its file, its text, and the source of the file with it, or None if it must be added in person."""

    file: Path
    text: str
    add: Callable[[str], str | None]


def run(*, writes: bool) -> Iterator[str]:
    """Yield what is missing, and add it with `writes` where a file is still as startproject made it."""
    messages = run_checks(tags=["exports"], include_deployment_checks=True)
    found = [(message, STEPS[message.id]()) for message in messages if message.id in STEPS]
    if not found:
        yield "Nothing is missing. `manage.py exports doctor` checks the rest."
        return
    for message, step in found:
        yield from _lines(message, step, writes=writes)
    if not writes:
        yield "`manage.py exports setup --write` adds this to the files of a new project."


def _lines(message: CheckMessage, step: Step | None, *, writes: bool) -> Iterator[str]:
    yield f"{message.msg} ({message.id})"
    if step is None:
        yield f"    {message.hint}"
        return
    source = step.file.read_text() if writes else ""
    changed = step.add(source) if writes else None
    if changed is not None:
        step.file.write_text(changed)
    yield f"  {'added to' if changed is not None else 'add to'} {os.path.relpath(step.file)}:"
    yield indent(step.text, "    ")


def _append_to_settings(text: str) -> Step:
    def add(source: str) -> str | None:
        # Without it, these are not the settings of startproject.
        return f"{source.rstrip()}\n\n{text}\n" if "BASE_DIR = " in source else None

    return Step(Path(str(sys.modules[os.environ[ENVIRONMENT_VARIABLE]].__file__)), text, add)


def _storage() -> Step:
    has_storages = hasattr(sys.modules[os.environ[ENVIRONMENT_VARIABLE]], "STORAGES")
    return _append_to_settings(f'STORAGES["exports"] = {STORAGE}' if has_storages else NEW_STORAGES)


def _sqlite() -> Step:
    options = "".join(f"    {name!r}: {value!r},\n" for name, value in SQLITE_OPTIONS.items()).replace("'", '"')
    return _append_to_settings(f'DATABASES["default"]["OPTIONS"] = {{\n{options}}}')


def _login() -> Step | None:
    try:
        reverse("admin:login")
    except NoReverseMatch:
        return None
    return _append_to_settings('LOGIN_URL = "admin:login"')


def _urls() -> Step:
    def add(source: str) -> str | None:
        opening, imports = "urlpatterns = [\n", "from django.urls import path\n"
        if source.count(opening) != 1 or source.count(imports) != 1:
            return None
        source = source.replace(imports, "from django.urls import include, path\n")
        return source.replace(opening, f"{opening}    {URLS}\n")

    return Step(Path(str(import_module(settings.ROOT_URLCONF).__file__)), URLS, add)


def _asgi() -> Step | None:
    spec = find_spec(asgi_module() or "")
    if spec is None or spec.origin is None:
        return None

    def add(source: str) -> str | None:
        imported, application = "from django.core.asgi import get_asgi_application\n", ASGI.splitlines()[-1]
        if source.count(imported) != 1 or source.count("\napplication = get_asgi_application()\n") != 1:
            return None
        source = source.replace(imported, f"{imported}\n{ASGI.splitlines()[0]}\n")
        return source.replace("\napplication = get_asgi_application()\n", f"\n{application}\n")

    return Step(Path(spec.origin), ASGI, add)


STEPS: dict[str, Callable[[], Step | None]] = {
    "exports.W001": _storage,
    "exports.W023": _sqlite,
    "exports.W044": _login,
    "exports.E025": _urls,
    "exports.I003": _asgi,
}
"""What each of these checks lacks, by its id."""
