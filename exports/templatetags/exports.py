"""{% load exports %}: an export's form, and one's recent exports, on any page of the host."""

from typing import Any

from django import template
from django.forms import Form
from django.template.context import Context

from exports import services
from exports.exporters import registry
from exports.models import FileRequest
from exports.models.request import AnyUser
from exports.tabular.columns import ALTERATIONS

register = template.Library()

RECENT = 5


@register.inclusion_tag("exports/_form.html", takes_context=True)
def export_form(context: Context, file_type: str, form: Form | None = None) -> dict[str, Any]:
    """The filter of this export with a button for each format. `form` shows one that the page has filled already."""
    exporter = registry.find_export(file_type)
    user = context["request"].user
    shown = form if form is not None else exporter.get_form(None, user)
    left_out = {"withheld": exporter.withheld_from(user)}
    return {"exporter": exporter, "form": shown, "csrf_token": context.get("csrf_token")} | left_out


@register.inclusion_tag("exports/_list.html", takes_context=True)
def export_list(context: Context, user: AnyUser, count: int = RECENT) -> dict[str, Any]:
    """The newest exports of this user, live, in the list that a form of the same page adds to."""
    # Whoever is not signed in has no key, and must not get the requests that have no owner.
    theirs = FileRequest.objects.filter(requester=user.pk) if user.is_authenticated else FileRequest.objects.none()
    recent = theirs.select_related("requester")[:count]
    exports = [services.state_for(user, each) for each in recent]
    return {"exports": exports, "csrf_token": context.get("csrf_token")}


@register.inclusion_tag("exports/_assets.html")
def export_assets() -> dict[str, Any]:
    """The stylesheet and the script, for the head of a page."""
    return {}


@register.filter
def rounded(rows: int) -> int:
    """An estimate to three digits that count: more of them would be made up."""
    return round(rows, min(0, 3 - len(str(rows))))


@register.filter
def alteration(kind: str) -> str:
    """What an alteration that the receipt counts was, in words."""
    return str(ALTERATIONS.get(kind, kind.replace("_", " ")))
