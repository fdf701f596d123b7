"""The download log as an export, for staff."""

from collections.abc import Mapping, Sequence
from typing import Any

from django import forms
from django.contrib.auth import get_user_model
from django.db.models import QuerySet
from django.utils.translation import gettext_lazy as _

from exports.exporters.queryset import QuerySetExport
from exports.models import Download
from exports.models.request import AnyUser
from exports.tabular.columns import Column


class Period(forms.Form):
    """The first and last day, both included, in the time zone of the user."""

    since = forms.DateField(label=_("From"), required=False, widget=forms.DateInput({"type": "date"}))
    until = forms.DateField(label=_("To"), required=False, widget=forms.DateInput({"type": "date"}))


class DownloadExport(QuerySetExport):
    """Who downloaded which file, when, how much of it, and how it ended; for staff with `exports.view_download`."""

    file_type = "downloads"
    title = _("Downloads")
    form_class = Period
    formats = ("xlsx", "csv", "jsonl")

    def get_columns(self, user: AnyUser) -> Sequence[Column]:
        return (
            Column("at", _("When"), width=20),
            Column("user_id", _("User"), kind="text", width=12),
            Column(f"user__{get_user_model().USERNAME_FIELD}", _("Name"), width=24),
            Column("is_public", _("Link for anyone"), width=14),
            Column("file_type", _("Export"), width=20),
            Column("request_id", _("Request"), width=38),
            Column("outcome", _("Outcome"), width=14),
            Column("first_byte", _("First byte"), width=12),
            Column("byte_count", _("Bytes"), width=14),
            Column("bytes_sent", _("Sent"), width=14),
            Column("address", _("Network"), width=20),
        )

    def get_queryset(self, user: AnyUser, criteria: Mapping[str, Any]) -> QuerySet[Download]:
        downloads = Download.objects.order_by("at", "pk")
        if since := criteria["since"]:
            downloads = downloads.filter(at__date__gte=since)
        if until := criteria["until"]:
            downloads = downloads.filter(at__date__lte=until)
        return downloads

    def has_permission(self, user: AnyUser, criteria: Mapping[str, Any]) -> bool:
        return user.is_active and user.is_staff and user.has_perm("exports.view_download")
