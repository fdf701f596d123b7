"""The permission policy: whether a user may make an export, and whether the owner of a file may still have it.

Every way by which a file is made or handed out asks here, always about the present: form, request, retry, claim,
publish, mail, page, download, public link and feed. There are two rules: that of the exporter, and the one that a view
gave to a request without a form (`FileRequest.permission`).

A user who has come by an API token sees only the types that it opens: here, in the querysets of the models and in
`FileRequest.is_downloadable_by`. By one that only reads they change nothing: each verb asks `refuse_reader`.
"""

import logging
from collections.abc import Callable, Mapping
from importlib import import_module
from operator import attrgetter
from typing import Any

from exports import failures
from exports.access import tenants
from exports.conf import config
from exports.exceptions import ExportError, ExportRefused, LeaseLost, UnknownFileType
from exports.exporters import registry
from exports.exporters.base import FileMaker
from exports.exporters.criteria import NoCriteriaYet, UndecidedYet
from exports.exporters.queryset import QuerySetExport
from exports.models import FileRequest
from exports.models.request import AnyUser
from exports.models.token import is_open_to

log = logging.getLogger("exports.permissions")

Rule = str | Callable[[AnyUser], bool]
"""A permission such as "shop.view_order", or a function of a module that takes a user."""


def find_exporter(user: AnyUser, file_type: str) -> QuerySetExport:
    """Return the exporter that users can request under this type.

    Raise UnknownFileType, also for a type that the token of this user does not open.
    """
    if not is_open_to(user, file_type):
        raise UnknownFileType(f"The token of this user opens no exports of the type {file_type!r}.")
    return registry.find_exporter(file_type)


def may_open_form(user: AnyUser, exporter: QuerySetExport) -> bool:
    """Return False if the user's token does not open the export, or it refuses them whatever its form has."""
    if not is_open_to(user, exporter.file_type):
        return False
    try:
        return exporter.has_permission(user, NoCriteriaYet())
    except UndecidedYet:
        return True


def stored_rule(rule: Rule | None) -> str:
    """Return a rule as `FileRequest.permission` stores it: "app.codename", "module:function", or "" for None.

    Raises ValueError for a text that is no permission, and for a function that a worker could not find again.
    """
    if rule is None:
        return ""
    if isinstance(rule, str):
        if "." not in rule or ":" in rule:
            raise ValueError(f"{rule!r} is no permission: write 'app.codename'.")
        return rule
    text = f"{rule.__module__}:{getattr(rule, '__qualname__', '')}"
    try:
        found = _function_of(text)
    except (ImportError, AttributeError):
        found = None
    if found is not rule:
        raise ValueError(f"{rule!r} is no function of a module, so a worker cannot find it again.")
    return text


def holds(user: AnyUser, rule: str) -> bool:
    """Return True if the user is active and this stored rule allows it. "" allows every active user."""
    if not user.is_active:
        return False
    if ":" in rule:
        return bool(_function_of(rule)(user))
    return not rule or user.has_perm(rule)


def refusal(export: FileRequest, exporter: FileMaker) -> str | None:
    """Return the error code of why its owner may not have this export now, or None. A rule may raise anything."""
    with tenants.active(export.tenant):
        if export.permission and not holds(export.owner, export.permission):
            return "permission_lost"
        return exporter.refusal(export)


def is_still_granted(export: FileRequest) -> bool:
    """Return True if the exporter still lets the owner have the file. A file type that is gone lets no user have it."""
    try:
        exporter = registry.exporter_of(export)
    except UnknownFileType:
        return False
    return refusal_of(export, exporter)[0] is None


def is_withdrawn(export: FileRequest) -> bool:
    """Return True if there is a permission rule that refuses the owner now. Handlers of dj-bgfiles have none."""
    has_rule = bool(export.permission) or registry.is_exporter(registry.handlers.get(export.file_type))
    return has_rule and not is_still_granted(export)


def refusal_of(export: FileRequest, exporter: FileMaker, *, to_run: bool = False) -> tuple[str | None, str]:
    """Return the error code of why `export` is refused, or None, and a detail for staff. A rule that raises refuses.

    With `to_run`, a format that is not available any more refuses too; a file that exists stays downloadable.

    Raises:
        OperationalError, InterfaceError: The database cannot be reached, so the question has no answer yet.

    """
    try:
        if to_run:
            exporter.extension(export)
        return refusal(export, exporter), ""
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
    if (code := refusal(current, exporter)) is not None:
        raise ExportRefused(code)


def public_link_seconds(export: FileRequest) -> float | None:
    """Return for how many seconds a public link to this file is valid, or None if its exporter offers no such links."""
    exporter = registry.handlers.get(export.file_type)
    if not (registry.is_exporter(exporter) and exporter.public_links):
        return None
    chosen = exporter.public_link_max_age_seconds
    return config.PUBLIC_LINK_MAX_AGE_SECONDS if chosen is None else chosen


def offers_feeds(file_type: str) -> bool:
    """Return True if users may make feeds of this export, and those that exist still work."""
    return registry.is_offered(file_type) and registry.find_exporter(file_type).feeds


def _function_of(rule: str) -> Callable[[AnyUser], bool]:
    module, _, name = rule.partition(":")
    function: Callable[[AnyUser], bool] = attrgetter(name)(import_module(module))
    return function
