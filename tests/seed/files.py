"""Requests with a file, and what is in it."""

from typing import Any
from uuid import UUID

from django.core.files.base import ContentFile
from django.core.signals import request_finished
from django.db import close_old_connections
from django.http.response import HttpResponseBase

from exports import toolbox
from exports.models import FileRequest
from tests.shop.requests import queued

CONTENT = b"id\r\n1\r\n"
ID = UUID("5f0c3a52-6d0e-4a57-9a56-0f3b8f6f9d11")
# Signed by dj-bgfiles 0.6.0 on Django 2.2 with key "the-key-of-old", the last one with key "other" and salt "salted".
OLD_TOKEN = (
    "eyJleHRyYSI6MSwicmVxdWVzdGVyIjo3LCJpZCI6IjVmMGMzYTUyLTZkMGUtNGE1Ny05YTU2LTBmM2I4ZjZmOWQxMSJ9"
    ":1xV21o:cb-jJkwB5HUT67j75o45VkUwZ0Q"
)
OLD_GENERAL_TOKEN = "eyJpZCI6IjVmMGMzYTUyLTZkMGUtNGE1Ny05YTU2LTBmM2I4ZjZmOWQxMSJ9:1xV21o:_nE79BLVrtZU2ztEinP-0E_YvCU"
OLD_COMPRESSED_TOKEN = (
    ".eJyrVirPL0opVrJSqhgFRAMlHaWi1MLS1OKS1CIlK3MdpcwUYAiaphkkGyeaGumapRik6pokmprrWiaamukapBknWaSZpVmmGBoq1QIAZXSgfA"
    ":1xV21o:kCnU7H0_gvWEUtyU56awBd-5720"
)


def attached(**columns: Any) -> FileRequest:
    """Return a request with a file, both as dj-bgfiles' users make them."""
    request = queued(**columns)
    toolbox.attach_file(request, ContentFile(CONTENT), "events.csv", "text/csv")
    return request


def fresh(request: FileRequest) -> FileRequest:
    """Return the request as it is in the database."""
    return FileRequest.objects.get(pk=request.pk)


def content_of(request: FileRequest) -> bytes:
    with fresh(request).filehandle.open() as file:
        return file.read()


def body_of(response: HttpResponseBase) -> bytes:
    """Read and close the response, without the signal that closes the database connections of this test."""
    body = response.getvalue()
    request_finished.disconnect(close_old_connections)
    response.close()
    request_finished.connect(close_old_connections)
    return body
