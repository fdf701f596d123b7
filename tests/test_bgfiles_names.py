"""Every public name of dj-bgfiles exists and takes the same arguments."""

import inspect
from collections.abc import Callable
from operator import attrgetter
from typing import Any

import pytest
from django.db import models

from exports import patterns, toolbox
from exports.fields import ConfigurableFileField, get_storage, get_upload_to
from exports.http import create_content_disposition
from exports.models import FileRequest
from exports.patterns import (
    Criteria,
    Dataset,
    DelayedTemplateResponseMixin,
    EmailNotificationMixin,
    FullPattern,
    QueryDictCriteria,
    QueryDictCriteriaWithRequester,
    SimplePattern,
    WriterPattern,
    registry,
)
from exports.patterns.huey import ScheduleWithHueyMixin, ScheduleWithHueyPattern
from exports.toolbox import JSONSerializer, Signer
from exports.views import evaluate_request, serve_file

NAMES = {
    *("InvalidCriteria", "InvalidForm", "Criteria", "QueryDictCriteria", "QueryDictCriteriaWithRequester", "Dataset"),
    *("SimplePattern", "WriterPattern", "DelayedTemplateResponseMixin", "EmailNotificationMixin", "FullPattern"),
    "registry",
}


LENGTHS = {"filename": 200, "file_type": 100, "content_type": 200, "requester_language": 10, "requester_timezone": 200}
FIELDS = {
    "id": models.UUIDField,
    "filehandle": ConfigurableFileField,
    "size": models.BigIntegerField,
    "requester": models.ForeignKey,
    **dict.fromkeys(("criteria", "description"), models.TextField),
    **dict.fromkeys(("requested_at", "finished_at", "expires_at"), models.DateTimeField),
    **dict.fromkeys(LENGTHS, models.CharField),
}
NULLABLE = {"filehandle", "size", "requester", "finished_at", "expires_at"}
INDEXED = {"file_type", "requested_at", "finished_at", "requester"}
CONTEXT = "self, file_request, http_request, dataset"
# The hooks of the patterns, by their parameters.
HOOKS = {
    "self": """
        Criteria.marshall WriterPattern.get_content_type WriterPattern.get_file_type WriterPattern.get_file_description
        WriterPattern.get_filename WriterPattern.get_buffer_class WriterPattern.get_signer
        WriterPattern.is_requester_only DelayedTemplateResponseMixin.get_delayed_template_name
        EmailNotificationMixin.get_email_subject EmailNotificationMixin.get_email_text_message
        EmailNotificationMixin.get_email_html_message EmailNotificationMixin.get_from_email""",
    CONTEXT: """
        WriterPattern.schedule huey.ScheduleWithHueyMixin.schedule huey.ScheduleWithHueyMixin.get_task
        huey.ScheduleWithHueyMixin.get_task_args huey.ScheduleWithHueyMixin.get_task_kwargs
        huey.ScheduleWithHueyMixin.get_huey_kwargs""",
    f"{CONTEXT}, schedule": """
        WriterPattern.create_delayed_response DelayedTemplateResponseMixin.create_delayed_response""",
    "self, file_request, token": """
        WriterPattern.send_notification EmailNotificationMixin.send_notification
        EmailNotificationMixin.get_download_url""",
    "self, http_request, dataset": """
        SimplePattern.respond_with_file SimplePattern.respond_with_delay WriterPattern.get_file_request_data""",
    "file_request": """
        Criteria.restore_from QueryDictCriteria.criteria_query_dict WriterPattern.restore WriterPattern.handle""",
}
SIGNATURES: dict[Callable[..., Any], str] = {
    **{attrgetter(name)(patterns): taken for taken, names in HOOKS.items() for name in names.split()},
    FileRequest.objects.remove_expired: (
        "treshold=None, timeout=None, sleep=None, max_items=None, threshold=None, on_deleted=None"
    ),
    Signer: "key=None, salt='bgfiles', serializer=JSONSerializer, compress=False, max_age=None",
    Signer.load: "self, token",
    Signer.dump: "self, data",
    JSONSerializer.dumps: "self, obj",
    JSONSerializer.loads: "self, data",
    toolbox.get_default_signer: "",
    toolbox.add_request: (
        "criteria='', file_type='', requester=None, content_type='', description='', language=None, tz=None"
        ", filename='', permission=None"
    ),
    toolbox.attach_file: "request, contents, filename=None, content_type=None, size=None",
    toolbox.attach_local_file: "request, filepath, filename=None, content_type=None, size=None",
    toolbox.create_token: "request, data=None, signer=None",
    toolbox.create_general_token: "request, data=None, signer=None",
    toolbox.decode: "token, require_requester=True, signer=None",
    toolbox.serve: (
        "request, raise_on_missing=Http404, default_content_type='application/octet-stream', http_request=None"
    ),
    FileRequest.attach_file: "self, contents, filename=None, content_type=None, size=None, timestamp=None",
    FileRequest.expire_in: "self, delta, timestamp=None",
    get_storage: "",
    get_upload_to: "",
    evaluate_request: "request, token, require_requester=True, verify_requester=True, signer=None",
    serve_file: "request, token, require_requester=True, verify_requester=True, signer=None",
    create_content_disposition: "filename, attachment=True",
    Criteria: "raw",
    Criteria.build: "http_request",
    QueryDictCriteria.sanitize: "raw",
    QueryDictCriteria.http_query_dict: "http_request",
    QueryDictCriteriaWithRequester: "raw, user",
    Dataset: "criteria, items=None, delay=False",
    SimplePattern.respond_to: "self, http_request",
    SimplePattern.build_dataset: "self, http_request",
    WriterPattern: "filename=None",
    WriterPattern.get_items: "self, criteria",
    WriterPattern.evaluate_dataset: "self, dataset, http_request",
    WriterPattern.write_bytes: "self, dataset, buffer",
    WriterPattern.create_file: "self, file_request",
    WriterPattern.get_token_data: "self, file_request",
    DelayedTemplateResponseMixin.get_delayed_context_data: "self, kwargs",
    EmailNotificationMixin.get_email_recipients: "self, file_request",
    registry.register: "handler_class, file_types=None",
    registry.dispatch: "file_request_id",
}


def parameters_of(callable_: Callable[..., Any]) -> str:
    """Return the parameters and their defaults without the annotations."""
    given = []
    for parameter in inspect.signature(callable_).parameters.values():
        default = parameter.default
        shown = default.__name__ if isinstance(default, type) else repr(default)
        given.append(parameter.name if default is parameter.empty else f"{parameter.name}={shown}")
    return ", ".join(given)


@pytest.mark.parametrize("function", SIGNATURES, ids=lambda function: function.__qualname__)
def test_each_function_takes_the_arguments_of_dj_bgfiles(function: Callable[..., Any]):
    assert parameters_of(function) == SIGNATURES[function]


def test_each_name_is_importable_from_patterns():
    assert set(patterns.__all__) >= NAMES
    assert all(hasattr(patterns, name) for name in NAMES)
    assert FullPattern.__bases__ == (DelayedTemplateResponseMixin, EmailNotificationMixin, WriterPattern)
    assert issubclass(ScheduleWithHueyPattern, ScheduleWithHueyMixin)
    assert issubclass(ScheduleWithHueyPattern, FullPattern)


@pytest.mark.parametrize("name", FIELDS)
def test_each_field_has_the_type_of_dj_bgfiles(name: str):
    field = FileRequest._meta.get_field(name)
    assert isinstance(field, FIELDS[name])
    assert field.null == (name in NULLABLE)
    assert (field.db_index or name in INDEXED) == (name in INDEXED)
    assert field.max_length == LENGTHS.get(name, field.max_length)
