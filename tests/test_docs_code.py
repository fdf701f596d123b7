"""Every code block of README.md and docs/: exports are made, views answered, settings checked, commands parsed.

`OWN_TESTS` names the pages whose Python is run further by a test module, `NOT_RUN` the blocks that no test runs, with
the reason, which pytest prints as that of a skipped test.
"""

import ast
import configparser
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from copy import deepcopy
from importlib.util import find_spec
from pathlib import Path
from types import FunctionType
from typing import Any

import pytest
import yaml
from django.conf import settings
from django.contrib.auth.models import AnonymousUser, User
from django.core.checks import Error, run_checks
from django.db.utils import ConnectionHandler
from django.http import HttpResponseBase
from django.template import engines
from django.test import RequestFactory, override_settings
from django.utils import translation

import tests.shop.models
from bin.compile_translations import compile_translations
from exports import services
from exports.exporters import registry
from exports.http import words
from exports.models import Status
from exports.tabular import writers
from exports.worker import loop
from tests.doc_blocks import PAGES, ROOT, Block, blocks_of, problem_of_command, unfenced_code
from tests.shop.models import Customer, Order
from tests.shop.requests import NOON
from tests.shop.runs import use_folders

BLOCKS = [block for page in PAGES for block in blocks_of(page)]
# These modules read their page and run its Python with more than the rules of this module.
OWN_TESTS = {
    "admin.md": "test_admin_guide.py",
    "api.md": "test_api_guide.py",
    "client.md": "test_client.py",
    "custom-writers.md": "test_custom_writers.py",
    "delegated.md": "test_exporters_dask.py",
    "exports.md": "test_exporters_guide.py",
    "migrating-from-dj-bgfiles.md": "test_migration_guide.py",
    "protocol.md": "e2e/test_client.py",
    "quickstart.md": "e2e/test_quickstart.py",
    "single-page-applications.md": "test_stacks_tokens.py",
    "task-queues.md": "test_stacks_queues.py",
    "tenants.md": "test_stacks_tenants.py",
    "webhooks.md": "test_webhooks_docs.py",
}
NOT_RUN = {
    (
        "api.md",
        'curl --fail --header "Authorization: Bearer $TOKEN" --header "Idempotency',
    ): "tests/test_api_guide.py runs it",
    ("architecture.md", "browser ──POST──▶ http.views ──▶ "): "a drawing",
    ("architecture.md", "interfaces    http  realtime.consumers"): "a drawing",
    ("architecture.md", "readers       copy · cursor · instances"): "a drawing",
    ("deploying.md", "map $http_upgrade "): "tests/test_nginx.py runs it",
    ("migrating-from-dj-bgfiles.md", "class ScheduleWithCelery:"): "a hook for a task of the project",
    ("migrating-from-dj-bgfiles.md", "migrations.RunSQL("): "a part of a migration",
    ("operations.md", "ZeroDivisionError at shop/exports.py:31"): "a line of a log",
}
LANGUAGES = ("bash", "css", "html", "ini", "javascript", "js", "json", "po", "python", "sh", "ts", "yaml")
SETTINGS = ("CHANNEL_LAYERS", "DATABASES", "EXPORTS", "INSTALLED_APPS", "MIDDLEWARE", "STORAGES", "TEMPLATES")


def is_not_run(block: Block) -> bool:
    return any(block.page == page and block.first_line.startswith(start) for page, start in NOT_RUN)


def of(*languages: str) -> Any:
    """Return a decorator that runs a test with each block in these languages, except those in NOT_RUN."""
    chosen = [block for block in BLOCKS if block.language in languages and not is_not_run(block)]
    return pytest.mark.parametrize("block", [pytest.param(block, id=block.name) for block in chosen])


# What is declared


def test_every_block_is_fenced_and_has_a_language():
    assert {page.name: lines for page in PAGES if (lines := unfenced_code(page))} == {}
    unknown = [block.name for block in BLOCKS if block.language not in LANGUAGES and not is_not_run(block)]
    assert unknown == [], (
        f"A block begins with ``` and one of {', '.join(LANGUAGES)}. If no test can run it (a drawing, a log, the "
        f"configuration of another program), list it with the reason in NOT_RUN of tests/test_docs_code.py."
    )


@pytest.mark.parametrize(("page", "start"), NOT_RUN)
def test_a_block_that_no_test_runs_is_listed_with_its_reason(page: str, start: str):
    assert any(block.page == page and block.first_line.startswith(start) for block in BLOCKS), "There is no such block."
    pytest.skip(f"{page}, {start}...: {NOT_RUN[page, start]}")


@pytest.mark.parametrize(("page", "module"), OWN_TESTS.items())
def test_the_tests_of_a_page_read_it(page: str, module: str):
    assert page.removesuffix(".md") in (ROOT / "tests" / module).read_text()


# Data and commands


@of("json")
def test_json_can_be_read(block: Block):
    json.loads(block.code)


@of("yaml")
def test_yaml_can_be_read(block: Block):
    assert yaml.safe_load(block.code)


@of("ini")
def test_ini_can_be_read(block: Block):
    parser = configparser.ConfigParser(strict=False)
    parser.optionxform = str  # type: ignore[method-assign, assignment]
    parser.read_string(block.code)
    assert parser.sections()


@of("bash", "sh")
def test_commands_exist_and_take_their_arguments(block: Block):
    parsed = subprocess.run(["bash", "-n"], input=block.code, capture_output=True, text=True, check=False)
    assert parsed.returncode == 0, parsed.stderr
    lines = block.code.replace("\\\n", " ").replace(" && ", "\n").replace(" | ", "\n").splitlines()
    assert [problem for line in lines if (problem := problem_of_command(line))] == []


@pytest.mark.skipif(shutil.which("node") is None, reason="Node is not installed")
@of("javascript", "js")
def test_javascript_can_be_parsed(block: Block):
    command = ["node", "--check", "--input-type=module", "-"]
    parsed = subprocess.run(command, input=block.code, capture_output=True, text=True, check=False)
    assert parsed.returncode == 0, parsed.stderr


@of("css")
def test_css_sets_properties_that_the_stylesheet_uses(block: Block):
    stylesheet = (ROOT / "frontend" / "exports.css").read_text()
    names = {line.split(":")[0].strip() for line in block.code.splitlines() if line.strip().startswith("--")}
    assert {name for name in names if f"var({name})" not in stylesheet} == set()
    assert block.code.count("{") == block.code.count("}") > 0


@of("po")
@pytest.mark.django_db
def test_a_translation_is_shown_in_the_page(block: Block, tmp_path: Path, admin: User):
    messages = tmp_path / "de" / "LC_MESSAGES"
    messages.mkdir(parents=True)
    (messages / "django.po").write_text(block.code)
    compile_translations(tmp_path)
    with override_settings(LOCALE_PATHS=[tmp_path]), translation.override("de"):
        said = json.dumps(words.catalogue(), ensure_ascii=False)
    translation.trans_real._translations.pop("de", None)
    texts = re.findall(r'^msgstr\S* "(.+)"$', block.code, re.MULTILINE)
    assert len(texts) > 1
    assert [text for text in texts if text not in said] == []


# Python and templates


@pytest.fixture
def admin() -> User:
    return User.objects.create_superuser("admin")


@pytest.fixture
def shop(monkeypatch: pytest.MonkeyPatch, settings: Any, tmp_path: Path) -> Iterator[None]:
    """The app `shop` of the pages is the one of the tests, with two orders; what a page registers is forgotten."""
    monkeypatch.setitem(sys.modules, "shop", tests.shop)
    monkeypatch.setitem(sys.modules, "shop.models", tests.shop.models)
    monkeypatch.setattr(writers, "_writers", dict(writers._writers))
    monkeypatch.setattr(registry, "handlers", {})
    use_folders(settings, tmp_path)
    ada = Customer.objects.create(name="Ada", city="Oslo")
    for number, status in ((1, "open"), (2, "sent")):
        order = {"number": f"N{number}", "quantity": number, "price": "10.50", "placed_at": NOON}
        Order.objects.create(**order, status=status, customer=ada)


def run_page(page: str) -> Iterator[dict[str, Any]]:
    """Run the Python blocks of a page, each with the names of those before it, and yield the names after each."""
    names: dict[str, Any] = {name: deepcopy(getattr(settings, name)) for name in SETTINGS}
    names["__name__"] = "shop.exports"
    for block in BLOCKS:
        if block.page == page and block.language == "python" and not is_not_run(block):
            # Errors name the page and the line.
            tree = ast.parse(block.code, filename=block.page)
            try:
                exec(compile(ast.increment_lineno(tree, block.line), str(ROOT / "docs" / page), "exec"), names)
            except Exception as error:
                error.add_note(f"This is {block.name}. If another test runs the page, name it in OWN_TESTS.")
                raise
            yield names


PYTHON_PAGES = sorted({block.page for block in BLOCKS if block.language == "python"} - set(OWN_TESTS))


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("shop")
@pytest.mark.parametrize("page", PYTHON_PAGES)
def test_python_runs_as_the_page_says(page: str, admin: User):
    for names in run_page(page):
        check_settings(names)
    assert run_checks(tags=["exports"]) == []
    for file_type in [*registry.handlers]:
        make_file(file_type, admin)
    for name, value in names.items():
        is_own = isinstance(value, FunctionType) and Path(value.__code__.co_filename).name == page
        if is_own and value.__code__.co_varnames[:1] == ("request",):
            request = RequestFactory().get("/")
            request.user = admin
            response = value(request)
            assert isinstance(response, HttpResponseBase), name
            assert response.status_code < 400, name
            response.close()


def check_settings(names: dict[str, Any]) -> None:
    """Fail if our system checks refuse the settings of a block, or an app or a database cannot be loaded."""
    changed = {name: names[name] for name in SETTINGS if names[name] != getattr(settings, name)}
    apps = [app for app in changed.pop("INSTALLED_APPS", []) if isinstance(app, str)]
    assert [app for app in apps if find_spec(app.partition(".apps.")[0]) is None] == []
    for database in changed.pop("DATABASES", {}).values():
        if database["ENGINE"].endswith("sqlite3") and "options" not in database.get("OPTIONS", {}):
            connection = ConnectionHandler({"default": {**database, "NAME": ":memory:"}})["default"]
            connection.ensure_connection()
            connection.close()
    if changed:
        with override_settings(**changed):
            assert [each for each in run_checks(tags=["exports"]) if isinstance(each, Error)] == []


def make_file(file_type: str, user: User) -> None:
    exporter = registry.find_exporter(file_type)
    for format, _ in exporter.format_choices():
        export, _ = services.request_export(user, file_type, {}, format=format)
        assert loop.dispatch(export.pk)
        export.refresh_from_db()
        assert export.status == Status.READY, export.error_detail


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("shop")
@of("html")
def test_templates_are_rendered(block: Block, admin: User):
    for _ in run_page(block.page):
        pass
    export = services.request_rows(admin, [{"a": 1}], ["a"], format="csv", options={}, filename="a", is_small=True)
    for user in (admin, AnonymousUser()):
        request = RequestFactory().get("/")
        request.user = user
        context = {"user": user, "export": services.state_for(user, export)}
        assert engines["django"].from_string(block.code).render(context, request).strip()
