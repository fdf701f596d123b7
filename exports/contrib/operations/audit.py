"""The audit log as an export, for staff."""

from collections.abc import Mapping, Sequence
from typing import Any

from django import forms
from django.contrib.auth import get_user_model
from django.db.models import QuerySet
from django.utils.translation import gettext_lazy as _

from exports.exporters.queryset import QuerySetExport
from exports.models import AuditEntry
from exports.models.request import AnyUser
from exports.tabular.columns import Column


class Period(forms.Form):
    """The first and last day, both included, in the time zone of the user; and what happened, by default anything."""

    since = forms.DateField(label=_("First day"), required=False, widget=forms.DateInput({"type": "date"}))
    until = forms.DateField(label=_("Last day"), required=False, widget=forms.DateInput({"type": "date"}))
    verb = forms.ChoiceField(label=_("Event"), required=False, choices=[("", _("All")), *AuditEntry.Verb.choices])


class AuditExport(QuerySetExport):
    """Who did what to which export, when, from where, and how it ended; for staff with `exports.view_auditentry`."""

    file_type = "audit"
    title = _("Audit log")
    form_class = Period
    formats = ("xlsx", "csv", "jsonl")

    def get_columns(self, user: AnyUser, criteria: Mapping[str, Any]) -> Sequence[Column]:
        return (
            Column("at", _("When"), width=20),
            Column("actor_kind", _("Actor"), width=12),
            Column("user_id", _("User"), kind="text", width=12),
            Column(f"user__{get_user_model().USERNAME_FIELD}", _("Name"), width=24),
            Column("actor_name", _("Process or token"), width=20),
            Column("address", _("Network"), width=20),
            Column("verb", _("Event"), width=14),
            Column("outcome", _("Outcome"), width=14),
            Column("reason", _("Reason"), width=20),
            Column("file_type", _("Export"), width=20),
            Column("export_id", _("Request"), width=38),
            Column("filename", _("File"), width=30),
            Column("count", _("Times"), width=8),
            Column("byte_count", _("Bytes"), width=14),
            Column("bytes_sent", _("Sent"), width=14),
            Column("position", _("Number"), width=10),
            Column("seal", _("Seal"), width=66),
        )

    def get_queryset(self, user: AnyUser, criteria: Mapping[str, Any]) -> QuerySet[AuditEntry]:
        entries = AuditEntry.objects.order_by("at", "pk")
        if since := criteria["since"]:
            entries = entries.filter(at__date__gte=since)
        if until := criteria["until"]:
            entries = entries.filter(at__date__lte=until)
        if verb := criteria["verb"]:
            entries = entries.filter(verb=verb)
        return entries

    def has_permission(self, user: AnyUser, criteria: Mapping[str, Any]) -> bool:
        return user.is_active and user.is_staff and user.has_perm("exports.view_auditentry")
