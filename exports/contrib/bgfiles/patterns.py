"""The patterns of dj-bgfiles: an export as a class with hooks, answered in the HTTP request or made later.

    SimplePattern      decides: now or later
    └── WriterPattern  criteria → items → bytes, in the response or in a worker
        └── FullPattern    + a "your file comes later" page, + the project's own mail

The worker makes a pattern's file like any other export: under a lease, with progress, stored and checked.
"""

from collections.abc import Mapping
from typing import Any, ClassVar, Self

from django.contrib.auth.models import AnonymousUser
from django.core.mail import EmailMultiAlternatives
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.utils.encoding import force_str

from exports import notifications
from exports.conf import config
from exports.contrib.bgfiles import toolbox
from exports.contrib.bgfiles.buffers import Spool, as_binary, closed_on_error
from exports.contrib.bgfiles.criteria import Criteria, QueryDictCriteriaWithRequester
from exports.contrib.bgfiles.dataset import Dataset
from exports.contrib.bgfiles.pattern_runner import PatternExporter, current_handler_run, send_mail_now, write_file
from exports.contrib.bgfiles.toolbox import TokenSigner
from exports.exceptions import MissingMethod
from exports.http import responses
from exports.models import FileRequest, Status
from exports.worker import loop


class SimplePattern:
    """Answer an HTTP request with the file, or with a response that says it comes later."""

    # A response is what the project's hooks return; WriterPattern's own delayed response is None.
    def respond_to(self, http_request: HttpRequest) -> tuple[bool, Any]:
        """Return whether the file is delayed, and the response."""
        dataset = self.build_dataset(http_request)
        if dataset.delay:
            return True, self.respond_with_delay(http_request, dataset)
        return False, self.respond_with_file(http_request, dataset)

    def build_dataset(self, http_request: HttpRequest) -> Dataset:
        raise MissingMethod(f"{type(self).__name__} must define build_dataset(http_request).")

    def respond_with_file(self, http_request: HttpRequest, dataset: Dataset) -> Any:
        raise MissingMethod(f"{type(self).__name__} must define respond_with_file(http_request, dataset).")

    def respond_with_delay(self, http_request: HttpRequest, dataset: Dataset) -> Any:
        raise MissingMethod(f"{type(self).__name__} must define respond_with_delay(http_request, dataset).")


class WriterPattern(SimplePattern):
    """Write get_items, evaluate_dataset and write_bytes; everything else has a default and a hook."""

    criteria_class: ClassVar[type[Criteria]] = QueryDictCriteriaWithRequester
    file_type: ClassVar[str] = ""
    # Any: a str or a lazy translation.
    file_description: ClassVar[Any] = ""
    content_type: ClassVar[str] = ""
    buffer_class: ClassVar[type] = Spool
    requester_only: ClassVar[bool] = True
    signer: ClassVar[TokenSigner | None] = None
    content_as_attachment: ClassVar[bool] = True

    def __init__(self, filename: str | None = None) -> None:
        self.filename = filename

    # Hooks that you write. Any: criteria, items and buffers are whatever the project makes them.

    def get_items(self, criteria: Any) -> Any:
        """Return what goes into the file, for example a queryset. Called in the HTTP request and in the worker."""
        raise MissingMethod(f"{type(self).__name__} must define get_items(criteria).")

    def evaluate_dataset(self, dataset: Dataset, http_request: HttpRequest) -> None:
        """Set `dataset.delay` to True to make the file later. Called in an HTTP request only."""
        raise MissingMethod(f"{type(self).__name__} must define evaluate_dataset(dataset, http_request).")

    def write_bytes(self, dataset: Dataset, buffer: Any) -> None:
        """Write the file into `buffer`, an instance of the buffer class."""
        raise MissingMethod(f"{type(self).__name__} must define write_bytes(dataset, buffer).")

    # In the HTTP request

    def build_dataset(self, http_request: HttpRequest) -> Dataset:
        criteria = self.criteria_class.build(http_request)
        dataset = Dataset(criteria, items=self.get_items(criteria))
        self.evaluate_dataset(dataset, http_request)
        return dataset

    def respond_with_file(self, http_request: HttpRequest, dataset: Dataset) -> HttpResponseBase:
        with closed_on_error(self.get_buffer_class()()) as buffer:
            self.write_bytes(dataset, buffer)
        return responses.buffer_response(
            as_binary(buffer),
            filename=self.get_filename() or "",
            content_type=self.get_content_type() or "application/octet-stream",
            attachment=self.content_as_attachment,
        )

    def respond_with_delay(self, http_request: HttpRequest, dataset: Dataset) -> Any:
        data = {"filename": self.get_filename()} | self.get_file_request_data(http_request, dataset)
        file_request = toolbox.add_request(**data)
        schedule = self.schedule(file_request, http_request, dataset)
        return self.create_delayed_response(file_request, http_request, dataset, schedule)

    def get_file_request_data(self, http_request: HttpRequest, dataset: Dataset) -> dict[str, Any]:
        """Return the arguments for toolbox.add_request."""
        return {
            "criteria": dataset.criteria.marshall(),
            "file_type": self.get_file_type(),
            "description": force_str(self.get_file_description() or ""),
            "requester": None if isinstance(http_request.user, AnonymousUser) else http_request.user,
            "content_type": self.get_content_type(),
            "filename": self.get_filename(),
        }

    def schedule(self, file_request: FileRequest, http_request: HttpRequest, dataset: Dataset) -> Any:
        """Have the file made soon. Does nothing by default: a worker or `manage.py exports process` finds the row."""
        return None

    def create_delayed_response(
        self, file_request: FileRequest, http_request: HttpRequest, dataset: Dataset, schedule: Any
    ) -> Any:
        """Return the response for a delayed file. `schedule` is what the `schedule` hook returned."""
        return None

    # In the worker

    @classmethod
    def restore(cls, file_request: FileRequest) -> Self:
        return cls(file_request.filename)

    @classmethod
    def handle(cls, file_request: FileRequest) -> Any:
        """Make the file of a stored request. The registry calls this."""
        return cls.restore(file_request).create_file(file_request)

    def create_file(self, file_request: FileRequest) -> bool:
        """Make the file and queue the mail; return whether there is a file now. The reason for none is on the row.

        Inside a run of `file_request` the file is written under its lease; outside one, the request is claimed first.
        """
        handler_run = current_handler_run(file_request)
        if handler_run is not None:
            handler_run.result, handler_run.pattern = write_file(self, handler_run.run), self
            return True
        claimed = loop.claim_and_run(file_request, PatternExporter(self))
        is_ready = claimed and file_request.status == Status.READY
        if is_ready:
            send_mail_now(self, file_request)
        return is_ready

    def get_token_data(self, file_request: FileRequest) -> Mapping[str, Any]:
        """Return extra data to put into the token."""
        return {}

    def send_notification(self, file_request: FileRequest, token: str) -> Any:
        """Tell the requester that the file is ready. Does nothing by default; FullPattern sends a mail."""
        return None

    # Getters for the class attributes

    def get_content_type(self) -> str:
        return self.content_type

    def get_file_type(self) -> str:
        return self.file_type

    def get_file_description(self) -> Any:
        return self.file_description

    def get_filename(self) -> str | None:
        return self.filename

    def get_buffer_class(self) -> type:
        return self.buffer_class

    def get_signer(self) -> TokenSigner | None:
        return self.signer or None

    def is_requester_only(self) -> bool:
        return self.requester_only


class DelayedTemplateResponseMixin:
    """Answer a delayed request by rendering a template."""

    delayed_template_name: ClassVar[str] = ""

    def create_delayed_response(
        self, file_request: FileRequest, http_request: HttpRequest, dataset: Dataset, schedule: Any
    ) -> HttpResponse:
        context = self.get_delayed_context_data(file_request=file_request, dataset=dataset, schedule=schedule)
        return render(http_request, self.get_delayed_template_name(), context=context)

    def get_delayed_template_name(self) -> str:
        return self.delayed_template_name

    def get_delayed_context_data(self, **kwargs: Any) -> dict[str, Any]:
        """Return the template context: `file_request`, `dataset` and `schedule`."""
        return kwargs


class EmailNotificationMixin:
    """Send the project's own mail: texts with %(name)s for the request's fields, `download_url` and `token`."""

    # Any: a str or a lazy translation.
    email_subject: ClassVar[Any] = ""
    from_email: ClassVar[str | None] = None
    email_text_message: ClassVar[Any] = ""
    email_html_message: ClassVar[Any] = None
    download_url: ClassVar[str | None] = None

    def send_notification(self, file_request: FileRequest, token: str) -> int:
        """Send the mail. Return how many mails were sent."""
        values = _field_values(file_request)
        values |= {"token": token, "download_url": self.get_download_url(file_request, token)}
        mail = EmailMultiAlternatives(
            # A line break in a subject raises BadHeaderError.
            subject=" ".join(_fill(self.get_email_subject(), values).split()),
            body=_fill(self.get_email_text_message(), values),
            from_email=self.get_from_email() or config.FROM_EMAIL,
            to=self.get_email_recipients(file_request),
            headers=notifications.ready_headers(file_request),
        )
        if html := self.get_email_html_message():
            mail.attach_alternative(_fill(html, values), "text/html")
        return mail.send()

    def get_download_url(self, file_request: FileRequest, token: str) -> str:
        """Return the absolute URL that serves this token, or of the export's page if `download_url` is unset."""
        if not self.download_url:
            return notifications.page_url(file_request)
        return _fill(self.download_url, _field_values(file_request) | {"token": token})

    def get_email_recipients(self, file_request: FileRequest) -> list[str]:
        """Return the requester's address, or an empty list if there is none."""
        address = notifications.email_of(file_request)
        return [address] if address else []

    def get_email_subject(self) -> Any:
        return self.email_subject

    def get_email_text_message(self) -> Any:
        return self.email_text_message

    def get_email_html_message(self) -> Any:
        return self.email_html_message

    def get_from_email(self) -> str | None:
        return self.from_email


class FullPattern(DelayedTemplateResponseMixin, EmailNotificationMixin, WriterPattern):
    """WriterPattern with a page for delayed files and a mail when the file is ready."""


def _fill(template: Any, values: Mapping[str, Any]) -> str:
    return force_str(template or "") % values


def _field_values(file_request: FileRequest) -> dict[str, Any]:
    return {field.attname: getattr(file_request, field.attname) for field in file_request._meta.concrete_fields}
