"""manage.py exports setup in a project that is not new; tests/e2e/test_quickstart.py runs it in a new one."""

from io import StringIO
from pathlib import Path

import pytest
from django.conf import LazySettings
from django.core.management import call_command

import tests.settings


def setup(*options: str) -> str:
    printed = StringIO()
    call_command("exports", "setup", *options, stdout=printed)
    return printed.getvalue()


def test_nothing_is_printed_about_what_the_checks_accept(settings: LazySettings):
    assert "LOGIN_URL" not in setup()


@pytest.mark.parametrize("options", [(), ("--write",)])
def test_files_that_are_not_as_startproject_made_them_are_left_alone(settings: LazySettings, options: tuple[str, ...]):
    source = Path(tests.settings.__file__)
    before = source.read_bytes()
    settings.LOGIN_URL = "/nowhere/"
    printed = setup(*options)
    assert "which no URL of the site answers: users cannot sign in. (exports.W044)" in printed
    assert '  add to tests/settings.py:\n    LOGIN_URL = "admin:login"\n' in printed
    assert source.read_bytes() == before


def test_a_remedy_that_the_project_does_not_have_is_the_hint_of_the_check(settings: LazySettings):
    settings.ROOT_URLCONF = "exports.urls"
    assert "Set LOGIN_URL to the path or the name of your login page" in setup()
