"""The permission policy: whether the exporter of an export still lets its owner have the file.

Every way by which a file is made or handed out asks here, always about the present: claim, publish, mail, page,
download and public link.
"""

import logging
from collections.abc import Mapping
from typing import Any

from exports import failures
from exports.conf import config
from exports.exceptions import ExportError, ExportRefused, LeaseLost, UnknownFileType
from exports.exporters import registry
from exports.exporters.base import FileMaker
from exports.models import FileRequest

log = logging.getLogger("exports.permissions")


def is_still_granted(export: FileRequest) -> bool:
    """Return True if the exporter still lets the owner have the file. A file type that is gone lets no user have it."""
    try:
        exporter = registry.exporter_of(export)
    except UnknownFileType:
        return False
    return refusal_of(export, exporter)[0] is None


def is_withdrawn(export: FileRequest) -> bool:
    """Return True if an exporter with a permission rule refuses the owner now. Handlers of dj-bgfiles have no rule."""
    return registry.is_exporter(registry.handlers.get(export.file_type)) and not is_still_granted(export)


def refusal_of(export: FileRequest, exporter: FileMaker, *, to_run: bool = False) -> tuple[str | None, str]:
    """Return the error code of why `export` is refused, or None, and a detail for staff. A rule that raises refuses.

    With `to_run`, a format that is not available any more refuses too; a file that exists stays downloadable.

    Raises:
        OperationalError, InterfaceError: The database cannot be reached, so the question has no answer yet.

    """
    try:
        if to_run:
            exporter.extension(export)
        return exporter.refusal(export), ""
    except Exception as error:
        if failures.is_outage(error):
            raise
        failures.report(log, "request %s: refused: %s", export.pk, error=error)
        code = error.code if isinstance(error, ExportError) else ExportError.code
        return code, failures.describe_error(error)


def check_before_publishing(export: FileRequest, exporter: FileMaker, receipt: Mapping[str, Any]) -> None:
    """Ask once more, now that the file is made; `receipt` is its receipt.

    Raises:
        ExportRefused: The owner lost the permission meanwhile.
        LeaseLost: The row has been deleted.

    """
    current = FileRequest.objects.select_related("requester").filter(pk=export.pk).first()
    if current is None:
        raise LeaseLost("The request is gone.")
    current.receipt = dict(receipt)
    if (code := exporter.refusal(current)) is not None:
        raise ExportRefused(code)


def public_link_seconds(export: FileRequest) -> float | None:
    """Return for how many seconds a public link to this file is valid, or None if its exporter offers no such links."""
    exporter = registry.handlers.get(export.file_type)
    if not (registry.is_exporter(exporter) and exporter.public_links):
        return None
    chosen = exporter.public_link_max_age_seconds
    return config.PUBLIC_LINK_MAX_AGE_SECONDS if chosen is None else chosen
