"""The OpenAPI document of the API: what it says is what programs get, also when they ask for nonsense."""

import json
import os
from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest
import schemathesis
from django.conf import LazySettings
from django.contrib.auth.models import User
from django.core.signals import request_finished, request_started
from django.core.wsgi import get_wsgi_application
from django.db import close_old_connections
from django.test import Client
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.strategies import sampled_from
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from exports.access import tokens
from exports.contrib.api.documented import document_of
from exports.contrib.api.state_schema import state_schemas
from exports.contrib.api.urls import api
from exports.models import Actor, Preset
from tests import docs_tables
from tests.office import people, rows
from tests.office.browsers import signed_in, url_of
from tests.office.exports import open_office
from tests.office.worlds import STATUSES
from tests.shop.runs import configure

URL = "/exports/api/v1/openapi.json"
DOCUMENT = document_of(api, "/exports/api/v1/")
# More examples take minutes: SCHEMATHESIS_EXAMPLES=200.
EXAMPLES = int(os.environ.get("SCHEMATHESIS_EXAMPLES", "5"))
RARELY = settings(
    max_examples=EXAMPLES,
    deadline=None,
    database=None,
    derandomize=True,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]


@pytest.fixture(autouse=True)
def office(settings: LazySettings) -> Iterator[None]:
    configure(settings, MAX_WAIT_SECONDS=0)
    with open_office():
        yield


def test_the_copy_in_the_documentation_is_up_to_date():
    copy = (docs_tables.DOCS / "openapi.json").read_text()
    assert copy == docs_tables.openapi(), "Write it again: python -m tests.docs_tables"


def test_anyone_gets_the_document_with_the_address_of_the_api():
    document = Client().get(URL).json()
    assert (document["openapi"], document["servers"]) == ("3.1.0", [{"url": "/exports/api/v1"}])
    assert document == json.loads(json.dumps(DOCUMENT))


@pytest.mark.django_db
@pytest.mark.parametrize("status", STATUSES)
def test_states_are_as_their_schema_says(status: str):
    ada = people.user("ada")
    state = signed_in(ada).get(url_of("detail", rows.IN_STATUS[status](ada))).json()
    schemas = state_schemas("#/$defs/{}")
    closed = {name: {**schema, "additionalProperties": False} for name, schema in schemas.items()}
    jsonschema.validate(state, {"$ref": "#/$defs/State", "$defs": closed}, jsonschema.Draft202012Validator)


@pytest.fixture
def ada() -> User:
    return people.user("ada")


@pytest.fixture
def application() -> Iterator[Any]:
    """The site, whose requests leave the connection of the test open."""
    for signal in (request_started, request_finished):
        signal.disconnect(close_old_connections)
    yield get_wsgi_application()
    for signal in (request_started, request_finished):
        signal.connect(close_old_connections)


@pytest.mark.django_db
@pytest.mark.parametrize("who", ["a user", "nobody"])
def test_no_request_gets_an_error_of_the_server_or_an_answer_that_is_not_documented(
    ada: User, application: Any, who: str
):
    _token, text = tokens.create(ada, "schemathesis", Actor.of(ada), can_create=True)
    headers = {"authorization": f"Bearer {text}"} if who == "a user" else {}
    presets = [Preset.objects.create(owner=ada, file_type="report", name=f"{n}", format="csv").pk for n in range(5)]
    exports = [str(rows.IN_STATUS[status](ada).pk) for status in STATUSES]
    answered = set()

    def ask(case: schemathesis.Case, is_known: bool, export: str, preset: int) -> None:
        if is_known:
            known = {"type": "report", "id": preset if "presets" in case.path else export}
            case.path_parameters = {name: known[name] for name in case.path_parameters}
            if isinstance(case.body, dict) and "type" in case.body:
                case.body = {**case.body, "type": "report", "criteria": {"month": 4}}
        answered.add(case.call_and_validate(headers=headers, checks=CHECKS).status_code)

    for found in schemathesis.openapi.from_wsgi(URL, application).get_all_operations():
        for mode in schemathesis.GenerationMode if who == "a user" else [schemathesis.GenerationMode.POSITIVE]:
            case = found.ok().as_strategy(generation_mode=mode)
            asking = given(case, sampled_from([True, False]), sampled_from(exports), sampled_from(presets))(ask)
            RARELY(asking)()
    assert answered >= ({200, 202, 204, 400, 404, 409} if who == "a user" else {401})
