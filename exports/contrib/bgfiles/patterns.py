"""The patterns of dj-bgfiles: an export as a class with hooks, answered in the request or made later.

    SimplePattern      decide: now or later
    └── WriterPattern  criteria → items → bytes, in the response or in a worker
        └── FullPattern    + a page that says "later", + the author's mail

A pattern's file is made by the same runner as any other: under a lease, fenced, stored, counted and followed live.
"""

from collections.abc import Mapping
from typing import Any, ClassVar, Self

from django.contrib.auth.models import AnonymousUser
from django.core.mail import EmailMultiAlternatives
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.encoding import force_str

from exports import notifications
from exports.conf import config
from exports.contrib.bgfiles import toolbox
from exports.contrib.bgfiles.criteria import Criteria, QueryDictCriteriaWithRequester
from exports.contrib.bgfiles.dataset import Dataset, Spool, closed_on_error, spooled
from exports.contrib.bgfiles.making import ByHand, mail_now, write
from exports.http import responses
from exports.models import FileRequest, Status
from exports.realtime import events
from exports.worker import runner


class SimplePattern:
    """Answer with the file now, or with a word that it comes later."""

    def respond_to(self, http_request: HttpRequest) -> tuple[bool, Any]:
        """(whether it was delayed, the response)."""
        dataset = self.build_dataset(http_request)
        if dataset.delay:
            return True, self.respond_with_delay(http_request, dataset)
        return False, self.respond_with_file(http_request, dataset)

    def build_dataset(self, http_request: HttpRequest) -> Dataset:
        raise NotImplementedError(f"{type(self).__name__} must define build_dataset(http_request).")

    def respond_with_file(self, http_request: HttpRequest, dataset: Dataset) -> Any:
        raise NotImplementedError(f"{type(self).__name__} must define respond_with_file(http_request, dataset).")

    def respond_with_delay(self, http_request: HttpRequest, dataset: Dataset) -> Any:
        raise NotImplementedError(f"{type(self).__name__} must define respond_with_delay(http_request, dataset).")


class WriterPattern(SimplePattern):
    """You write get_items, evaluate_dataset and write_bytes; the rest has defaults, each with a hook."""

    criteria_class: ClassVar[type[Criteria]] = QueryDictCriteriaWithRequester
    file_type: ClassVar[str] = ""
    file_description: ClassVar[Any] = ""
    content_type: ClassVar[str] = ""
    buffer_class: ClassVar[type] = Spool
    requester_only: ClassVar[bool] = True
    signer: ClassVar[Any] = None
    content_as_attachment: ClassVar[bool] = True

    def __init__(self, filename: str | None = None) -> None:
        self.filename = filename

    # What you write

    def get_items(self, criteria: Any) -> Any:
        """What the file is made of, a queryset for instance. Called in the request and in the worker alike."""
        raise NotImplementedError(f"{type(self).__name__} must define get_items(criteria).")

    def evaluate_dataset(self, dataset: Dataset, http_request: HttpRequest) -> None:
        """Set `dataset.delay`. Called in a request only."""
        raise NotImplementedError(f"{type(self).__name__} must define evaluate_dataset(dataset, http_request).")

    def write_bytes(self, dataset: Dataset, buffer: Any) -> None:
        """Write the file into `buffer`, an instance of the buffer class."""
        raise NotImplementedError(f"{type(self).__name__} must define write_bytes(dataset, buffer).")

    # In the request

    def build_dataset(self, http_request: HttpRequest) -> Dataset:
        criteria = self.criteria_class.build(http_request)
        dataset = Dataset(criteria, items=self.get_items(criteria))
        self.evaluate_dataset(dataset, http_request)
        return dataset

    def respond_with_file(self, http_request: HttpRequest, dataset: Dataset) -> Any:
        with closed_on_error(self.get_buffer_class()()) as buffer:
            self.write_bytes(dataset, buffer)
        return responses.buffer_response(
            spooled(buffer),
            filename=self.get_filename() or "",
            content_type=self.get_content_type() or "application/octet-stream",
            attachment=self.content_as_attachment,
        )

    def respond_with_delay(self, http_request: HttpRequest, dataset: Dataset) -> Any:
        asked = {"filename": self.get_filename()} | self.get_file_request_data(http_request, dataset)
        file_request = toolbox.add_request(**asked)
        schedule = self.schedule(file_request, http_request, dataset)
        return self.create_delayed_response(file_request, http_request, dataset, schedule)

    def get_file_request_data(self, http_request: HttpRequest, dataset: Dataset) -> dict[str, Any]:
        """The arguments of toolbox.add_request."""
        return {
            "criteria": dataset.criteria.marshall(),
            "file_type": self.get_file_type(),
            "description": force_str(self.get_file_description() or ""),
            "requester": None if isinstance(http_request.user, AnonymousUser) else http_request.user,
            "content_type": self.get_content_type(),
            "filename": self.get_filename(),
        }

    def schedule(self, file_request: FileRequest, http_request: HttpRequest, dataset: Dataset) -> Any:
        """Have the request made soon. Does nothing: `manage.py exports process` or a worker's next look finds it."""
        return None

    def create_delayed_response(
        self, file_request: FileRequest, http_request: HttpRequest, dataset: Dataset, schedule: Any
    ) -> Any:
        """The answer of a request whose file comes later. `schedule` is what `schedule` returned."""
        return None

    # In the worker

    @classmethod
    def restore(cls, file_request: FileRequest) -> Self:
        return cls(file_request.filename)

    @classmethod
    def handle(cls, file_request: FileRequest) -> Any:
        """Make the file of a stored request: what the registry calls."""
        return cls.restore(file_request).create_file(file_request)

    def create_file(self, file_request: FileRequest) -> Any:
        """Make the file: under the lease of the run that asks for it, or, called by hand, under one of its own.

        The mail goes through the outbox. Returns whether there is a file now; why there is none is on the request.
        """
        run = runner.current(file_request)
        if run is not None:
            run.result, run.pattern = write(self, run), self
            return True
        taken = runner.take(file_request, ByHand(self), on_change=events.publish)
        is_made = taken and file_request.status == Status.READY
        if is_made:
            mail_now(self, file_request)
        return is_made

    def get_token_data(self, file_request: FileRequest) -> Mapping[str, Any]:
        """More to put into the token."""
        return {}

    def send_notification(self, file_request: FileRequest, token: str) -> Any:
        """Tell the requester. Does nothing; FullPattern mails. Called by the mailer, once the file is there."""
        return None

    # What the class attributes say

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

    def get_signer(self) -> Any:
        return self.signer or None

    def is_requester_only(self) -> bool:
        return self.requester_only


class DelayedTemplateResponseMixin:
    """The answer of a delayed request is a template."""

    delayed_template_name: ClassVar[str] = ""

    def create_delayed_response(
        self, file_request: FileRequest, http_request: HttpRequest, dataset: Dataset, schedule: Any
    ) -> HttpResponse:
        context = self.get_delayed_context_data(file_request=file_request, dataset=dataset, schedule=schedule)
        return render(http_request, self.get_delayed_template_name(), context=context)

    def get_delayed_template_name(self) -> str:
        return self.delayed_template_name

    def get_delayed_context_data(self, **kwargs: Any) -> dict[str, Any]:
        """`file_request`, `dataset` and `schedule` for the template."""
        return kwargs


class EmailNotificationMixin:
    """The mail of its author: texts with %(name)s for the request's fields, `download_url` and `token`."""

    email_subject: ClassVar[Any] = ""
    from_email: ClassVar[str | None] = None
    email_text_message: ClassVar[Any] = ""
    email_html_message: ClassVar[Any] = None
    download_url: ClassVar[str | None] = None

    def send_notification(self, file_request: FileRequest, token: str) -> int:
        """Send it. Returns how many mails went out."""
        values = _fields(file_request) | {"token": token, "download_url": self.get_download_url(file_request, token)}
        mail = EmailMultiAlternatives(
            subject=" ".join(_filled(self.get_email_subject(), values).split()),
            body=_filled(self.get_email_text_message(), values),
            from_email=self.get_from_email() or config.FROM_EMAIL,
            to=self.get_email_recipients(file_request),
            headers=notifications.ready_headers(file_request),
        )
        if html := self.get_email_html_message():
            mail.attach_alternative(_filled(html, values), "text/html")
        return mail.send()

    def get_download_url(self, file_request: FileRequest, token: str) -> str:
        """The whole address, host included, where this token is served; without one, the request's page."""
        if not self.download_url:
            return notifications.page_url(file_request)
        return _filled(self.download_url, _fields(file_request) | {"token": token})

    def get_email_recipients(self, file_request: FileRequest) -> list[str]:
        """Whoever asked, if anybody did and has an address."""
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
    """Everything: the page that says "later", the file, the mail."""


def _filled(template: Any, values: Mapping[str, Any]) -> str:
    return force_str(template or "") % values


def _fields(file_request: FileRequest) -> dict[str, Any]:
    """The request's fields by name, for %(name)s."""
    return {field.attname: getattr(file_request, field.attname) for field in file_request._meta.concrete_fields}
