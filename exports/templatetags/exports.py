"""{% load exports %}: the form of an export and a user's newest exports, for any page of the project."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

from django import template
from django.conf import settings
from django.conf.urls.i18n import is_language_prefix_patterns_used
from django.forms import Form
from django.template.context import Context
from django.urls import get_script_prefix
from django.utils import translation
from django.utils.crypto import salted_hmac
from django.utils.formats import date_format
from django.utils.html import format_html, json_script
from django.utils.safestring import SafeString

from exports.conf import url_of
from exports.exporters import permissions, registry
from exports.exporters.options import format_of
from exports.http import assets, words
from exports.http.forms import form_context
from exports.http.history import own_states
from exports.http.lists import LIST_FORMATS, export_links
from exports.models import FileRequest
from exports.models.locale import local_time
from exports.models.request import AnyUser
from exports.realtime import SOCKET_PATH
from exports.state import State

register = template.Library()

RECENT = 5


@register.inclusion_tag("exports/_form.html", takes_context=True)
def export_form(context: Context, file_type: str, form: Form | None = None, columns: str = "") -> dict[str, Any]:
    """Show the form of this export; `form` is one that the view has filled already.

    `columns` are the names of those that are chosen at first, with commas: those that the page shows. Show nothing to a
    user whom the export refuses.
    """
    exporter = registry.find_exporter(file_type)
    user = context["request"].user
    if not permissions.may_open_form(user, exporter):
        return {}
    shown = form if form is not None else exporter.get_form(None, user)
    chosen = [(name.strip(), "") for name in columns.split(",") if name.strip()]
    return {**form_context(user, exporter, shown, columns=chosen), "csrf_token": context.get("csrf_token")}


@register.inclusion_tag("exports/_button.html", takes_context=True)
def export_button(context: Context, *formats: str) -> dict[str, Any]:
    """Show a link for each of these formats that exports the list of this page: see ExportableListMixin.

    Without formats, those of the view.
    """
    chosen = formats or getattr(context.get("view"), "export_formats", LIST_FORMATS)
    return {"links": export_links(context["request"], chosen)}


@register.inclusion_tag("exports/_list.html", takes_context=True)
def export_list(context: Context, user: AnyUser, count: int = RECENT, file_type: str = "") -> dict[str, Any]:
    """Show this user's newest exports live, of one type if it is given: also those that are requested elsewhere."""
    own = FileRequest.objects.owned_by(user)
    if file_type:
        own = own.filter(file_type=file_type)
    return {
        "exports": own_states(user, own.timed()[:count]),
        "source": f"{url_of('list')}?{urlencode({'type': file_type})}" if file_type else url_of("list"),
        "count": count,
        "file_type": file_type,
        "csrf_token": context.get("csrf_token"),
        "is_plain": context.get("is_plain"),
    }


@register.inclusion_tag("exports/_tray.html", takes_context=True)
def export_tray(context: Context) -> dict[str, Any]:
    """Show a signed-in user on every page what is being exported and what is ready. For the base template of a site."""
    request = context.get("request")
    return {"user": getattr(request, "user", None), "is_plain": context.get("is_plain")}


@register.inclusion_tag("exports/_assets.html", takes_context=True)
def export_assets(context: Context) -> dict[str, Any]:
    """Include the stylesheet, the script and what the script needs, in the head of a page; no script if it is plain."""
    # A developer sees each change of the modules at once.
    stem = "exports" if settings.DEBUG else assets.stem()
    return {
        "stylesheet": f"exports/{stem}.css",
        "script": f"exports/{stem}.js",
        "is_plain": context.get("is_plain"),
    }


@register.simple_tag(takes_context=True)
def export_config(context: Context) -> SafeString:
    """Return what the script needs as JSON: the socket's path, the CSRF cookie's name, the words and their language.

    `reader` names the user, whose tabs share a socket; it is "" where the page does not know its user.
    """
    user = getattr(getattr(context, "request", None), "user", None)
    reader = "" if user is None else salted_hmac("exports.tabs", str(user.pk), algorithm="sha256").hexdigest()[:16]
    csrf_cookie = None if settings.CSRF_USE_SESSIONS else settings.CSRF_COOKIE_NAME
    given = {
        "socket": _socket_path(),
        "reader": reader,
        "csrf_cookie": csrf_cookie,
        "language": translation.get_language() or settings.LANGUAGE_CODE,
        "words": words.catalogue(for_staff=_is_staff(context)),
    }
    return json_script(given, "exports-config")


@register.simple_tag
def export_url(name: str, *args: object) -> str:
    """Return the URL of a view of the app, such as "list" or "form", whatever namespace its URLs are included under."""
    return url_of(name, *args)


@register.simple_tag
def language_attributes() -> SafeString:
    """Return the attributes `lang` and `dir` of an element whose texts are in the active language."""
    language = translation.get_language() or settings.LANGUAGE_CODE
    return format_html('lang="{}" dir="{}"', language, "rtl" if translation.get_language_bidi() else "ltr")


@register.simple_tag
def word(key: str, **values: object) -> str:
    """Return a sentence of exports/http/words.py."""
    return words.word(key, **values)


@register.simple_tag(takes_context=True)
def start_worker(context: Context, state: State) -> str:
    """Return how the worker for which an export waits is started, for staff; "" for others, or if one is running."""
    return words.start_worker_text(state) if _is_staff(context) else ""


def _is_staff(context: Context) -> bool:
    # The context of an inclusion tag has no variables of the page, but knows its request.
    user = getattr(getattr(context, "request", None), "user", None)
    return settings.DEBUG or getattr(user, "is_staff", False)


@register.filter
def socket_path(export_id: object) -> str:
    """Return the path of the socket that follows the export of this id only."""
    return _socket_path(f"{export_id}/")


def _socket_path(name: str = "") -> str:
    """Return the path of a socket below the path of the site; with the page's language, if URLs begin with one."""
    language, (has_prefix, _) = translation.get_language(), is_language_prefix_patterns_used(settings.ROOT_URLCONF)
    query = f"?language={language}" if has_prefix and language else ""
    return f"{get_script_prefix()}{SOCKET_PATH.removeprefix('/')}{name}{query}"


@register.filter
def export_time(moment: datetime | str) -> SafeString:
    """Return a moment, or its text in STATE, in the active time zone, as an element that a script may localize."""
    local = local_time(datetime.fromisoformat(moment) if isinstance(moment, str) else moment)
    shown = date_format(local, "DATETIME_FORMAT")
    return format_html('<time class="export-time" datetime="{}">{}</time>', local.isoformat(), shown)


@register.filter
def language_name(code: str) -> str:
    """Return the name of a language in that language; its code if Django does not know it."""
    try:
        return str(translation.get_language_info(code)["name_local"])
    except KeyError:
        return code


@register.filter
def item(values: Mapping[str, Any], key: str) -> Any:
    """Return the value of this key, None if there is none. Any: values of a receipt."""
    return values.get(key)


register.filter("option_format", format_of)
register.filter("alteration", words.alteration_text)
register.filter(words.altered_text)
register.filter(words.cells_text)
register.filter(words.duration_text)
register.filter(words.receipt_text)
register.filter(words.status_text)
register.filter(words.percent_text)
register.filter(words.name_text)
register.filter(words.detail_text)
register.filter(words.day_text)
